"""What each method of post-training quantization brings, in millimetres.

`python benchmarks/post_training.py` quantizes a network with none of the methods, with each alone,
with all, and with all but one, and says how far the vertices are off the float network. It compares
the fake-quant network in PyTorch, which the converted files follow to a hundredth of a millimetre.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.peers import Outcome, choose_subject, compare, subject_task  # noqa: E402
from benchmarks.ways import Made, Task, Way, in_torch  # noqa: E402
from i2uv_edge.quantizer.network import QuantOptions, quantize  # noqa: E402
from i2uv_edge.spec import RecipeSpec, load_recipe  # noqa: E402

__all__ = ["ALL", "METHODS", "PLAIN", "Methods", "table", "variants", "way"]


@dataclass(frozen=True)
class Methods:
    """What is done, and what is not.

    Attributes
    ----------
    ranges : how those of activations are found
    percentile : of the absolute values, where ranges are so found
    equalization : whether channels are scaled to fill the common range of their tensor
    bias_correction : whether the mean error of each channel is taken out of its bias
    rounding : of weights
    per_channel : whether each output channel of the weights has a scale of its own
    """

    ranges: str = "min-max"
    percentile: float = 99.99
    equalization: bool = False
    bias_correction: bool = False
    rounding: str = "nearest"
    per_channel: bool = True

    def recipe(self, start: RecipeSpec) -> RecipeSpec:
        """``start`` with these methods."""
        granularity = "per-channel" if self.per_channel else "per-tensor"
        weights = replace(start.weights, rounding=self.rounding, granularity=granularity)  # type: ignore[arg-type]
        activations = replace(start.activations, range=self.ranges, percentile=self.percentile)  # type: ignore[arg-type]
        return replace(start, weights=weights, activations=activations)

    def options(self) -> QuantOptions:
        """What recipes do not say."""
        strength = QuantOptions.equalize if self.equalization else None
        return QuantOptions(equalize=strength, correct_bias=self.bias_correction)


PLAIN = Methods()
ALL = Methods("mse", equalization=True, bias_correction=True, rounding="second-order")

METHODS: dict[str, Mapping[str, object]] = {
    "percentile 99.9": {"ranges": "percentile", "percentile": 99.9},
    "percentile 99.99": {"ranges": "percentile"},
    "entropy": {"ranges": "entropy"},
    "mse": {"ranges": "mse"},
    "equalization": {"equalization": True},
    "bias correction": {"bias_correction": True},
    "second-order rounding": {"rounding": "second-order"},
}


def variants() -> dict[str, Methods]:
    """Every line of the table."""
    alone = {name: replace(PLAIN, **change) for name, change in METHODS.items()}  # type: ignore[arg-type]
    without = {
        f"all but {name}": replace(ALL, **{key: getattr(PLAIN, key) for key in change})  # type: ignore[arg-type]
        for name, change in METHODS.items()
        if all(getattr(ALL, key) == value for key, value in change.items())
    }
    return {
        "min-max, nothing else": PLAIN,
        **alone,
        "all: mse, equalization, correction, rounding": ALL,
        **without,
        "nothing, one weight scale a tensor": replace(PLAIN, per_channel=False),
        "all, one weight scale a tensor": replace(ALL, per_channel=False),
    }


def way(methods: Methods) -> Way:
    """Quantize by the recipe w8a8 with these methods in the place of its own."""

    def make(task: Task, path: Path) -> Made:
        del path
        recipe = methods.recipe(load_recipe("w8a8").for_network(task.spec))
        made = quantize(
            task.module(),
            recipe,
            task.calibration,
            network_role="affinenet",
            options=methods.options(),
        )
        return Made(None, in_torch(made.graph))

    return make


def table(outcomes: list[Outcome]) -> str:
    """The outcomes as text; one that failed says why."""
    width = max(len(outcome.name) for outcome in outcomes)
    lines = [f"{'off float, mm':{width}}   mean    p95"]
    for item in outcomes:
        figures = f"{item.mean_mm:6.3f} {item.p95_mm:6.2f}"
        lines.append(f"{item.name:{width}} {item.reason or figures}")
    return "\n".join(lines)


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choose_subject(parser)
    options = parser.parse_args()
    task = subject_task(options)
    ways = {name: way(methods) for name, methods in variants().items()}
    outcomes = compare(task, ways, rounds=1)[1:]  # without the float network itself
    print(
        f"{task.spec.name}: {options.calibration} pictures calibrated on, {options.samples} "
        f"compared\n\n{table(outcomes)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

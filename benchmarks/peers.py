"""One network through this project and through what else there is, in one table.

`python benchmarks/peers.py` fits AffineNet (minutes, once), makes it int8 in each way from the same
calibration pictures, and says how far the vertices are off the float network, how long an inference
takes, how large the file is, and what layout changes and scattered reads it holds. Every tool
is used as its own documentation begins: its defaults, and nothing mended. Where one fails, the
reason stands in the table. `--model edge` compares a model's AffineNet with its bundled weights
instead. Other tools then get it in two forms: as one has it in PyTorch, its warps `grid_sample`,
and with the warps as gathers, this project's deploy form; the first loses less, the second is fast.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks import subjects, ways  # noqa: E402
from benchmarks.fitted import fitted  # noqa: E402
from benchmarks.timing import quiet_output  # noqa: E402
from benchmarks.ways import Answer, Float32, Made, Skipped, Task, Way, in_deploy_form  # noqa: E402
from i2uv_edge import resources  # noqa: E402
from i2uv_edge.convert.histogram import read_operators  # noqa: E402
from i2uv_edge.data.calibration import CalibrationSet  # noqa: E402
from i2uv_edge.data.evaluation import bundled_samples  # noqa: E402
from i2uv_edge.device.timing import Contender, interleaved  # noqa: E402
from i2uv_edge.errors import UsageError  # noqa: E402
from i2uv_edge.hand.atlas import Atlas  # noqa: E402
from i2uv_edge.hand.model import HandModel  # noqa: E402
from i2uv_edge.networks.model import Network, load_networks  # noqa: E402
from i2uv_edge.parity import Sample  # noqa: E402
from i2uv_edge.quantization import trained_weights  # noqa: E402
from i2uv_edge.quantizer.stored import StoredWeights, read_stored  # noqa: E402
from i2uv_edge.spec import ModelSpec, Role, load_model, load_recipe  # noqa: E402

__all__ = ["MODEL_WAYS", "WAYS", "Outcome", "compare", "model_task", "table"]

COUNTED = ("TRANSPOSE", "GATHER_ND")  # by the names of TFLite


@dataclass(frozen=True)
class Outcome:
    """A line of the table; NaN where a way failed, or was skipped, for the `reason`."""

    name: str
    mean_mm: float = math.nan
    p95_mm: float = math.nan
    ms: float = math.nan
    megabytes: float = math.nan
    operators: Mapping[str, int] = field(default_factory=dict)
    seconds: float = math.nan
    reason: str = ""
    skipped: bool = False


REPAIRS = {"the same, its fault worked round": "litert-torch + ai-edge-quantizer, int8"}
"""Ways that are gone only where another one failed."""

WAYS: dict[str, Way] = {
    "i2uv-edge, int8": ways.ours,
    "litert-torch + ai-edge-quantizer, int8": ways.litert_int8,
    "the same, its fault worked round": ways.litert_int8_mended,
    "ONNX Runtime static Q/DQ, int8": ways.onnxruntime_int8,
    "i2uv-edge, float": ways.ours_float,
    "litert-torch, float": ways.litert_float,
}

MODEL_WAYS: dict[str, Way] = {
    "i2uv-edge, w8a8": ways.ours,
    "i2uv-edge, w8a8-qat": ways.ours_trained,
    "litert-torch + ai-edge-quantizer, int8": ways.litert_int8,
    "the same, warps as gathers": in_deploy_form(ways.litert_int8),
    "ONNX Runtime static Q/DQ, int8": ways.onnxruntime_int8,
    "its ONNX file, warps as gathers": in_deploy_form(ways.onnxruntime_int8),
    "torchao PT2E, int8, in PyTorch": ways.pt2e_in_torch,
    "torchao PT2E + litert-torch, int8": ways.pt2e_file,
    "PT2E so, warps as gathers": in_deploy_form(ways.pt2e_file),
    "i2uv-edge, float": ways.ours_float,
    "litert-torch, float": ways.litert_float,
    "float so, warps as gathers": in_deploy_form(ways.litert_float),
}


def model_task(name: str, trained: Path | None, *, calibration: int, samples: int) -> Task:
    """The AffineNet of a model with its bundled weights, and what training made of them.

    Parameters
    ----------
    name
        The model.
    trained
        What `i2uv-edge quantize` wrote; without, the bundled file is taken if there is one.
    calibration, samples
        How many pictures of each.
    """
    model = load_model(name)
    networks = load_networks(model)
    given = {} if trained is None else {trained: read_stored(trained)}
    spec = networks["affinenet"].spec
    return Task(
        spec,
        resources.checkpoints() / model.checkpoints["affinenet"],
        *_pictures(spec.input.shape[1], calibration, samples),
        trained=_trained(model, networks, given),
    )


def _trained(
    model: ModelSpec, networks: Mapping[Role, Network], given: Mapping[Path, StoredWeights]
) -> StoredWeights | str:
    try:
        return trained_weights(model, load_recipe("w8a8-qat"), networks, given)["affinenet"]
    except UsageError as error:
        if given:
            raise
        return error.what


def _pictures(side: int, calibration: int, samples: int) -> tuple[list[Float32], list[Sample]]:
    folder = CalibrationSet.of_folder(resources.calibration_data() / "pictures")
    return (
        list(islice(folder.batches(side), calibration)),
        list(islice(bundled_samples(side), samples)),
    )


def compare(task: Task, chosen: Mapping[str, Way] = WAYS, *, rounds: int = 15) -> list[Outcome]:
    """Go every way, measure what came of it; what fails gives a line that says why."""
    torch.set_num_threads(1)
    atlas = Atlas.of_mesh(HandModel.load().coarse, task.spec.output.shape[1])
    truth = ways.in_torch(task.module())
    references = [atlas.read_vertices(truth(sample.picture[None]))[0] for sample in task.samples]
    found: dict[str, Outcome] = {}
    made: dict[str, Made] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, way) in enumerate(chosen.items()):
            if name in REPAIRS and not found[REPAIRS[name]].reason:
                continue
            path = Path(folder) / f"{number}{'.onnx' if 'ONNX' in name else '.tflite'}"
            start = time.monotonic()
            try:
                made[name] = way(task, path)
                outcome = _judged(name, made[name], task, atlas, references)
            except Skipped as reason:
                found[name] = Outcome(name, reason=str(reason), skipped=True)
                continue
            except Exception as error:  # whatever a tool raises is what the table has to say
                made.pop(name, None)
                found[name] = Outcome(name, reason=_short(error))
                continue
            found[name] = replace(outcome, seconds=time.monotonic() - start)
        picture = task.samples[0].picture[None]
        contenders = [_contender("PyTorch, float", truth, picture)]
        # What has no file is an emulation, whose time says nothing.
        contenders += [
            _contender(name, item.answer, picture) for name, item in made.items() if item.path
        ]
        times = interleaved(contenders, rounds=rounds)
    eager = Outcome("PyTorch, float", 0.0, 0.0, times["PyTorch, float"].ms)
    return [eager, *(_timed(outcome, times) for outcome in found.values())]


def _timed(outcome: Outcome, times: Mapping[str, Any]) -> Outcome:
    return replace(outcome, ms=times[outcome.name].ms) if outcome.name in times else outcome


def _contender(name: str, answer: Answer, picture: Float32) -> Contender:
    return Contender(name, lambda: answer(picture))


def _judged(
    name: str, made: Made, task: Task, atlas: Atlas, references: Sequence[Float32]
) -> Outcome:
    distances = []
    for sample, reference in zip(task.samples, references, strict=True):
        assert sample.truth is not None
        maps = made.answer(sample.picture[None])
        if maps.shape != task.spec.output.shape or not np.isfinite(maps).all():
            raise ValueError(f"its answer has shape {maps.shape}, or is not finite")
        off = np.linalg.norm(atlas.read_vertices(maps)[0] - reference, axis=-1)
        distances.append(off * sample.truth.scale_mm)
    every = np.concatenate(distances)
    return Outcome(
        name,
        float(every.mean()),
        float(np.percentile(every, 95)),
        megabytes=made.path.stat().st_size / 1e6 if made.path else math.nan,
        operators=_operators(made.path) if made.path else {},
    )


def _operators(path: Path) -> dict[str, int]:
    """How often the counted operators occur."""
    if path.suffix == ".onnx":
        import onnx

        names = Counter(node.op_type for node in onnx.load(path).graph.node)
        return {"TRANSPOSE": names["Transpose"], "GATHER_ND": names["GatherND"]}
    counts = Counter(operator.op for operator in read_operators(path))
    return {name: counts[name] for name in COUNTED}


def _short(error: BaseException) -> str:
    """The first words of what an error came from."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__ or error
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:110]}"


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as text; times also as parts of the first int8 way's, the line after the first.

    The first line is the float network itself.
    """
    width = max(len(outcome.name) for outcome in outcomes)
    head = f"{'':{width}}  off float, mm     ms  ratio      MB  TRANSPOSE  GATHER_ND  made in s"
    lines = [head, f"{'':{width}}   mean    p95"]
    whole = outcomes[min(1, len(outcomes) - 1)].ms
    for item in outcomes:
        if item.reason:
            verb = "skipped" if item.skipped else "failed"
            lines.append(f"{item.name:{width}}  {verb}: {item.reason}")
            continue
        counts = "".join(f"{item.operators.get(name, 0):>11}" for name in COUNTED)
        if not item.operators:
            counts = f"{'':22}"
        lines.append(
            f"{item.name:{width}} {item.mean_mm:6.2f} {item.p95_mm:6.2f} {_known(item.ms):>7}"
            f"{_known(item.ms / whole, 2):>7}{_known(item.megabytes):>8}{counts}"
            f"{_known(item.seconds, 0):>11}".rstrip()
        )
    return "\n".join(lines)


def _known(value: float, digits: int = 1) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def choose_subject(parser: argparse.ArgumentParser) -> None:
    """Add the options that `subject_task` reads."""
    subject = parser.add_mutually_exclusive_group()
    subject.add_argument("--network", default="affinenet-r50", help="  [default: affinenet-r50]")
    subject.add_argument("--model", help="a model with bundled weights instead: edge")
    parser.add_argument("--calibration", type=int, default=32, help="pictures  [default: 32]")
    parser.add_argument("--samples", type=int, default=24, help="pictures  [default: 24]")


def subject_task(options: argparse.Namespace, trained: Path | None = None) -> Task:
    """The network that the options name, and pictures: a model's, or one that is fitted for it."""
    counts = {"calibration": options.calibration, "samples": options.samples}
    if options.model:
        return model_task(options.model, trained, **counts)
    spec = subjects.at_side(options.network)
    path = fitted(options.network, report=lambda line: print(line, file=sys.stderr))
    return Task(spec, path, *_pictures(spec.input.shape[1], **counts))


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choose_subject(parser)
    parser.add_argument("--trained", type=Path, help="--model: what `i2uv-edge quantize` wrote")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each  [default: 15]")
    options = parser.parse_args()
    if options.trained and not options.model:
        parser.error("--trained goes with --model")
    with quiet_output():
        task = subject_task(options, options.trained)
        outcomes = compare(task, MODEL_WAYS if options.model else WAYS, rounds=options.rounds)
    print(
        f"{task.spec.name}: {options.calibration} pictures calibrated on, {options.samples} "
        f"compared; medians of {options.rounds} interleaved rounds, 1 thread\n"
    )
    print(table(outcomes))
    return 0


if __name__ == "__main__":
    sys.exit(main())

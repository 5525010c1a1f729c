"""How fast the converted networks are, as ratios to what they are compared with in the same run.

`python benchmarks/latency.py` prints every figure with its limit; `--json` prints the six ratios
and nothing else. One thread each, medians of interleaved runs, smaller is faster.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402

from benchmarks import published, subjects  # noqa: E402
from benchmarks.timing import quiet_output, tflite  # noqa: E402
from i2uv_edge.atlases import ModelAtlases  # noqa: E402
from i2uv_edge.chain import ChainSpec  # noqa: E402
from i2uv_edge.data.pictures import Box, crop  # noqa: E402
from i2uv_edge.device.timing import Contender, Times, interleaved, started  # noqa: E402
from i2uv_edge.errors import I2uvError  # noqa: E402
from i2uv_edge.networks.layers import macs  # noqa: E402
from i2uv_edge.spec import NetworkSpec, Role, load_model  # noqa: E402

__all__ = ["RATIOS", "Plan", "Row", "Run", "measure", "ratios", "rows", "table"]


@dataclass(frozen=True)
class Ratio:
    """A figure of the contract: median of `subject` over median of `peer`, and what it may be."""

    subject: str
    peer: str
    limit: float
    meaning: str


RATIOS = {
    "paper_int8_vs_eager": Ratio(
        "paper affinenet int8",
        "paper affinenet eager",
        0.25,
        "ResNet-50 AffineNet, int8 to PyTorch eager",
    ),
    "paper_float_vs_eager": Ratio(
        "paper affinenet float",
        "paper affinenet eager",
        1.0,
        "the same, LiteRT float to PyTorch eager",
    ),
    "deploy_vs_published_float": Ratio(
        "paper affinenet float",
        "published float",
        0.5,
        "the same, deploy form to the published form converted as it stands",
    ),
    "srnet_int8_vs_eager": Ratio(
        "paper srnet int8", "paper srnet eager", 0.40, "SRNet, int8 to PyTorch eager"
    ),
    "edge_vs_paper_int8": Ratio(
        "edge pair int8", "paper pair int8", 1 / 12, "edge pair to paper pair, int8"
    ),
    "tiny_vs_paper_int8": Ratio(
        "tiny pair int8", "paper pair int8", 1 / 22, "tiny pair to paper pair, int8"
    ),
}


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes
    ----------
    affinenet : the network that stands for the paper's
    side : of its input and of the other networks' pictures, None for their own
    rounds : turns of each contender
    """

    affinenet: str = "affinenet-r50"
    side: int | None = None
    rounds: int = 25


FULL = Plan()
QUICK = Plan("affinenet-r18", 64, rounds=3)


@dataclass(frozen=True)
class Row:
    """A line of the table; `limit` is the most that `value` may be, None where it is reported."""

    what: str
    value: float
    unit: str
    limit: float | None = None

    @property
    def verdict(self) -> str:
        """Empty without a limit."""
        if self.limit is None:
            return ""
        return "ok" if self.value <= self.limit else "OVER"


@dataclass(frozen=True)
class Run:
    """What was measured: times by contender, and figures that are no ratios."""

    times: Mapping[str, Times]
    others: tuple[Row, ...] = ()


def measure(plan: Plan, *, with_others: bool = True) -> Run:
    """Build everything, run it in turns, and look at memory and sizes besides."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name, torch.inference_mode(False):
        subject = _Subjects(plan, Path(name))
        contenders = [*subject.eager(), *subject.converted()]
        if with_others:
            contenders += [*subject.warpless(), *_frame_work(subject.specs("edge"))]
        times = interleaved(contenders, rounds=plan.rounds)
        return Run(times, tuple(subject.facts(times)) if with_others else ())


class _Subjects:
    """The networks of a plan and the files made of them."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._files: dict[str, Path] = {}
        for model in ("paper", "edge", "tiny"):
            for role, spec in self.specs(model).items():
                path = folder / f"{model}-{role}.tflite"
                self._files[f"{model} {role}"] = subjects.int8_file(spec, path)

    def specs(self, model: str) -> dict[Role, NetworkSpec]:
        """A model's networks, at the side of the plan."""
        names = dict(load_model(model).networks)
        if model == "paper":
            names["affinenet"] = self._plan.affinenet
        side = self._plan.side
        specs: dict[Role, NetworkSpec] = {}
        for role, name in names.items():
            specs[role] = subjects.at_side(name, side)
            side = specs[role].output.shape[1] if self._plan.side else None
        return specs

    def eager(self) -> list[Contender]:
        """PyTorch as a user has it."""
        specs = self.specs("paper")
        architecture = specs["affinenet"].architecture
        affinenet = published.AffineNet(
            int(architecture["resnet_depth"]), align_corners=bool(architecture["align_corners"])
        )
        return [
            _eager("paper affinenet eager", affinenet, specs["affinenet"].input.shape[1]),
            _eager("paper srnet eager", published.SRNet(), specs["srnet"].input.shape[1]),
        ]

    def converted(self) -> list[Contender]:
        """The files, alone and in pairs."""
        affinenet = self.specs("paper")["affinenet"]
        deployed = subjects.float_file(affinenet, self._folder / "paper-float.tflite")
        return [
            tflite("paper affinenet int8", self._files["paper affinenet"]),
            tflite("paper srnet int8", self._files["paper srnet"]),
            tflite("paper affinenet float", deployed),
            tflite("published float", subjects.published_file(affinenet)),
            *(tflite(f"{model} pair int8", *self._pair(model)) for model in _MODELS),
            tflite("edge affinenet int8", self._files["edge affinenet"]),
        ]

    def warpless(self) -> list[Contender]:
        """The int8 networks with their warps taken out."""
        made = []
        for model in ("paper", "edge"):
            spec = self.specs(model)["affinenet"]
            path = self._folder / f"{model}-warpless.tflite"
            subjects.int8_file(spec, path, module=subjects.without_warps(spec))
            made.append(tflite(f"{model} affinenet int8 without warps", path))
        return made

    def facts(self, times: Mapping[str, Times]) -> Iterator[Row]:
        """The figures that are no ratios of the contract."""
        for model, limit in _WARP_LIMITS.items():
            whole = times[f"{model} affinenet int8"].seconds
            rest = times[f"{model} affinenet int8 without warps"].seconds
            share = 1 - statistics.median(b / a for a, b in zip(whole, rest, strict=True))
            yield Row(f"{model}: warps, of affinenet's int8 time", 100 * share, "%", limit)
        frame = sum(times[name].ms for name in times if name.startswith("frame: "))
        yield Row("edge: before, between and behind the networks", frame, "ms", 0.8)
        for model, limits in _MODELS.items():
            work = sum(
                macs(subjects.fresh(spec), spec.input.shape[1])
                for spec in self.specs(model).values()
            )
            size = sum(path.stat().st_size for path in self._pair(model))
            yield Row(f"{model}: multiply-adds", work / 1e9, "GMAC", limits.get("GMAC"))
            yield Row(f"{model}: int8 files", size / 1e6, "MB", limits.get("MB"))
            memory = started(*self._pair(model)).memory_mb
            yield Row(f"{model}: memory above the interpreter", memory, "MB", limits.get("memory"))

    def _pair(self, model: str) -> tuple[Path, ...]:
        return tuple(self._files[f"{model} {role}"] for role in self.specs(model))


_MODELS: dict[str, dict[str, float]] = {
    "paper": {},
    "edge": {"GMAC": 1.8, "MB": 5.0, "memory": 15.0},
    "tiny": {},
}
_WARP_LIMITS: dict[str, float | None] = {"paper": 8.0, "edge": 8.0}


def _eager(name: str, module: nn.Module, side: int) -> Contender:
    module = module.eval()
    given = torch.rand(1, 3, side, side)

    def run() -> None:
        with torch.inference_mode():
            module(given)

    return Contender(name, run)


def _frame_work(specs: Mapping[Role, NetworkSpec]) -> list[Contender]:
    """What a frame needs besides the networks: camera picture -> input, map -> map, vertices."""
    atlases = ModelAtlases.of_networks(specs)
    assert atlases.fine is not None
    fine_atlas, chain = atlases.fine, ChainSpec()
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (480, 640, 3), np.uint8)
    side = specs["affinenet"].input.shape[1]
    coarse = rng.random(specs["affinenet"].output.shape, np.float32)
    fine = rng.random(specs["srnet"].output.shape, np.float32)

    bounds = chain.bounds(atlases.coarse.read_vertices(coarse))

    def between() -> None:
        chain.normalise(coarse, chain.bounds(atlases.coarse.read_vertices(coarse)))

    def behind() -> None:
        # Weights of a vertex sum to 1, so its texels may be taken back to map units together.
        chain.restore(fine_atlas.read_vertices(fine)[:, None], bounds)

    return [
        Contender("frame: before", lambda: crop(frame, side, Box(160, 80, 320))),
        Contender("frame: between", between),
        Contender("frame: behind", behind),
    ]


def ratios(run: Run) -> dict[str, float]:
    """The six figures of the contract.

    Raises
    ------
    ArithmeticError
        A time is not positive and finite, so a ratio says nothing.
    """
    found = {}
    for name, ratio in RATIOS.items():
        subject, peer = run.times[ratio.subject].median, run.times[ratio.peer].median
        if not (subject > 0.0 and peer > 0.0 and math.isfinite(subject / peer)):
            raise ArithmeticError(f"{name}: {subject} s against {peer} s")
        found[name] = subject / peer
    return found


def rows(run: Run) -> list[Row]:
    """All lines of the table."""
    found = [
        Row(RATIOS[name].meaning, value, "x", RATIOS[name].limit)
        for name, value in ratios(run).items()
    ]
    found += run.others
    found += [Row(name, times.ms, "ms") for name, times in run.times.items()]
    return found


def table(run: Run) -> str:
    """The rows as text."""
    lines = []
    found = rows(run)
    width = max(len(row.what) for row in found)
    for row in found:
        limit = "" if row.limit is None else f"<= {row.limit:.3g} {row.unit}"
        line = f"{row.what:{width}}  {row.value:9.3f} {row.unit:4}  {limit:14} {row.verdict}"
        lines.append(line.rstrip())
    rounds = len(next(iter(run.times.values())).seconds)
    lines.append(f"medians of {rounds} interleaved rounds, 1 thread each")
    return "\n".join(lines)


def main() -> int:
    """Measure and print; exit codes as those of `i2uv-edge`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print the six ratios and no more")
    parser.add_argument("--quick", action="store_true", help="small networks, to see that it runs")
    parser.add_argument("--rounds", type=int, help=f"turns of each  [default: {FULL.rounds}]")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    if options.rounds is not None:
        if options.rounds < 1:
            parser.error("--rounds must be at least 1")
        plan = Plan(plan.affinenet, plan.side, options.rounds)
    try:
        with quiet_output():
            run = measure(plan, with_others=not options.json)
    except I2uvError as error:
        print(f"latency: {error}", file=sys.stderr)
        return error.exit_code
    if options.json:
        print(json.dumps(ratios(run), indent=2))
        return 0
    if options.quick:
        print("small stand-ins: these figures say that everything runs, and nothing else\n")
    print(table(run))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How fast each network trains here and how much memory that takes, and how fast hands are drawn.

`python benchmarks/training_costs.py` trains every network for a while, each in a process of its
own, on rendered pictures made as it goes, by the loop of `i2uv-edge train`, and prints Markdown.
The figures are this machine's: they are to be read beside each other, not another machine's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2  # noqa: E402

from i2uv_edge.data.synthetic import SceneSettings, render_sample  # noqa: E402
from i2uv_edge.errors import I2uvError  # noqa: E402
from i2uv_edge.spec import load_network, network_names  # noqa: E402
from i2uv_edge.training.config import TrainingConfig, load_config  # noqa: E402
from i2uv_edge.training.log import Progress  # noqa: E402
from i2uv_edge.training.loop import train  # noqa: E402

__all__ = [
    "Cost",
    "EnoughError",
    "Plan",
    "Speed",
    "Steady",
    "document",
    "in_own_process",
    "rendering",
    "table",
    "training",
]

NEVER = 1_000_000_000  # a step that no run here reaches
WARMUP = 1000  # pictures, small ones
SIDES = (256, 128)  # of the pictures that are drawn


@dataclass(frozen=True)
class Plan:
    """What each network is trained with, and for how long.

    Attributes
    ----------
    seconds : of steady steps
    steps : at least as many of them
    warmup : steps before those, in which memory is allocated and workers start
    batch, micro_batch, workers, threads, device : as in `TrainingConfig`
    """

    seconds: float = 30.0
    steps: int = 3
    warmup: int = 2
    batch: int = 16
    micro_batch: int = 8
    workers: int = 1
    threads: int = 1
    device: str = "auto"

    def config(self, network: str) -> TrainingConfig:
        """The network's own run, with what the plan says; it neither evaluates nor saves."""
        return replace(
            load_config(network, None, [f"device={self.device}"]),
            steps=NEVER,
            batch=self.batch,
            micro_batch=self.micro_batch,
            workers=self.workers,
            threads=self.threads,
            checkpoint_every=NEVER,
            evaluate_every=NEVER,
        )


QUICK = Plan(seconds=0.0, steps=2, warmup=1, batch=4, micro_batch=2, workers=0)


@dataclass(frozen=True)
class Cost:
    """What training a network takes; `failed` says why there are no numbers.

    `samples_per_second` are pictures, or an SRNet's pairs of maps; `memory_mb` is the GPU's or else
    the trainer's process's peak, workers left out.
    """

    network: str
    samples_per_second: float = math.nan
    memory_mb: float = math.nan
    steps: int = 0
    failed: str = ""


@dataclass(frozen=True)
class Speed:
    """Pictures a second that one core draws, with their ground truth."""

    side: int
    pictures_per_second: float
    pictures: int


class EnoughError(Exception):
    """Ends a run from inside."""


@dataclass
class Steady:
    """Told every step, times those after the warm-up and ends the run when it has seen enough."""

    plan: Plan
    clock: Callable[[], float] = time.perf_counter
    steps: int = 0
    seconds: float = 0.0
    memory_mb: float = math.nan
    _start: float = field(default=math.nan, repr=False)

    def __call__(self, progress: Progress) -> None:
        if progress.step < self.plan.warmup:
            return
        now = self.clock()
        if progress.step == self.plan.warmup:
            self._start = now
            return
        self.steps, self.seconds = progress.step - self.plan.warmup, now - self._start
        self.memory_mb = progress.memory_mb
        if self.steps >= self.plan.steps and self.seconds >= self.plan.seconds:
            raise EnoughError


def training(network: str, plan: Plan) -> Cost:
    """Train a network in this process, whose peak of memory is then that of all it has done."""
    steady = Steady(plan)
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(EnoughError):
        train(load_network(network), plan.config(network), Path(folder), report=steady)
    rate = steady.steps * plan.batch / steady.seconds
    return Cost(network, rate, steady.memory_mb, steady.steps)


def in_own_process(network: str, plan: Plan) -> Cost:
    """`training` elsewhere; a network that needs more memory than there is ends only that."""
    command = [sys.executable, str(Path(__file__).resolve()), "--only", network]
    ended = subprocess.run(
        command, input=json.dumps(asdict(plan)), capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        said = ended.stderr.strip().splitlines()
        said = [line for line in said if line.startswith("training_costs: ")] or said[-1:]
        killed = f"killed by signal {-ended.returncode}" if ended.returncode < 0 else ""
        return Cost(network, failed=killed or (said[0] if said else "no reason given"))
    return Cost(**json.loads(ended.stdout.splitlines()[-1]))


def rendering(
    side: int, seconds: float, *, clock: Callable[[], float] = time.perf_counter
) -> Speed:
    """Draw pictures in this process for as long."""
    cv2.setNumThreads(1)
    scene, count = SceneSettings(size=side), 0
    # Compiles, reads the hand, and paints the backgrounds that later pictures share.
    for index in range(WARMUP if seconds else 1):
        render_sample(1, index, SceneSettings(size=32))
    start = clock()
    while count == 0 or clock() - start < seconds:
        count += 1
        render_sample(0, count, scene)
    return Speed(side, count / (clock() - start), count)


def table(plan: Plan, costs: Sequence[Cost], speeds: Sequence[Speed]) -> str:
    """Markdown, with what it was measured with."""
    lines = [
        f"Batch {plan.batch}, {plan.micro_batch or plan.batch} at once; {plan.workers} workers, "
        f"{plan.threads} threads, device {plan.device}; at least {plan.seconds:.0f} s each.",
        "",
        "| network | samples/s | peak memory, MB | steps |",
        "|---|---|---|---|",
    ]
    for cost in costs:
        numbers = f"{cost.samples_per_second:.1f} | {cost.memory_mb:.0f} | {cost.steps}"
        lines.append(f"| {cost.network} | {cost.failed + ' | |' if cost.failed else numbers} |")
    lines += ["", "| rendered pictures, px | a second, one core | pictures |", "|---|---|---|"]
    lines += [f"| {s.side} | {s.pictures_per_second:.0f} | {s.pictures} |" for s in speeds]
    return "\n".join(lines)


def document(plan: Plan, costs: Sequence[Cost], speeds: Sequence[Speed]) -> dict[str, Any]:
    """The same as JSON; a number that there is none of is null."""
    rows = [
        {key: None if value != value else value for key, value in asdict(cost).items()}
        for cost in costs
    ]
    return {"plan": asdict(plan), "costs": rows, "speeds": [asdict(speed) for speed in speeds]}


def main() -> int:
    """Measure and print; exit codes as those of `i2uv-edge`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="all, if none is named")
    parser.add_argument("--json", action="store_true", help="print JSON and no more")
    parser.add_argument("--quick", action="store_true", help="two steps, to see that it runs")
    parser.add_argument("--only", metavar="NETWORK", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--device")
    for name in ("batch", "micro-batch", "workers", "threads"):
        parser.add_argument(f"--{name}", type=int)
    options = parser.parse_args()
    try:
        if options.only:
            plan = Plan(**json.load(sys.stdin))
            print(json.dumps(asdict(training(options.only, plan))))
            return 0
        chosen = ("seconds", "batch", "micro_batch", "workers", "threads", "device")
        changes = {name: getattr(options, name) for name in chosen}
        plan = replace(
            QUICK if options.quick else Plan(),
            **{name: value for name, value in changes.items() if value is not None},
        )
        for name in options.networks or network_names():
            load_network(name)  # what is misspelt fails now, not after an hour
            plan.config(name)
        costs = [in_own_process(name, plan) for name in options.networks or network_names()]
    except I2uvError as error:
        print(f"training_costs: {error}", file=sys.stderr)
        return error.exit_code
    speeds = [rendering(side, plan.seconds) for side in SIDES]
    if options.json:
        print(json.dumps(document(plan, costs, speeds), indent=2))
    else:
        print(table(plan, costs, speeds))
    return 1 if any(cost.failed for cost in costs) else 0


if __name__ == "__main__":
    sys.exit(main())

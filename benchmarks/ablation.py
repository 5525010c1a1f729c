"""What each part of a network and of its training is worth: runs on equal budgets, in tables.

`python benchmarks/ablation.py` trains every run of `COMPARISONS` from the same seed on the same
pictures for the same number of steps, scores them on the same held-out pictures, and writes
`table.md` and a picture of the curves for each comparison. Killed, it goes on where it stopped; a
run that is done is not done again.

One seed each, so small differences may be chance: one run repeats the base with another seed. The
budgets are short: they tell which way to go, not how well a network ends.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.curves import draw, read_curve  # noqa: E402
from i2uv_edge.errors import I2uvError, UsageError  # noqa: E402
from i2uv_edge.networks.layers import macs  # noqa: E402
from i2uv_edge.networks.registry import build  # noqa: E402
from i2uv_edge.spec import NetworkSpec, load_network  # noqa: E402
from i2uv_edge.training.config import TrainingConfig, load_config  # noqa: E402
from i2uv_edge.training.loop import STATE, Progress, train  # noqa: E402

__all__ = ["COMPARISONS", "Budget", "Comparison", "Run", "Variant", "charts", "run_all", "table"]

NETWORK = "affinenet-tiny"
NOTE = "run.json"
PICTURES = "pictures"
EVALUATIONS = 8  # of a run
# As `i2uv-edge train --set` takes them; the rest is the network's own training file.
COMMON = (
    "optimizer=adam",
    "first_edition=0.5",
    "coarse_edges=1.0",
    "warmup_steps=100",
    "workers=0",
    "threads=1",
)


@dataclass(frozen=True)
class Variant:
    """A run by what it changes.

    Attributes
    ----------
    name : in tables; its folder's, too
    architecture : replaces keys of the network's `[architecture]`
    settings : ``KEY=VALUE``, replaces settings of the training
    """

    name: str
    architecture: Mapping[str, Any] = field(default_factory=dict)
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Runs that differ in one thing each from the first one.

    Attributes
    ----------
    name : of its picture
    title : of its table
    side : of the training pictures
    pictures : that each run sees, unless the steps are given
    variants : the base first; one that stands in several comparisons is run once
    network : name or TOML of what they change
    """

    name: str
    title: str
    side: int
    pictures: int
    variants: tuple[Variant, ...]
    network: str = NETWORK


BASE = Variant("base")
COMPARISONS = (
    Comparison(
        "warps",
        "Affine connections: how many of the finer stages fetch by a warp, from the coarsest",
        128,
        40_000,
        (
            BASE,
            Variant("no warps", {"warps": 0}),
            Variant("1 warp", {"warps": 1}),
            Variant("2 warps", {"warps": 2}),
        ),
    ),
    Comparison(
        "losses",
        "Loss terms and training",
        128,
        40_000,
        (
            BASE,
            Variant("seam 0.1", settings=("loss.seam=0.1",)),
            Variant("vertex 1", settings=("loss.vertex=1",)),
            Variant("depth 0.5", settings=("loss.depth=0.5",)),
            Variant("no EMA", settings=("ema=0",)),
            Variant("Muon", settings=("optimizer=muon",)),
            Variant("teacher forcing 0.3", settings=("teacher_forcing=0.3",)),
            Variant("another seed", settings=("seed=1",)),  # how much is chance
        ),
    ),
    Comparison(
        "maps",
        "Side of the predicted map",
        256,
        12_000,
        (
            Variant("map 64"),
            Variant(
                "map 128",
                {"decoder_widths": [48, 32, 24, 16, 12], "lateral_widths": [32, 24, 16, 12]},
            ),
        ),
    ),
)


@dataclass(frozen=True)
class Budget:
    """What all runs may cost.

    Attributes
    ----------
    batch : pictures a step
    steps : None: as many as the comparison's pictures make
    samples : held-out pictures of a score
    """

    batch: int = 32
    steps: int | None = None
    samples: int = 400


@dataclass(frozen=True)
class Run:
    """A variant on a budget."""

    comparison: Comparison
    variant: Variant
    budget: Budget

    @property
    def slug(self) -> str:
        """Its folder."""
        return self.variant.name.lower().replace(" ", "-")

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        budget = self.budget
        return budget.steps or max(1, round(self.comparison.pictures / budget.batch))

    @property
    def spec(self) -> NetworkSpec:
        """The network."""
        spec, side = load_network(self.comparison.network), self.comparison.side
        architecture = {**spec.architecture, **self.variant.architecture}
        # Each stage doubles the map, from a thirty-second of the picture's side on.
        made = side >> (6 - len(architecture["decoder_widths"]))
        return replace(
            spec,
            name=self.slug,  # it is not the network whose name it had
            architecture=architecture,
            input=replace(spec.input, shape=(1, side, side, 3)),
            output=replace(spec.output, shape=(1, made, made, 3)),
        )

    @property
    def config(self) -> TrainingConfig:
        """Its training."""
        settings = (
            *COMMON,
            f"steps={self.steps}",
            f"batch={self.budget.batch}",
            f"evaluation_samples={self.budget.samples}",
            f"evaluate_every={max(-(-self.steps // EVALUATIONS), 50)}",
            *self.variant.settings,
        )
        return load_config(NETWORK, settings=settings)

    def described(self) -> str:
        """All that its result depends on but the code."""
        spec = self.spec
        facts = {
            "architecture": dict(spec.architecture),
            "shapes": [spec.input.shape, spec.output.shape],
            "config": asdict(self.config),
        }
        return json.dumps(facts, indent=1, sort_keys=True) + "\n"


@dataclass(frozen=True)
class Outcome:
    """A line of a table; `score_mm` is None where the run has not been done."""

    name: str
    parameters: int
    mmac: float
    score_mm: float | None


def runs_of(comparisons: Sequence[Comparison], budget: Budget) -> list[Run]:
    """All runs, each once."""
    found: dict[str, Run] = {}
    for comparison in comparisons:
        for variant in comparison.variants:
            run = Run(comparison, variant, budget)
            first = found.setdefault(run.slug, run)
            if first.described() != run.described():
                raise ValueError(f"two runs are called {variant.name!r}")
    return list(found.values())


def run_all(runs: Sequence[Run], output: Path, *, jobs: int = 1) -> None:
    """Train what is not done yet, ``jobs`` runs at once, each in a process of its own.

    Raises
    ------
    UsageError
        A folder holds a run with other settings.
    """
    if jobs == 1:
        for run in runs:
            train_run(run, output / run.slug)
        return
    # Forked, a process would inherit locks of torch's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        futures = [pool.submit(train_run, run, output / run.slug) for run in runs]
        for future in as_completed(futures):
            future.result()


def train_run(run: Run, folder: Path) -> None:
    """Train one run into its folder, or go on with it, or leave it as it is if it is done."""
    if is_done(run, folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NOTE).write_text(run.described(), encoding="utf-8")

    def report(progress: Progress) -> None:
        if progress.score_mm is not None:
            line = (
                f"{run.variant.name}: step {progress.step}/{progress.steps}, loss "
                f"{progress.loss:.4f}, {progress.score_mm:.2f} mm, "
                f"{progress.samples_per_second:.0f} pictures/s"
            )
            print(line, file=sys.stderr, flush=True)

    # All runs of a comparison see the same pictures: the first one draws them.
    config = replace(run.config, kept=str(folder.parent / PICTURES))
    train(run.spec, config, folder, resume=(folder / STATE).is_file(), report=report)


def is_done(run: Run, folder: Path) -> bool:
    """Whether the folder holds the run at its end.

    Raises
    ------
    UsageError
        It holds a run with other settings.
    """
    note = folder / NOTE
    if note.is_file() and note.read_text(encoding="utf-8") != run.described():
        raise UsageError(
            f"{folder} holds a run with other settings, see {note}",
            expected="runs on equal budgets",
            remedy="remove it, or name another folder with -o",
        )
    return (folder / f"{run.slug}.safetensors").is_file()


def outcome(run: Run, output: Path) -> Outcome:
    """What a run costs, and its last score."""
    folder = output / run.slug
    module = build(run.spec)
    return Outcome(
        run.variant.name,
        sum(parameter.numel() for parameter in module.parameters()),
        macs(module, run.comparison.side) / 1e6,
        read_curve(folder).scores[-1] if is_done(run, folder) else None,
    )


def table(comparison: Comparison, budget: Budget, output: Path) -> str:
    """A comparison as markdown; what has not been done stands there as such."""
    runs = [Run(comparison, variant, budget) for variant in comparison.variants]
    outcomes = [outcome(run, output) for run in runs]
    base = outcomes[0].score_mm
    lines = [
        f"{comparison.title} ({runs[0].steps} steps of {budget.batch} pictures of "
        f"{comparison.side} px, scored on {budget.samples}):",
        "",
        "| run | parameters | MMAC | PA-MPVPE, mm | to the first, mm |",
        "|---|---:|---:|---:|---:|",
    ]
    for found in outcomes:
        score = "not run" if found.score_mm is None else f"{found.score_mm:.2f}"
        apart = ""
        if found is not outcomes[0] and base is not None and found.score_mm is not None:
            apart = f"{found.score_mm - base:+.2f}"
        lines.append(
            f"| {found.name} | {found.parameters:,} | {found.mmac:.1f} | {score} | {apart} |"
        )
    return "\n".join(lines) + "\n"


def charts(
    comparisons: Sequence[Comparison], budget: Budget, output: Path, folder: Path
) -> list[Path]:
    """Draw ``ablation-NAME.svg`` of each comparison that has a run done."""
    drawn = []
    for comparison in comparisons:
        runs = [Run(comparison, variant, budget) for variant in comparison.variants]
        done = {
            run.variant.name: read_curve(output / run.slug)
            for run in runs
            if is_done(run, output / run.slug)
        }
        if done:
            path = folder / f"ablation-{comparison.name}.svg"
            drawn.append(draw(done, path, title=comparison.title.partition(":")[0]))
    return drawn


def main() -> int:
    """Train, compare and print; exit codes as those of `i2uv-edge`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, help="of every run, instead of its own budget")
    parser.add_argument("--batch", type=int, default=Budget.batch, help="  [default: %(default)s]")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once  [default: 2]")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these runs")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build" / "ablation")
    parser.add_argument("--charts", type=Path, help="folder of the pictures  [default: output]")
    options = parser.parse_args()
    for name in ("steps", "batch", "jobs"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1")
    budget = Budget(options.batch, options.steps)
    runs = runs_of(COMPARISONS, budget)
    known = [run.variant.name for run in runs]
    for name in options.only or ():
        if name not in known:
            parser.error(f"there is no run {name!r}; there are {', '.join(known)}")
    chosen = [run for run in runs if options.only is None or run.variant.name in options.only]
    output: Path = options.output
    try:
        for run in runs:
            is_done(run, output / run.slug)  # refuses another budget before time is spent
        run_all(chosen, output, jobs=options.jobs)
        tables = [table(comparison, budget, output) for comparison in COMPARISONS]
        drawn = charts(COMPARISONS, budget, output, options.charts or output)
    except I2uvError as error:
        print(f"ablation: {error}", file=sys.stderr)
        return error.exit_code
    text = "\n".join(tables)
    (output / "table.md").write_text(text, encoding="utf-8")
    print(text)
    print(*drawn, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

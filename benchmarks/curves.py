"""Loss and held-out score of training runs, drawn from their logs.

`python benchmarks/curves.py build/train/affinenet-edge -o docs/training-edge.svg` draws one run,
`... NAME=RUN NAME=RUN` several. RUN is a `log.csv` or the folder of a run; the suffix of the
picture says what it is (.svg, .png).
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from i2uv_edge.errors import I2uvError, InputError, MissingDependencyError  # noqa: E402
from i2uv_edge.training.log import LOG  # noqa: E402

__all__ = ["Curve", "draw", "read_curve"]

POINTS = 200  # of a line at most: more cannot be seen, and make the file large
INCHES = (9.0, 3.6)
REMEDY = "pip install -c constraints.txt -e '.[charts]'"


@dataclass(frozen=True)
class Curve:
    """One run's log; `scores` are those of the rows that have one, in millimetres."""

    steps: tuple[int, ...]
    losses: tuple[float, ...]
    scored: tuple[int, ...]
    scores: tuple[float, ...]


def read_curve(path: Path) -> Curve:
    """Read ``log.csv``, or that of a run's folder.

    Raises
    ------
    InputError
        There is none, or it holds no rows of a training run.
    """
    path = path / LOG if path.is_dir() else path
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        losses = [(int(row["step"]), float(row["loss"])) for row in rows]
        scores = [(int(row["step"]), float(row["score_mm"])) for row in rows if row["score_mm"]]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as the log of a training run ({error!r})",
            expected="the columns step, loss and score_mm",
            remedy=f"name a {LOG} that `i2uv-edge train` wrote, or its folder",
        ) from error
    if not losses:
        raise InputError(f"{path} holds no rows yet", expected="a run that has gone some steps")
    return Curve(*zip(*losses, strict=True), *(zip(*scores, strict=True) if scores else ((), ())))


def draw(curves: Mapping[str, Curve], path: Path, *, title: str = "") -> Path:
    """Draw runs beside each other: the running mean of the loss, and the score.

    The legend is in the order of the last scores. The same logs give the same bytes.

    Parameters
    ----------
    curves
        By the names of the legend.
    path
        The picture.
    title
        Above it.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
        from matplotlib.ticker import (
            LogLocator,
            MaxNLocator,
            NullFormatter,
            StrMethodFormatter,
        )
    except ImportError as error:
        raise MissingDependencyError(
            "matplotlib, which draws the curves, is not installed",
            expected="the package of the extra `charts`",
            remedy=REMEDY,
        ) from error
    # Text stays text: small files, and letters of the reader's own.
    style = {"svg.fonttype": "none", "svg.hashsalt": "curves", "font.size": 9}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=INCHES, layout="constrained", facecolor="white")
        left, right = figure.subplots(1, 2)
        colours = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
        for number, (name, curve) in enumerate(curves.items()):
            look: dict[str, Any] = {
                "color": colours[number % len(colours)],
                "linestyle": ("-", "--", ":")[number // len(colours) % 3],
                "linewidth": 1.4,
            }
            left.plot(*_thinned(curve.steps, curve.losses), **look)
            mark = "o" if len(curve.scores) <= 20 else None
            scores = _thinned(curve.scored, curve.scores)
            right.plot(*scores, marker=mark, markersize=3, label=_label(name, curve), **look)
        for axes, what in ((left, "loss, running mean"), (right, "PA-MPVPE of held-out, mm")):
            axes.set_yscale("log")
            axes.set(xlabel="step", title=what)
            axes.grid(which="both", color="0.9", linewidth=0.6)
            axes.xaxis.set_major_locator(MaxNLocator(6))
            axes.spines[["top", "right"]].set_visible(False)
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        handles, labels = right.get_legend_handles_labels()
        order = sorted(range(len(labels)), key=lambda at: _last(list(curves.values())[at]))
        figure.legend(
            [handles[at] for at in order],
            [labels[at] for at in order],
            loc="outside right upper",
            frameon=False,
        )
        if title:
            figure.suptitle(title)
        path.parent.mkdir(parents=True, exist_ok=True)
        # A date would make other bytes each time.
        figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)
    return path


def _last(curve: Curve) -> float:
    return curve.scores[-1] if curve.scores else math.inf


def _label(name: str, curve: Curve) -> str:
    return f"{name}: {curve.scores[-1]:.2f} mm" if curve.scores else name


def _thinned(
    steps: Sequence[int], values: Sequence[float]
) -> tuple[Sequence[int], Sequence[float]]:
    """Every nth point, and the last one."""
    every = math.ceil(len(steps) / POINTS) or 1
    kept = sorted({*range(0, len(steps), every), len(steps) - 1} - {-1})
    return [steps[at] for at in kept], [values[at] for at in kept]


def _named(argument: str) -> tuple[str, Path]:
    """``NAME=RUN``, or a run that is called after its folder."""
    name, separator, path = argument.rpartition("=")
    run = Path(path)
    folder = run.parent if run.suffix == ".csv" else run
    return (name, run) if separator else (folder.resolve().name, run)


def main() -> int:
    """Draw; exit codes as those of `i2uv-edge`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="log.csv or folder, or NAME=RUN")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the picture")
    parser.add_argument("--title", default="")
    options = parser.parse_args()
    try:
        curves = {name: read_curve(path) for name, path in map(_named, options.runs)}
        print(draw(curves, options.output, title=options.title))
    except I2uvError as error:
        print(f"curves: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

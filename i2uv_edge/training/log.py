"""What a run says of itself: after every step, in a CSV file, and to TensorBoard."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from i2uv_edge.errors import MissingDependencyError

LOG = "log.csv"
TENSORBOARD = "tensorboard"
EVERY = 50  # steps a row
COLUMNS = ("step", "loss", "samples_per_second", "score_mm", "learning_rate", "memory_mb")


@dataclass(frozen=True)
class Progress:
    """What a run reports after a step.

    Attributes
    ----------
    step, steps : done, in all
    loss : running mean
    samples_per_second : of all processes, since the start of this one
    score_mm : of the held-out samples, where this step evaluated; otherwise None
    learning_rate : of this step
    memory_mb : most memory so far, of the GPU or else of the trainer's process, workers left out
    """

    step: int
    steps: int
    loss: float
    samples_per_second: float
    score_mm: float | None
    learning_rate: float
    memory_mb: float

    def row(self) -> list[str]:
        """Its values as text, in the order of `COLUMNS`."""
        return [
            str(self.step),
            f"{self.loss:.6f}",
            f"{self.samples_per_second:.1f}",
            "" if self.score_mm is None else f"{self.score_mm:.4f}",
            f"{self.learning_rate:.3e}",
            f"{self.memory_mb:.0f}",
        ]

    @property
    def is_logged(self) -> bool:
        """Whether it gets a row."""
        return self.score_mm is not None or self.step % EVERY == 0


class CsvLog:
    """``log.csv``: one row every few steps and with every score.

    Parameters
    ----------
    path
        The file.
    step
        What the run goes on from; later rows are of a run that was killed, and are dropped.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        kept = [",".join(COLUMNS)]
        if step and path.is_file():
            kept += _rows_until(path, step)
        partial = path.with_name(f"{path.name}.partial")
        partial.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        partial.replace(path)

    def add(self, progress: Progress) -> None:
        """Write the row of a step."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(",".join(progress.row()) + "\n")


def _rows_until(path: Path, step: int) -> list[str]:
    """The rows up to a step; a row that a kill cut short is none, an older file has fewer."""
    whole = path.read_text(encoding="utf-8", errors="replace").rpartition("\n")[0]
    head, *lines = whole.splitlines() or [""]
    width = len(head.split(","))
    rows = [line.split(",") for line in lines]
    missing = [""] * (len(COLUMNS) - width)
    return [
        ",".join(row + missing)
        for row in rows
        if len(row) == width and row[0].isdecimal() and int(row[0]) <= step
    ]


class TensorBoardLog:
    """The same numbers for TensorBoard.

    Parameters
    ----------
    folder
        Where its files go.
    step
        What the run goes on from.

    Raises
    ------
    MissingDependencyError
        TensorBoard is not installed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingDependencyError(
                "TensorBoard is not installed",
                expected="the package tensorboard, for tensorboard = true",
                remedy="pip install 'i2uv-edge[tensorboard]'",
            ) from error
        self._writer: Any = SummaryWriter(str(folder), purge_step=step + 1)

    def add(self, progress: Progress) -> None:
        """Write the numbers of a step."""
        for name in COLUMNS[1:]:
            value = getattr(progress, name)
            if value is not None:
                self._writer.add_scalar(name, value, progress.step)
        self._writer.flush()


def memory_mb(device: torch.device) -> float:
    """Most memory used so far: of the GPU, or of this process."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6  # Linux: kibibytes

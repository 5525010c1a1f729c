"""`pred.json`, the file that the evaluation servers of FreiHAND and HO-3D take.

It is ``[joints of every sample, vertices of every sample]`` in metres, FreiHAND's in camera axes
and its order of joints, HO-3D's in OpenGL's axes and MANO's order. Samples are written as they
come, into two files that become one at the end, so nothing is kept in memory; several processes
write a part each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TextIO

import numpy as np

from i2uv_edge.data.ho3d import OPENGL
from i2uv_edge.errors import GateError, UsageError
from i2uv_edge.evaluation.sharing import Shard
from i2uv_edge.evaluation.subjects import Subject
from i2uv_edge.hand.mano import FREIHAND_ORDER
from i2uv_edge.hand.official_metrics import Hand

__all__ = ["NAME", "SUBMITTED", "Predictions"]

NAME = "pred.json"
SUBMITTED = ("freihand", "ho3d")
"""Data sets whose servers take such files."""

_DIGITS = 6  # of metres: a thousandth of a millimetre
_LISTS = ("joints", "vertices")


class Predictions:
    """Writes ``FOLDER/RUNNER/pred.json`` for each runner.

    Use it as a context: what an error leaves unfinished is removed.

    Parameters
    ----------
    folder
        Where to; under ``torchrun`` all processes must see it.
    dataset
        Whose axes and order of joints to write.
    runners
        Their names.
    shard
        Which part of the data set this process sees.

    Raises
    ------
    UsageError
        The folder cannot be written, or a file lies there already.
    """

    def __init__(self, folder: Path, dataset: str, runners: Sequence[str], shard: Shard) -> None:
        self.files = tuple(folder / name / NAME for name in runners)
        self._dataset = dataset
        self._shard = shard
        self._open: dict[str, tuple[TextIO, TextIO]] = {}
        for path in self.files:
            if path.exists():
                raise UsageError(
                    f"{path} exists already",
                    remedy="move it away, or name another folder with --predictions",
                )
        try:
            for name, path in zip(runners, self.files, strict=True):
                path.parent.mkdir(parents=True, exist_ok=True)
                first, second = (_part(path, kind, shard.rank) for kind in _LISTS)
                self._open[name] = first.open("w"), second.open("w")
        except OSError as error:
            raise UsageError(
                f"predictions cannot be written into {folder}: {error.strerror}",
                remedy="name another folder with --predictions",
            ) from error

    def __enter__(self) -> Predictions:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pair in self._open.values():
            for file in pair:
                file.close()
        if kind is not None:
            for path in self.files:
                for what in _LISTS:
                    _part(path, what, self._shard.rank).unlink(missing_ok=True)

    def keep(self, runner: str, subject: Subject, hand: Hand) -> None:
        """Write one answer; `measuring.measure_accuracy` calls it in the order of the data set.

        Raises
        ------
        GateError
            It is not finite, which the file cannot say.
        """
        assert hand.vertices is not None
        if hand.joints is None or not np.isfinite(hand.vertices).all():
            raise GateError(
                f"{runner} gives no hand that could be written for sample {subject.id}",
                expected="finite vertices, and a mesh whose joints are known",
                remedy="see what `i2uv-edge evaluate` says without --predictions",
            )
        joints, vertices = hand.joints / 1000.0, hand.vertices / 1000.0
        if self._dataset == "ho3d":
            joints = joints[np.argsort(FREIHAND_ORDER)] * OPENGL
            vertices = vertices * OPENGL
        for file, points in zip(self._open[runner], (joints, vertices), strict=True):
            file.write(json.dumps(np.round(points, _DIGITS).tolist()) + "\n")

    def finish(self) -> None:
        """Put all parts together; for the leading process, when every other is done."""
        for path in self.files:
            partial = path.with_name(f".{NAME}.partial")
            with partial.open("w") as target:
                target.write("[")
                for number, kind in enumerate(_LISTS):
                    target.write("[" if number == 0 else ", [")
                    self._join(path, kind, target)
                    target.write("]")
                target.write("]\n")
            partial.replace(path)
            for kind in _LISTS:
                for rank in range(self._shard.count):
                    _part(path, kind, rank).unlink(missing_ok=True)

    def _join(self, path: Path, kind: str, target: TextIO) -> None:
        started = False
        for rank in range(self._shard.count):
            part = _part(path, kind, rank)
            try:
                source = part.open()
            except OSError as error:
                raise UsageError(
                    f"{part} of process {rank} cannot be read: {error.strerror}",
                    expected="a folder that all processes write to",
                    remedy="name a shared folder with --predictions",
                ) from error
            with source:
                for line in source:
                    target.write((", " if started else "") + line.rstrip("\n"))
                    started = True


def _part(path: Path, kind: str, rank: int) -> Path:
    return path.with_name(f".{path.name}.{kind}-{rank}")

"""Rendered pictures kept on disk: what one run has drawn, the next one reads.

Drawing a picture takes longer than a small network takes to learn from it, and runs that are to be
compared ask for the same pictures.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.errors import InputError
from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.training.task import Sample, Source

__all__ = ["KeptPictures"]

BLOCK = 1024  # samples a file; what was not asked for takes no room in it
_OPEN = 64  # files at a time


class KeptPictures:
    """The samples of a source, each drawn once.

    Several processes may use one folder: two that draw the same sample write the same bytes.

    Parameters
    ----------
    source
        Who draws; its samples are alike in names, shapes and types.
    folder
        Where they are kept.
    what
        All that the samples depend on but seed and index; other pictures get other files.
    """

    def __init__(self, source: Source, folder: Path, what: str) -> None:
        self.source = source
        self.folder = folder / hashlib.sha256(what.encode()).hexdigest()[:16]

    def atlas(self, size: int) -> Atlas:
        """See `Source`."""
        return self.source.atlas(size)

    def sample(self, seed: int, index: int) -> Sample:
        """See `Source`."""
        block, place = divmod(index, BLOCK)
        path = self.folder / f"{seed}-{block}.bin"
        drawn: Sample | None = None
        if not path.is_file():
            drawn = self.source.sample(seed, index)
            _make(path, _record(drawn))
        records = _records(path)
        if records[place]["there"]:
            return {name: records[place][name].copy() for name in records.dtype.names[1:]}  # type: ignore[index]
        drawn = drawn or self.source.sample(seed, index)
        for name, value in drawn.items():
            records[place][name] = value
        records[place]["there"] = 1  # last: a killed run leaves no half of a sample
        return drawn


def _record(sample: Sample) -> np.dtype[np.void]:
    fields = [(name, np.asarray(value).dtype, value.shape) for name, value in sample.items()]
    return np.dtype([("there", np.uint8), *fields])


def _make(path: Path, record: np.dtype[np.void]) -> None:
    """An empty file and beside it what its records are; made again, both stay as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = path.parent / "record.npy"
    if not kinds.is_file():
        partial = path.parent / f".record-{os.getpid()}.npy"
        np.save(partial, np.zeros(0, record))
        partial.replace(kinds)
    try:
        with path.open("ab") as file:
            file.truncate(BLOCK * record.itemsize)
    except OSError as error:
        raise InputError(
            f"pictures cannot be kept in {path.parent}: {error.strerror}",
            remedy="name another folder: kept, or keep none",
        ) from error


@lru_cache(maxsize=_OPEN)
def _records(path: Path) -> NDArray[np.void]:
    record = np.load(path.parent / "record.npy", allow_pickle=False).dtype
    if path.stat().st_size != BLOCK * record.itemsize:
        raise InputError(
            f"{path} has {path.stat().st_size} bytes",
            expected=f"{BLOCK * record.itemsize}, kept pictures",
            remedy="remove its folder, and they are drawn again",
        )
    return np.memmap(path, record, "r+", shape=(BLOCK,))

"""A JSON list of nested lists of numbers, one row at a time.

FreiHAND's annotations are such lists; its vertices alone are 1.5 GB of text, several times that as
Python objects. Here only the place of each row in the file is kept.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.errors import InputError

__all__ = ["JsonRows"]

_CHUNK = 1 << 24  # bytes read at a time
_OPENS, _CLOSES = ord("["), ord("]")


class JsonRows:
    """Rows of numbers of one shape, read when asked for.

    Parameters
    ----------
    path
        The file.
    shape
        That of every row, () for a list of plain numbers; -1 is any length.

    Raises
    ------
    InputError
        The file is missing, cut short, or no list of lists.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path = path
        self._shape = shape
        self._values: NDArray[np.float64] | None = None
        self._places = np.zeros((0, 2), np.int64)
        try:
            if shape:
                self._places = self._find_rows()
            else:
                self._values = self._parsed(path.read_bytes(), "its list", (-1,))
        except OSError as error:
            raise InputError(
                f"{path} cannot be read: {error.strerror}",
                expected="an annotation file of the data set",
                remedy="check the path, or unpack the data set again",
            ) from error

    def __len__(self) -> int:
        return len(self._places if self._values is None else self._values)

    def __getitem__(self, index: int) -> NDArray[np.float64]:
        """Row ``index``.

        Raises
        ------
        InputError
            It is no row of finite numbers of this shape.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path} has {len(self)} rows, there is no row {index}")
        if self._values is not None:
            return np.asarray(self._values[index])
        start, end = self._places[index]
        try:
            with self.path.open("rb") as file:
                file.seek(int(start))
                text = file.read(int(end - start))
        except OSError as error:
            raise self._damaged(f"row {index} cannot be read ({error.strerror})") from error
        return self._parsed(text, f"row {index}", self._shape)

    def _parsed(self, text: bytes, what: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        try:
            values = np.asarray(json.loads(text), np.float64)
        except (ValueError, TypeError) as error:
            raise self._damaged(f"{what} is no list of numbers ({error})") from error
        if values.ndim != len(shape) or any(
            wanted not in (-1, found) for wanted, found in zip(shape, values.shape, strict=True)
        ):
            raise self._damaged(f"{what} is of shape {values.shape}, not {shape}")
        if not np.isfinite(values).all():
            raise self._damaged(f"{what} holds numbers that are not finite")
        return values

    def _find_rows(self) -> NDArray[np.int64]:
        """(N, 2) first byte and end of each row: what lies between brackets of the second depth."""
        starts: list[NDArray[np.int64]] = []
        ends: list[NDArray[np.int64]] = []
        depth, offset, least = 0, 0, 0
        with self.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                codes = np.frombuffer(chunk, np.uint8)
                places = np.flatnonzero((codes == _OPENS) | (codes == _CLOSES))
                opens = codes[places] == _OPENS
                depths = depth + np.cumsum(np.where(opens, 1, -1))
                starts.append(places[opens & (depths == 2)] + offset)
                ends.append(places[~opens & (depths == 1)] + offset + 1)
                if len(depths):
                    least = min(least, int(depths.min()))
                    depth = int(depths[-1])
                offset += len(chunk)
        found = [np.concatenate([np.zeros(0, np.int64), *parts]) for parts in (starts, ends)]
        if depth != 0 or least < 0 or len(found[0]) != len(found[1]):
            raise self._damaged("it is cut short: its brackets do not match")
        if not len(found[0]):
            raise self._damaged("it holds no rows")
        return np.stack(found, axis=1)

    def _damaged(self, what: str) -> InputError:
        return InputError(
            f"{self.path}: {what}",
            expected=f"a JSON list of rows of shape {self._shape}",
            remedy="unpack the data set again, or download it again",
        )

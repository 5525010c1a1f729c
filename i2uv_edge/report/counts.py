"""Distributions of distances, counted in bins whose number does not grow with what is counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Counts", "Ratios"]

Array = NDArray[Any]
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Ratios:
    """Bins whose bounds grow by one ratio, from `low` to `high`, and one below for the rest.

    However large the numbers turn out to be, a bin is as wide as the same part of them.
    """

    low: float
    high: float
    count: int

    @property
    def bounds(self) -> Float64:
        """(count + 2,) the first is 0."""
        return np.concatenate([[0.0], np.geomspace(self.low, self.high, self.count + 1)])

    def place(self, values: Array) -> NDArray[np.intp]:
        """The bin of each value, 0..count; what is too large is put into the last one."""
        per_bin = np.log(self.high / self.low) / self.count
        with np.errstate(divide="ignore"):
            found = np.floor(np.log(values / self.low) / per_bin) + 1
        return np.asarray(np.clip(found, 0, self.count), np.intp)

    def quantile(self, counts: Array, part: float) -> Float64:
        """(count + 1, ...) counts -> (...) the value that `part` of them do not exceed.

        NaN where nothing was counted.
        """
        total = counts.sum(0)
        wanted = part * total
        reached = np.cumsum(counts, axis=0)
        place = (reached >= wanted).argmax(0)
        own = np.take_along_axis(counts, place[None], 0)[0]
        before = np.take_along_axis(reached, place[None], 0)[0] - own
        bounds = self.bounds
        inside = (wanted - before) / np.maximum(own, 1)
        value = bounds[place] + inside * (bounds[place + 1] - bounds[place])
        return np.asarray(np.where(total > 0, value, np.nan), np.float64)


@dataclass(frozen=True)
class Counts:
    """How many values (mm) fell into each bin: `counts` is (B,), `bounds` (B + 1,)."""

    bounds: Float64
    counts: NDArray[np.int64]

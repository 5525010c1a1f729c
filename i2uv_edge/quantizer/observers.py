"""Ranges from streams of values, in memory that does not grow with the stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Histogram", "Method", "choose_range"]

BINS = 2048
_COUNTED = 1 << 18  # values of one tensor, of which more than that are counted in part
_TRIALS = 100  # ends that are tried on the way from the furthest value to zero

Method = Literal["min-max", "percentile", "mse", "entropy"]


class Histogram:
    """Counts of a stream of values in a fixed number of bins that widen when a value falls outside.

    Widening doubles the covered interval and merges bins in pairs, so no count is ever split: the
    result depends on the values alone, within one bin on the order they came in.
    """

    def __init__(self, bins: int = BINS, *, counting: bool = True) -> None:
        if bins < 2 or bins % 2:
            raise ValueError(f"bins = {bins} must be even")
        self.counting = counting  # without it only the ends are kept, in a tenth of the time
        self.counts: NDArray[np.int64] = np.zeros(bins, np.int64)
        self.low = 0.0
        self.width = 0.0  # of the whole covered interval; 0 until the first values
        self.minimum = np.inf
        self.maximum = -np.inf

    @property
    def empty(self) -> bool:
        """Whether nothing has been observed."""
        return self.minimum > self.maximum

    def add(self, values: NDArray[np.float32]) -> None:
        """Count values of any shape; ValueError where one is not finite.

        Of a large tensor every third, fifth or so is counted; its ends are those of all values.
        """
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError("a value is NaN or infinite")
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        if not self.counting:
            return
        self._cover(low, high)
        scale = len(self.counts) / self.width
        # An odd stride, or whole columns of a map would be left out.
        some = values.ravel()[:: -(-values.size // _COUNTED) | 1]
        index = ((some - np.float32(self.low)) * np.float32(scale)).astype(np.int64)
        np.clip(index, 0, len(self.counts) - 1, out=index)
        self.counts += np.bincount(index, minlength=len(self.counts))

    def centres(self) -> NDArray[np.float64]:
        """The middle of every bin."""
        places = np.arange(len(self.counts), dtype=np.float64) + 0.5
        return np.asarray(self.low + places * (self.width / len(self.counts)), np.float64)

    def _cover(self, low: float, high: float) -> None:
        if not self.width:
            self.low = low
            self.width = max(high - low, abs(high) * 1e-3, 1e-9)
        half = len(self.counts) // 2
        while low < self.low or high > self.low + self.width:
            merged = self.counts.reshape(half, 2).sum(axis=1)
            self.counts[:] = 0
            if low < self.low:
                self.counts[half:] = merged
                self.low -= self.width
            else:
                self.counts[:half] = merged
            self.width *= 2.0


@dataclass(frozen=True)
class _Grid:
    """An affine integer grid of `levels` steps between `low` <= 0 and `high` >= 0."""

    low: float
    high: float
    levels: int

    @property
    def step(self) -> float:
        return max(self.high - self.low, 1e-12) / self.levels

    def error(self, values: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
        step = self.step
        first, last = np.round(self.low / step), np.round(self.high / step)
        rounded = np.clip(np.round(values / step), first, last)
        return float((counts * (rounded * step - values) ** 2).sum())


def choose_range(
    histogram: Histogram, method: Method, *, percentile: float = 99.99, levels: int = 255
) -> tuple[float, float]:
    """Return (low, high) with low <= 0 <= high for an integer grid of `levels` steps.

    Parameters
    ----------
    method
        "min-max" covers every value; "percentile" the `percentile` of the absolute values;
        "mse" minimises the mean squared error, clipping included, over the histogram; "entropy" the
        Kullback-Leibler divergence of what is left of the distribution (Migacz, "8-bit inference
        with TensorRT", GTC 2017).
    """
    if histogram.empty:
        raise ValueError("the histogram is empty")
    low, high = min(histogram.minimum, 0.0), max(histogram.maximum, 0.0)
    if method == "min-max":
        return low, high
    if not histogram.counting:
        raise ValueError(f"the histogram counted nothing, so there is no {method} of it")
    centres = histogram.centres()
    if method == "percentile":
        order = np.argsort(np.abs(centres), kind="stable")
        share = np.cumsum(histogram.counts[order]) / histogram.counts.sum()
        reach = float(np.abs(centres)[order[np.searchsorted(share, percentile / 100.0)]])
        return max(low, -reach), min(high, reach)
    used = histogram.counts > 0
    values, counts = centres[used], histogram.counts[used]
    if method == "entropy":
        reaches = [1.0 - k / _TRIALS for k in range(_TRIALS)]
        # Of equal divergences the widest range.
        return min(
            ((low * reach, high * reach) for reach in reaches),
            key=lambda ends: _divergence(values, counts, _Grid(ends[0], ends[1], levels)),
        )
    for side in ("both", "low", "high"):
        best = (_Grid(low, high, levels).error(values, counts), low, high)
        for k in range(1, _TRIALS):
            factor = 1.0 - k / _TRIALS
            trial_low = low if side == "high" else low * factor
            trial_high = high if side == "low" else high * factor
            error = _Grid(trial_low, trial_high, levels).error(values, counts)
            best = min(best, (error, trial_low, trial_high))
        _, low, high = best
    return low, high


def _divergence(values: NDArray[np.float64], counts: NDArray[np.int64], grid: _Grid) -> float:
    """Of the clipped values from what is known of them once they are on the grid.

    What is clipped counts with the ends in the first, and is missing in the second: the reason why
    a range may be too narrow. On the grid, the values of a step are told apart no longer.
    """
    inside = (values >= grid.low) & (values <= grid.high)
    if not inside.any():
        return float("inf")
    kept = counts[inside].astype(np.float64)
    clipped = kept.copy()
    clipped[0] += counts[values < grid.low].sum()
    clipped[-1] += counts[values > grid.high].sum()
    _, step, sizes = np.unique(
        np.round(values[inside] / grid.step), return_inverse=True, return_counts=True
    )
    known = (np.bincount(step, kept) / sizes)[step]
    p, q = clipped / clipped.sum(), known / known.sum()
    return float((p * np.log(p / q)).sum())

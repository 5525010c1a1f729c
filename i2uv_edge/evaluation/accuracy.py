"""What many samples make of their scores, in memory that does not grow with their number.

Sums are kept as whole numbers, so it does not matter in which order samples are added, nor how
they are shared out among processes: put together with `merge`, the shares give the same bits as one
process that saw everything. Percentiles come from a histogram and are exact to `BIN_MM`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.scores import Measurement

__all__ = [
    "BIN_MM",
    "Accuracy",
    "Curve",
    "ExactMean",
    "ExactSpread",
    "Histogram",
    "SampleScores",
    "merged",
]

Array = NDArray[Any]

BIN_MM = 0.02
_BINS = 20_000  # up to 400 mm, twice a hand
_FRACTION_BITS = 60  # of the sums: below what a float of the size of a thousandth holds
_SPREAD_BITS = 16  # of a millimetre; the sums of a million samples still fit 64 bits
_SPREAD_LIMIT = 4000.0  # mm from the centroid; further away is no number of a hand
_SMALL_IS_BAD = ("f5", "f15", "auc")
AUC_UPPER_MM, AUC_STEPS = 50.0, 100


class ExactMean:
    """The mean of any number of values; NaN if one of them is not finite, or there are none."""

    def __init__(self) -> None:
        self.count = 0
        self._total = 0
        self._spoilt = False

    def add(self, value: float) -> None:
        """Take in a value."""
        self.count += 1
        if math.isfinite(value):
            self._total += int(math.ldexp(value, _FRACTION_BITS))
        else:
            self._spoilt = True

    def merge(self, other: ExactMean) -> None:
        """Take in what another has seen."""
        self.count += other.count
        self._total += other._total
        self._spoilt |= other._spoilt

    def value(self) -> float:
        """Return the mean."""
        if self._spoilt or not self.count:
            return math.nan
        return self._total / (self.count << _FRACTION_BITS)


class Histogram:
    """Percentiles and the maximum of values, 0 and up; bins of `width`, the last one open."""

    def __init__(self, width: float = BIN_MM, bins: int = _BINS) -> None:
        self._width = width
        self._counts = np.zeros(bins, np.int64)
        self._least, self._greatest = math.inf, -math.inf
        self._spoilt = False

    def add(self, values: Array) -> None:
        """Take in values of any shape."""
        flat = np.asarray(values, np.float64).ravel()
        if not flat.size:
            return
        if not np.isfinite(flat).all() or flat.min() < 0:
            self._spoilt = True
            return
        last = len(self._counts) - 1
        places = np.minimum(flat / self._width, last).astype(np.int64)
        self._counts += np.bincount(places, minlength=last + 1)
        self._least = min(self._least, float(flat.min()))
        self._greatest = max(self._greatest, float(flat.max()))

    def merge(self, other: Histogram) -> None:
        """Take in what another has seen."""
        self._counts += other._counts
        self._least = min(self._least, other._least)
        self._greatest = max(self._greatest, other._greatest)
        self._spoilt |= other._spoilt

    def quantile(self, share: float) -> float:
        """Return the value that this share of all values does not exceed."""
        total = int(self._counts.sum())
        if self._spoilt or not total:
            return math.nan
        place = int(np.searchsorted(np.cumsum(self._counts), math.ceil(share * total)))
        if place == len(self._counts) - 1:
            return self._greatest  # the open bin; on the safe side
        return min(max((place + 1) * self._width, self._least), self._greatest)

    @property
    def least(self) -> float:
        """The least value; NaN without any."""
        return math.nan if self._spoilt or self._least == math.inf else self._least

    @property
    def greatest(self) -> float:
        """The greatest value; NaN without any."""
        return math.nan if self._spoilt or self._greatest == -math.inf else self._greatest


class Curve:
    """The area under the curve of correct points, as `metrics.auc` of all errors together."""

    def __init__(self) -> None:
        self._thresholds = np.linspace(0.0, AUC_UPPER_MM, AUC_STEPS)
        self._within = np.zeros(AUC_STEPS, np.int64)
        self._count = 0
        self._spoilt = False

    def add(self, errors: Array) -> None:
        """Take in distances of any shape, mm."""
        flat = np.sort(np.asarray(errors, np.float64).ravel())
        if not np.isfinite(flat).all():
            self._spoilt = True
            return
        self._within += np.searchsorted(flat, self._thresholds, side="right")
        self._count += flat.size

    def merge(self, other: Curve) -> None:
        """Take in what another has seen."""
        self._within += other._within
        self._count += other._count
        self._spoilt |= other._spoilt

    def value(self) -> float:
        """Return the area, 0..1."""
        if self._spoilt or not self._count:
            return math.nan
        return float(np.trapezoid(self._within / self._count, self._thresholds) / AUC_UPPER_MM)


class ExactSpread:
    """`metrics.spread_ratio` of any number of samples.

    Coordinates are rounded to 2**-16 mm, and whole numbers do not cancel, so the variance is the
    difference of two exact sums.
    """

    def __init__(self) -> None:
        self._count = 0
        self._sums: NDArray[np.int64] | None = None  # (2, V, 3): predicted and true
        self._squares = [0, 0]
        self._spoilt = False

    def add(self, predicted: Array, truth: Array) -> None:
        """Take in one sample, (V, 3) mm on both sides."""
        both = np.stack([np.asarray(points, np.float64) for points in (predicted, truth)])
        both -= both.mean(-2, keepdims=True)
        self._count += 1
        if not (np.abs(both) < _SPREAD_LIMIT).all():  # NaN is not below anything
            self._spoilt = True
            return
        whole = np.rint(both * 2**_SPREAD_BITS).astype(np.int64)
        self._sums = whole if self._sums is None else self._sums + whole
        # One sample's squares may leave 64 bits; halves of 16 bits each do not.
        for side, values in enumerate(whole):
            high, low = values >> 16, values & 0xFFFF
            squares = (high * high).sum(), (high * low).sum(), (low * low).sum()
            first, mixed, last = map(int, squares)
            self._squares[side] += (first << 32) + (mixed << 17) + last

    def merge(self, other: ExactSpread) -> None:
        """Take in what another has seen."""
        self._count += other._count
        self._spoilt |= other._spoilt
        self._squares = [a + b for a, b in zip(self._squares, other._squares, strict=True)]
        if other._sums is not None:
            self._sums = other._sums if self._sums is None else self._sums + other._sums

    def ratio(self) -> float:
        """Return the ratio; NaN below two samples or for a truth that never changes."""
        if self._spoilt or self._count < 2 or self._sums is None:
            return math.nan
        predicted, truth = (
            self._count * squares - sum(int(value) ** 2 for value in sums.ravel())
            for squares, sums in zip(self._squares, self._sums, strict=True)
        )
        return predicted / truth if truth > 0 else math.nan


@dataclass(frozen=True)
class SampleScores:
    """What one answer to one sample scored.

    Attributes
    ----------
    means : metrics whose value over a set is their mean
    distances : (V,) mm of the vertices, for percentiles
    curves : (N,) mm by metric, each of which becomes an area under its curve
    pair : (V, 3) predicted and true vertices, mm, for the spread
    """

    means: Mapping[str, float]
    distances: Array | None = None
    curves: Mapping[str, Array] = field(default_factory=dict)
    pair: tuple[Array, Array] | None = None


class Accuracy:
    """The scores of one candidate at one stage."""

    def __init__(self) -> None:
        self._count = 0
        self._means: dict[str, ExactMean] = {}
        self._curves: dict[str, Curve] = {}
        self._worst: dict[str, tuple[float, int, str]] = {}
        self._distances: Histogram | None = None
        self._spread: ExactSpread | None = None

    def add(
        self,
        index: int,
        sample_id: str,
        scores: SampleScores,
        baseline: Mapping[str, float] | None = None,
    ) -> None:
        """Take in a sample.

        Parameters
        ----------
        index, sample_id
            Its number in the whole set, and its name.
        scores
            What it scored.
        baseline
            What the reference scored; the worst sample is the one that is furthest from it.
        """
        self._count += 1
        for metric, value in scores.means.items():
            self._means.setdefault(metric, ExactMean()).add(value)
            start = 0.0 if baseline is None else baseline.get(metric, 0.0)
            self._note_worst(metric, _badness(metric, value, start), index, sample_id)
        for metric, errors in scores.curves.items():
            self._curves.setdefault(metric, Curve()).add(errors)
        if scores.distances is not None:
            self._distances = self._distances or Histogram()
            self._distances.add(scores.distances)
        if scores.pair is not None:
            self._spread = self._spread or ExactSpread()
            self._spread.add(*scores.pair)

    def merge(self, other: Accuracy) -> None:
        """Take in what another process has seen of the same candidate and stage."""
        self._count += other._count
        for metric, mean in other._means.items():
            self._means.setdefault(metric, ExactMean()).merge(mean)
        for metric, curve in other._curves.items():
            self._curves.setdefault(metric, Curve()).merge(curve)
        for metric, worst in other._worst.items():
            self._note_worst(metric, *worst)
        if other._distances is not None:
            self._distances = self._distances or Histogram()
            self._distances.merge(other._distances)
        if other._spread is not None:
            self._spread = self._spread or ExactSpread()
            self._spread.merge(other._spread)

    def measurements(self, candidate: str, stage: str, samples: int) -> list[Measurement]:
        """Return every metric against the truth; NaN where not all `samples` have it."""
        rows = [
            (metric, mean.value() if mean.count == samples else math.nan)
            for metric, mean in self._means.items()
        ]
        complete = self._count == samples
        if self._distances is not None:
            found = self._distances
            rows.append(("vertex_p95_mm", found.quantile(0.95)))
            rows.append(("vertex_p99_mm", found.quantile(0.99)))
            rows.append(("vertex_max_mm", found.greatest))
        rows += [(metric, curve.value()) for metric, curve in self._curves.items()]
        if self._spread is not None:
            rows.append(("spread_ratio", self._spread.ratio()))
        return [
            Measurement("truth", candidate, stage, metric, value if complete else math.nan, worst)
            for metric, value in rows
            for worst in [self._worst[metric][2] if metric in self._worst else None]
        ]

    def _note_worst(self, metric: str, badness: float, index: int, sample_id: str) -> None:
        """Of equally bad samples the first one stays, in whichever order they come."""
        kept = self._worst.get(metric)
        if kept is None or (badness, -index) > (kept[0], -kept[1]):
            self._worst[metric] = (badness, index, sample_id)


def merged(parts: Iterable[Mapping[tuple[str, str], Accuracy]]) -> dict[tuple[str, str], Accuracy]:
    """Put together what several processes have seen, by candidate and stage."""
    total: dict[tuple[str, str], Accuracy] = {}
    for part in parts:
        for key, accuracy in part.items():
            total.setdefault(key, Accuracy()).merge(accuracy)
    return total


def _badness(metric: str, value: float, start: float) -> float:
    if not math.isfinite(value):
        return math.inf
    off = value - (start if math.isfinite(start) else 0.0)
    return -off if metric.rpartition("_")[2] in _SMALL_IS_BAD else off

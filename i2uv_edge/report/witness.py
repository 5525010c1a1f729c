"""What the report keeps of a comparison, taken while its maps are at hand.

Of how many samples there are, nothing here grows: sums and counts for each texel, counts of
distances, and a few samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.hand import metrics
from i2uv_edge.parity import COARSE_STAGES, Atlases, Compared
from i2uv_edge.report.counts import Counts, Ratios
from i2uv_edge.tally import Surface

__all__ = [
    "RANKS",
    "ErrorMap",
    "Evidence",
    "FingerErrors",
    "KeptSample",
    "MeanP95",
    "ReportWitness",
]

Array = NDArray[Any]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

KEPT = 64  # samples held until the end, to choose those near the quantiles from; twice at most
# The samples shown beside the worst and the best one: those nearest to these quantiles.
RANKS = {"95th percentile": 0.95, "75th percentile": 0.75, "median": 0.5, "25th percentile": 0.25}


FINE = Ratios(1e-6, 1e4, 2400)  # a bin is 1 % wide
COARSE = Ratios(1e-4, 1e3, 96)  # 18 %, for each texel


@dataclass(frozen=True)
class ErrorMap:
    """How far the maps of one stage are apart, texel by texel.

    `mean` and `p95` are (M, M) mm over the samples, NaN where there is no surface. Samples with a
    texel that was not finite are `left_out` of it, and counted.
    """

    stage: str
    mean: Float64
    p95: Float64
    samples: int
    left_out: int


@dataclass(frozen=True)
class KeptSample:
    """A sample that is shown.

    `picture` is (S, S, 3) uint8 RGB; `theirs` and `ours` are the vertices of reference and
    candidate, (V, 3) map units, and `distances` what is between them, (V,) mm. `rank` says which
    it is among the samples by its mean distance: "worst", "best", or one of `RANKS`.
    `truth` is (V', 3), of the first vertices or of all, None where nobody knows it; `scale_mm` is
    how many millimetres a map unit has.
    """

    id: str
    rank: str
    picture: NDArray[np.uint8]
    theirs: Float32
    ours: Float32
    distances: Float32
    scale_mm: float
    truth: Float32 | None = None

    @property
    def off_truth_mm(self) -> float | None:
        """How far the reference is from the truth on average, nothing aligned."""
        if self.truth is None:
            return None
        apart = metrics.distances(self.theirs[: len(self.truth)], self.truth)
        return float(apart.mean()) * self.scale_mm

    @property
    def mean_mm(self) -> float:
        """Mean distance of the vertices; NaN where one of them is not finite."""
        return float(self.distances.mean(dtype=np.float64))


@dataclass(frozen=True)
class MeanP95:
    """Mean and 95th percentile of distances, mm."""

    mean: float
    p95: float


@dataclass(frozen=True)
class FingerErrors:
    """How far the vertices of one finger, or of the palm, are off in all samples.

    `apart` is between reference and candidate, nothing aligned. `theirs` and `ours` are off the
    truth after alignment, as PA-MPVPE is, None where there is no truth.
    """

    finger: str
    apart: MeanP95
    theirs: MeanP95 | None = None
    ours: MeanP95 | None = None


@dataclass(frozen=True)
class Evidence:
    """Everything kept of the comparison of `candidate` with `reference`.

    `maps` are of every stage; the rest is of `stage`, the last one: `vertex_mean` (V,) mm over the
    samples, `distances` of all vertices in all samples, `samples` from the worst on, and `fingers`,
    which are empty where the atlas knows no joints.
    """

    reference: str
    candidate: str
    stage: str
    maps: tuple[ErrorMap, ...]
    vertex_mean: Float64
    distances: Counts
    samples: tuple[KeptSample, ...]
    fingers: tuple[FingerErrors, ...] = ()


class ReportWitness:
    """Keeps what a report shows of one pair of runners.

    Parameters
    ----------
    reference, candidate
        The pair.
    stage
        The stage whose vertices are shown.
    atlases
        Of the maps; only texels that hold surface count.
    kept
        How many samples to hold to choose from.
    """

    def __init__(
        self, reference: str, candidate: str, stage: str, atlases: Atlases, *, kept: int = KEPT
    ) -> None:
        self.pair = (reference, candidate)
        self._stage = stage
        fine = atlases.fine or atlases.coarse
        self._masks = {
            name: np.asarray((atlases.coarse if name in COARSE_STAGES else fine).mask, bool)
            for name in (*COARSE_STAGES, "srnet", "chained")
        }
        self._maps: dict[str, _TexelSums] = {}
        self._vertex_sum = np.zeros(0)
        self._finite = 0
        self._distances = np.zeros(FINE.count + 1, np.int64)
        self._choice = _Choice(kept)
        surface = Surface(atlases.coarse if stage == "affinenet" else fine)
        self._fingers = [_Finger(*item) for item in surface.fingers.items()]

    def see(self, compared: Compared, /) -> None:
        """Take in one comparison; those of other pairs are none of its business."""
        if (compared.reference, compared.candidate) != self.pair:
            return
        stage = compared.stage
        sums = self._maps.setdefault(stage, _TexelSums(self._masks[stage]))
        sums.add(compared)
        if stage != self._stage:
            return
        distances = compared.distances
        self._choice.offer(compared)
        if np.isfinite(distances).all():
            if not self._finite:
                self._vertex_sum = np.zeros(distances.shape)
            self._finite += 1
            self._vertex_sum += distances
            self._distances += np.bincount(FINE.place(distances), minlength=FINE.count + 1)
            self._see_fingers(compared)

    def _see_fingers(self, compared: Compared) -> None:
        truth = _truth(compared)
        off: dict[str, Array] = {"apart": compared.distances}
        for name, answer in (("theirs", compared.theirs), ("ours", compared.ours)):
            if truth is not None:
                predicted = answer.vertices[: len(truth)]
                aligned = metrics.procrustes(predicted, truth).apply(predicted)
                off[name] = metrics.distances(aligned, truth) * compared.scale_mm
        for finger in self._fingers:
            finger.add(off)

    def evidence(self) -> Evidence | None:
        """Sum up; None if the pair was never seen at its stage."""
        samples = self._choice.made()
        if not samples:
            return None
        return Evidence(
            reference=self.pair[0],
            candidate=self.pair[1],
            stage=self._stage,
            maps=tuple(sums.error_map(stage) for stage, sums in self._maps.items()),
            vertex_mean=self._vertex_sum / max(self._finite, 1),
            distances=Counts(FINE.bounds, self._distances),
            samples=samples,
            fingers=tuple(found for own in self._fingers if (found := own.errors()) is not None),
        )


class _Finger:
    """Sums and counts of one finger's distances, by what they are between."""

    def __init__(self, name: str, vertices: NDArray[np.intp]) -> None:
        self._name, self._vertices = name, vertices
        self._sums: dict[str, float] = {}
        self._counts: dict[str, NDArray[np.int64]] = {}

    def add(self, off: Mapping[str, Array]) -> None:
        """Take in a sample: (V',) mm each, of the first vertices or of all."""
        for name, distances in off.items():
            own = distances[self._vertices[self._vertices < len(distances)]]
            counts = self._counts.setdefault(name, np.zeros(FINE.count + 1, np.int64))
            counts += np.bincount(FINE.place(own), minlength=len(counts))
            self._sums[name] = self._sums.get(name, 0.0) + float(own.sum(dtype=np.float64))

    def errors(self) -> FingerErrors | None:
        """Sum up; None if no sample was finite."""
        found = {}
        for name, counts in self._counts.items():
            if total := int(counts.sum()):
                p95 = float(FINE.quantile(counts, 0.95))
                found[name] = MeanP95(self._sums[name] / total, p95)
        return FingerErrors(self._name, **found) if "apart" in found else None


class _TexelSums:
    """Sums and counts over the samples for each texel that holds surface."""

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self._mask = mask
        texels = int(mask.sum())
        self._sum = np.zeros(texels)
        self._counts = np.zeros((COARSE.count + 1, texels), np.int32)
        self._column = np.arange(texels)
        self._samples = 0
        self._left_out = 0

    def add(self, compared: Compared) -> None:
        theirs, ours = compared.theirs.uv_map[self._mask], compared.ours.uv_map[self._mask]
        values = metrics.distances(ours, theirs) * compared.scale_mm
        if not np.isfinite(values).all():
            self._left_out += 1
            return
        self._samples += 1
        self._sum += values
        self._counts[COARSE.place(values), self._column] += 1

    def error_map(self, stage: str) -> ErrorMap:
        mean = self._sum / self._samples if self._samples else np.full(len(self._sum), np.nan)
        p95 = COARSE.quantile(self._counts, 0.95)
        return ErrorMap(stage, self._map(mean), self._map(p95), self._samples, self._left_out)

    def _map(self, values: Float64) -> Float64:
        made = np.full(self._mask.shape, np.nan)
        made[self._mask] = values
        return made


class _Choice:
    """Which samples are shown: the worst, the best, and those near the quantiles between.

    The worst and the best are exact. The others are chosen at the end from samples held at even
    distances in the order they come, and every second one is dropped when there are too many, so
    that with n of them held a quantile is met to about 1 / n.
    """

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._stride = 1
        self._seen = 0
        self._held: list[KeptSample] = []
        self._worst: KeptSample | None = None
        self._best: KeptSample | None = None
        self._counts = np.zeros(FINE.count + 1, np.int64)

    def offer(self, compared: Compared) -> None:
        """Take in the next sample."""
        sample = _keep(compared)
        badness = _badness(sample)
        self._counts[FINE.place(np.array(min(badness, FINE.high)))] += 1
        if self._worst is None or badness > _badness(self._worst):
            self._worst = sample
        if self._best is None or badness < _badness(self._best):
            self._best = sample
        if self._seen % self._stride == 0:
            self._held.append(sample)
        self._seen += 1
        if len(self._held) > 2 * self._kept:
            self._stride *= 2
            self._held = self._held[::2]

    def made(self) -> tuple[KeptSample, ...]:
        """From the worst on, none of them twice."""
        if self._worst is None or self._best is None:
            return ()
        found: dict[str, KeptSample] = {}
        for rank, sample in (("worst", self._worst), ("best", self._best)):
            found.setdefault(sample.id, replace(sample, rank=rank))
        for rank, part in RANKS.items():
            wanted = float(FINE.quantile(self._counts, part))
            free = [sample for sample in self._held if sample.id not in found]
            if free:
                nearest = min(free, key=lambda s: abs(_badness(s) - wanted))
                found[nearest.id] = replace(nearest, rank=rank)
        return tuple(sorted(found.values(), key=_badness, reverse=True))


def _badness(sample: KeptSample) -> float:
    """The mean distance; what is not finite is worse than anything that is."""
    mean = sample.mean_mm
    return mean if np.isfinite(mean) else np.inf


def _keep(compared: Compared) -> KeptSample:
    picture, truth = compared.sample.picture, _truth(compared)
    return KeptSample(
        id=compared.sample.id,
        rank="",
        picture=np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8),
        theirs=compared.theirs.vertices,
        ours=compared.ours.vertices,
        distances=compared.distances,
        scale_mm=compared.scale_mm,
        truth=None if truth is None else np.asarray(truth, np.float32),
    )


def _truth(compared: Compared) -> Array | None:
    """The true vertices of the stage, the coarse ones where the fine are not known."""
    truth = compared.sample.truth
    if truth is None:
        return None
    target = truth.coarse if truth.fine is None else truth.fine
    return target if len(target) == len(compared.theirs.vertices) else truth.coarse

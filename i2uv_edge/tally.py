"""What one sample scores, and what many samples make of it.

`Surface` is an atlas ready for measuring, `score_parity` and `score_truth` measure one answer, a
`Tally` gathers them. `i2uv_edge.parity` decides what is compared with what.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.errors import InputError
from i2uv_edge.hand import metrics

__all__ = [
    "PARITY_METRICS",
    "TRUTH_METRICS",
    "Answer",
    "Surface",
    "SurfaceAtlas",
    "Tally",
    "Values",
    "score_parity",
    "score_truth",
]

Array = NDArray[Any]
Float32 = NDArray[np.float32]

_VERTEX_METRICS = ("vertex_mean_mm", "vertex_p95_mm", "vertex_p99_mm", "vertex_max_mm")
PARITY_METRICS = (*_VERTEX_METRICS, "texel_mean_mm", "masked_psnr_db", "normal_deg")
"""What every pair of runners gets at every stage; `vertex_mean_mm/FINGER` besides."""

TRUTH_METRICS = (*_VERTEX_METRICS, "pa_mpvpe_mm", "f5", "f15", "normal_deg")
"""What every runner gets against the truth at every stage, with `pa_mpjpe_mm` where the atlas knows
the joints; `vertex_mean_mm/FINGER` and `pa_mpvpe_mm/FINGER` besides."""

_SMALL_IS_BAD = ("masked_psnr_db", "f5", "f15")


class SurfaceAtlas(Protocol):
    """What is needed of an `Atlas`."""

    @property
    def faces(self) -> NDArray[np.int32]:
        """(F, 3)."""

    @property
    def template(self) -> Float32:
        """(V, 3) metres."""

    @property
    def joint_regressor(self) -> Float32:
        """(21, V), or (0, V) where nobody knows the joints."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(M, M) texels that hold surface."""

    def read_vertices(self, uv_map: Float32, /) -> Float32:
        """(..., M, M, 3) -> (..., V, 3)."""


class Surface:
    """An atlas, with what measuring needs of it worked out once."""

    def __init__(self, atlas: SurfaceAtlas) -> None:
        self.atlas = atlas
        self.mask = np.asarray(atlas.mask, bool)
        self.fingers: dict[str, NDArray[np.intp]] = {}
        if len(atlas.joint_regressor) == 21:
            labels = metrics.finger_labels(atlas.template, atlas.joint_regressor @ atlas.template)
            self.fingers = metrics.finger_groups(labels)

    def vertices(self, runner: str, stage: str, maps: Float32) -> Float32:
        """Read (..., M, M, 3); refuse maps of another size, which would read as nonsense."""
        if maps.shape[-3:] != (*self.mask.shape, 3):
            raise InputError(
                f"{runner} gave a map of shape {maps.shape[-3:]} at stage {stage}",
                expected=f"{(*self.mask.shape, 3)}, the size of the atlas",
            )
        return self.atlas.read_vertices(maps)


@dataclass(frozen=True)
class Answer:
    """A map and the vertices read from it, map units."""

    uv_map: Float32
    vertices: Float32


@dataclass(frozen=True)
class Values:
    """What one sample scored, and the distances of its vertices, (V,) mm."""

    scores: dict[str, float]
    distances: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))


def _distance_values(surface: Surface, distances: Array) -> Values:
    found = metrics.deviation(distances)
    numbers = (found.mean, found.p95, found.p99, found.maximum)
    scores = dict(zip(_VERTEX_METRICS, numbers, strict=True))
    scores |= _by_finger(surface, "vertex_mean_mm", distances)
    return Values(scores, distances.astype(np.float32))


def _by_finger(surface: Surface, metric: str, distances: Array) -> dict[str, float]:
    return {f"{metric}/{f}": float(distances[own].mean()) for f, own in surface.fingers.items()}


def score_parity(surface: Surface, reference: Answer, candidate: Answer, scale: float) -> Values:
    """Measure a candidate against a reference, unaligned; `scale` is mm a map unit for both."""
    distances = metrics.distances(candidate.vertices, reference.vertices) * scale
    values = _distance_values(surface, distances)
    ours, theirs = candidate.uv_map[surface.mask], reference.uv_map[surface.mask]
    texels = metrics.distances(ours, theirs)
    psnr = metrics.masked_psnr_db(candidate.uv_map, reference.uv_map, surface.mask)
    faces = surface.atlas.faces
    angles = metrics.normal_angles_deg(candidate.vertices, reference.vertices, faces)
    values.scores["texel_mean_mm"] = metrics.deviation(texels).mean * scale
    values.scores["masked_psnr_db"] = float(psnr)
    values.scores["normal_deg"] = metrics.deviation(angles).mean
    return values


def score_truth(surface: Surface, predicted: Array, true: Array, joints: Array | None) -> Values:
    """Score (V, 3) vertices in mm; F-scores after alignment, as papers list them."""
    values = _distance_values(surface, metrics.distances(predicted, true))
    aligned = metrics.procrustes(predicted, true).apply(predicted)
    distances = metrics.distances(aligned, true)
    scores = values.scores
    scores["pa_mpvpe_mm"] = float(distances.mean())
    scores |= _by_finger(surface, "pa_mpvpe_mm", distances)
    scores["f5"], scores["f15"] = metrics.f_scores(aligned, true, (5.0, 15.0)).tolist()
    angles = metrics.normal_angles_deg(predicted, true, surface.atlas.faces)
    scores["normal_deg"] = metrics.deviation(angles).mean
    regressor = surface.atlas.joint_regressor
    if len(regressor):
        joints = regressor @ true if joints is None else joints
        scores["pa_mpjpe_mm"] = float(metrics.pa_mpjpe(regressor @ predicted, joints))
    return values


class Tally:
    """The scores of one candidate at one stage, sample by sample."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.scores: list[dict[str, float]] = []
        self._distances: list[Float32] = []

    def add(self, sample_id: str, values: Values) -> None:
        """Take in a sample."""
        self.ids.append(sample_id)
        self.scores.append(values.scores)
        self._distances.append(values.distances)

    def finish(
        self, names: Sequence[str], ids: Sequence[str], baseline: Tally | None
    ) -> list[tuple[str, float, str | None]]:
        """Give each metric's value over the samples of those ids, and its worst sample.

        A sample that was not added makes every value NaN. The worst sample is the one furthest
        from the baseline, where there is one.
        """
        rows = dict(zip(self.ids, self.scores, strict=True))
        every = dict.fromkeys([*names, *(key for row in self.scores for key in row)])
        pooled = metrics.deviation(np.concatenate([np.zeros(0), *self._distances]))
        found: list[tuple[str, float, str | None]] = []
        for metric in every:
            values = np.array([rows.get(i, {}).get(metric, np.nan) for i in ids])
            if not values.size:
                found.append((metric, float("nan"), None))
                continue
            if np.isnan(values).any():
                value = float("nan")
            elif metric == "masked_psnr_db":
                value = float(-10 * np.log10(np.mean(10 ** (-values / 10))))
            elif metric == "vertex_p95_mm":
                value = pooled.p95
            elif metric == "vertex_p99_mm":
                value = pooled.p99
            elif metric == "vertex_max_mm":
                value = pooled.maximum
            else:
                value = float(values.mean())
            found.append((metric, value, ids[_worst(metric, values, ids, baseline)]))
        return found


def _worst(metric: str, values: Array, ids: Sequence[str], baseline: Tally | None) -> int:
    if baseline is not None:
        start = dict(zip(baseline.ids, baseline.scores, strict=True))
        values = values - np.array([start.get(i, {}).get(metric, 0.0) for i in ids])
    badness = -values if metric in _SMALL_IS_BAD else values
    return int(np.argmax(badness))  # the first NaN, if there is one

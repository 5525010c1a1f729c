"""How far a hand is from another one, in millimetres, degrees and scores.

Points are (..., N, 3) in millimetres unless a docstring says otherwise, the leading axes are a
batch, and everything is computed in float64. Whatever holds a NaN or an infinity scores NaN: no
function here leaves a sample out, and none gives a number for an empty set.

The protocol of FreiHAND (mean error, AUC and F-score, raw and after alignment) follows the
evaluation code published with the data set, https://github.com/lmb-freiburg/freihand (`eval.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FINGERS",
    "PSNR_CEILING_DB",
    "Deviation",
    "Similarity",
    "Spread",
    "auc",
    "deviation",
    "distances",
    "f_scores",
    "finger_groups",
    "finger_labels",
    "flicker_mm",
    "masked_psnr_db",
    "mpjpe",
    "mpvpe",
    "normal_angles_deg",
    "pa_mpjpe",
    "pa_mpvpe",
    "procrustes",
    "similarity_scale",
    "spread_ratio",
    "vertex_normals",
]

Array = NDArray[Any]
Float64 = NDArray[np.float64]

FINGERS = ("palm", "thumb", "index", "middle", "ring", "little")
"""What the numbers 0..5 of a vertex label mean."""

PSNR_CEILING_DB = float(-20.0 * np.log10(np.finfo(np.float32).eps))
"""The score of identical maps (138.5 dB): no two float32 maps of peak 1 can be told closer."""

_FIRST_JOINT = {"thumb": 1, "index": 5, "middle": 9, "ring": 13, "little": 17}


# --- alignment ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Similarity:
    """The map `scale * rotation @ point + translation`, one for each member of a batch.

    `scale` is (...), `rotation` (..., 3, 3) orthogonal, `translation` (..., 3).
    """

    scale: Float64
    rotation: Float64
    translation: Float64

    def apply(self, points: Array) -> Float64:
        """Return the (..., N, 3) points moved."""
        turned = _real(points) @ np.swapaxes(self.rotation, -1, -2)
        return np.asarray(
            self.scale[..., None, None] * turned + self.translation[..., None, :], np.float64
        )


def procrustes(source: Array, target: Array, *, reflection: bool = False) -> Similarity:
    """Fit the similarity that takes `source` nearest to `target`, by least squares.

    Parameters
    ----------
    source, target
        (..., N, 3), corresponding points, any unit.
    reflection
        Whether a mirrored hand counts as aligned. FreiHAND's code allows it
        (`scipy.linalg.orthogonal_procrustes`): pass True to compare with figures published on that
        data set. The default follows Umeyama (1991) and does not: a left hand is a wrong answer.

    Returns
    -------
    Similarity
        NaN where a point is not finite. A source that is a single point gets scale 0, that is, it
        lands on the target's centroid.
    """
    source, target = _pair(source, target)
    finite = np.asarray(np.isfinite(source + target).all((-2, -1)))
    # The decomposition refuses NaN: those members are computed on zeros and marked afterwards.
    clean_source = np.where(finite[..., None, None], source, 0.0)
    clean_target = np.where(finite[..., None, None], target, 0.0)
    source_mean = clean_source.mean(-2)
    target_mean = clean_target.mean(-2)
    centred = clean_source - source_mean[..., None, :]
    covariance = np.swapaxes(centred, -1, -2) @ (clean_target - target_mean[..., None, :])
    left, singular, right = np.linalg.svd(covariance)
    if not reflection:
        sign = np.sign(np.linalg.det(left) * np.linalg.det(right))
        singular = singular.copy()
        singular[..., 2] *= sign
        left = left.copy()
        left[..., :, 2] *= sign[..., None]
    rotation = np.swapaxes(left @ right, -1, -2)
    norm = np.square(centred).sum((-2, -1))
    scale = np.divide(singular.sum(-1), norm, out=np.zeros_like(norm), where=norm > 0)
    scale = np.where(finite, scale, np.nan)
    moved_mean = scale[..., None] * np.einsum("...ij,...j->...i", rotation, source_mean)
    return Similarity(scale, rotation, target_mean - moved_mean)


def similarity_scale(template: Array, vertices: Array) -> Float64:
    """Return how many millimetres one unit of `vertices` is, judged by the size of a template.

    For pictures without ground truth: the built-in hand, in metres, is fitted by similarity to
    the vertices that a reference network predicted, in map units.

    Parameters
    ----------
    template
        (V, 3) metres.
    vertices
        (..., V, 3) map units.

    Returns
    -------
    ndarray
        (...) millimetres a map unit; NaN where the vertices are not finite or fit no hand at all.
    """
    vertices = _real(vertices)
    units_per_metre = procrustes(np.broadcast_to(template, vertices.shape), vertices).scale
    usable = units_per_metre > 1e-3  # a kilometre across the crop: what is left is rounding
    return np.where(usable, 1000.0 / np.where(usable, units_per_metre, 1.0), np.nan)


# --- errors ---------------------------------------------------------------------------------------


def distances(predicted: Array, truth: Array) -> Float64:
    """Return the (..., N) distances between corresponding points."""
    predicted, truth = _pair(predicted, truth)
    return np.asarray(np.linalg.norm(predicted - truth, axis=-1), np.float64)


def mpvpe(predicted: Array, truth: Array) -> Float64:
    """Return the mean error over the vertices of each member of the batch, (...) mm."""
    return np.asarray(distances(predicted, truth).mean(-1), np.float64)


def mpjpe(predicted: Array, truth: Array) -> Float64:
    """Return the mean error over the joints of each member of the batch, (...) mm."""
    return mpvpe(predicted, truth)


def pa_mpvpe(predicted: Array, truth: Array, *, reflection: bool = False) -> Float64:
    """Return `mpvpe` after the prediction is aligned to the truth; see `procrustes`."""
    return mpvpe(procrustes(predicted, truth, reflection=reflection).apply(predicted), truth)


def pa_mpjpe(predicted: Array, truth: Array, *, reflection: bool = False) -> Float64:
    """Return `mpjpe` after the joints, alone, are aligned to the truth; see `procrustes`."""
    return pa_mpvpe(predicted, truth, reflection=reflection)


def auc(errors: Array, *, upper_mm: float = 50.0, steps: int = 100) -> float:
    """Return the area under the curve of correct points, 0..1, as FreiHAND draws it.

    The curve is the share of points whose error is at most t, at `steps` values of t from 0 to
    `upper_mm`. FreiHAND averages a curve for each point; with as many samples for every point,
    which is what an array holds, that is the curve of all points together.

    Parameters
    ----------
    errors
        Distances of any shape, mm.
    """
    errors = np.asarray(errors, np.float64).ravel()
    if not errors.size or not np.isfinite(errors).all():
        return float("nan")
    thresholds = np.linspace(0.0, upper_mm, steps)
    share = np.searchsorted(np.sort(errors), thresholds, side="right") / errors.size
    return float(np.trapezoid(share, thresholds) / upper_mm)


def f_scores(predicted: Array, truth: Array, thresholds_mm: tuple[float, ...]) -> Float64:
    """Return FreiHAND's F-score of each member of the batch at each threshold, 0..1.

    The harmonic mean of two shares: predicted vertices with a true vertex nearer than the
    threshold, and true vertices with a predicted one. Nearest, not corresponding, vertices count
    (Knapitsch et al., Tanks and Temples, 2017), so the two may differ in number. Align the
    prediction first for the figures that papers list.

    Parameters
    ----------
    predicted, truth
        (..., N, 3) and (..., K, 3) mm.

    Returns
    -------
    ndarray
        (..., len(thresholds_mm)).
    """
    from scipy.spatial import cKDTree

    predicted, truth = _real(predicted), _real(truth)
    batch = predicted.shape[:-2]
    if batch != truth.shape[:-2]:
        raise ValueError(f"batches differ: {batch} and {truth.shape[:-2]}")
    limits = np.asarray(thresholds_mm, np.float64)
    scores = np.full((*batch, len(limits)), np.nan)
    for member in np.ndindex(batch):
        ours, theirs = predicted[member], truth[member]
        # The tree takes no NaN, and a set without points has no nearest one.
        if ours.size and theirs.size and np.isfinite(ours).all() and np.isfinite(theirs).all():
            # Trees that are built fast: each is asked once. What is further is nobody's neighbour.
            trees = [cKDTree(p, balanced_tree=False, compact_nodes=False) for p in (ours, theirs)]
            to_truth = trees[1].query(ours, distance_upper_bound=limits.max())[0]
            to_predicted = trees[0].query(theirs, distance_upper_bound=limits.max())[0]
            precision = (to_truth[:, None] < limits).mean(0)
            recall = (to_predicted[:, None] < limits).mean(0)
            total = precision + recall
            scores[member] = 2 * precision * recall / np.where(total > 0, total, 1.0)
    return scores


@dataclass(frozen=True)
class Deviation:
    """Statistics of a set of distances, mm."""

    mean: float
    p95: float
    p99: float
    maximum: float


def deviation(values: Array) -> Deviation:
    """Return the statistics of distances of any shape; NaN all of them if there are none."""
    values = np.asarray(values, np.float64).ravel()
    if not values.size or not np.isfinite(values).all():
        return Deviation(*[float("nan")] * 4)
    p95, p99 = np.percentile(values, (95, 99))
    return Deviation(float(values.mean()), float(p95), float(p99), float(values.max()))


def masked_psnr_db(predicted: Array, truth: Array, mask: Array, *, peak: float = 1.0) -> Float64:
    """Return the peak signal-to-noise ratio of the covered texels of each map.

    Parameters
    ----------
    predicted, truth
        (..., M, M, C) maps.
    mask
        (M, M) bool, the texels that belong to the hand.
    peak
        The largest value a map may hold.

    Returns
    -------
    ndarray
        (...) dB, at most `PSNR_CEILING_DB`, which identical maps get; NaN if the mask is empty.
    """
    predicted, truth = _pair(predicted, truth)
    chosen = np.asarray(mask, bool)
    if not chosen.any():
        return np.full(predicted.shape[:-3], np.nan)
    squared = np.square((predicted - truth)[..., chosen, :]).mean((-2, -1)) / peak**2
    return np.asarray(-10.0 * np.log10(np.maximum(squared, 10 ** (-PSNR_CEILING_DB / 10))))


# --- surface --------------------------------------------------------------------------------------


def vertex_normals(vertices: Array, faces: Array) -> Float64:
    """Return unit normals, the mean of the adjacent faces weighted by their areas.

    Parameters
    ----------
    vertices
        (..., V, 3), any unit.
    faces
        (F, 3) int, counter-clockwise seen from outside.

    Returns
    -------
    ndarray
        (..., V, 3); zero where the adjacent faces have no area, or where there are none.
    """
    vertices = _real(vertices)
    first, second, third = (vertices[..., faces[:, corner], :] for corner in range(3))
    across = np.cross(second - first, third - first)
    normals = np.zeros_like(vertices)
    corners = np.asarray(faces).T.ravel()
    for member in np.ndindex(vertices.shape[:-2]):
        for axis in range(3):
            # np.add.at says it in one line and takes twice as long
            shares = np.tile(across[member][:, axis], 3)
            normals[member][:, axis] = np.bincount(corners, shares, vertices.shape[-2])
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    return np.asarray(np.divide(normals, length, out=normals, where=length != 0), np.float64)


def normal_angles_deg(predicted: Array, truth: Array, faces: Array) -> Float64:
    """Return the angles between the normals of two meshes at every vertex that a face uses.

    A surface that collapsed on one side alone has no direction there and counts as 90 degrees.

    Returns
    -------
    ndarray
        (..., U) degrees, 0..180, U the number of vertices in use.
    """
    predicted, truth = _pair(predicted, truth)
    used = np.flatnonzero(np.bincount(np.ravel(faces), minlength=predicted.shape[-2]))
    ours = vertex_normals(predicted, faces)[..., used, :]
    theirs = vertex_normals(truth, faces)[..., used, :]
    # The arc tangent keeps small angles exact, where the arc cosine loses half the digits.
    angles = np.arctan2(np.linalg.norm(np.cross(ours, theirs), axis=-1), (ours * theirs).sum(-1))
    collapsed = (ours == 0).all(-1) != (theirs == 0).all(-1)
    return np.asarray(np.where(collapsed, 90.0, np.degrees(angles)), np.float64)


# --- sets of samples ------------------------------------------------------------------------------


def flicker_mm(vertices: Array) -> Float64:
    """Return how much a still hand trembles: the mean over vertices of their deviation in space.

    Parameters
    ----------
    vertices
        (..., C, V, 3) mm, what a network predicts for C copies of one picture that differ by
        sensor noise alone; C >= 2, or the result is NaN.
    """
    vertices = _real(vertices)
    if vertices.shape[-3] < 2:
        return np.full(vertices.shape[:-3], np.nan)
    variance = vertices.var(-3).sum(-1)  # (..., V): the squared distance from the mean position
    return np.asarray(np.sqrt(variance).mean(-1), np.float64)


class Spread:
    """`spread_ratio` of a set that is seen one sample at a time, in memory of one sample."""

    def __init__(self) -> None:
        self._count = 0
        self._mean: Float64 | None = None
        self._squares = np.zeros(2)

    def add(self, predicted: Array, truth: Array) -> None:
        """Take in one sample, (V, 3) mm on both sides."""
        both = np.stack(_pair(predicted, truth))
        both -= both.mean(-2, keepdims=True)
        if self._mean is None:
            self._mean = np.zeros_like(both)
        self._count += 1
        # Welford's running variance: the plain sum of squares would cancel.
        step = both - self._mean
        self._mean = self._mean + step / self._count
        self._squares = self._squares + (step * (both - self._mean)).sum((-2, -1))

    def ratio(self) -> float:
        """Return the ratio; NaN below two samples or for a truth that never changes."""
        predicted, truth = self._squares
        if self._count < 2 or not truth > 0:
            return float("nan")
        return float(predicted / truth)


def spread_ratio(predicted: Array, truth: Array) -> float:
    """Return how much predictions vary over a set, as a share of how much the truth varies.

    The variance over the samples, summed over vertices and axes, after each sample is moved to
    its own centroid: a network that finds where the hand is and answers the mean hand there does
    not pass for one that sees poses. 1 is right, 0 a constant.

    Parameters
    ----------
    predicted, truth
        (S, V, 3) mm, S >= 2.
    """
    spread = Spread()
    for ours, theirs in zip(predicted, truth, strict=True):
        spread.add(ours, theirs)
    return spread.ratio()


# --- fingers --------------------------------------------------------------------------------------


def finger_labels(vertices: Array, joints: Array) -> NDArray[np.int8]:
    """Label each vertex with the finger whose bones are nearest; see `FINGERS`.

    Parameters
    ----------
    vertices
        (V, 3), best of a hand with spread fingers such as an atlas's template.
    joints
        (21, 3) in FreiHAND's order, same unit: wrist, then thumb, index, middle, ring and little
        finger, each from the palm to the tip. The thumb's metacarpal is thumb, the others palm.

    Returns
    -------
    ndarray
        (V,) int8, indices into `FINGERS`.
    """
    knuckles = list(_FIRST_JOINT.values())
    bones = [("palm", 0, knuckle) for knuckle in knuckles]
    bones += [("palm", a, b) for a, b in pairwise(knuckles[1:])]
    bones += [(f, j, j + 1) for f, first in _FIRST_JOINT.items() for j in range(first, first + 3)]
    points, ends = np.asarray(vertices, np.float64), np.asarray(joints, np.float64)
    gaps = np.stack([_to_segment(points, ends[a], ends[b]) for _, a, b in bones])
    owner = np.array([FINGERS.index(finger) for finger, _, _ in bones], np.int8)
    return np.asarray(owner[gaps.argmin(0)])


def finger_groups(labels: Array) -> dict[str, NDArray[np.intp]]:
    """Return the vertex indices of each finger that has any, in the order of `FINGERS`."""
    groups = {finger: np.flatnonzero(labels == number) for number, finger in enumerate(FINGERS)}
    return {finger: indices for finger, indices in groups.items() if indices.size}


def _to_segment(points: Float64, start: Float64, end: Float64) -> Float64:
    along = end - start
    place = np.clip((points - start) @ along / max(float(along @ along), 1e-12), 0.0, 1.0)
    return np.asarray(np.linalg.norm(points - start - place[:, None] * along, axis=-1))


def _pair(first: Array, second: Array) -> tuple[Float64, Float64]:
    # No broadcasting: a metric of arrays whose shapes differ is a mistake upstream.
    a, b = _real(first), _real(second)
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: {a.shape} and {b.shape}")
    return a, b


def _real(values: Array) -> Float64:
    # Infinities become NaN, which arithmetic carries along without a warning.
    values = np.asarray(values, np.float64)
    return np.where(np.isfinite(values), values, np.nan)

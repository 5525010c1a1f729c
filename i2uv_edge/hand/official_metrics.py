"""What the evaluation code of FreiHAND and of HO-3D measures of one sample.

After `eval.py` of https://github.com/lmb-freiburg/freihand and of
https://github.com/shreyashampali/ho3d: distances of corresponding joints and vertices, and F-scores
at 5 and 15 mm, unaligned and after orthogonal Procrustes with scale, in which a mirrored hand
counts as aligned; HO-3D's besides after moving the wrists together and scaling the hand by one
bone. Points are millimetres, joints in FreiHAND's order. Their means over samples are the published
figures, as every sample has all points.

One difference: where the prediction's vertices are not the truth's, FreiHAND's code moves them by
the alignment of the joints but forgets to undo a normalisation; here the alignment is whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.hand import metrics

__all__ = ["THRESHOLDS_MM", "Hand", "OfficialScores", "align_root", "align_scale_shift", "score"]

Array = NDArray[Any]
Float64 = NDArray[np.float64]

THRESHOLDS_MM = (5.0, 15.0)
"""Of the F-scores."""

_WRIST, _MIDDLE_KNUCKLE = 0, 9  # joints 0 and 4 of HO-3D's order, whose distance is its scale


@dataclass(frozen=True)
class Hand:
    """(V, 3) vertices and (21, 3) joints, mm; None where they are not known."""

    vertices: Array | None
    joints: Array | None


@dataclass(frozen=True)
class OfficialScores:
    """Of one sample.

    Attributes
    ----------
    distances : (N,) mm by what they are of: "mpjpe", "mpvpe", and with the prefixes "pa_"
        (Procrustes), "st_" (scale and shift) and "root_" (wrists together)
    f_scores : 0..1: "f5", "f15", "pa_f5", "pa_f15"
    """

    distances: Mapping[str, Float64]
    f_scores: Mapping[str, float]


def score(predicted: Hand, truth: Hand) -> OfficialScores:
    """Measure what both sides know; F-scores need vertices, though not corresponding ones."""
    distances: dict[str, Float64] = {}
    moves: metrics.Similarity | None = None
    if predicted.joints is not None and truth.joints is not None:
        ours, theirs = predicted.joints, truth.joints
        moves = metrics.procrustes(ours, theirs, reflection=True)
        distances["mpjpe"] = metrics.distances(ours, theirs)
        distances["pa_mpjpe"] = metrics.distances(moves.apply(ours), theirs)
        distances["st_mpjpe"] = metrics.distances(align_scale_shift(ours, theirs), theirs)
        distances["root_mpjpe"] = metrics.distances(align_root(ours, ours, theirs), theirs)
    if predicted.vertices is None or truth.vertices is None:
        return OfficialScores(distances, {})
    points, target = predicted.vertices, truth.vertices
    if points.shape == target.shape:
        moves = metrics.procrustes(points, target, reflection=True)
        distances["mpvpe"] = metrics.distances(points, target)
        distances["pa_mpvpe"] = metrics.distances(moves.apply(points), target)
        if predicted.joints is not None and truth.joints is not None:
            rooted = align_root(points, predicted.joints, truth.joints)
            distances["root_mpvpe"] = metrics.distances(rooted, target)
    raw = metrics.f_scores(points, target, THRESHOLDS_MM)
    f_scores = {
        f"f{limit:.0f}": float(value) for limit, value in zip(THRESHOLDS_MM, raw, strict=True)
    }
    if moves is not None:
        aligned = metrics.f_scores(moves.apply(points), target, THRESHOLDS_MM)
        for limit, value in zip(THRESHOLDS_MM, aligned, strict=True):
            f_scores[f"pa_f{limit:.0f}"] = float(value)
    return OfficialScores(distances, f_scores)


def align_scale_shift(predicted: Array, truth: Array) -> Float64:
    """HO-3D's alignment of (21, 3) joints: wrists together, wrist to middle knuckle as long."""
    relative = np.asarray(predicted, np.float64) - predicted[_WRIST]
    length = np.linalg.norm(relative[_MIDDLE_KNUCKLE])
    wanted = np.linalg.norm(np.asarray(truth, np.float64)[_MIDDLE_KNUCKLE] - truth[_WRIST])
    # A hand without a size stays without one, as there.
    scale = wanted / length if length > 0 else wanted
    return np.asarray(relative * scale + truth[_WRIST])


def align_root(points: Array, predicted: Array, truth: Array) -> Float64:
    """Move (N, 3) points so that the predicted wrist lies at the true one."""
    return np.asarray(np.asarray(points, np.float64) - predicted[_WRIST] + truth[_WRIST])

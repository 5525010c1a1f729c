"""What an SRNet adds: its fine hand against that of its input, upsampled bilinearly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.hand import metrics
from i2uv_edge.scores import Measurement

__all__ = ["GAINS", "bilinear_scores", "gains", "upsampled"]

Array = NDArray[Any]
Float32 = NDArray[np.float32]

_PREFIX = "bilinear_"
GAINS = {"vertex_gain_percent": "vertex_mean_mm", "normal_gain_percent": "normal_deg"}
"""By how much the mean of an error over the set is lower than that of bilinear upsampling."""


def upsampled(maps: Float32, size: int) -> Float32:
    """Enlarge (..., m, m, 3) maps to (..., size, size, 3), corners on corners.

    As an atlas places texture coordinates at every size, see `i2uv_edge.hand.atlas`.
    """
    made = np.asarray(maps, np.float32)
    for axis in (-3, -2):
        last = made.shape[axis] - 1
        place = np.linspace(0, last, size)
        low = np.minimum(place.astype(np.intp), max(last - 1, 0))
        share = np.moveaxis(np.asarray(place - low, np.float32).reshape(-1, 1, 1), 0, axis)
        first, second = made.take(low, axis), made.take(np.minimum(low + 1, last), axis)
        made = first * (1 - share) + second * share
    return np.asarray(made, np.float32)


def bilinear_scores(predicted: Array, truth: Array, faces: Array) -> dict[str, float]:
    """Score (V, 3) mm read from an upsampled map, by the names that go beside the SRNet's own."""
    angles = metrics.normal_angles_deg(predicted, truth, faces)
    return {
        f"{_PREFIX}vertex_mean_mm": float(metrics.mpvpe(predicted, truth)),
        f"{_PREFIX}normal_deg": float(angles.mean()),
    }


def gains(rows: Sequence[Measurement]) -> list[Measurement]:
    """Return the `GAINS` of one candidate at one stage, none where nothing was upsampled."""
    values: Mapping[str, float] = {row.metric: row.value for row in rows}
    found = []
    for gain, metric in GAINS.items():
        if _PREFIX + metric not in values:
            continue
        start = values[_PREFIX + metric]
        percent = 100.0 * (1.0 - values[metric] / start) if start > 0 else float("nan")
        row = rows[0]
        found.append(Measurement(row.reference, row.candidate, row.stage, gain, percent))
    return found

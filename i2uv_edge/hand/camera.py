"""Between a camera's view of a hand and what a UV position map holds.

A map unit is a side of the square crop around the hand: x right, y down, z away in the same unit.
How far away the hand is and how large is not in a map; both come back with the length of a map unit
and the camera (`from_map_units`). A pixel is a square, its centre at half-integers, as in
`data.pictures`.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CONVENTIONS",
    "Convention",
    "Square",
    "bounding_square",
    "from_map_units",
    "project",
    "to_map_units",
]

Array = NDArray[Any]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

Square = tuple[float, float, float]
"""Left edge, top edge and side of a square of a picture, pixels."""

Convention = Literal["projected", "published"]
"""How a hand is put into a map.

"projected", as rendered hands are: x and y are where the camera sees the point, a map unit is a
side of the crop at the mean depth of the vertices, and z is 0.5 there.

"published", as in the archive of I2UV-HandNet's authors: the hand without perspective, scaled and
shifted so that its bounding box keeps its left, its top and its width; z is 0 at the nearest point.
Over rendered hands half a metre to a metre away, a vertex then lies 6 pixels (of 256) from where it
is seen, and affine connections fetch by these coordinates.
"""

CONVENTIONS: tuple[Convention, ...] = get_args(Convention)

_ROUNDS = 60  # of a fixed point that gains about a digit a round


def project(points: Array, intrinsics: Array) -> Float64:
    """Return where a camera sees points.

    Parameters
    ----------
    points
        (..., N, 3) metres in camera axes, x right, y down, z away.
    intrinsics
        (3, 3) pixels.

    Returns
    -------
    ndarray
        (..., N, 2) pixels.

    Raises
    ------
    ValueError
        A point is not in front of the camera.
    """
    seen = np.asarray(points, np.float64) @ np.asarray(intrinsics, np.float64).T
    if not (seen[..., 2] > 0).all():
        raise ValueError("a point is not in front of the camera")
    return np.asarray(seen[..., :2] / seen[..., 2:])


def bounding_square(pixels: Array, margin: float = 1.0) -> Square:
    """Return the square around (N, 2) pixels, `margin` times the longer side of what they span."""
    low, high = np.min(pixels, 0), np.max(pixels, 0)
    side = float((high - low).max()) * margin
    left, top = (low + high) / 2 - side / 2
    return float(left), float(top), side


def to_map_units(
    vertices: Array, intrinsics: Array, crop: Square, *, convention: Convention = "projected"
) -> tuple[Float32, float]:
    """Put a hand into the frame of a map.

    Parameters
    ----------
    vertices
        (V, 3) metres in camera axes.
    intrinsics
        (3, 3) of the picture that `crop` is a part of, pixels.
    crop
        What the network sees of the picture.
    convention
        How the hand is placed.

    Returns
    -------
    tuple
        (V, 3) float32 map units, and how many millimetres one of them is.

    Raises
    ------
    ValueError
        A vertex is not in front of the camera, or all of them are seen in one place.
    """
    points = np.asarray(vertices, np.float64)
    left, top, side = crop
    seen, depth = project(points, intrinsics), points[:, 2]
    if convention == "projected":
        unit = side * float(depth.mean()) / _focal(intrinsics)
        mapped = np.column_stack([(seen - (left, top)) / side, 0.5 + (depth - depth.mean()) / unit])
        return mapped.astype(np.float32), 1000.0 * unit
    unit = side / _pixels_a_metre(points, seen)
    flat = (points[:, :2] - points[:, :2].min(0)) / unit + (seen.min(0) - (left, top)) / side
    mapped = np.column_stack([flat, (depth - depth.min()) / unit])
    return mapped.astype(np.float32), 1000.0 * unit


def from_map_units(
    points: Array,
    unit_mm: float,
    intrinsics: Array,
    crop: Square,
    *,
    convention: Convention = "projected",
) -> Float64:
    """Put a hand back before the camera, the inverse of `to_map_units`.

    Parameters
    ----------
    points
        (V, 3) map units, wherever their z starts.
    unit_mm
        How many millimetres one of them is.
    intrinsics, crop, convention
        As for `to_map_units`.

    Returns
    -------
    ndarray
        (V, 3) metres in camera axes; NaN where a point is not finite, or if there is no place
        before the camera where the hand would look like this.
    """
    mapped = np.asarray(points, np.float64)
    left, top, side = crop
    unit = unit_mm / 1000.0
    if not (np.isfinite(mapped).all() and np.isfinite(unit) and unit > 0):
        return np.full(mapped.shape, np.nan)
    seen = mapped[:, :2] * side + (left, top)
    camera = np.asarray(intrinsics, np.float64)
    away = _focal(camera) * unit / side
    depth = (mapped[:, 2] - mapped[:, 2].mean()) * unit
    if convention == "projected":
        rays = np.column_stack([seen, np.ones(len(seen))]) @ np.linalg.inv(camera).T
        placed = rays * (away + depth)[:, None]
        return placed if placed[:, 2].min() > 0 else np.full(mapped.shape, np.nan)
    hand = np.column_stack([(mapped[:, :2] - mapped[:, :2].mean(0)) * unit, depth])
    return _placed(hand, away, camera, seen.min(0), side / unit)


def _placed(hand: Float64, away: float, camera: Float64, corner: Float64, wanted: float) -> Float64:
    """Move a hand to where its bounding box has that corner and that many pixels a metre."""
    place = np.array([0.0, 0.0, away])
    for _ in range(_ROUNDS):
        moved = hand + place
        if moved[:, 2].min() <= 0:
            return np.full(hand.shape, np.nan)
        seen = project(moved, camera)
        place[:2] += (corner - seen.min(0)) * place[2] / camera[[0, 1], [0, 1]]
        place[2] *= _pixels_a_metre(moved, seen) / wanted
    return np.asarray(hand + place)


def _focal(intrinsics: Array) -> float:
    return float(intrinsics[0, 0] + intrinsics[1, 1]) / 2


def _pixels_a_metre(points: Float64, seen: Float64) -> float:
    extent, width = float(np.ptp(points[:, 0])), float(np.ptp(seen[:, 0]))
    if not (extent > 0 and width > 0):
        raise ValueError("all points are seen in one place")
    return width / extent

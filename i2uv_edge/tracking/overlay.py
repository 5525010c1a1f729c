"""The mesh drawn over the picture that it was read from."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from i2uv_edge.hand.layer import draw_layer, normals_of

__all__ = ["CLAY", "draw_joints", "lay_over"]

Array = NDArray[Any]
Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]

CLAY = (0.62, 0.74, 0.88)  # a blue that no skin has
OPACITY = 0.8
# Far outside the picture; beyond, a coordinate would not fit the renderer's integers.
FURTHEST = 1e6

# Towards the lights, and how strong each is: from the left above, a weaker one from the right.
_LIGHTS = np.array([[-0.45, -0.6, -0.66, 0.72], [0.7, 0.1, -0.7, 0.2]], np.float32)
_AMBIENT = 0.3
_GLOSS, _SHININESS = 0.18, 24

FINGER_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167))
"""RGB, thumb to little finger: of Okabe and Ito, which the colour-blind can tell apart too."""


def lay_over(
    picture: UInt8,
    pixels: Array,
    faces: NDArray[np.int32],
    *,
    colours: Array | None = None,
    opacity: float = OPACITY,
    samples: int = 1,
) -> None:
    """Draw a mesh over a picture, in place.

    Parameters
    ----------
    picture
        (H, W, 3) uint8 RGB.
    pixels
        (V, 3) finite: x right and y down in pixels of the picture, z away in as many.
    faces
        (F, 3) counter-clockwise seen from outside.
    colours
        (V, 3) RGB 0..1 that are to be read off a scale, and so hardly shaded; without, clay.
    opacity
        How much the mesh hides of the picture, 0..1.
    samples
        Drawn for each pixel, along a side. One is fast, and its edges are softened instead.
    """
    height, width = picture.shape[:2]
    drawn = np.clip(pixels, -FURTHEST, FURTHEST).astype(np.float32)
    columns = np.ascontiguousarray(drawn[:, :2].T)  # ten times as fast as down the columns
    left, top = (max(int(value) - 2, 0) for value in columns.min(1))
    right, bottom = (
        min(int(value) + 2, size)
        for value, size in zip(columns.max(1), (width, height), strict=True)
    )
    if left >= right or top >= bottom:
        return
    shaded = _shaded(normals_of(drawn, faces), colours)
    drawn[:, :2] -= np.array([left, top], np.float32)
    size = max(right - left, bottom - top)
    labels = np.ones(len(faces), np.uint8)
    layer, _ = draw_layer(drawn, faces, shaded, labels, size, samples)
    layer = layer[: bottom - top, : right - left]
    if samples == 1:
        # Shading is smooth, so this takes nothing from it but the stairs along its edges.
        layer = np.asarray(cv2.GaussianBlur(layer, (3, 3), 0), np.float32)
    _blend(picture[top:bottom, left:right], layer, np.float32(opacity))


def draw_joints(picture: UInt8, joints: Array) -> None:
    """Draw the bones between (21, 2 or more) pixels over a picture, in place; nothing if none."""
    if len(joints) != len(FINGER_COLOURS) * 4 + 1:
        return
    # Sixteenths of a pixel, as OpenCV takes them; far outside they would not fit its integers.
    furthest = 4.0 * max(picture.shape)
    points = np.rint(np.clip(joints[:, :2], -furthest, furthest) * 16).astype(int)
    thick = max(1, round(min(picture.shape[:2]) / 160))
    for finger, colour in enumerate(FINGER_COLOURS):
        chain = [0, *range(1 + 4 * finger, 5 + 4 * finger)]
        for first, second in pairwise(chain):
            ends = tuple(points[first].tolist()), tuple(points[second].tolist())
            cv2.line(picture, *ends, colour, thick, cv2.LINE_AA, shift=4)
        for joint in chain[1:]:
            where = points[joint].tolist()
            cv2.circle(picture, where, 24 * thick, colour, -1, cv2.LINE_AA, shift=4)


def _shaded(normals: Float32, colours: Array | None) -> Float32:
    """(V, 3) RGB as seen."""
    if colours is not None:
        # A little darker where it turns away: the shape shows, and a colour is still found again.
        facing = np.clip(-normals[:, 2:], 0, 1)
        return np.ascontiguousarray(colours * (0.75 + 0.25 * facing), np.float32)
    towards, strength = _LIGHTS[:, :3], _LIGHTS[:, 3]
    towards = towards / np.linalg.norm(towards, axis=1, keepdims=True)
    light = _AMBIENT + np.clip(normals @ towards.T, 0, 1) @ strength
    half = towards[0] + (0.0, 0.0, -1.0)
    shine = np.clip(normals @ (half / np.linalg.norm(half)), 0, 1) ** _SHININESS
    seen = light[:, None] * np.array(CLAY, np.float32) + _GLOSS * shine[:, None]
    return np.ascontiguousarray(np.clip(seen, 0, 1), np.float32)


@numba.njit(cache=True)
def _blend(window: UInt8, layer: Float32, opacity: np.float32) -> None:
    """Lay (H, W, 4) premultiplied RGB 0..1 and cover over (H, W, 3) bytes, in place."""
    scale = np.float32(255) * opacity
    for row in range(window.shape[0]):
        for column in range(window.shape[1]):
            cover = layer[row, column, 3]
            if cover > 0.0:
                past = np.float32(1) - opacity * cover
                for c in range(3):
                    value = past * window[row, column, c] + scale * layer[row, column, c]
                    window[row, column, c] = np.uint8(value + np.float32(0.5))

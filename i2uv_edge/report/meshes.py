"""Meshes drawn for the page: over the picture they were read from, and turned to both sides."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from i2uv_edge.hand.renderer import Lights, draw
from i2uv_edge.tally import SurfaceAtlas

__all__ = ["CLAY", "enlarged", "hand_sides", "mesh_over"]

Array = NDArray[Any]
Picture = NDArray[np.uint8]
Float32 = NDArray[np.float32]

CLAY = (0.80, 0.79, 0.77)  # an RGB that no error has on the colour ramp
SUPERSAMPLING = 2
# Far outside the picture; beyond, a coordinate in pixels would not fit the renderer's integers.
FURTHEST = 1e3

_CAMERA_LIGHT = Lights(
    directions=np.array([[-0.45, -0.6, -0.66], [0.7, 0.1, -0.7]], np.float32),
    colours=np.array([[0.62, 0.62, 0.62], [0.2, 0.2, 0.2]], np.float32),
    ambient=0.3,
    gloss=0.05,
    shininess=18.0,
)
# Flat enough that a colour can be found again on the scale beside it.
_FLAT_LIGHT = Lights(
    directions=np.array([[-0.3, -0.4, -0.87]], np.float32),
    colours=np.array([[0.3, 0.3, 0.3]], np.float32),
    ambient=0.72,
    gloss=0.0,
    shininess=1.0,
)


def enlarged(picture: Picture, side: int) -> Picture:
    """(S, S, 3) -> (side, side, 3)."""
    method = cv2.INTER_AREA if side < len(picture) else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (side, side), interpolation=method), np.uint8)


def mesh_over(
    picture: Picture, vertices: Array, faces: Array, colours: Array | None = None
) -> Picture | None:
    """Draw a mesh over the crop it was predicted from.

    Parameters
    ----------
    picture
        (S, S, 3) RGB.
    vertices
        (V, 3) map units: x right and y down in crop sides, z away from the camera.
    faces
        (F, 3).
    colours
        (V, 3) RGB 0..1 to be read off a scale; without, plain clay.

    Returns
    -------
    ndarray or None
        (S, S, 3); None if a vertex is not finite.
    """
    if not np.isfinite(vertices).all():
        return None
    side = len(picture) * SUPERSAMPLING
    light = _CAMERA_LIGHT if colours is None else _FLAT_LIGHT
    own = np.full((len(vertices), 3), CLAY) if colours is None else colours
    image = np.asarray(enlarged(picture, side), np.float32) / np.float32(255)
    if colours is not None:
        grey = image.mean(-1, keepdims=True) * 0.5 + 0.25  # so that only errors are in colour
        image = np.repeat(grey, 3, -1).astype(np.float32)
    drawn = np.clip(vertices, -FURTHEST, FURTHEST) * side
    draw(image, _float32(drawn), _int32(faces), _float32(own), light)
    return enlarged(np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8), len(picture))


def hand_sides(atlas: SurfaceAtlas, colours: Array, side: int) -> dict[str, Picture]:
    """Draw the template from the palm and from the back, fingers up, a colour for each vertex.

    Returns
    -------
    dict
        "palm" and "back" -> (side, side, 4) RGBA; empty where a colour is not finite, or where the
        atlas knows no joints, which say what is up.
    """
    if len(atlas.joint_regressor) != 21 or not np.isfinite(colours).all():
        return {}
    template = np.asarray(atlas.template, np.float64)
    joints = np.asarray(atlas.joint_regressor, np.float64) @ template
    pixels = side * SUPERSAMPLING
    pictures = {}
    for name, turned in zip(("palm", "back"), _both_sides(template, joints), strict=True):
        low, high = turned[:, :2].min(0), turned[:, :2].max(0)
        middle = np.append((low + high) / 2, turned[:, 2].mean())
        placed = (turned - middle) * (0.96 * pixels / (high - low).max())
        placed[:, :2] += pixels / 2
        image = np.zeros((pixels, pixels, 4), np.float32)
        drawn = np.zeros((pixels, pixels, 3), np.float32)
        depth = draw(drawn, _float32(placed), _int32(atlas.faces), _float32(colours), _FLAT_LIGHT)
        image[..., 3] = np.isfinite(depth)
        image[..., :3] = np.clip(drawn, 0, 1)
        # Colours times coverage are averaged, and divided by it again: no dark rim.
        small = np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA))
        colour = small[..., :3] / np.maximum(small[..., 3:], 1e-3)
        whole = np.concatenate([colour, small[..., 3:]], axis=-1)
        pictures[name] = np.rint(np.clip(whole, 0, 1) * 255).astype(np.uint8)
    return pictures


def _both_sides(points: Array, joints: Array) -> tuple[Array, Array]:
    """(V, 3) turned, not mirrored, to x right, y down, z away: fingers up, seen from both sides.

    Of a right hand with its fingers up, the thumb is on the right where the palm is seen.
    """
    wrist, thumb, middle = joints[0], joints[4], joints[12]
    down = (wrist - middle) / np.linalg.norm(wrist - middle)
    right = thumb - wrist
    right = right - (right @ down) * down
    right = right / np.linalg.norm(right)
    away = np.cross(right, down)
    palm = (points - wrist) @ np.stack([right, down, away], 1)
    return palm, palm * np.array([-1.0, 1.0, -1.0])


def _float32(values: Array) -> Float32:
    return np.ascontiguousarray(values, np.float32)


def _int32(values: Array) -> NDArray[np.int32]:
    return np.ascontiguousarray(values, np.int32)

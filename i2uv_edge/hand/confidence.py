"""How far to trust a map, judged by the map alone.

A hand is cut open to be laid flat, so along a seam each vertex lies on two charts, and a network
answers for it twice without being told that the two are one. Where it knows what it sees, the
answers agree.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.hand.model import FloatArray, IntArray

__all__ = ["seam_disagreement_mm"]


def seam_disagreement_mm(atlas: Atlas, uv_map: NDArray[Any]) -> NDArray[np.float64]:
    """Return how far apart the two places are that a map gives the vertices of the seams.

    The mean over the seams. The texels nearest to a vertex on its two charts lie up to half a texel
    beside it, so what they would be apart in the map of the hand that was read, 2 mm in a map of
    64, is taken away first: the map of any hand whatever gets 0. Millimetres are those of a hand as
    large as the template, by the mean length of the mesh's edges, which hardly changes with the
    pose; no truth is needed.

    Parameters
    ----------
    atlas
        Of the map.
    uv_map
        (..., M, M, 3) map units.

    Returns
    -------
    ndarray
        (...) mm; NaN where the map is not finite, where it holds no hand at all, or where the atlas
        has no seams.
    """
    uv_map = np.ascontiguousarray(uv_map, np.float32)
    if not len(atlas.seams):
        return np.full(uv_map.shape[:-3], np.nan)
    maps = uv_map.reshape(-1, atlas.size**2, 3)
    with np.errstate(invalid="ignore", over="ignore"):
        vertices = atlas.read_vertices(uv_map).reshape(len(maps), -1, 3)
    found = np.empty(len(maps))
    whole = _edge_length(atlas.template, atlas.faces)
    for number, (texels, hand) in enumerate(zip(maps, vertices, strict=True)):
        apart = _apart(texels, hand, atlas.seams, *atlas.seam_corners)
        length = _edge_length(hand, atlas.faces) / whole
        # Units a metre; at a kilometre across the crop what is left is rounding.
        usable = np.isfinite(apart) and np.isfinite(length) and length > 1e-3
        found[number] = 1000.0 * apart / length if usable else np.nan
    return found.reshape(uv_map.shape[:-3])


@numba.njit(cache=True)
def _apart(
    texels: FloatArray,
    vertices: FloatArray,
    seams: IntArray,
    corners: IntArray,
    shares: FloatArray,
) -> float:
    """The mean over the seams of how far apart their two texels are beside the hand's surface.

    What is beside it: the map less that of the hand that was read from it.
    """
    total = 0.0
    for seam in range(len(seams)):
        square = 0.0
        for axis in range(3):
            beside = texels[seams[seam, 0], axis] - texels[seams[seam, 1], axis]
            for corner in range(3):
                beside -= shares[seam, 0, corner] * vertices[corners[seam, 0, corner], axis]
                beside += shares[seam, 1, corner] * vertices[corners[seam, 1, corner], axis]
            square += float(beside) ** 2
        total += np.sqrt(square)
    return total / len(seams)


@numba.njit(cache=True)
def _edge_length(vertices: FloatArray, faces: IntArray) -> float:
    """The mean over the sides of all faces of (V, 3) vertices."""
    total = 0.0
    for face in range(len(faces)):
        for side in range(3):
            first, second = faces[face, side], faces[face, (side + 1) % 3]
            square = 0.0
            for axis in range(3):
                square += float(vertices[first, axis] - vertices[second, axis]) ** 2
            total += np.sqrt(square)
    return total / (3 * len(faces))

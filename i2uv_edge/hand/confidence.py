"""How far to trust a map, judged by the map alone.

A hand is cut open to be laid flat, so along a seam each vertex lies on two charts, and a network
answers for it twice without being told that the two are one. Where it knows what it sees, the
answers agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.hand.atlas import Atlas

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
    uv_map = np.asarray(uv_map, np.float32)
    if not len(atlas.seams):
        return np.full(uv_map.shape[:-3], np.nan)
    with np.errstate(invalid="ignore", over="ignore"):
        vertices = atlas.read_vertices(uv_map)
        # What is not of a hand: the map less that of the hand which was read from it.
        beside = uv_map - atlas.rasterise(vertices)
        flat = beside.reshape(*uv_map.shape[:-3], atlas.size**2, 3)
        first, second = (flat[..., atlas.seams[:, side], :] for side in (0, 1))
        apart = np.linalg.norm((first - second).astype(np.float64), axis=-1).mean(-1)
        length = _edge_length(vertices, atlas) / _edge_length(atlas.template, atlas)
        # Units a metre; at a kilometre across the crop what is left is rounding.
        usable = np.isfinite(apart) & np.isfinite(length) & (length > 1e-3)
    return np.where(usable, 1000.0 * apart / np.where(usable, length, 1.0), np.nan)


def _edge_length(vertices: NDArray[Any], atlas: Atlas) -> NDArray[np.float64]:
    """(..., V, 3) -> (...) the mean over the sides of all faces."""
    corners = np.asarray(vertices, np.float64)[..., atlas.faces, :]
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=-2), axis=-1)
    return np.asarray(sides.mean((-2, -1)), np.float64)

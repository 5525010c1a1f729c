"""Reading vertices from a UV position map: the best K texels of each vertex and their weights.

Bilinear interpolation of a small map loses what a vertex between texels needs and breaks at chart
borders. Instead each vertex is estimated from K texels as in kriging (best linear unbiased
estimation): vertex positions are taken for a smooth random field over the surface, whose covariance
falls with distance along the mesh; texels are known linear mixtures of vertices. Nothing but the
mesh is needed, so any user's mesh gets the same quality.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.hand.model import FloatArray, IntArray

TAPS = 8  # texels a vertex is read from
CANDIDATES = 4 * TAPS  # the nearest in space, from which the taps are chosen
REACH = 2.5  # length scale of the covariance, in mean edge lengths
NUGGET = 3e-3  # variance of a texel's own error against the field's: averages noise, bounds weights
DRIFT = 30.0  # prior variance of the field's constant and linear part


def fit(
    vertices: FloatArray,
    faces: IntArray,
    texel_vertices: IntArray,
    texel_barycentrics: FloatArray,
) -> tuple[IntArray, FloatArray]:
    """Choose and weigh texels.

    Parameters
    ----------
    vertices : (V, 3) rest pose
    faces : (F, 3)
    texel_vertices, texel_barycentrics : (P, 3) the mixture each texel holds

    Returns
    -------
    (V, K) int32 rows of the texel arrays, (V, K) float32 weights that sum to 1 in a row
    """
    covariance, unit = _covariance(vertices, faces)
    chosen = _nearest_texels(vertices, covariance, texel_vertices, texel_barycentrics)
    position = (vertices / unit).astype(np.float64)
    weights = np.empty(chosen.shape, np.float64)
    for start in range(0, len(vertices), 256):  # bounds the (256, 3K, 3K) blocks
        block = np.arange(start, min(start + 256, len(vertices)))
        mixed = texel_vertices[chosen[block]].reshape(len(block), -1)
        mixing = texel_barycentrics[chosen[block]].astype(np.float64)
        local = position[mixed] - position[block][:, None]
        # The texels of one vertex lie on one small patch, where straight distance and distance
        # along the mesh agree; the straight one keeps the matrix positive definite.
        dot = local @ local.transpose(0, 2, 1)
        square = np.einsum("nia,nia->ni", local, local)
        apart = square[:, :, None] + square[:, None, :] - 2.0 * dot
        among = np.exp(-apart) + DRIFT * (1.0 + dot)
        towards = np.exp(-square) + DRIFT
        taps = chosen.shape[1]
        among = among.reshape(len(block), taps, 3, taps, 3)
        texel = np.einsum("nakbl,nak,nbl->nab", among, mixing, mixing)
        target = np.einsum("nak,nak->na", towards.reshape(len(block), taps, 3), mixing)
        texel += NUGGET * np.eye(taps)
        weights[block] = np.linalg.solve(texel, target[..., None])[..., 0]
    weights /= weights.sum(1, keepdims=True)
    return chosen, weights.astype(np.float32)


def _covariance(vertices: FloatArray, faces: IntArray) -> tuple[NDArray[np.float32], float]:
    """(V, V) covariance by distance along the mesh, and its length scale."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import dijkstra

    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1).astype(float)
    unit = float(length.mean()) * REACH
    graph = coo_matrix((length, (edges[:, 0], edges[:, 1])), shape=(len(vertices),) * 2)
    # Beyond three length scales the covariance is under 2e-4: not worth walking to.
    distance = dijkstra(graph.tocsr(), directed=False, limit=3.0 * unit)
    return np.exp(-((distance / unit) ** 2)).astype(np.float32), unit


def _nearest_texels(
    vertices: FloatArray,
    covariance: NDArray[np.float32],
    texel_vertices: IntArray,
    texel_barycentrics: FloatArray,
) -> IntArray:
    """(V, K) the texels most correlated with each vertex."""
    from scipy.spatial import cKDTree

    clipped = np.clip(texel_barycentrics, 0.0, 1.0)  # a ring texel counts from where it touches
    clipped = clipped / clipped.sum(1, keepdims=True)
    place = np.einsum("pk,pka->pa", clipped, vertices[texel_vertices])
    count = min(CANDIDATES, len(place))
    near = np.asarray(cKDTree(place).query(vertices, k=count)[1], np.int32).reshape(-1, count)
    rows = np.arange(len(vertices))[:, None, None]
    # Near in space is not near on the hand (fingers touch); the covariance knows.
    value = (covariance[rows, texel_vertices[near]] * clipped[near]).sum(-1)
    # Continuations are less true than surface: prefer the latter at equal distance.
    value *= np.where((texel_barycentrics[near] >= -1e-6).all(-1), 1.0, 0.97)
    order = np.argsort(-value, axis=1, kind="stable")[:, :TAPS]
    return np.take_along_axis(near, order, axis=1)

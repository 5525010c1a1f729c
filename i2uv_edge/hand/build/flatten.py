"""Flattening of disc-shaped charts: Tutte's embedding, then as-rigid-as-possible iterations."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
import scipy.sparse.linalg as sparse_linalg

from i2uv_edge.hand.build.skeleton import Floats, Ints
from i2uv_edge.hand.build.topology import boundary_loop, signed_areas, unique_edges


def flatten(vertices: Floats, faces: Ints, iterations: int = 400) -> Floats:
    """Flat positions (V, 2) in mm of a disc (V, 3), (F, 3), counter-clockwise like the surface.

    Raises
    ------
    ValueError
        If a triangle comes out flipped: the chart needs another cut.
    """
    flat = _tutte(vertices, faces)
    shape = _own_planes(vertices, faces)
    weights = _cotangents(shape)
    solve = _laplacian(len(vertices), faces, weights)
    for _ in range(iterations):
        target = _rotated(shape, flat[faces])
        flat = solve(_right_side(len(vertices), faces, weights, target))
    if (signed_areas(flat, faces) <= 0).any():
        raise ValueError(
            f"{int((signed_areas(flat, faces) <= 0).sum())} of {len(faces)} triangles are flipped"
        )
    return flat


def _tutte(vertices: Floats, faces: Ints) -> Floats:
    """Convex embedding: the boundary on a circle, every other vertex the mean of its neighbours."""
    loop = boundary_loop(faces)
    steps = np.linalg.norm(vertices[np.roll(loop, -1)] - vertices[loop], axis=1)
    angle = 2 * np.pi * np.concatenate([[0.0], np.cumsum(steps)[:-1]]) / steps.sum()
    radius = steps.sum() / (2 * np.pi)
    flat = np.zeros((len(vertices), 2))
    flat[loop] = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    inner = np.setdiff1d(np.arange(len(vertices)), loop)
    edges, _ = unique_edges(faces)
    links = sparse.coo_matrix((np.ones(len(edges)), edges.T), shape=(len(vertices),) * 2)
    links = (links + links.T).tocsr()
    laplacian = sparse.diags(np.asarray(links.sum(axis=1)).ravel()) - links
    right = -laplacian[inner][:, loop] @ flat[loop]
    flat[inner] = sparse_linalg.spsolve(laplacian[inner][:, inner].tocsc(), right)
    return flat


def _own_planes(vertices: Floats, faces: Ints) -> Floats:
    """(F, 3, 2) each triangle laid undistorted into a plane."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    first, second = b - a, c - a
    length = np.linalg.norm(first, axis=1)
    x = first / length[:, None]
    y = np.cross(np.cross(first, second), x)
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    shape = np.zeros((len(faces), 3, 2))
    shape[:, 1, 0] = length
    shape[:, 2, 0] = (second * x).sum(axis=1)
    shape[:, 2, 1] = (second * y).sum(axis=1)
    return shape


def _cotangents(shape: Floats) -> Floats:
    """(F, 3) half cotangent of the angle opposite edges (a, b), (b, c), (c, a), kept positive."""
    weights = np.empty(shape.shape[:2])
    for k in range(3):
        top = (k + 2) % 3
        p, q = shape[:, k] - shape[:, top], shape[:, (k + 1) % 3] - shape[:, top]
        area = np.abs(p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0])
        weights[:, k] = (p * q).sum(axis=1) / area / 2
    return np.maximum(weights, 0.05)


def _rotated(shape: Floats, flat: Floats) -> Floats:
    """Each triangle of `shape` (F, 3, 2) turned as well as it can be onto that of `flat`."""
    shape = shape - shape.mean(axis=1, keepdims=True)
    flat = flat - flat.mean(axis=1, keepdims=True)
    cross = np.einsum("fka,fkb->fab", shape, flat)
    angle = np.arctan2(cross[:, 0, 1] - cross[:, 1, 0], cross[:, 0, 0] + cross[:, 1, 1])
    cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y = shape[..., 0], shape[..., 1]
    return np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=-1)


def _laplacian(count: int, faces: Ints, weights: Floats) -> sparse_linalg.SuperLU.solve:
    rows, columns, values = [], [], []
    for k in range(3):
        i, j, w = faces[:, k], faces[:, (k + 1) % 3], weights[:, k]
        rows += [i, j, i, j]
        columns += [i, j, j, i]
        values += [w, w, -w, -w]
    matrix = sparse.coo_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (count, count)
    )
    # a chart may slide freely: hold it with a weight too small to deform it
    return sparse_linalg.splu((matrix + 1e-9 * sparse.eye(count)).tocsc()).solve


def _right_side(count: int, faces: Ints, weights: Floats, target: Floats) -> Floats:
    right = np.zeros((count, 2))
    for k in range(3):
        following = (k + 1) % 3
        pull = weights[:, k, None] * (target[:, k] - target[:, following])
        np.add.at(right, faces[:, k], pull)
        np.add.at(right, faces[:, following], -pull)
    return right

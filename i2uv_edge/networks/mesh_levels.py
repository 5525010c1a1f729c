"""A mesh at several resolutions: which vertices each has, how they neighbour, how they interpolate.

For training a graph network on a mesh of one's own; a published network brings its matrices along.
Coarser levels are vertices of the finer ones, chosen far from one another; two neighbour where the
finer vertices nearest to them do; and a finer vertex lies between the three coarser ones nearest to
it. Distances are straight, in the rest pose, where fingers are apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rows", "laplacians", "level_sizes", "rows_of", "upsamplings"]

Float64 = NDArray[np.float64]
Integers = NDArray[np.int64]

FACTORS = (1, 2, 2, 2)
"""By how many times each level has fewer vertices than the one before it."""
_TAPS = 3


@dataclass(frozen=True)
class Rows:
    """A sparse matrix as K weighted columns a row: (R, K) each; what is unused has weight 0."""

    index: Integers
    weight: Float64


def level_sizes(vertices: int) -> list[int]:
    """How many vertices each level has, the finest first."""
    sizes = [vertices]
    for factor in FACTORS:
        sizes.append(-(-sizes[-1] // factor))
    return sizes


def rows_of(matrix: NDArray[np.floating], taps: int) -> Rows:
    """A dense matrix by its rows.

    Raises
    ------
    ValueError
        A row has more than `taps` entries.
    """
    counts = (matrix != 0).sum(1)
    if counts.max(initial=0) > taps:
        raise ValueError(f"a row has {counts.max()} entries, {taps} taps are asked for")
    order = np.argsort(matrix == 0, axis=1, kind="stable")[:, :taps]
    weight = np.take_along_axis(matrix, order, 1).astype(np.float64)
    missing = taps - order.shape[1]
    return Rows(
        np.pad(order, ((0, 0), (0, missing))).astype(np.int64),
        np.pad(weight, ((0, 0), (0, missing))),
    )


def laplacians(vertices: Float64, faces: NDArray[np.integer]) -> list[Float64]:
    """Dense L = I - D^-1/2 W D^-1/2 of every level; W counts the faces at an edge."""
    found = []
    chosen = _chosen(vertices)
    adjacency = np.zeros((len(vertices), len(vertices)))
    for first, second in ((0, 1), (1, 2), (2, 0)):
        np.add.at(adjacency, (faces[:, first], faces[:, second]), 1.0)
        np.add.at(adjacency, (faces[:, second], faces[:, first]), 1.0)
    for level, points in enumerate(chosen):
        if len(points) < len(adjacency):
            nearest = _apart(chosen[level - 1], points).argmin(1)
            rows, columns = np.nonzero(adjacency)
            adjacency = np.zeros((len(points), len(points)))
            adjacency[nearest[rows], nearest[columns]] = 1.0
            np.fill_diagonal(adjacency, 0.0)
        degree = np.maximum(adjacency.sum(1), 1e-12) ** -0.5
        found.append(np.eye(len(points)) - degree[:, None] * adjacency * degree)
    return found


def upsamplings(vertices: Float64) -> list[Float64]:
    """Dense (finer, coarser) matrices between neighbouring levels; rows sum to 1."""
    chosen = _chosen(vertices)
    found = []
    for finer, coarser in pairwise(chosen):
        apart = _apart(finer, coarser)
        nearest = np.argsort(apart, axis=1, kind="stable")[:, :_TAPS]
        share = 1.0 / (np.take_along_axis(apart, nearest, 1) + 1e-9)
        matrix = np.zeros(apart.shape)
        np.put_along_axis(matrix, nearest, share / share.sum(1, keepdims=True), 1)
        matrix[matrix < 1e-5] = 0.0
        found.append(matrix / matrix.sum(1, keepdims=True))
    return found


def _chosen(vertices: Float64) -> list[Float64]:
    """The vertices of every level, each the farthest from those before it."""
    sizes = level_sizes(len(vertices))
    order, apart = [0], np.linalg.norm(vertices - vertices[0], axis=1)
    while len(order) < sizes[2]:
        order.append(int(apart.argmax()))
        apart = np.minimum(apart, np.linalg.norm(vertices - vertices[order[-1]], axis=1))
    return [vertices if size == len(vertices) else vertices[order[:size]] for size in sizes]


def _apart(first: Float64, second: Float64) -> Float64:
    distances: Float64 = np.linalg.norm(first[:, None] - second[None], axis=-1)
    return distances

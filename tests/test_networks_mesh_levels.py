"""Coarser meshes and the matrices between them."""

from __future__ import annotations

import numpy as np
import pytest

from i2uv_edge.hand.model import HandModel
from i2uv_edge.networks.mesh_levels import laplacians, level_sizes, rows_of, upsamplings

MESH = HandModel.load().coarse
VERTICES = MESH.vertices.astype(np.float64)


def test_laplacians_are_symmetric_and_know_a_constant() -> None:
    for size, matrix in zip(level_sizes(900), laplacians(VERTICES, MESH.faces), strict=True):
        assert matrix.shape == (size, size)
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
        values = np.linalg.eigvalsh(matrix)
        assert values.min() == pytest.approx(0, abs=1e-9)  # degree^1/2 is in its kernel
        assert values.max() <= 2 + 1e-9


def test_edges_of_the_finest_level_are_the_meshs() -> None:
    matrix = laplacians(VERTICES, MESH.faces)[0]
    edge = MESH.faces[0, :2]
    assert matrix[edge[0], edge[1]] < 0
    assert np.count_nonzero(matrix) == 900 + 2 * len(
        np.unique(np.sort(MESH.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1), axis=0)
    )


def test_upsampling_takes_a_constant_to_itself_and_stays_near() -> None:
    coarse = None
    for matrix in reversed(upsamplings(VERTICES)):
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-9)
        assert (matrix != 0).sum(1).max() <= 3
        coarse = matrix if coarse is None else matrix @ coarse
    assert coarse is not None
    assert coarse.shape == (900, 113)


def test_rows_hold_what_the_matrix_holds() -> None:
    matrix = np.array([[0, 2.0, 0, 1], [0, 0, 0, 0], [3, 0, 0, 0]])
    rows = rows_of(matrix, 3)
    made = np.zeros_like(matrix)
    np.add.at(made, (np.arange(3)[:, None], rows.index), rows.weight)
    np.testing.assert_array_equal(made, matrix)
    with pytest.raises(ValueError, match="a row has 2 entries, 1 taps"):
        rows_of(matrix, 1)

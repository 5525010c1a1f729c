"""Reading vertices from texels: which ones, with what weights."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from i2uv_edge.hand import readout
from i2uv_edge.hand.atlas import Atlas

SIDE = 9


def sheet(height: float) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """A grid of SIDE x SIDE vertices, a centimetre apart, at z = `height`."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    vertices = np.stack([x * 0.01, y * 0.01, np.full(x.shape, height)], -1).reshape(-1, 3)
    corner = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]
    faces = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)]).reshape(-1, 3)
    return vertices.astype(np.float32), faces.astype(np.int32)


def flat_atlas(size: int) -> Atlas:
    vertices, faces = sheet(0.0)
    uv = (0.1 + 10 * vertices[:, :2]).astype(np.float32)
    return Atlas.of_arrays(vertices, faces, uv, faces, size)


@pytest.mark.parametrize("size", [8, 16, 64])
def test_weights_of_each_vertex_sum_to_one(size: int) -> None:
    np.testing.assert_allclose(flat_atlas(size).texel_weight.sum(1), 1.0, atol=1e-5)


@pytest.mark.parametrize("size", [16, 64])
def test_bent_sheet_is_read_back(size: int) -> None:
    atlas = flat_atlas(size)
    x, y = atlas.template[:, 0], atlas.template[:, 1]
    bent = np.stack([x, y, 0.02 * np.sin(x / 0.03) * np.cos(y / 0.04)], axis=-1)
    error = np.linalg.norm(atlas.read_vertices(atlas.rasterise(bent)) - bent, axis=-1)
    assert error.mean() < 1e-4
    assert np.ptp(bent[:, 2]) > 0.02  # what a readout of the flat sheet would be off by


def test_noise_of_the_texels_is_averaged() -> None:
    atlas = flat_atlas(64)
    noise = np.random.default_rng(0).normal(0, 1, (64, 64, 3)).astype(np.float32)
    assert atlas.read_vertices(noise).std() < 0.7


def test_taps_lie_on_the_vertex_s_own_sheet_where_two_sheets_touch() -> None:
    vertices, faces = sheet(0.0)
    count = len(vertices)
    both = np.concatenate([vertices, sheet(0.0005)[0]])  # half a millimetre apart
    every_face = np.concatenate([faces, faces + count])
    texel_vertices = np.repeat(np.arange(2 * count, dtype=np.int32)[:, None], 3, axis=1)
    mixtures = np.tile(np.array([1.0, 0.0, 0.0], np.float32), (2 * count, 1))
    chosen, _ = readout.fit(both, every_face, texel_vertices, mixtures)
    same = (chosen < count) == (np.arange(2 * count)[:, None] < count)
    assert same.all()
    nearest = np.argsort(np.linalg.norm(both[:, None] - both[None], axis=-1), axis=1)[:, :8]
    assert not ((nearest < count) == (np.arange(2 * count)[:, None] < count)).all()


def test_fewer_texels_than_taps_are_all_used() -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    faces = np.array([[0, 1, 2]], np.int32)
    chosen, weights = readout.fit(vertices, faces, np.repeat(faces, 3, 0), np.eye(3, dtype="f4"))
    assert chosen.shape == weights.shape == (3, 3)
    assert weights.argmax(1).tolist() == [list(row).index(v) for v, row in enumerate(chosen)]

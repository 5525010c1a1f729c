"""An atlas as tensors does what the atlas does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.hand.model import HandModel
from i2uv_edge.training.surface import Surface


@pytest.fixture(scope="module", params=["coarse", "fine"])
def atlas(request: pytest.FixtureRequest) -> Atlas:
    return Atlas.of_mesh(getattr(HandModel.load(), request.param), 64)


def test_it_fills_maps_and_reads_vertices_as_the_atlas_does(atlas: Atlas) -> None:
    surface = Surface(atlas)
    rng = np.random.default_rng(0)
    vertices = atlas.template + rng.normal(0, 0.01, (3, *atlas.template.shape))
    vertices = vertices.astype(np.float32)
    made = surface.rasterise(torch.from_numpy(vertices))
    wanted = atlas.rasterise(vertices, fill=True)
    np.testing.assert_array_equal(made.permute(0, 2, 3, 1).numpy(), wanted)
    read = surface.read_vertices(made).numpy()
    np.testing.assert_allclose(read, atlas.read_vertices(wanted), atol=1e-7)


def test_disagreement_is_between_the_texels_of_the_seams(atlas: Atlas) -> None:
    surface = Surface(atlas)
    numbered = torch.arange(3.0 * 64 * 64).reshape(1, 3, 64, 64)
    made = surface.disagreement(numbered)
    assert made.shape == (1, 3, len(atlas.seams))
    np.testing.assert_array_equal(made[0, 1], atlas.seams[:, 0] - atlas.seams[:, 1])


def test_nothing_of_it_is_saved(atlas: Atlas) -> None:
    assert not Surface(atlas).state_dict()

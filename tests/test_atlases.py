from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from model_toys import Toy

from i2uv_edge.atlases import ModelAtlases
from i2uv_edge.errors import InputError
from i2uv_edge.parity import Sample, Truth
from i2uv_edge.spec import NetworkSpec, Role, load_network


@pytest.fixture(scope="module")
def specs(toy: Toy) -> dict[Role, NetworkSpec]:
    return {"affinenet": load_network(toy.affinenet), "srnet": load_network(toy.srnet)}


@pytest.fixture(scope="module")
def atlases(specs: dict[Role, NetworkSpec]) -> ModelAtlases:
    return ModelAtlases.of_networks(specs)


def test_each_atlas_has_the_size_of_its_map(atlases: ModelAtlases) -> None:
    assert atlases.fine is not None
    assert (atlases.coarse.size, atlases.fine.size) == (16, 64)
    assert len(atlases.coarse.template) < len(atlases.fine.template)


def test_an_affinenet_alone_needs_no_fine_atlas(specs: dict[Role, NetworkSpec]) -> None:
    alone = ModelAtlases.of_networks({"affinenet": specs["affinenet"]})
    assert (alone.coarse.size, alone.fine) == (16, None)


def test_an_srnet_alone_takes_coarse_maps(specs: dict[Role, NetworkSpec]) -> None:
    alone = ModelAtlases.of_networks({"srnet": specs["srnet"]})
    assert alone.fine is not None
    assert (alone.coarse.size, alone.fine.size) == (16, 64)


@pytest.mark.parametrize("with_fine", [True, False])
def test_atlases_are_read_back_as_they_were_written(
    atlases: ModelAtlases, tmp_path: Path, with_fine: bool
) -> None:
    given = atlases if with_fine else ModelAtlases(atlases.coarse)
    given.write(tmp_path / "atlas.npz")
    found = ModelAtlases.read(tmp_path / "atlas.npz", with_fine=with_fine)
    assert (found.fine is not None) == with_fine
    for ours, theirs in ((found.coarse, given.coarse), (found.fine, given.fine)):
        if ours is not None and theirs is not None:
            for name, array in theirs.arrays().items():
                assert np.array_equal(ours.arrays()[name], array), name


def test_atlases_that_lack_an_array_are_refused(atlases: ModelAtlases, tmp_path: Path) -> None:
    ModelAtlases(atlases.coarse).write(tmp_path / "atlas.npz")
    with pytest.raises(InputError, match="affinenet_"):
        ModelAtlases.read(tmp_path / "atlas.npz", with_fine=True)


def test_a_true_map_reads_back_as_the_truth(atlases: ModelAtlases) -> None:
    vertices = atlases.coarse.template + np.float32(0.5)
    sample = Sample("a", np.zeros((4, 4, 3), np.float32), Truth(vertices, 200.0))
    uv_map = atlases.with_coarse_map(sample).affinenet_map
    assert uv_map is not None
    read = atlases.coarse.read_vertices(uv_map)
    assert np.linalg.norm(read - vertices, axis=-1).mean() < 0.004  # metres; 16 texels are coarse


def test_a_sample_without_truth_has_no_map(atlases: ModelAtlases) -> None:
    with pytest.raises(InputError, match="sample a has no ground truth"):
        atlases.with_coarse_map(Sample("a", np.zeros((4, 4, 3), np.float32)))

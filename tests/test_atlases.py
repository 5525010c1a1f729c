from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dataset_toys import strip, subdivided, write_meshes, write_obj
from model_toys import Toy

from i2uv_edge.atlases import ModelAtlases, meshes_of
from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.hand.mano import Mano
from i2uv_edge.parity import Sample, Truth
from i2uv_edge.spec import MeshesSpec, NetworkSpec, Role, load_network


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


# --- meshes of the user's own ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> MeshesSpec:
    coarse, fine, mano = write_meshes(tmp_path_factory.mktemp("meshes"))
    return MeshesSpec(str(coarse), str(fine), str(mano))


def test_the_maps_are_of_the_meshes_that_are_named(
    specs: dict[Role, NetworkSpec], meshes: MeshesSpec, atlases: ModelAtlases
) -> None:
    own = ModelAtlases.of_networks(specs, meshes)
    assert own.fine is not None
    assert (len(own.coarse.template), len(own.fine.template)) == (778, 2331)
    assert (own.coarse.size, own.fine.size) == (16, 64)
    assert not own.built_in
    assert atlases.built_in


def test_the_hand_model_gives_the_joints_of_both_meshes(
    specs: dict[Role, NetworkSpec], meshes: MeshesSpec
) -> None:
    own = ModelAtlases.of_networks(specs, meshes)
    assert own.fine is not None
    joints = own.coarse.joint_regressor @ own.coarse.template
    expected = Mano.load(Path(meshes.mano)).pose(np.zeros(48)).joints
    assert np.allclose(joints, expected, atol=1e-5)
    finer = own.fine.joint_regressor @ own.fine.template
    assert np.allclose(finer, joints[:, [1, 0, 2]] - (0, 0, 0.33), atol=1e-5)
    without = ModelAtlases.of_networks(specs, replace(meshes, mano=""))
    assert without.coarse.joint_regressor.shape == (0, 778)


def test_the_meshes_of_the_networks_are_used_if_the_model_names_none(
    specs: dict[Role, NetworkSpec], meshes: MeshesSpec
) -> None:
    named = {role: replace(spec, meshes=meshes) for role, spec in specs.items()}
    assert meshes_of(named) == meshes
    assert meshes_of(specs) is None
    assert len(ModelAtlases.of_networks(named).coarse.template) == 778
    one = {**specs, "affinenet": named["affinenet"]}
    assert meshes_of(one) == meshes
    other = replace(named["srnet"], meshes=replace(meshes, mano=""))
    with pytest.raises(UsageError, match="name different meshes"):
        ModelAtlases.of_networks({**named, "srnet": other})


def test_an_srnet_needs_a_fine_mesh(specs: dict[Role, NetworkSpec], meshes: MeshesSpec) -> None:
    coarse_alone = replace(meshes, fine="")
    with pytest.raises(UsageError, match="has no fine mesh beside it"):
        ModelAtlases.of_networks(specs, coarse_alone)
    assert ModelAtlases.of_networks({"affinenet": specs["affinenet"]}, coarse_alone).fine is None


def test_a_fine_mesh_of_something_else_is_refused(
    specs: dict[Role, NetworkSpec], meshes: MeshesSpec, tmp_path: Path
) -> None:
    points, faces, uv = subdivided(*strip())
    other = write_obj(tmp_path / "other.obj", points[::-1], len(points) - 1 - faces, uv[::-1])
    with pytest.raises(InputError, match=r"first vertices of .*other"):
        ModelAtlases.of_networks(specs, replace(meshes, fine=str(other)))
    with pytest.raises(InputError, match=r"first vertices of .*HandRightUV"):
        ModelAtlases.of_networks(
            specs, replace(meshes, coarse=meshes.fine, fine=meshes.coarse, mano="")
        )


def test_a_hand_model_of_other_vertices_is_refused(
    specs: dict[Role, NetworkSpec], meshes: MeshesSpec
) -> None:
    swapped = replace(meshes, coarse=meshes.fine)
    with pytest.raises(InputError, match=r"has 2331 vertices, .* has 778"):
        ModelAtlases.of_networks(specs, swapped)


@pytest.mark.parametrize("key", ["coarse", "fine", "mano"])
def test_a_missing_file_of_the_meshes_names_itself(
    specs: dict[Role, NetworkSpec], meshes: MeshesSpec, key: str
) -> None:
    with pytest.raises(InputError, match="nowhere"):
        ModelAtlases.of_networks(specs, replace(meshes, **{key: "nowhere.obj"}))

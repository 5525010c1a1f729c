"""The committed hand asset keeps its promises, and can be built again."""

from __future__ import annotations

import filecmp
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from i2uv_edge.hand.build import report
from i2uv_edge.hand.build.flatten import flatten
from i2uv_edge.hand.build.forearm import is_closed
from i2uv_edge.hand.build.pack import Layout, pack
from i2uv_edge.hand.build.raster import rasterise
from i2uv_edge.hand.build.topology import (
    boundary_loop,
    cut_mesh,
    face_normals,
    half_edges,
    signed_areas,
    subdivide,
)

ASSET = Path(report.__file__).parents[1] / "assets" / "hand.npz"
Arrays = dict[str, NDArray[Any]]
MESHES = ("coarse", "fine")


@pytest.fixture(scope="module")
def hand() -> Arrays:
    with np.load(ASSET, allow_pickle=False) as archive:
        return dict(archive)


def _integers(values: NDArray[Any]) -> NDArray[np.int64]:
    return values.astype(np.int64)


def _volume(vertices: NDArray[Any], faces: NDArray[Any]) -> float:
    corners = vertices[faces].astype(np.float64)
    return float(np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6)


def test_arrays_are_float32_int32_or_text_and_finite(hand: Arrays) -> None:
    for name, values in hand.items():
        assert values.dtype in (np.float32, np.int32) or values.dtype.kind == "U", name
        if values.dtype == np.float32:
            assert np.isfinite(values).all(), name


def test_lengths_are_metres(hand: Arrays) -> None:
    extent = np.ptp(hand["fine_vertices"], axis=0)
    assert 0.18 < extent[1] < 0.24
    assert np.linalg.norm(hand["joints"][12] - hand["joints"][0]) == pytest.approx(0.194, abs=0.01)


@pytest.mark.parametrize("mesh", MESHES)
def test_mesh_is_manifold_and_open_only_at_the_wrist(hand: Arrays, mesh: str) -> None:
    faces = _integers(hand[f"{mesh}_faces"])
    directed = half_edges(faces)
    assert len(np.unique(directed, axis=0)) == len(directed)
    wrist = hand[f"{mesh}_vertices"][boundary_loop(faces)]  # raises if there is another hole
    assert np.ptp(wrist[:, 1]) < 1e-4
    assert len(np.unique(faces)) == len(hand[f"{mesh}_vertices"])


def test_forearm_closes_the_hand_which_points_outwards(hand: Arrays) -> None:
    vertices = np.concatenate([hand["fine_vertices"], hand["forearm_vertices"]])
    faces = np.concatenate([hand["fine_faces"], hand["forearm_faces"]])
    assert is_closed(faces)
    assert 3e-4 < _volume(vertices, faces) < 1e-3  # cubic metres; negative if turned inside out


def test_fine_faces_face_the_same_way_as_their_coarse_faces(hand: Arrays) -> None:
    coarse = face_normals(hand["coarse_vertices"], _integers(hand["coarse_faces"]))
    middle = _integers(hand["fine_faces"])[3 * len(coarse) :]
    fine = face_normals(hand["fine_vertices"], middle)
    assert (np.einsum("ij,ij->i", coarse, fine) > 0).all()


def test_fine_mesh_is_the_subdivided_coarse_mesh(hand: Arrays) -> None:
    count = len(hand["coarse_vertices"])
    edges, faces = subdivide(count, _integers(hand["coarse_faces"]))
    np.testing.assert_array_equal(hand["fine_parents"], edges)
    np.testing.assert_array_equal(hand["fine_faces"], faces)
    np.testing.assert_allclose(hand["fine_vertices"][:count], hand["coarse_vertices"], atol=1e-4)
    _, uv_faces = subdivide(len(hand["coarse_uv"]), _integers(hand["coarse_uv_faces"]))
    np.testing.assert_array_equal(hand["fine_uv_faces"], uv_faces)


@pytest.mark.parametrize("mesh", MESHES)
def test_skin_weights_are_convex(hand: Arrays, mesh: str) -> None:
    weights = hand[f"{mesh}_weights"]
    assert weights.shape == (len(hand[f"{mesh}_vertices"]), len(hand["skin_joints"]))
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-5)
    assert (hand["coarse_weights"] > 0).sum(axis=1).max() <= 4


@pytest.mark.parametrize("size", [64, 128, 256])
@pytest.mark.parametrize("mesh", MESHES)
def test_atlas_covers_much_and_overlaps_nowhere(hand: Arrays, mesh: str, size: int) -> None:
    uv, faces = hand[f"{mesh}_uv"].astype(np.float64), _integers(hand[f"{mesh}_uv_faces"])
    count, owner, _ = rasterise(uv, faces, size)
    assert count.max() == 1
    assert (owner >= 0).mean() >= 0.45
    assert signed_areas(uv, faces).min() > 0


@pytest.mark.parametrize("mesh", MESHES)
def test_uv_faces_run_parallel_to_faces(hand: Arrays, mesh: str) -> None:
    vertex = np.full(len(hand[f"{mesh}_uv"]), -1)
    vertex[hand[f"{mesh}_uv_faces"].ravel()] = hand[f"{mesh}_faces"].ravel()
    np.testing.assert_array_equal(vertex[hand[f"{mesh}_uv_faces"]], hand[f"{mesh}_faces"])


def test_atlas_leaves_a_margin_for_the_ring(hand: Arrays) -> None:
    margin = 1.5 / 63
    assert hand["coarse_uv"].min() >= margin
    assert hand["coarse_uv"].max() <= 1 - margin


def test_texels_whose_rings_meet_are_neighbours_on_the_surface(hand: Arrays) -> None:
    for size, limit in ((64, 30.0), (128, 22.0)):
        distance, _ = report.neighbour_distances(hand, size)[2]
        assert distance < limit  # mm; two texels apart in a row are some 13 mm at size 64


def test_every_coarse_vertex_has_texels_at_the_smallest_map(hand: Arrays) -> None:
    density = report.texels_per_vertex(hand, 64)
    assert density.min() >= 2
    assert np.median(density) >= 5


@pytest.mark.parametrize("mesh", MESHES)
def test_joint_regressor_finds_the_joints_of_new_poses(hand: Arrays, mesh: str) -> None:
    regressor = hand[f"{mesh}_joint_regressor"]
    assert regressor.min() >= 0
    np.testing.assert_allclose(regressor.sum(axis=1), 1.0, atol=1e-5)
    error = report.joint_error(hand, mesh)
    assert error.mean() < 1.0
    assert error.max() < 2.0


def test_detail_is_what_the_coarse_mesh_lacks(hand: Arrays) -> None:
    fields = len(hand["detail"])
    assert all(len(hand[f"detail_{name}"]) == fields for name in ("joint", "base", "gain", "kind"))
    distance = report.detail_distance(hand, count=8)
    assert 0.3 < distance.mean() < 0.5
    assert 0.9 < np.percentile(distance, 95) < 1.5


def test_detail_changes_when_a_finger_bends(hand: Arrays) -> None:
    driven = hand["detail_joint"] >= 0
    assert (hand["detail_gain"][driven] != 0).all()
    assert (np.abs(hand["detail"]).max(axis=1) > 1e-4).all()


def test_joint_limits_are_ordered_and_hold_the_rest_pose(hand: Arrays) -> None:
    low, high = hand["joint_limits"][..., 0], hand["joint_limits"][..., 1]
    assert (low <= 0).all()
    assert (high >= 0).all()
    assert (high[[1, 2, 3, 5, 6, 7], 0] > 20).all()


def test_rasteriser_sees_an_overlap() -> None:
    uv = np.array([[0.1, 0.1], [0.9, 0.1], [0.1, 0.9], [0.9, 0.9]])
    side_by_side = np.array([[0, 1, 2], [1, 3, 2]])
    on_top = np.array([[0, 1, 2], [0, 1, 3]])
    assert rasterise(uv, side_by_side, 64)[0].max() == 1
    assert rasterise(uv, on_top, 64)[0].max() == 2


def test_rasteriser_puts_v_up() -> None:
    uv = np.array([[0.0, 1.0], [0.2, 1.0], [0.0, 0.8]])
    _, owner, barycentric = rasterise(uv, np.array([[0, 1, 2]]), 64)
    assert owner[0, 0] == 0
    np.testing.assert_allclose(barycentric[0, 0], (1, 0, 0), atol=1e-9)
    assert owner[63, 0] == -1


def test_cutting_along_an_edge_path_opens_the_mesh() -> None:
    fan = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 1]])
    origin, _ = cut_mesh(fan, {(0, 1)})
    assert sorted(origin) == [0, 1, 1, 2, 3, 4]
    origin, faces = cut_mesh(fan, {(0, 1), (0, 3)})
    assert sorted(origin) == [0, 0, 1, 1, 2, 3, 3, 4]
    np.testing.assert_array_equal(origin[faces], fan)


def test_flattening_a_flat_mesh_keeps_its_shape() -> None:
    rim = np.linspace(0, 2 * np.pi, 6, endpoint=False)
    flat = np.concatenate([[[0.0, 0.0]], np.stack([3 * np.cos(rim), 2 * np.sin(rim)], axis=1)])
    faces = np.array([[0, 1 + k, 1 + (k + 1) % 6] for k in range(6)])
    found = flatten(np.pad(flat, ((0, 0), (0, 1))), faces)
    np.testing.assert_allclose(signed_areas(found, faces), signed_areas(flat, faces), rtol=1e-3)


def test_packing_keeps_charts_two_texels_apart() -> None:
    square = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    uv = pack([square, square], [faces, faces], Layout((0, 1), ((0.0,), (0.0,))), 10.0)
    low, high = uv.reshape(2, 4, 2).min(axis=1) * 63, uv.reshape(2, 4, 2).max(axis=1) * 63
    apart = np.maximum(low[0] - high[1], low[1] - high[0]).max()
    assert apart >= 2.0
    assert low.min() >= 1.5
    assert high.max() <= 61.5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*_connectivity_array")  # pyacvd uses what pyvista deprecates
def test_asset_is_built_again_to_the_byte(tmp_path: Path, hand: Arrays) -> None:
    for package in ("igl", "pyacvd", "pyvista", "skimage"):
        pytest.importorskip(package)
    from i2uv_edge.hand.build.__main__ import main

    first, second = tmp_path / "first.npz", tmp_path / "second.npz"
    assert main(["-o", str(first)]) == 0
    assert main(["-o", str(second)]) == 0
    assert filecmp.cmp(first, second, shallow=False)
    with np.load(first) as rebuilt:
        assert set(rebuilt) == set(hand)
        for name, values in hand.items():
            if values.dtype == np.float32:
                limit = 1e-5 if name.endswith(("vertices", "detail", "uv")) else 1e-3
                np.testing.assert_allclose(rebuilt[name], values, atol=limit, err_msg=name)
            else:
                np.testing.assert_array_equal(rebuilt[name], values, err_msg=name)

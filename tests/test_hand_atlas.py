"""The UV atlas: mesh -> map -> mesh, users' OBJ files, and what lies where in a map."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.spatial.distance import cdist

from i2uv_edge.data.synthetic import SceneSettings, sample_parameters
from i2uv_edge.errors import InputError
from i2uv_edge.hand.atlas import MAX_EXTRAPOLATION, Atlas, texel_positions
from i2uv_edge.hand.model import HandModel, Mesh

ATLASES = {
    ("coarse", 64): Atlas.of_mesh(HandModel.load().coarse, 64),
    ("coarse", 256): Atlas.of_mesh(HandModel.load().coarse, 256),
    ("fine", 256): Atlas.of_mesh(HandModel.load().fine, 256),
}
each_atlas = pytest.mark.parametrize(("mesh", "size"), ATLASES, ids=lambda value: str(value))

# A unit square of two triangles; its texture coordinates are its x and y.
QUAD = """
# two triangles
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
f 1/1 2/2 3/3
f 1/1 3/3 4/4
"""


def posed(mesh: str, count: int = 30) -> NDArray[np.float32]:
    model = HandModel.load()
    generators = [np.random.default_rng((9, index)) for index in range(count)]
    hands = [model.pose(sample_parameters(rng, SceneSettings())) for rng in generators]
    return np.stack([getattr(hand, mesh) for hand in hands])


def bilinear(atlas: Atlas, uv_map: NDArray[np.float32]) -> NDArray[np.float32]:
    """Read each vertex between the four texels around (the first of) its texture coordinates."""
    corner = np.zeros(len(atlas.template), int)
    corner[atlas.faces.ravel()] = atlas.uv_faces.ravel()
    place = texel_positions(atlas.uv, atlas.size)[corner]
    low = np.minimum(np.floor(place).astype(int), atlas.size - 2)
    part = (place - low)[:, :, None]
    (x, y), (right, down) = low.T, (part[:, 0], part[:, 1])
    top = uv_map[..., y, x, :] * (1 - right) + uv_map[..., y, x + 1, :] * right
    bottom = uv_map[..., y + 1, x, :] * (1 - right) + uv_map[..., y + 1, x + 1, :] * right
    return np.asarray(top * (1 - down) + bottom * down, np.float32)


def error_mm(read: NDArray[np.float32], vertices: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.linalg.norm(read - vertices, axis=-1) * 1000, np.float32)


def write(folder: Path, text: str) -> Path:
    path = folder / "hand.obj"
    path.write_text(text, encoding="utf-8")
    return path


def as_obj(mesh: Mesh) -> str:
    lines = [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in mesh.vertices]
    lines += [f"vt {u:.9g} {v:.9g}" for u, v in mesh.uv]
    for corners, texture in zip(mesh.faces + 1, mesh.uv_faces + 1, strict=True):
        lines.append("f " + " ".join(f"{v}/{t}" for v, t in zip(corners, texture, strict=True)))
    return "\n".join(lines)


def assert_same(first: Atlas, second: Atlas) -> None:
    for field in fields(Atlas):
        one, other = getattr(first, field.name), getattr(second, field.name)
        np.testing.assert_array_equal(one, other, err_msg=field.name)


# --- there and back -------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", [False, True])
@each_atlas
def test_mesh_to_map_to_mesh_keeps_every_vertex(mesh: str, size: int, fill: bool) -> None:
    atlas, vertices = ATLASES[mesh, size], posed(mesh)
    error = error_mm(atlas.read_vertices(atlas.rasterise(vertices, fill=fill)), vertices)
    assert error.mean() <= 0.3
    assert np.percentile(error, 99) <= 2.0


def test_small_map_needs_the_fitted_readout() -> None:
    atlas, vertices = ATLASES["coarse", 64], posed("coarse")
    uv_map = atlas.rasterise(vertices)
    plain = error_mm(bilinear(atlas, uv_map), vertices)
    fitted = error_mm(atlas.read_vertices(uv_map), vertices)
    assert plain.mean() > 3 * fitted.mean()


def test_map_of_another_hand_is_not_read_as_this_one() -> None:
    atlas, vertices = ATLASES["coarse", 64], posed("coarse", 2)
    assert error_mm(atlas.read_vertices(atlas.rasterise(vertices[0])), vertices[1]).mean() > 10


def test_leading_axes_are_a_batch() -> None:
    atlas, vertices = ATLASES["coarse", 64], posed("coarse", 4).reshape(2, 2, -1, 3)
    maps = atlas.rasterise(vertices)
    read = atlas.read_vertices(maps)
    assert maps.shape == (2, 2, 64, 64, 3)
    np.testing.assert_array_equal(maps[1, 0], atlas.rasterise(vertices[1, 0]))
    np.testing.assert_array_equal(read[1, 0], atlas.read_vertices(maps[1, 0]))


def test_maps_are_float32() -> None:
    atlas = ATLASES["coarse", 64]
    uv_map = atlas.rasterise(atlas.template)
    assert uv_map.dtype == atlas.read_vertices(uv_map).dtype == np.float32


# --- texels ---------------------------------------------------------------------------------------


@each_atlas
def test_mask_is_the_raster_and_one_texel_around_it(mesh: str, size: int) -> None:
    atlas = ATLASES[mesh, size]
    raster = np.zeros(size * size, bool)
    raster[atlas.texels[: atlas.covered]] = True
    grown = binary_dilation(raster.reshape(size, size), np.ones((3, 3), bool))
    np.testing.assert_array_equal(atlas.mask, grown)


@each_atlas
def test_raster_texels_are_mixtures_and_ring_texels_stay_near(mesh: str, size: int) -> None:
    atlas = ATLASES[mesh, size]
    np.testing.assert_allclose(atlas.texel_barycentrics.sum(1), 1.0, atol=1e-5)
    raster, ring = np.split(atlas.texel_barycentrics, [atlas.covered])
    assert raster.min() >= -1e-6
    assert ring.min() < -0.1
    assert np.abs(ring).max() <= MAX_EXTRAPOLATION


@each_atlas
def test_readout_weights_of_a_vertex_sum_to_one_and_stay_bounded(mesh: str, size: int) -> None:
    atlas = ATLASES[mesh, size]
    assert atlas.texel_index.shape == atlas.texel_weight.shape == (len(atlas.template), 8)
    np.testing.assert_allclose(atlas.texel_weight.sum(1), 1.0, atol=1e-5)
    assert (atlas.texel_weight**2).sum(1).max() < 2.5  # what noise of the texels is multiplied by


@each_atlas
def test_vertices_are_read_from_texels_that_hold_surface(mesh: str, size: int) -> None:
    atlas = ATLASES[mesh, size]
    assert atlas.mask.ravel()[atlas.texel_index].all()


@each_atlas
def test_seam_texels_lie_apart_on_the_map_and_together_on_the_hand(mesh: str, size: int) -> None:
    atlas = ATLASES[mesh, size]
    assert len(atlas.seams) > 100
    assert atlas.mask.ravel()[atlas.seams].all()
    flat = atlas.rasterise(atlas.template).reshape(-1, 3)
    gap = np.linalg.norm(flat[atlas.seams[:, 0]] - flat[atlas.seams[:, 1]], axis=1) * 1000
    assert gap.max() < 12 * 64 / size  # texels are that much smaller on a larger map
    shuffled = np.linalg.norm(flat[atlas.seams[:, 0]] - flat[atlas.seams[::-1, 1]], axis=1) * 1000
    assert np.median(shuffled) > 10 * np.median(gap)


def test_filled_map_holds_the_nearest_surface_texel_everywhere() -> None:
    atlas = ATLASES["coarse", 64]
    filled = atlas.rasterise(atlas.template, fill=True)
    own, others = np.argwhere(atlas.mask), np.argwhere(~atlas.mask)
    distance = cdist(others, own)
    same = (filled[tuple(others.T)][:, None] == filled[tuple(own.T)]).all(-1)
    np.testing.assert_array_equal(np.where(same, distance, np.inf).min(1), distance.min(1))


def test_filled_map_has_no_cliff_beside_the_surface() -> None:
    atlas = ATLASES["coarse", 64]
    far_away = atlas.template + np.float32(5.0)
    beside = atlas.mask[:, 1:] != atlas.mask[:, :-1]

    def steps(uv_map: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(np.linalg.norm(np.diff(uv_map, axis=1)[beside], axis=-1))

    assert steps(atlas.rasterise(far_away)).min() > 5.0
    filled = steps(atlas.rasterise(far_away, fill=True))
    assert np.median(filled) == 0.0
    assert filled.max() < 0.2  # two charts may meet there, but never surface and nothing


def test_filling_leaves_the_surface_alone() -> None:
    atlas = ATLASES["coarse", 64]
    plain, filled = (atlas.rasterise(atlas.template, fill=fill) for fill in (False, True))
    np.testing.assert_array_equal(plain[atlas.mask], filled[atlas.mask])
    assert not plain[~atlas.mask].any()


# --- a mesh that can be done by hand --------------------------------------------------------------


def test_column_is_u_and_row_is_one_minus_v_from_edge_to_edge(tmp_path: Path) -> None:
    atlas = Atlas.from_obj(write(tmp_path, QUAD), 5)
    x, y = np.meshgrid(np.linspace(0, 1, 5), np.linspace(1, 0, 5))
    expected = np.stack([x, y, np.zeros((5, 5))], axis=-1)
    np.testing.assert_allclose(atlas.rasterise(atlas.template), expected, atol=1e-6)


def test_square_that_fills_the_map_has_no_ring_and_no_seam(tmp_path: Path) -> None:
    atlas = Atlas.from_obj(write(tmp_path, QUAD), 5)
    assert atlas.covered == len(atlas.texels) == 25
    assert atlas.mask.all()
    assert atlas.seams.shape == (0, 2)


def test_ring_continues_the_surface_linearly(tmp_path: Path) -> None:
    vertices, uv, faces = (
        [line for line in QUAD.splitlines() if line.startswith(kind)] for kind in ("v ", "vt", "f")
    )
    inner = [line.replace(" 0", " .25").replace(" 1", " .75") for line in uv]
    atlas = Atlas.from_obj(write(tmp_path, "\n".join([*vertices, *inner, *faces])), 9)
    assert atlas.covered == 25
    assert atlas.mask[1:8, 1:8].all()
    assert atlas.mask.sum() == 49
    x, y = np.meshgrid(np.linspace(-0.25, 1.25, 7), np.linspace(1.25, -0.25, 7))
    expected = np.stack([x, y, np.zeros((7, 7))], axis=-1)
    np.testing.assert_allclose(atlas.rasterise(atlas.template)[1:8, 1:8], expected, atol=1e-6)


def test_square_is_read_back(tmp_path: Path) -> None:
    atlas = Atlas.from_obj(write(tmp_path, QUAD), 16)
    np.testing.assert_allclose(
        atlas.read_vertices(atlas.rasterise(atlas.template)), atlas.template, atol=5e-3
    )


def test_vertex_on_two_charts_is_a_seam(tmp_path: Path) -> None:
    # The second triangle is moved to a chart of its own in the right half of the map.
    text = """
    v 0 0 0
    v 1 0 0
    v 1 1 0
    v 0 1 0
    vt 0 0
    vt .375 0
    vt .375 1
    vt .625 0
    vt 1 1
    vt .625 1
    f 1/1 2/2 3/3
    f 1/4 3/5 4/6
    """
    atlas = Atlas.from_obj(write(tmp_path, text), 9)
    corners = {(72, 77), (3, 8)}  # texels of vertices 1 and 3, in row 8 and in row 0
    assert {tuple(sorted(pair)) for pair in atlas.seams.tolist()} == corners


# --- users' meshes --------------------------------------------------------------------------------


def test_built_in_mesh_written_as_obj_gives_the_same_atlas(tmp_path: Path) -> None:
    mesh = HandModel.load().coarse
    path = write(tmp_path, as_obj(mesh))
    assert_same(Atlas.from_obj(path, 64, mesh.joint_regressor), ATLASES["coarse", 64])


def test_obj_comes_without_joints(tmp_path: Path) -> None:
    assert Atlas.from_obj(write(tmp_path, QUAD), 5).joint_regressor.shape == (0, 4)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(QUAD.replace("v ", "v\t").replace("f ", "  f  "), id="tabs and indents"),
        pytest.param(QUAD.replace("1/1 3/3 4/4", "-4/-4 -2/-2 -1/-1"), id="indices from the end"),
        pytest.param(
            "mtllib a.mtl\no hand\n" + QUAD.replace("f ", "vn 0 0 1\ns off\nf "), id="other lines"
        ),
        pytest.param(
            QUAD.replace("1/1", "1/1/1").replace("2/2", "2/2/1") + "vn 0 0 1", id="normals"
        ),
        pytest.param(
            QUAD.replace("v 0 0 0", "v 0 0 0 1 1 1").replace("vt 0 0", "vt 0 0 0"),
            id="colours and a third texture coordinate",
        ),
        pytest.param(QUAD.replace("vt 0 0", "vt -1e-7 0"), id="a rounding error outside 0..1"),
    ],
)
def test_obj_dialects_are_read_alike(tmp_path: Path, text: str) -> None:
    plain = Atlas.from_obj(write(tmp_path, QUAD), 5)
    assert text != QUAD
    assert_same(Atlas.from_obj(write(tmp_path, text), 5), plain)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "no faces", id="empty"),
        pytest.param(QUAD.replace("f ", "# "), "no faces", id="points only"),
        pytest.param(
            QUAD.replace("1/1 2/2 3/3", "1 2 3"),
            "line 11: 'f 1 2 3': a face without texture coordinates",
            id="no vt",
        ),
        pytest.param(
            QUAD.replace("1/1 2/2 3/3", "1//1 2//1 3//1"),
            "line 11: 'f 1//1 2//1 3//1': a face without texture coordinates",
            id="normals only",
        ),
        pytest.param(
            QUAD.replace("1/1 2/2 3/3", "1/1 2/2 3/3 4/4"), "line 11: .*: a face of 4", id="quad"
        ),
        pytest.param(
            QUAD.replace("3/3 4/4", "3/3 5/4"), "line 12: .*: index 5 is out of", id="vertex"
        ),
        pytest.param(
            QUAD.replace("3/3 4/4", "3/3 4/5"), "line 12: .*: index 5 is out of", id="texture"
        ),
        pytest.param(QUAD.replace("3/3 4/4", "3/3 0/4"), "line 12: .*: index 0", id="zero"),
        pytest.param(QUAD.replace("3/3 4/4", "3/3 -5/4"), "line 12: .*: index -5", id="before"),
        pytest.param(QUAD.replace("3/3 4/4", "3/3 x/4"), "line 12: .*'x'", id="index no number"),
        pytest.param(QUAD.replace("v 1 0 0", "v 1 O 0"), "line 4: .*'O'", id="number"),
        pytest.param(QUAD.replace("v 1 0 0", "v 1 0"), "line 4: .*: 3 finite numbers", id="two"),
        pytest.param(QUAD.replace("v 1 0 0", "v 1 nan 0"), "line 4: .*: 3 finite", id="nan"),
        pytest.param(QUAD.replace("vt 1 0", "vt 1"), "line 8: .*: 2 finite numbers", id="one"),
        pytest.param(QUAD.replace("vt 1 0", "vt 2 0"), "texture coordinates 0..2 leave", id="uv"),
    ],
)
def test_bad_obj_is_refused_with_its_file_and_line(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=said) as raised:
        Atlas.from_obj(path, 5)
    assert raised.value.what.startswith(f"{path}: ")
    assert "`f v/vt v/vt v/vt`" in raised.value.expected


def test_missing_obj_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.obj: cannot be read"):
        Atlas.from_obj(tmp_path / "none.obj", 5)


def test_charts_too_small_for_the_map_are_refused(tmp_path: Path) -> None:
    text = QUAD.replace("vt 1 0", "vt .1 .2").replace("vt 1 1", "vt .2 .2")
    text = text.replace("vt 0 1", "vt .2 .1").replace("vt 0 0", "vt .1 .1")
    assert Atlas.from_obj(write(tmp_path, text), 64).covered > 0
    with pytest.raises(InputError, match=r"hand\.obj: no texel of a map of side 4"):
        Atlas.from_obj(tmp_path / "hand.obj", 4)


# --- arrays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "fine_"])
def test_arrays_written_and_read_give_the_same_atlas(tmp_path: Path, prefix: str) -> None:
    atlas = ATLASES["coarse", 64]
    np.savez(tmp_path / "atlas.npz", allow_pickle=False, **atlas.arrays(prefix))
    with np.load(tmp_path / "atlas.npz", allow_pickle=False) as arrays:
        back = Atlas.from_arrays(arrays, prefix)
    assert_same(back, atlas)
    assert type(back.size) is int


def test_arrays_hold_the_mask_of_the_contract() -> None:
    atlas = ATLASES["coarse", 64]
    np.testing.assert_array_equal(atlas.arrays("a_")["a_mask"], atlas.mask)


def test_missing_array_is_refused_by_name() -> None:
    arrays = ATLASES["coarse", 64].arrays("fine_")
    del arrays["fine_texel_weight"]
    with pytest.raises(InputError, match="lacks the array fine_texel_weight"):
        Atlas.from_arrays(arrays, "fine_")


# --- vertices told as a map ---------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 9, 10, 900])
def test_vertices_are_read_from_the_texels_they_were_put_in(count: int) -> None:
    rng = np.random.default_rng(0)
    points = rng.random((count, 3)).astype(np.float32)
    faces = np.zeros((1, 3), np.int32)
    atlas = Atlas.of_vertices(points, faces, np.zeros((0, count), np.float32))
    assert atlas.size**2 >= count > (atlas.size - 1) ** 2
    assert atlas.mask.sum() == count
    np.testing.assert_array_equal(atlas.read_vertices(atlas.rasterise(points)), points)
    again = Atlas.from_arrays(atlas.arrays())
    np.testing.assert_array_equal(again.read_vertices(again.rasterise(points)), points)

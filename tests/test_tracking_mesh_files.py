from __future__ import annotations

import functools
import json
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from i2uv_edge.data.synthetic import SceneSettings, render_sample
from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.hand.model import HandModel
from i2uv_edge.tracking.mesh_files import TexturedMesh, write_glb, write_obj
from i2uv_edge.tracking.texture import TEXTURE_SIDE, bake

RED = np.zeros((8, 8, 3), np.uint8)
RED[..., 0] = 200


@functools.cache
def atlas() -> Atlas:
    return Atlas.of_mesh(HandModel.load().coarse, 64)


def mesh(texture: NDArray[np.uint8] = RED) -> TexturedMesh:
    own = atlas()
    vertices = own.template * np.array([1, -1, -1], np.float32)  # camera axes
    return TexturedMesh(vertices, own.faces, own.uv, own.uv_faces, texture)


def test_an_obj_gives_back_its_mesh(tmp_path: Path) -> None:
    write_obj(tmp_path, "hand", mesh())
    read = Atlas.from_obj(tmp_path / "hand.obj", 64)
    np.testing.assert_allclose(read.template, atlas().template, atol=1e-6)
    np.testing.assert_array_equal(read.faces, atlas().faces)
    np.testing.assert_allclose(read.uv, atlas().uv, atol=1e-6)
    np.testing.assert_array_equal(read.uv_faces, atlas().uv_faces)


def test_an_obj_names_its_texture(tmp_path: Path) -> None:
    write_obj(tmp_path, "hand", mesh())
    assert "mtllib hand.mtl" in (tmp_path / "hand.obj").read_text()
    assert "map_Kd hand-texture.png" in (tmp_path / "hand.mtl").read_text()
    assert cv2.imread(str(tmp_path / "hand-texture.png"))[0, 0].tolist() == [0, 0, 200]  # BGR


def read_glb(path: Path) -> tuple[Any, bytes]:
    content = path.read_bytes()
    magic, version, length = struct.unpack("<4sII", content[:12])
    assert (magic, version, length) == (b"glTF", 2, len(content))
    size, kind = struct.unpack("<I4s", content[12:20])
    assert (kind, size % 4) == (b"JSON", 0)
    body, kind = struct.unpack("<I4s", content[20 + size : 28 + size])
    assert (kind, body) == (b"BIN\0", length - 28 - size)
    return json.loads(content[20 : 20 + size]), content[28 + size :]


def test_a_glb_holds_mesh_and_texture(tmp_path: Path) -> None:
    write_glb(tmp_path / "hand.glb", mesh())
    document, body = read_glb(tmp_path / "hand.glb")

    def array(number: int, dtype: str) -> NDArray[Any]:
        accessor = document["accessors"][number]
        view = document["bufferViews"][accessor["bufferView"]]
        start = view["byteOffset"]
        values = np.frombuffer(body[start : start + view["byteLength"]], dtype)
        return values.reshape(accessor["count"], -1)

    (primitive,) = document["meshes"][0]["primitives"]
    positions = array(primitive["attributes"]["POSITION"], "<f4")
    indices = array(primitive["indices"], "<u4").reshape(-1, 3)
    np.testing.assert_allclose(positions[indices], atlas().template[atlas().faces], atol=1e-6)
    places = array(primitive["attributes"]["TEXCOORD_0"], "<f4")[indices]
    np.testing.assert_allclose(places[..., 0], atlas().uv[atlas().uv_faces][..., 0], atol=1e-6)
    np.testing.assert_allclose(places[..., 1], 1 - atlas().uv[atlas().uv_faces][..., 1], atol=1e-6)
    normals = array(primitive["attributes"]["NORMAL"], "<f4")
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-4)
    bounds = document["accessors"][primitive["attributes"]["POSITION"]]
    assert bounds["min"] == positions.min(0).tolist()
    view = document["bufferViews"][document["images"][0]["bufferView"]]
    png = body[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(image[:, :, ::-1], RED)


# --- the texture ----------------------------------------------------------------------------------


@functools.cache
def rendered() -> Any:
    return render_sample(0, 3, SceneSettings(size=128, held=0.0, occluder=0.0))


def texels_of(vertices: NDArray[np.bool_]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Rows and columns in the texture of vertices that lie on one chart."""
    uv = np.zeros((len(atlas().template), 2))
    uv[atlas().faces.ravel()] = atlas().uv[atlas().uv_faces.ravel()]
    columns = (uv[vertices, 0] * TEXTURE_SIDE).astype(int).clip(0, TEXTURE_SIDE - 1)
    rows = ((1 - uv[vertices, 1]) * TEXTURE_SIDE).astype(int).clip(0, TEXTURE_SIDE - 1)
    return rows, columns


def facing(pixels: NDArray[Any]) -> NDArray[Any]:
    from i2uv_edge.hand.metrics import vertex_normals

    return -vertex_normals(pixels, atlas().faces)[:, 2]


def test_what_faces_the_camera_gets_the_picture_s_colours() -> None:
    pixels = (rendered().coarse * 128).astype(np.float32)
    front = facing(pixels) > 0.8
    middle = int(np.median(pixels[front, 0]))
    picture = np.zeros((128, 128, 3), np.uint8)
    picture[:, :middle], picture[:, middle:] = (200, 0, 0), (0, 0, 200)
    texture = bake(picture, pixels, 128.0, atlas(), atlas().faces)
    assert texture.shape == (TEXTURE_SIDE, TEXTURE_SIDE, 3)
    for seen, channel in (
        (front & (pixels[:, 0] < middle - 6), 0),
        (front & (pixels[:, 0] > middle + 6), 2),
    ):
        colours = texture[texels_of(seen)]
        assert seen.sum() > 10
        assert np.median(colours[:, channel]) > 150


def test_what_is_turned_away_is_filled_from_what_is_seen_and_not_from_behind() -> None:
    pixels = (rendered().coarse * 128).astype(np.float32)
    picture = np.full((128, 128, 3), (0, 255, 0), np.uint8)  # a green wall
    picture[rendered().mask] = (220, 160, 130)
    texture = bake(picture, pixels, 128.0, atlas(), atlas().faces)
    behind = texture[texels_of(facing(pixels) < -0.5)].astype(int)
    assert (np.abs(behind - (220, 160, 130)).max(1) < 60).mean() > 0.9


def test_what_lies_behind_a_spot_does_not_get_its_colour() -> None:
    pixels = (rendered().coarse * 128).astype(np.float32)
    front = facing(pixels) > 0.8
    spot = pixels[front][:, :2].mean(0)
    picture = np.full((128, 128, 3), (220, 160, 130), np.uint8)
    cv2.circle(picture, spot.astype(int).tolist(), 8, (0, 0, 255), -1)
    texture = bake(picture, pixels, 128.0, atlas(), atlas().faces)
    near = np.linalg.norm(pixels[:, :2] - spot, axis=1) < 5
    before, behind = (
        texture[texels_of(near & chosen)][:, 2].astype(int)
        for chosen in (front, facing(pixels) < -0.3)
    )
    assert min(len(before), len(behind)) > 2
    assert np.median(before) > 220
    assert np.median(behind) < 190


@pytest.mark.parametrize("shift", [-500.0, 500.0])
def test_a_hand_beyond_the_picture_has_a_texture_all_the_same(shift: float) -> None:
    pixels = (rendered().coarse * 128).astype(np.float32) + np.float32(shift)
    texture = bake(rendered().picture, pixels, 128.0, atlas(), atlas().faces)
    assert np.isfinite(texture).all()

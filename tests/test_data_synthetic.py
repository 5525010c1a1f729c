"""Rendered samples: repeatable, all round, and with a truth that lies on the picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from i2uv_edge.data import synthetic
from i2uv_edge.data.synthetic import SceneSettings, render_sample
from i2uv_edge.hand import layer
from i2uv_edge.hand.model import HandModel

SMALL = SceneSettings(size=64, supersampling=1)
MODEL = HandModel.load()
MAGENTA = np.array([255, 0, 255])


def plain(rng: object, image: NDArray[np.float32], settings: SceneSettings) -> NDArray[np.uint8]:
    del rng, settings
    return np.asarray(np.clip(image, 0, 1) * 255, np.uint8)


@pytest.fixture
def on_magenta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a wall of a colour that no hand has, the hand in a picture can be told from it."""

    def wall(rng: object, settings: SceneSettings) -> NDArray[np.float32]:
        del rng
        shape = (settings.size, settings.size, 3)
        return np.ascontiguousarray(np.broadcast_to(MAGENTA / 255, shape), np.float32)

    monkeypatch.setattr(synthetic.backgrounds, "background", wall)
    monkeypatch.setattr(synthetic.sensor, "expose", plain)


@pytest.fixture
def armless(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = MODEL.fine.faces, np.full(len(MODEL.fine.faces), synthetic.HAND, np.uint8)
    monkeypatch.setattr(synthetic, "_body_faces", lambda: alone)


def hand_pixels(sample: synthetic.Sample) -> NDArray[np.bool_]:
    return np.asarray(sample.picture[..., 1] > 2)


def silhouette(sample: synthetic.Sample, scale: int = 16) -> NDArray[np.float32]:
    """Share of each pixel that the hand covers, by the sample's camera and its own vertices.

    Drawn by OpenCV from the camera matrix and the vertices in metres, so that it shares nothing
    with what drew the picture.
    """
    size = len(sample.picture)
    pixels = sample.in_camera(sample.fine) @ sample.intrinsics.T
    place = pixels[:, :2] / pixels[:, 2:] * scale - 0.5
    canvas = np.zeros((size * scale, size * scale), np.uint8)
    (ax, ay), (bx, by), (cx, cy) = (place[MODEL.fine.faces[:, k]].T for k in range(3))
    towards = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay) < 0  # the wrist is open: see no inside
    for face in MODEL.fine.faces[towards]:
        cv2.fillConvexPoly(canvas, np.round(place[face] * 16).astype(np.int32), 255, shift=4)
    return np.asarray(canvas.reshape(size, scale, size, scale).mean((1, 3)) / 255, np.float32)


# --- repeatable -----------------------------------------------------------------------------------


def test_seed_and_index_make_the_sample() -> None:
    first, _, again = (render_sample(7, index, SMALL) for index in (3, 4, 3))
    np.testing.assert_array_equal(first.picture, again.picture)
    np.testing.assert_array_equal(first.fine, again.fine)
    np.testing.assert_array_equal(first.frame.origin, again.frame.origin)


@pytest.mark.parametrize(("seed", "index"), [(7, 4), (8, 3), (3, 7)])
def test_another_seed_or_index_makes_another_sample(seed: int, index: int) -> None:
    one, other = render_sample(7, 3, SMALL), render_sample(seed, index, SMALL)
    assert np.abs(one.picture.astype(int) - other.picture).mean() > 10
    assert np.abs(one.parameters.angles - other.parameters.angles).mean() > 1
    assert np.abs(one.parameters.rotation - other.parameters.rotation).max() > 0.1


def test_size_of_the_picture_leaves_the_truth_alone() -> None:
    small, large = render_sample(7, 3, SMALL), render_sample(7, 3, replace(SMALL, size=96))
    assert (small.picture.shape, large.picture.shape) == ((64, 64, 3), (96, 96, 3))
    np.testing.assert_array_equal(small.fine, large.fine)


def test_picture_is_8_bit_and_uses_the_range() -> None:
    sample = render_sample(7, 3, SMALL)
    assert sample.picture.dtype == np.uint8
    assert np.ptp(sample.picture) > 60


# --- the truth lies on the picture ----------------------------------------------------------------

CLEAR = replace(
    SMALL, supersampling=2, occluder=0.0, held=0.0, sleeve=0.0, blur=0.0, motion=0.0, jpeg=0.0,
    upscaled=0.0, noise=0.0,
)  # fmt: skip


@pytest.mark.usefixtures("on_magenta")
@pytest.mark.parametrize("mesh", ["coarse", "fine", "joints"])
@pytest.mark.parametrize("index", range(5))
def test_truth_lies_on_the_hand_in_the_picture(mesh: str, index: int) -> None:
    sample = render_sample(2, index, CLEAR)
    hand = binary_dilation(hand_pixels(sample))  # half a pixel of rounding, half of smoothing
    column, row = (np.floor(getattr(sample, mesh)[:, :2] * 64)).astype(int).T
    assert hand[row, column].all()
    assert not hand[row, 63 - column].all()  # nor would a mirrored truth pass


@pytest.mark.usefixtures("armless")
@pytest.mark.parametrize("orthographic", [0.0, 1.0])
@pytest.mark.parametrize("index", range(3))
def test_camera_and_vertices_in_metres_draw_the_same_hand(
    orthographic: float, index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def draw_layer(*args: object) -> object:
        drawn.append(layer.draw_layer(*args))
        return drawn[-1]

    monkeypatch.setattr(synthetic, "draw_layer", draw_layer)
    near = replace(CLEAR, size=128, supersampling=4, orthographic=orthographic, distance=(0.3, 0.4))
    sample = render_sample(2, index, near)
    seen, told = drawn[0][1], silhouette(sample)
    assert np.abs(seen - told).mean() < 0.02 * told.mean()
    place = np.mgrid[0:128, 0:128] + 0.5
    centres = [(place * share).sum((1, 2)) / share.sum() for share in (seen, told)]
    np.testing.assert_allclose(centres[0], centres[1], atol=0.1)  # pixels


@pytest.mark.parametrize("orthographic", [0.0, 1.0])
def test_map_holds_where_the_camera_sees_the_vertices(orthographic: float) -> None:
    sample = render_sample(2, 0, replace(SMALL, orthographic=orthographic))
    for points in (sample.coarse, sample.fine, sample.joints):
        pixels = sample.in_camera(points) @ sample.intrinsics.T
        place = pixels[:, :2] / pixels[:, 2:]
        np.testing.assert_allclose(place, points[:, :2] * 64, atol=0.1 if orthographic else 0.01)


def test_vertices_in_metres_are_those_of_the_hand() -> None:
    for index in range(4):
        sample = render_sample(4, index, SMALL)
        hand = MODEL.pose(sample.parameters)
        made = sample.in_camera(sample.fine) - sample.in_camera(sample.joints)[0]
        np.testing.assert_allclose(made, hand.fine - hand.joints[0], atol=2e-5)


def test_perspective_enlarges_what_is_near() -> None:
    near = replace(SMALL, orthographic=0.0, distance=(0.3, 0.3))
    sample = render_sample(2, 1, near)
    flat = replace(sample.frame, camera=None)
    metres = sample.frame.to_metres(sample.fine)
    assert np.abs(flat.to_map(metres) - sample.fine)[:, :2].max() > 0.02


def test_mask_is_the_hand_without_what_covers_it() -> None:
    without = render_sample(6, 2, CLEAR)
    covered = render_sample(6, 2, replace(CLEAR, occluder=1.0))
    assert without.mask.dtype == bool
    assert 0.05 < without.mask.mean() < 0.8
    assert not (covered.mask & ~without.mask).any()
    assert covered.mask.sum() < without.mask.sum()


def test_whole_hand_is_in_the_picture_and_its_mean_depth_at_one_half() -> None:
    for index in range(25):
        sample = render_sample(4, index, SMALL)
        assert sample.fine[:, :2].min() >= 0.0
        assert sample.fine[:, :2].max() <= 1.0
        assert sample.coarse[:, 2].mean() == pytest.approx(0.5, abs=1e-4)


def test_depth_grows_away_from_the_camera() -> None:
    sample = render_sample(4, 0, SMALL)
    hand = MODEL.pose(sample.parameters)
    assert np.corrcoef(sample.fine[:, 2], hand.fine[:, 2])[0, 1] > 0.9999


def test_scale_is_the_millimetres_of_a_map_unit_at_the_mean_depth() -> None:
    sample = render_sample(4, 1, replace(SMALL, orthographic=0.0))
    middle = np.array([[0.2, 0.3, 0.5], [0.7, 0.3, 0.5], [0.2, 0.8, 0.5]], np.float32)
    metres = sample.in_camera(middle)
    for other in (1, 2):
        length = np.linalg.norm(metres[other] - metres[0]) * 1000
        assert length == pytest.approx(0.5 * sample.frame.scale_mm, rel=1e-4)


def test_hand_fills_much_of_the_crop() -> None:
    extents = [np.ptp(render_sample(4, index, SMALL).fine[:, :2], 0).max() for index in range(15)]
    assert max(extents) < 1 / SMALL.margin[0] + 1e-6
    assert np.median(extents) > 1 / SMALL.margin[1]


# --- the scene ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what",
    ["occluder", "held", "sleeve", "blur", "motion", "jpeg", "upscaled", "second_light", "garish"],
)
def test_probability_of_a_scene_element_is_obeyed(what: str) -> None:
    never, always = (replace(CLEAR, **{what: chance}) for chance in (0.0, 1.0))
    pictures = [render_sample(5, 0, settings).picture for settings in (never, always)]
    assert (pictures[0] != pictures[1]).any()


@pytest.mark.usefixtures("on_magenta")
def test_supersampling_smooths_the_edges() -> None:
    def halves(supersampling: int) -> int:
        picture = render_sample(2, 1, replace(CLEAR, supersampling=supersampling)).picture
        return int(((picture[..., 2] < 250) & (picture[..., 1] < 8)).sum())

    assert halves(4) > halves(1)


def test_coarse_edges_is_drawing_without_supersampling() -> None:
    always = render_sample(2, 1, replace(CLEAR, coarse_edges=1.0))
    plainly = render_sample(2, 1, replace(CLEAR, supersampling=1))
    np.testing.assert_array_equal(always.picture, plainly.picture)


def test_hand_shades_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic.sensor, "expose", plain)
    shaded = [render_sample(3, index, CLEAR) for index in range(4)]

    def open_everywhere(points: NDArray[np.float32], *_: object) -> tuple[object, object]:
        return np.ones(len(points), np.float32), np.ones(len(points), np.float32)

    monkeypatch.setattr(synthetic, "_shade", open_everywhere)
    for index, dark in enumerate(shaded):
        light = render_sample(3, index, CLEAR)
        inside = dark.mask
        assert dark.picture[inside].mean() < 0.98 * light.picture[inside].mean()
        assert (dark.picture[inside].astype(int) <= light.picture[inside].astype(int) + 1).all()


def test_backgrounds_come_from_a_folder_if_one_is_given(tmp_path: Path) -> None:
    green = np.zeros((90, 120, 3), np.uint8)
    green[..., 1] = 200
    cv2.imwrite(str(tmp_path / "a.png"), green)
    settings = replace(CLEAR, garish=0.0, backgrounds=str(tmp_path))
    corners = [render_sample(8, index, settings).picture[:3, :3].astype(int) for index in range(8)]
    found = [
        (c[..., 1] > c[..., 0] + 60).all() & (c[..., 1] > c[..., 2] + 60).all() for c in corners
    ]
    assert sum(found) >= 3

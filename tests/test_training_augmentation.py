"""Augmentation: what a camera sees of a hand is where the picture shows it, before and after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from i2uv_edge.data.dataset import HandSample, bounding_box
from i2uv_edge.errors import InputError
from i2uv_edge.hand.camera import project, to_map_units
from i2uv_edge.training.augmentation import Backgrounds, View, augment, plain
from i2uv_edge.training.config import AugmentationSettings

SIZE = 128
ONLY_MOVED = AugmentationSettings(
    brightness=0, contrast=0, saturation=0, white_balance=0, blur=0, motion_blur=0, noise=0,
    occluder=0,
)  # fmt: skip
CAMERA = np.array([[400.0, 0.0, 170.0], [0.0, 400.0, 110.0], [0.0, 0.0, 1.0]], np.float32)
POINTS = np.array(
    [[-0.05, -0.04, 0.5], [0.06, -0.02, 0.62], [0.0, 0.07, 0.55], [0.03, 0.03, 0.45]], np.float32
)


def dots(points: NDArray[np.float32], camera: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A picture with a soft white dot wherever a point is seen."""
    rows, columns = np.mgrid[:240, :320] + 0.5
    image = np.zeros((240, 320))
    for x, y in project(points, camera):
        image += np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 2.5**2))
    return np.repeat((image.clip(0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


def sample(**changes: object) -> HandSample:
    picture = dots(POINTS, CAMERA)
    made = HandSample(
        id="dots",
        picture=picture,
        intrinsics=CAMERA,
        vertices=POINTS,
        joints=POINTS[:2],
        root=POINTS[0],
        mask=picture[..., 0] > 30,
        scale=0.03,
        box=bounding_box(POINTS, CAMERA),
    )
    return replace(made, **changes)


def centres(picture: NDArray[np.uint8], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """The centre of brightness around each place where a dot is expected."""
    rows, columns = np.mgrid[: len(picture), : len(picture)] + 0.5
    found = []
    for x, y in expected:
        near = (abs(columns - x) < 6) & (abs(rows - y) < 6)
        weight = picture[..., 0] * near
        found.append(((columns * weight).sum(), (rows * weight).sum()) / weight.sum())
    return np.array(found)


# --- geometry -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_vertices_are_projected_to_where_the_picture_shows_them(seed: int) -> None:
    settings = replace(ONLY_MOVED, margin=(1.3, 1.45))  # no dot is cut off by the border
    seen = augment(sample(), np.random.default_rng(seed), SIZE, settings)
    assert seen.vertices is not None
    assert seen.intrinsics is not None
    where = project(seen.vertices, seen.intrinsics)
    assert (where > 0).all()
    assert (where < SIZE).all()
    np.testing.assert_allclose(centres(seen.picture, where), where, atol=0.25)


def test_projection_would_notice_a_camera_that_stayed() -> None:
    seen = augment(sample(), np.random.default_rng(0), SIZE, ONLY_MOVED)
    assert seen.vertices is not None
    where = project(seen.vertices, CAMERA)
    assert abs(where - project(seen.vertices, seen.intrinsics)).max() > 10


@pytest.mark.parametrize("focal", [(400.0, 400.0), (380.0, 450.0)])
def test_turn_is_exact_whatever_the_camera(focal: tuple[float, float]) -> None:
    camera = CAMERA.copy()
    camera[0, 0], camera[1, 1] = focal
    given = sample(picture=dots(POINTS, camera), intrinsics=camera)
    view = View.around((60.0, 20.0, 180.0), SIZE, degrees=77.0)
    seen = view.sample(given)
    before = project(POINTS, camera)
    moved = before @ view.matrix[:2, :2].T + view.matrix[:2, 2]
    np.testing.assert_allclose(project(seen.vertices, seen.intrinsics), moved, atol=1e-3)
    assert np.linalg.det(view.matrix[:2, :2]) > 0  # nothing is mirrored


def test_hand_keeps_its_size_and_its_distance() -> None:
    seen = augment(sample(), np.random.default_rng(3), SIZE, ONLY_MOVED)
    assert seen.vertices is not None
    np.testing.assert_allclose(seen.vertices[:, 2], POINTS[:, 2])
    apart = np.linalg.norm(seen.vertices[0] - seen.vertices[1])
    assert apart == pytest.approx(np.linalg.norm(POINTS[0] - POINTS[1]), rel=1e-5)
    np.testing.assert_allclose(seen.joints, seen.vertices[:2])
    np.testing.assert_allclose(seen.root, seen.vertices[0])
    assert seen.scale == 0.03


def test_map_made_of_the_vertices_is_the_map_that_was_moved() -> None:
    width = 240.0
    square = sample(picture=dots(POINTS, CAMERA)[:, :240])
    mapped, _ = to_map_units(POINTS, CAMERA, (0.0, 0.0, width))
    uv_map = np.zeros((3, 3, 3), np.float32)
    uv_map[0, :2], uv_map[1, :2] = mapped[:2], mapped[2:]
    view = View.around((50.0, 10.0, 150.0), SIZE, degrees=-40.0)
    seen = view.sample(replace(square, uv_map=uv_map))
    wanted, _ = to_map_units(seen.vertices, seen.intrinsics, (0.0, 0.0, float(SIZE)))
    made = np.concatenate([seen.uv_map[0, :2], seen.uv_map[1, :2]])
    np.testing.assert_allclose(made[:, :2], wanted[:, :2], atol=1e-4)
    depth = made[:, 2] - made[:, 2].mean()
    np.testing.assert_allclose(depth, wanted[:, 2] - wanted[:, 2].mean(), atol=1e-4)
    assert not seen.uv_map[2].any()
    assert not seen.uv_map[:, 2].any()


def test_mask_and_box_move_with_the_picture() -> None:
    seen = augment(sample(), np.random.default_rng(1), SIZE, ONLY_MOVED)
    assert seen.mask is not None
    bright = seen.picture[..., 0] > 30
    assert (seen.mask ^ bright).mean() < 0.01
    assert bright.mean() > 0.01
    assert seen.box is not None
    where = project(seen.vertices, seen.intrinsics)
    middle = np.array(seen.box[:2]) + seen.box[2] / 2
    np.testing.assert_allclose(middle, where.mean(0), atol=15)


@pytest.mark.parametrize("seed", range(6))
def test_crop_has_the_margin_that_is_asked_for_at_any_turn(seed: int) -> None:
    settings = replace(ONLY_MOVED, margin=(1.3, 1.3), shift=0.0, rotation_degrees=180.0)
    seen = augment(sample(), np.random.default_rng(seed), SIZE, settings)
    where = project(seen.vertices, seen.intrinsics)
    assert np.ptp(where, axis=0).max() == pytest.approx(SIZE / 1.3, rel=1e-4)
    np.testing.assert_allclose((where.min(0) + where.max(0)) / 2, SIZE / 2, atol=1e-2)


def test_plain_is_upright_and_in_the_middle() -> None:
    seen = plain(sample(), SIZE, AugmentationSettings(margin=(1.2, 1.4)))
    np.testing.assert_allclose(seen.vertices, POINTS, atol=1e-6)
    where = project(seen.vertices, seen.intrinsics)
    assert np.ptp(where, axis=0).max() == pytest.approx(SIZE / 1.3, rel=1e-4)
    np.testing.assert_allclose(centres(seen.picture, where), where, atol=0.25)


def test_hand_of_a_box_is_cut_out_around_it_and_without_one_the_picture_is_taken() -> None:
    boxed = sample(intrinsics=None, vertices=None, box=(150.0, 100.0, 40.0))
    seen = plain(boxed, SIZE, AugmentationSettings(margin=(1.5, 1.5)))
    assert seen.box is not None
    assert seen.box[2] == pytest.approx(SIZE / 1.5)
    whole = plain(sample(intrinsics=None, vertices=None, box=None), SIZE, AugmentationSettings())
    small = cv2.resize(sample().picture, (SIZE, SIZE * 240 // 320), interpolation=cv2.INTER_AREA)
    assert abs(whole.picture[16:112].astype(float) - small).mean() < 2
    assert not whole.picture[:15].any()


def test_large_pictures_are_averaged_and_not_thinned_out() -> None:
    noise = np.random.default_rng(0).integers(0, 2, (512, 512, 1)).astype(np.uint8) * 255
    view = View.around((0.0, 0.0, 512.0), SIZE)
    made = view.picture(np.repeat(noise, 3, axis=2))
    assert made.std() < 45  # of 128: sixteen pixels become one
    assert made.mean() == pytest.approx(127.5, abs=3)


def test_same_seed_makes_the_same_sample_and_another_another() -> None:
    made = [
        augment(sample(), np.random.default_rng(seed), SIZE, AugmentationSettings())
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(made[0].picture, made[1].picture)
    np.testing.assert_array_equal(made[0].vertices, made[1].vertices)
    assert (made[0].picture != made[2].picture).any()


# --- what is behind and before the hand -----------------------------------------------------------


@pytest.fixture
def green(tmp_path: Path) -> Backgrounds:
    for number in range(2):
        image = np.zeros((90, 120, 3), np.uint8)
        image[..., 1] = 200
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    return Backgrounds(tmp_path)


def test_background_is_put_behind_the_hand_and_not_over_it(green: Backgrounds) -> None:
    settings = replace(ONLY_MOVED, background=1.0)
    rng = np.random.default_rng(0)
    seen = augment(sample(), rng, SIZE, settings, green)
    bare = augment(sample(), np.random.default_rng(0), SIZE, settings)
    assert seen.mask is not None
    inner = cv2.erode(seen.mask.astype(np.uint8), np.ones((3, 3))).astype(bool)
    np.testing.assert_allclose(seen.picture[inner], bare.picture[inner], atol=12)
    outer = ~cv2.dilate(seen.mask.astype(np.uint8), np.ones((5, 5))).astype(bool)
    np.testing.assert_allclose(seen.picture[outer], [[0, 200, 0]] * int(outer.sum()), atol=2)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda given, settings: (replace(given, mask=None), settings), id="no mask"),
        pytest.param(
            lambda given, settings: (given, replace(settings, background=0.0)), id="never"
        ),
    ],
)
def test_background_is_left_alone(green: Backgrounds, change: Callable) -> None:
    given, settings = change(sample(), replace(ONLY_MOVED, background=1.0))
    seen = augment(given, np.random.default_rng(0), SIZE, settings, green)
    assert seen.picture[..., 1].max() == seen.picture[..., 0].max()
    assert (seen.picture[..., 0] == seen.picture[..., 1]).all()


def test_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no picture"):
        Backgrounds(tmp_path)


def test_occluder_covers_a_part() -> None:
    shares = []
    for seed in range(8):
        made = [
            augment(
                sample(picture=np.full((240, 320, 3), 128, np.uint8)),
                np.random.default_rng(seed),
                SIZE,
                replace(ONLY_MOVED, occluder=part, margin=(1.1, 1.1)),
            ).picture.astype(int)
            for part in (0.0, 1.0)
        ]
        shares.append(float((abs(made[0] - made[1]).max(-1) > 2).mean()))
    assert 0.01 < max(shares) < 0.6


# --- light and lens -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("brightness", 0.3), ("contrast", 0.5), ("white_balance", 0.2), ("blur", 1.0),
        ("motion_blur", 1.0), ("noise", 0.1),
    ],
)  # fmt: skip
def test_each_of_them_changes_the_picture_and_moves_nothing(name: str, value: float) -> None:
    before, after = (
        augment(sample(), np.random.default_rng(5), SIZE, settings)
        for settings in (ONLY_MOVED, replace(ONLY_MOVED, **{name: value}))
    )
    difference = abs(before.picture.astype(int) - after.picture.astype(int))
    assert difference.max() > 5, name
    np.testing.assert_array_equal(before.vertices, after.vertices)
    where = project(after.vertices, after.intrinsics)
    np.testing.assert_allclose(centres(after.picture, where), where, atol=0.8)


def test_saturation_changes_colours_and_leaves_grey_grey() -> None:
    settings = replace(ONLY_MOVED, saturation=0.9)
    grey = augment(sample(), np.random.default_rng(5), SIZE, settings).picture
    assert np.ptp(grey.astype(int), axis=2).max() <= 1
    red = dots(POINTS, CAMERA)
    red[..., 1:] //= 4
    made = [
        augment(sample(picture=red), np.random.default_rng(5), SIZE, chosen).picture.astype(int)
        for chosen in (ONLY_MOVED, settings)
    ]
    assert abs(made[0] - made[1]).max() > 20

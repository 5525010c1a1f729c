"""The z-buffer renderer on a few triangles whose pictures are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from i2uv_edge.hand.renderer import Lights, draw

Floats = NDArray[np.float32]

AMBIENT = Lights(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), 1.0, 0.0, 10.0)
FACING = 0.75  # what ambient light leaves of the albedo on a surface turned to the camera
RED, GREEN = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
BACKGROUND = 0.125


def directional(*direction: float, gloss: float = 0.0) -> Lights:
    towards = np.array([direction], np.float32) / np.float32(np.linalg.norm(direction))
    return Lights(towards, np.ones((1, 3), np.float32), 0.0, gloss, 10.0)


def rectangle(
    left: float, top: float, right: float, bottom: float, depth: float = 5.0
) -> tuple[Floats, NDArray[np.int32]]:
    """Two triangles that face the camera."""
    x, y = (left, right, right, left), (top, top, bottom, bottom)
    vertices = np.stack([x, y, np.full(4, depth)], axis=1).astype(np.float32)
    return vertices, np.array([[0, 2, 1], [0, 3, 2]], np.int32)


def picture(
    vertices: Floats,
    faces: NDArray[np.int32],
    colour: tuple[float, float, float] | Floats = RED,
    lights: Lights = AMBIENT,
    size: tuple[int, int] = (6, 8),
) -> tuple[Floats, Floats]:
    """The (H, W, 3) image and the (H, W) depth."""
    image = np.full((*size, 3), BACKGROUND, np.float32)
    colours = np.ascontiguousarray(np.broadcast_to(colour, vertices.shape), np.float32)
    return image, draw(image, vertices, faces, colours, lights)


def covered(*args: float) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(picture(*rectangle(*args))[1]))


# --- what is drawn --------------------------------------------------------------------------------


def test_pixels_whose_centre_lies_inside_are_drawn() -> None:
    expected = np.zeros((6, 8), bool)
    expected[1:3, 2:5] = True
    np.testing.assert_array_equal(covered(2, 1, 5, 3), expected)


@pytest.mark.parametrize(("edge", "first"), [(2.49, 2), (2.51, 3), (-3.0, 0)])
def test_the_centre_of_a_pixel_is_at_its_half(edge: float, first: int) -> None:
    columns = np.flatnonzero(covered(edge, 1, 5.2, 3).any(0))
    assert columns.tolist() == list(range(first, 5))
    rows = np.flatnonzero(covered(1, edge, 3, 5.2).any(1))
    assert rows.tolist() == list(range(first, 5))


def test_what_is_not_drawn_stays_as_it_was() -> None:
    image, depth = picture(*rectangle(2, 1, 5, 3))
    outside = np.isinf(depth)
    assert 0 < outside.sum() < outside.size
    assert (image[outside] == BACKGROUND).all()
    np.testing.assert_allclose(image[~outside], [[FACING, 0, 0]] * (~outside).sum(), atol=1e-6)


def test_surface_beyond_the_picture_is_cut_off() -> None:
    assert covered(-50, -50, 50, 50).all()
    assert not covered(8.6, 0, 12, 6).any()


def test_back_faces_are_culled() -> None:
    vertices, faces = rectangle(2, 1, 5, 3)
    image, depth = picture(vertices, faces[:, ::-1].copy())
    assert np.isinf(depth).all()
    assert (image == BACKGROUND).all()


def test_faces_that_share_an_edge_leave_no_hole() -> None:
    rng = np.random.default_rng(0)
    ring = np.linspace(0, 2 * np.pi, 12, endpoint=False) + 0.1
    rim = np.stack([30 + 25 * np.cos(ring), 30 + 25 * np.sin(ring), np.full(12, 5.0)], axis=1)
    for _ in range(20):
        middle = [*(30 + rng.normal(0, 8, 2)), 5.0]
        vertices = np.concatenate([[middle], rim]).astype(np.float32)
        faces = np.array([[0, 1 + (k + 1) % 12, 1 + k] for k in range(12)], np.int32)
        drawn = np.isfinite(picture(vertices, faces, size=(60, 60))[1])
        rows, columns = np.mgrid[0:60, 0:60] + 0.5
        inside = np.hypot(rows - 30, columns - 30) < 25 * np.cos(np.pi / 12) - 0.01
        assert drawn[inside].all()


@pytest.mark.parametrize("nearer_first", [True, False])
def test_nearer_surface_hides_the_farther_one(nearer_first: bool) -> None:
    near, faces = rectangle(0, 0, 4, 6, depth=2.0)
    far, _ = rectangle(0, 0, 8, 6, depth=3.0)
    order = [faces, faces + 4] if nearer_first else [faces + 4, faces]
    colours = np.repeat(np.array([RED, GREEN], np.float32), 4, axis=0)
    image, depth = picture(np.concatenate([near, far]), np.concatenate(order), colours)
    np.testing.assert_allclose(image[:, :4], np.broadcast_to([FACING, 0, 0], (6, 4, 3)), atol=1e-6)
    np.testing.assert_allclose(image[:, 4:], np.broadcast_to([0, FACING, 0], (6, 4, 3)), atol=1e-6)
    assert (depth[:, :4] == 2.0).all()
    assert (depth[:, 4:] == 3.0).all()


def test_depth_is_that_of_the_surface_at_the_centre_of_the_pixel() -> None:
    vertices, faces = rectangle(0, 0, 8, 6)
    vertices[:, 2] = 1.0 + 0.5 * vertices[:, 0] + 2.0 * vertices[:, 1]
    _, depth = picture(vertices, faces)
    row, column = np.mgrid[0:6, 0:8] + 0.5
    np.testing.assert_allclose(depth, 1.0 + 0.5 * column + 2.0 * row, atol=1e-5)


def test_colours_blend_between_vertices() -> None:
    vertices, faces = rectangle(0, 0, 8, 6)
    colours = np.zeros((4, 3), np.float32)
    colours[:, 1] = vertices[:, 0] / 8
    image, _ = picture(vertices, faces, colours)
    expected = FACING * (np.arange(8) + 0.5) / 8
    np.testing.assert_allclose(image[..., 1], np.tile(expected, (6, 1)), atol=1e-5)


# --- light ----------------------------------------------------------------------------------------


def brightness(lights: Lights) -> Floats:
    image, depth = picture(*rectangle(0, 0, 8, 6), (1.0, 1.0, 1.0), lights)
    assert np.isfinite(depth).all()
    return np.asarray(image[3, 4])


def test_light_from_the_camera_lights_what_the_camera_sees() -> None:
    np.testing.assert_allclose(brightness(directional(0, 0, -1)), 1.0, atol=1e-5)


def test_light_from_behind_does_not() -> None:
    assert brightness(directional(0, 0, 1)).max() == 0.0


def test_slanted_light_is_weaker() -> None:
    front, slanted = brightness(directional(0, 0, -1)), brightness(directional(2, 0, -1))
    assert (slanted < front - 0.2).all()
    assert (slanted > 0).all()


def test_light_under_the_skin_is_red_past_the_terminator() -> None:
    red, green, blue = brightness(directional(1, 0, 0.15))
    assert red > green > blue == 0.0


def test_gloss_adds_a_white_highlight_in_the_mirror_direction() -> None:
    shine = [
        brightness(replace(directional(*towards), gloss=0.5)) - brightness(directional(*towards))
        for towards in ((0, 0, -1), (2, 0, -1))
    ]
    np.testing.assert_allclose(shine[0], 0.5, atol=1e-4)
    assert (shine[1] < 0.2).all()


def test_surface_turned_up_gets_more_ambient_light_than_one_turned_down() -> None:
    vertices, faces = rectangle(0, 0, 8, 6)
    up, down = vertices.copy(), vertices.copy()
    up[:, 2] -= 0.5 * vertices[:, 1]  # nearer at its lower end: its normal points up
    down[:, 2] += 0.5 * vertices[:, 1]
    assert picture(up, faces)[0][3, 4, 0] > FACING > picture(down, faces)[0][3, 4, 0]

"""The layer renderer on triangles whose pictures are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from i2uv_edge.hand.layer import draw_layer, lay_over, normals_of
from i2uv_edge.hand.metrics import vertex_normals
from i2uv_edge.hand.model import HandModel

Floats = NDArray[np.float32]
RED, GREEN = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def rectangle(left: float, top: float, right: float, bottom: float, depth: float) -> Floats:
    x, y = (left, right, right, left), (top, top, bottom, bottom)
    return np.stack([x, y, np.full(4, depth)], axis=1).astype(np.float32)


FACES = np.array([[0, 2, 1], [0, 3, 2]], np.int32)


def drawn(*things: tuple[Floats, tuple[float, float, float], int], samples: int = 2) -> tuple[
    Floats, Floats
]:  # fmt: skip
    """Rectangles (corners, colour, label) in a picture of 8 by 8."""
    vertices = np.concatenate([corners for corners, _, _ in things])
    faces = np.concatenate([FACES + 4 * number for number in range(len(things))]).astype(np.int32)
    colours = np.repeat(np.array([colour for _, colour, _ in things], np.float32), 4, axis=0)
    labels = np.repeat(np.array([label for _, _, label in things], np.uint8), 2)
    return draw_layer(vertices, faces, colours, labels, 8, samples)


def test_normals_are_those_of_the_metrics() -> None:
    mesh = HandModel.load().coarse
    expected = vertex_normals(mesh.vertices, mesh.faces)
    np.testing.assert_allclose(normals_of(mesh.vertices, mesh.faces), expected, atol=1e-3)


def test_cover_is_the_share_of_the_pixel() -> None:
    layer, hand = drawn((rectangle(2, 1, 4.5, 3, 1.0), RED, 1))
    expected = np.zeros((8, 8))
    expected[1:3, 2:4] = 1
    expected[1:3, 4] = 0.5
    np.testing.assert_allclose(layer[..., 3], expected, atol=1e-6)
    np.testing.assert_allclose(hand, expected, atol=1e-6)
    np.testing.assert_allclose(layer[..., 0], expected, atol=1e-6)
    assert layer[..., 1:3].max() == 0


@pytest.mark.parametrize("order", [1, -1])
def test_nearer_hides_farther_and_its_share_is_not_the_hand_s(order: int) -> None:
    things = [(rectangle(0, 0, 8, 8, 2.0), RED, 1), (rectangle(4, 0, 8, 8, 1.0), GREEN, 3)]
    layer, hand = drawn(*things[::order])
    assert (layer[:, :4] == (1, 0, 0, 1)).all()
    assert (layer[:, 4:] == (0, 1, 0, 1)).all()
    assert (hand == np.array([1.0] * 4 + [0.0] * 4)).all()


def test_back_faces_are_culled() -> None:
    vertices = rectangle(1, 1, 7, 7, 1.0)
    turned = np.ascontiguousarray(FACES[:, ::-1])
    colours, labels = np.ones((4, 3), np.float32), np.ones(2, np.uint8)
    assert draw_layer(vertices, turned, colours, labels, 8, 2)[0].max() == 0


def test_what_lies_outside_is_cut_off() -> None:
    assert (drawn((rectangle(-30, -30, 30, 30, 1.0), RED, 1))[0][..., 3] == 1).all()
    assert drawn((rectangle(9, 0, 12, 8, 1.0), RED, 1))[0].max() == 0


def test_colours_blend_between_vertices() -> None:
    vertices = rectangle(0, 0, 8, 8, 1.0)
    colours = np.zeros((4, 3), np.float32)
    colours[:, 2] = vertices[:, 0] / 8
    layer, _ = draw_layer(vertices, FACES, colours, np.ones(2, np.uint8), 8, 2)
    np.testing.assert_allclose(layer[..., 2], np.tile((np.arange(8) + 0.5) / 8, (8, 1)), atol=1e-5)


def test_layer_lies_over_the_background_in_proportion_to_its_cover() -> None:
    layer, _ = drawn((rectangle(2, 1, 4.5, 3, 1.0), RED, 1))
    behind = np.full((8, 8, 3), 0.5, np.float32)
    image = lay_over(layer, behind, np.ones((1, 1), np.float32))
    np.testing.assert_allclose(image[1, 2:6], [RED, RED, (0.75, 0.25, 0.25), (0.5,) * 3], atol=1e-6)
    dark = lay_over(layer, behind, np.full((8, 8), 0.5, np.float32))
    np.testing.assert_allclose(dark[1, 2:6], [RED, RED, (0.625, 0.125, 0.125), (0.25,) * 3])

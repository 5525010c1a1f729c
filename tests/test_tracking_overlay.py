from __future__ import annotations

import numpy as np
import pytest

from i2uv_edge.tracking.overlay import draw_joints, lay_over
from i2uv_edge.tracking.panels import HEAT_TOP_MM, heat_over, side_by_side, write_line

FACES = np.array([[0, 2, 1], [0, 3, 2]], np.int32)


def square(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    x, y = (left, right, right, left), (top, top, bottom, bottom)
    return np.stack([x, y, np.full(4, 5.0)], axis=1).astype(np.float32)


def picture(height: int = 40, width: int = 60) -> np.ndarray:
    return np.full((height, width, 3), 100, np.uint8)


@pytest.mark.parametrize("samples", [1, 2])
def test_the_mesh_covers_what_it_should_and_nothing_else(samples: int) -> None:
    drawn = picture()
    lay_over(drawn, square(10, 5, 30, 25), FACES, samples=samples)
    changed = (drawn != 100).any(-1)
    assert changed[7:23, 12:28].all()
    changed[4:26, 9:31] = False
    assert not changed.any()


def test_opacity_says_how_much_of_the_picture_is_hidden() -> None:
    white = np.ones((4, 3))
    drawn = picture()
    lay_over(drawn, square(10, 5, 30, 25), FACES, colours=white, opacity=0.5)
    assert drawn[15, 20, 0] == pytest.approx(0.5 * 100 + 0.5 * 255, abs=1)


def test_edges_are_soft() -> None:
    drawn = picture()
    lay_over(drawn, square(10, 5, 30, 25), FACES, colours=np.ones((4, 3)), opacity=1.0)
    edge = np.unique(drawn[15, 8:13, 0])
    assert len(edge) > 2


@pytest.mark.parametrize(
    "where", [(-50, -50, -20, -20), (-10, -10, 10, 10), (50, 30, 90, 90), (-1e9, -1e9, 1e9, 1e9)]
)
def test_what_lies_beyond_the_picture_is_cut_off(where: tuple[float, ...]) -> None:
    drawn = picture()
    lay_over(drawn, square(*where), FACES)
    assert (drawn[20, 30] == 100).all() == (where[0] > -1e8)


def test_joints_are_drawn_where_they_are() -> None:
    drawn = picture()
    joints = np.full((21, 3), 20.0)
    draw_joints(drawn, joints)
    assert (drawn[20, 20] != 100).any()
    assert (drawn[:10] == 100).all()


def test_the_colours_of_a_difference_are_those_of_its_scale() -> None:
    near, far = (
        heat_over(picture(), square(10, 5, 30, 25), FACES, np.full(4, mm), samples=1)[15, 20]
        for mm in (0.0, HEAT_TOP_MM)
    )
    assert near[2] > near[0]  # viridis begins in violet
    assert far[0] > far[2]  # and ends in yellow


def test_panels_stand_side_by_side_with_their_titles() -> None:
    made = side_by_side([("float", picture()), ("int8", picture())])
    assert made.shape == (40, 120, 3)
    assert (made[-1] < 100).any()
    assert (made[0] == 100).all()


@pytest.mark.parametrize("size", [(4, 4), (40, 60), (480, 640)])
def test_a_line_fits_any_picture(size: tuple[int, int]) -> None:
    drawn = picture(*size)
    write_line(drawn, "tflite  5.1 ms  120 fps  seams 4.4 mm  tracked")
    assert drawn.shape == (*size, 3)

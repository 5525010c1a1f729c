from __future__ import annotations

import numpy as np
import pytest
from tracking_toys import MARGIN

from i2uv_edge.data.pictures import Box
from i2uv_edge.tracking.boxes import Extent, around, out_of_place


def test_a_box_is_around_the_hand_with_the_middle_of_training_s_margin() -> None:
    box = around(Extent(100, 50, 200, 110), MARGIN)
    assert box.side == round(100 * (1.12 + 1.45) / 2)
    assert box.left + box.side / 2 == pytest.approx(150, abs=1)
    assert box.top + box.side / 2 == pytest.approx(80, abs=1)


def test_an_extent_is_what_points_fill() -> None:
    points = np.array([[3, 9, 1], [7, 2, 1], [5, 5, 1]], np.float32)
    assert Extent.of_points(points) == Extent(3, 2, 7, 9)


@pytest.mark.parametrize(
    ("extent", "holds"),
    [
        (Extent(100, 100, 200, 200), True),
        (Extent(102, 101, 202, 201), True),
        (Extent(110, 100, 210, 200), False),
        (Extent(95, 95, 205, 205), False),
    ],
)
def test_a_box_holds_while_the_hand_is_nearly_where_it_was(extent: Extent, holds: bool) -> None:
    assert MARGIN.holds(around(Extent(100, 100, 200, 200), MARGIN), extent) is holds


@pytest.mark.parametrize(
    ("box", "said"),
    [
        (Box(10, 10, 8), "8 pixels"),
        (Box(-300, 0, 100), "outside"),
        (Box(-5000, -5000, 10000), "larger"),
        (Box(-20, -20, 100), ""),
    ],
)
def test_a_box_where_no_hand_can_be_is_told(box: Box, said: str) -> None:
    found = out_of_place(box, 240, 320)
    assert (said in found) if said else not found


def test_the_box_of_a_nonsensical_answer_is_still_one() -> None:
    assert around(Extent(-1e30, 0, 1e30, 1), MARGIN).side == 1_000_000

"""Networks that take long get fewer pictures, light ones all of them."""

from __future__ import annotations

import pytest

from i2uv_edge.effort import LEAST, Effort

EDGE, R18, PAPER = 1.7, 14.6, 22.1  # GMAC of the pairs


@pytest.mark.parametrize(
    ("gmac", "calibration", "comparison", "stills"),
    [
        (0.0, 128, 200, 2),
        (EDGE, 128, 200, 2),
        (R18, 47, 47, 1),
        (PAPER, 32, 32, 1),
        (1e4, 32, 32, 1),
    ],
)
def test_pictures_are_cut_by_the_work_they_are(
    gmac: float, calibration: int, comparison: int, stills: int
) -> None:
    effort = Effort(gmac)
    found = effort.calibration(128), effort.comparison(200), effort.stills(2)
    assert found == (calibration, comparison, stills)


def test_what_is_not_there_is_not_asked_for() -> None:
    assert Effort(PAPER).comparison(5) == 5 < LEAST
    assert Effort(PAPER).stills(0) == 0
    assert Effort(PAPER).inside(0) == 0


@pytest.mark.parametrize(("gmac", "pictures"), [(EDGE, 4), (R18, 1), (PAPER, 1), (1e4, 1)])
def test_a_few_pictures_are_looked_at_from_inside(gmac: float, pictures: int) -> None:
    assert Effort(gmac).inside(200) == pictures
    assert Effort(0.0).inside(3) == 3


def test_what_is_cut_is_said() -> None:
    note = Effort(22.07).note((32, 128), (32, 200))
    assert note == (
        "22.1 GMAC a picture: calibrated on the first 32 of the 128 bundled pictures, "
        "compared on the first 32 of the 200 bundled pictures"
    )
    assert "calibrated" not in Effort(22.07).note(None, (32, 200))
    assert Effort(EDGE).note((128, 128), (200, 200)) == ""
    assert Effort(EDGE).note(None, None) == ""


def test_an_emulated_processor_is_shown_few_pictures() -> None:
    assert Effort(0.5).emulated(200) == 20
    assert Effort(20.0).emulated(200) == 4
    assert Effort(0.01).emulated(200) == 200

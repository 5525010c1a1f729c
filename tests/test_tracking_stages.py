from __future__ import annotations

from collections.abc import Iterator

import pytest

from i2uv_edge.tracking.stages import REMEMBERED, Stages, shares


class Ticks:
    """A clock that goes on by one second each time it is looked at."""

    def __init__(self) -> None:
        self.now: Iterator[int] = iter(range(10**9))

    def __call__(self) -> float:
        return float(next(self.now))


def test_a_stage_inside_another_is_not_counted_twice() -> None:
    stages = Stages(Ticks())
    with stages("outer"), stages("inner"):
        pass
    assert stages.end_frame() == {"inner": 1000.0, "outer": 2000.0}


def test_laps_of_one_name_are_added_up_within_a_frame_only() -> None:
    stages = Stages(Ticks())
    for _ in range(2):
        with stages("crop"):
            pass
    assert stages.end_frame() == {"crop": 2000.0}
    assert stages.end_frame() == {}


def test_what_is_remembered_does_not_grow() -> None:
    stages = Stages(Ticks())
    for _ in range(REMEMBERED + 100):
        with stages("crop"):
            pass
        stages.end_frame()
    assert stages.medians() == {"crop": 1000.0}
    assert len(stages._kept["crop"]) == REMEMBERED


def test_shares_leave_reading_and_writing_out() -> None:
    medians = {"read": 9.0, "crop": 1.0, "affinenet": 2.0, "between": 1.0, "srnet": 2.0}
    medians |= {"gather": 1.0, "overlay": 1.0, "track": 2.0, "write": 9.0}
    found = shares(medians)
    assert (found["frame_ms"], found["networks_ms"]) == (10.0, 4.0)
    assert found["pre_post_share"] == pytest.approx(3 / 8)
    assert found["around_share"] == pytest.approx(0.6)
    assert shares({})["pre_post_share"] == 0.0

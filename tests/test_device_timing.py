"""Interleaved timing, with a clock that the contenders themselves move."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from i2uv_edge.device.timing import Contender, Times, interleaved, started


class Clock:
    """Time passes only while a contender runs; `order` is who ran."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def __call__(self) -> float:
        return self.now

    def contender(self, name: str, seconds: float) -> Contender:
        def run() -> None:
            self.now += seconds
            self.order.append(name)

        return Contender(name, run)


def test_times_are_those_of_each_contender() -> None:
    clock = Clock()
    contenders = [clock.contender("quick", 0.03), clock.contender("slow", 0.3)]
    times = interleaved(contenders, rounds=5, clock=clock)
    assert times["quick"].seconds == pytest.approx((0.03,) * 5)
    assert times["slow"].ms == pytest.approx(300.0)


def test_contenders_take_turns_and_each_begins_a_round() -> None:
    clock = Clock()
    contenders = [clock.contender(name, 1.0) for name in "abc"]
    interleaved(contenders, rounds=3, clock=clock)
    assert "".join(clock.order) == "aabbcc" + "abc" + "bca" + "cab"


def test_what_is_short_is_repeated_and_the_turn_divided() -> None:
    clock = Clock()
    times = interleaved([clock.contender("short", 0.004)], rounds=2, slot=0.02, clock=clock)
    assert len(clock.order) == 2 + 2 * 5
    assert times["short"].seconds == pytest.approx((0.004, 0.004))


def test_a_median_is_not_moved_by_one_bad_round() -> None:
    assert Times((0.1, 0.1, 9.0)).median == 0.1


def test_a_quantile_is_a_round_that_was_measured() -> None:
    times = Times((0.001, 0.002, 0.003, 0.004))
    assert times.quantile_ms(0.0) == pytest.approx(1.0)
    assert times.quantile_ms(0.75) == pytest.approx(3.0)
    assert times.quantile_ms(0.9) == pytest.approx(4.0)


def test_nothing_to_time_is_refused() -> None:
    clock = Clock()
    with pytest.raises(ValueError, match="nothing to time"):
        interleaved([], rounds=1)
    with pytest.raises(ValueError, match="nothing to time"):
        interleaved([clock.contender("a", 1.0)], rounds=0)
    with pytest.raises(ValueError, match="one name"):
        interleaved([clock.contender("a", 1.0), clock.contender("a", 2.0)], rounds=1)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_what_a_file_takes_in_a_process_of_its_own(files: tuple[Path, Path]) -> None:
    small, large = (started(path) for path in files)
    assert 0.0 <= small.memory_mb < 1.0
    assert large.memory_mb > 9.0  # LiteRT packs the weights into memory of its own
    assert small.first_ms > 0.0

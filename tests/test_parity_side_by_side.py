"""Runners side by side in threads: the same numbers, no runner twice at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_parity import FakeHand, measured

from i2uv_edge.parity import StillHand
from i2uv_edge.scores import Measurement

Array = NDArray[Any]


def nudged(amount: float) -> Any:
    return lambda values: values + np.float32(amount)


class Watched(FakeHand):
    """Notes the threads it runs in, and whether it was ever entered twice."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.threads: set[str] = set()
        self.collided = False
        self._free = threading.Lock()

    def __call__(self, pictures: Array, ids: Sequence[str] = ()) -> dict[str, Array]:
        with self._Turn(self):
            return super().__call__(pictures, ids)

    def refine(self, maps: Array) -> Array | None:
        with self._Turn(self):
            return super().refine(maps)

    class _Turn:
        def __init__(self, runner: Watched) -> None:
            self._runner = runner

        def __enter__(self) -> None:
            self._runner.collided |= not self._runner._free.acquire(blocking=False)
            self._runner.threads.add(threading.current_thread().name)
            threading.Event().wait(0.002)  # long enough for the others to start

        def __exit__(self, *_: object) -> None:
            self._runner._free.release()


def hands() -> list[Watched]:
    return [
        Watched("float"),
        Watched("fake-quant", move=nudged(0.004)),
        Watched("tflite", move=nudged(0.005), change=nudged(0.001)),
        Watched("onnx", move=nudged(0.003)),
    ]


def compared(**options: Any) -> tuple[list[Watched], tuple[Measurement, ...]]:
    runners = hands()
    stand_in = Watched("fake-quant", move=nudged(0.0035))
    made = measured(
        *runners,
        count=3,
        stand_ins={("fake-quant", "onnx"): stand_in},
        still=StillHand(samples=1, copies=4),
        **options,
    )
    return [*runners, stand_in], made.measurements


def test_threads_change_no_number() -> None:
    alone, expected = compared()
    with ThreadPoolExecutor(4) as pool:
        together, found = compared(each=pool.map)
    assert found == expected
    assert {name for runner in alone for name in runner.threads} == {"MainThread"}
    used = {name for runner in together for name in runner.threads}
    assert len(used) > 1
    assert "MainThread" not in used


def test_no_runner_is_entered_twice_at_a_time() -> None:
    with ThreadPoolExecutor(8) as pool:
        runners, _ = compared(each=pool.map)
    assert not any(runner.collided for runner in runners)


def test_what_goes_wrong_in_a_thread_is_raised() -> None:
    def fail(pictures: Array) -> Array:
        raise RuntimeError("the runner is broken")

    with ThreadPoolExecutor(2) as pool, pytest.raises(RuntimeError, match="is broken"):
        measured(FakeHand("float"), FakeHand("tflite", sees=fail), each=pool.map)


def test_what_is_not_finite_warns_in_no_thread() -> None:
    def overflow(values: Array) -> Array:
        return values * np.float32(np.inf) * 0

    with ThreadPoolExecutor(2) as pool:
        made = measured(FakeHand("float"), FakeHand("tflite", move=overflow), each=pool.map)
    rows = [m for m in made.measurements if m.reference == "float" and m.candidate == "tflite"]
    assert any(np.isnan(row.value) for row in rows)


def test_flicker_is_measured_on_as_many_pictures_as_are_allowed() -> None:
    class Counting(FakeHand):
        batches = 0

        def __call__(self, pictures: Array, ids: Sequence[str] = ()) -> dict[str, Array]:
            self.batches += not ids
            return super().__call__(pictures, ids)

    for most, batches in ((None, 2), (1, 1), (0, 0), (5, 2)):
        runner = Counting("float")
        measured(runner, count=3, most_stills=most, still=StillHand(samples=2, copies=4))
        assert runner.batches == batches

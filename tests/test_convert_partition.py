"""Runs of operators of one kind."""

from __future__ import annotations

import pytest

from i2uv_edge.convert.partition import partition


def test_what_is_ready_joins_the_present_run() -> None:
    # Two ways from one tensor that meet again: the second integer one need not wait for the float.
    kinds = ["int", "float", "int", "int"]
    reads = [["x"], ["a"], ["a"], ["b", "c"]]
    writes = [["a"], ["b"], ["c"], ["d"]]
    assert partition(kinds, reads, writes) == [("int", [0, 2]), ("float", [1]), ("int", [3])]


def test_every_operator_runs_once_and_after_what_it_reads() -> None:
    kinds = [number % 3 == 0 for number in range(12)]
    reads = [[number - 1, number - 4] for number in range(12)]
    writes = [[number] for number in range(12)]
    order = [number for _, numbers in partition(kinds, reads, writes) for number in numbers]
    assert sorted(order) == list(range(12))
    assert all(order.index(n) > order.index(n - 1) for n in range(1, 12))


def test_what_reads_something_from_behind_is_refused() -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011  (its argument says which)
        partition(["a", "a"], [["x"], ["z"]], [["y"], ["z"]])
    assert raised.value.args == (1,)

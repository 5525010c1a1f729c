from __future__ import annotations

import math
from itertools import islice

import pytest

from i2uv_edge.errors import UsageError
from i2uv_edge.quantizer.search import Problem, climb, within

# What each block adds to the deviation, mm, and to the time.
LOSSES = {"head": 0.6, "stem": 0.3, "body": 0.25, "tail": 0.0}
COSTS = {"head": 0.01, "stem": 0.10, "body": 0.50, "tail": 0.30}


def problem(
    losses: dict[str, float] = LOSSES,
    together: tuple[frozenset[str], ...] = (),
    calls: list[frozenset[str]] | None = None,
) -> Problem[str]:
    def deviation(floats: frozenset[str]) -> float:
        if calls is not None and floats not in calls:
            calls.append(floats)
        return math.hypot(*(loss for name, loss in losses.items() if name not in floats))

    def cost(floats: frozenset[str]) -> float:
        return sum(COSTS[name] for name in floats)

    return Problem(list(losses), together, deviation, cost)


def chosen(most: float, **options: object) -> set[str]:
    asked = problem(**options)  # type: ignore[arg-type]
    return set(within(asked, most, asked.deviation))


def test_the_next_block_is_the_one_that_saves_most_for_its_cost() -> None:
    order = list(climb(problem()))
    assert [sorted(found) for found in order] == [
        [],
        ["head"],
        ["head", "stem"],
        ["body", "head", "stem"],
        ["body", "head", "stem", "tail"],
    ]


def test_what_saves_next_to_nothing_is_left_for_last_however_cheap_it_is() -> None:
    losses = {**LOSSES, "head": 0.001}
    assert [sorted(found) for found in islice(climb(problem(losses)), 2)] == [[], ["stem"]]


def test_not_every_block_is_measured_anew_at_each_step() -> None:
    calls: list[frozenset[str]] = []
    list(climb(problem(calls=calls)))
    sizes = [len(floats) for floats in calls]
    assert sizes.count(1) == len(LOSSES)
    assert sizes.count(2) < len(LOSSES) - 1


def test_nothing_is_float_where_the_budget_is_met_without() -> None:
    assert chosen(1.0) == set()


def test_blocks_are_added_until_the_budget_is_met() -> None:
    assert chosen(0.5) == {"head"}
    assert chosen(0.28) == {"head", "stem"}


def test_a_block_that_a_later_one_makes_needless_is_dropped() -> None:
    # The cheap one comes first, and is not needed once the one that it takes is there.
    losses = {"head": 0.5, "stem": 0.0, "body": 1.9, "tail": 0.0}
    order = [sorted(found) for found in climb(problem(losses))]
    assert order[1:3] == [["head"], ["body", "head"]]
    assert chosen(0.55, losses=losses) == {"body"}


def test_blocks_that_save_only_together_are_found_as_one() -> None:
    pair = frozenset({"head", "stem"})

    def deviation(floats: frozenset[str]) -> float:
        return 0.1 if pair <= floats else 1.0

    asked = Problem(list(LOSSES), [pair], deviation, lambda floats: sum(COSTS[f] for f in floats))
    assert within(asked, 0.5, deviation) == pair


def test_an_estimate_that_was_too_low_is_made_up_for() -> None:
    asked = problem()
    checked: list[frozenset[str]] = []

    def check(floats: frozenset[str]) -> float:
        checked.append(floats)
        return asked.deviation(floats) * 1.5

    found = within(asked, 0.5, check)
    assert check(found) <= 0.5
    assert checked[0] == {"head"}
    assert found == {"head", "stem"}


def test_an_estimate_that_was_too_high_is_made_use_of() -> None:
    asked = problem()
    found = within(asked, 0.28, lambda floats: 0.6 * asked.deviation(floats))
    assert found == {"head"}


def test_a_budget_below_what_all_in_float_leaves_is_refused_with_that() -> None:
    asked = problem({**LOSSES, "tail": 0.0})

    def deviation(floats: frozenset[str]) -> float:
        return asked.deviation(floats) + 0.0123

    impossible = Problem(asked.blocks, (), deviation, asked.cost)
    with pytest.raises(UsageError, match=r"0\.012 mm\nexpected: .*0\.013 mm"):
        within(impossible, 0.01, deviation)


def test_a_budget_that_the_real_thing_never_meets_is_refused_after_all_was_tried() -> None:
    asked = problem()
    checked: list[frozenset[str]] = []

    def check(floats: frozenset[str]) -> float:
        checked.append(floats)
        return 0.7

    with pytest.raises(UsageError, match=r"0\.7 mm"):
        within(asked, 0.5, check)
    assert checked[-1] == frozenset(LOSSES)
    assert len(set(checked)) == len(checked)

"""Which blocks to leave in float: the most deviation saved for the least time.

What deviates and what costs is the caller's to say; blocks are anything hashable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from i2uv_edge.errors import UsageError

__all__ = ["Problem", "climb", "within"]

Key = TypeVar("Key", bound=Hashable)

_WORTH_IT = 0.02  # of the squared deviation: what saves less is left for last
_LEAST_COST = 1e-6
_TIGHTER = 1.0 - 1e-6


@dataclass(frozen=True)
class Problem(Generic[Key]):
    """What is searched in.

    Attributes
    ----------
    blocks : what may be left in float
    together
        Blocks that may be tried as one beside each alone: rounding only one of two layers that
        compute the same thing one after the other costs as much as rounding both.
    deviation : from the float network, with these blocks in float
    cost : time with these blocks in float, over that with none
    """

    blocks: Sequence[Key]
    together: Sequence[frozenset[Key]]
    deviation: Callable[[frozenset[Key]], float]
    cost: Callable[[frozenset[Key]], float]

    @property
    def everything(self) -> frozenset[Key]:
        """All blocks."""
        return frozenset(self.blocks)


def climb(problem: Problem[Key], floats: frozenset[Key] = frozenset()) -> Iterator[frozenset[Key]]:
    """Yield a set of blocks, then one that has more, until it has all.

    The next is the one that saves most for its cost. Errors of different blocks add up as their
    squares, so what counts as saved is of the squared deviation: that hardly depends on what else
    is in float, and is measured anew only until the best is known.
    """
    moves = [frozenset({block}) for block in problem.blocks] + list(problem.together)
    saved = dict.fromkeys(moves, math.inf)
    yield floats
    while saved := {move: value for move, value in saved.items() if not move <= floats}:
        now = problem.deviation(floats) ** 2
        measured: set[frozenset[Key]] = set()
        while (best := _best(problem, floats, saved)) not in measured:
            measured.add(best)
            saved[best] = now - problem.deviation(floats | best) ** 2
        floats |= best
        yield floats


def _best(
    problem: Problem[Key], floats: frozenset[Key], saved: Mapping[frozenset[Key], float]
) -> frozenset[Key]:
    worth, spent = _WORTH_IT * problem.deviation(floats) ** 2, problem.cost(floats)

    def rank(move: frozenset[Key]) -> tuple[bool, float]:
        if saved[move] < worth:
            return False, saved[move]
        return True, saved[move] / max(problem.cost(floats | move) - spent, _LEAST_COST)

    return max(saved, key=rank)


def within(
    problem: Problem[Key], most: float, check: Callable[[frozenset[Key]], float]
) -> frozenset[Key]:
    """The cheapest blocks found that bring the deviation down to `most`.

    Parameters
    ----------
    check
        The deviation as it really is, which `problem.deviation` estimates. Where it is larger than
        `most`, the search goes on with an estimate that has to be as much smaller; where it is
        smaller, with one that may be as much larger, until that is not cheaper or too much.

    Raises
    ------
    UsageError
        With all blocks in float the deviation is larger still.
    """
    everything = problem.everything
    least = problem.deviation(everything)
    goal, best = most, None
    checked: set[frozenset[Key]] = set()
    while least <= most:
        steps = climb(problem)
        floats = next((step for step in steps if problem.deviation(step) <= goal), everything)
        floats = _without_needless(problem, floats, goal)
        if floats in checked and best is None:  # an estimate of nothing cannot be made smaller
            floats = everything
        if best is not None and (floats in checked or problem.cost(floats) >= problem.cost(best)):
            return best
        checked.add(floats)
        found, estimate = check(floats), problem.deviation(floats)
        if found > most:
            if best is not None:
                return best
            if floats == everything:
                least = found
            goal = min(goal * most / found, estimate * _TIGHTER)
        else:
            best = floats
            if not floats or not found:
                return best
            goal = max(goal, estimate * most / found)
    raise UsageError(
        f"{most:g} mm from float cannot be reached: with every block in float it is {least:.2g} mm",
        expected=f"a budget of at least {_up(least)} mm",
        remedy="raise --max-mm, or use the recipe float",
    )


def _without_needless(problem: Problem[Key], floats: frozenset[Key], goal: float) -> frozenset[Key]:
    """Leave out, the most expensive first, what the goal is reached without."""
    if problem.deviation(floats) > goal:
        return floats
    alone = {block: problem.cost(frozenset({block})) for block in floats}
    for block in sorted(problem.blocks, key=lambda block: alone.get(block, 0.0), reverse=True):
        if block in floats and problem.deviation(floats - {block}) <= goal:
            floats -= {block}
    return floats


def _up(value: float) -> str:
    """Rounded up to two digits."""
    if value <= 0.0:
        return "0"
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(value / step) * step:.2g}"

"""Operators cut into runs of one kind, as TFLite's partitioning cuts them."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import TypeVar

__all__ = ["partition"]

Kind = TypeVar("Kind", bound=Hashable)


def partition(
    kinds: Sequence[Kind],
    reads: Sequence[Collection[Hashable]],
    writes: Sequence[Collection[Hashable]],
) -> list[tuple[Kind, list[int]]]:
    """Numbers of operators in runs of one kind; whatever is ready joins the present run.

    No other order of the operators has fewer runs, but for one that begins with the other kind.

    Parameters
    ----------
    kinds
        Of each operator, in an order in which they can run.
    reads, writes
        The tensors that each operator reads and writes; constants may be left out.

    Raises
    ------
    ValueError
        An operator reads what none before it writes; its number is the argument.
    """
    unwritten = {tensor for tensors in writes for tensor in tensors}
    waiting = list(range(len(kinds)))
    runs: list[tuple[Kind, list[int]]] = []
    while waiting:
        kind = kinds[waiting[0]]
        taken, left = [], []
        for number in waiting:
            if kinds[number] == kind and unwritten.isdisjoint(reads[number]):
                taken.append(number)
                unwritten.difference_update(writes[number])
            else:
                left.append(number)
        if not taken:
            raise ValueError(waiting[0])
        runs.append((kind, taken))
        waiting = left
    return runs

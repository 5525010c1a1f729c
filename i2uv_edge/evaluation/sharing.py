"""A data set shared out among processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Shard", "gather"]

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Which part of a data set is this process's: number `rank` of `count` parts."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and reports for all."""
        return self.rank == 0

    def of(self, total: int) -> range:
        """Numbers that follow each other; together the parts are all, in order of rank."""
        return range(total * self.rank // self.count, total * (self.rank + 1) // self.count)


def gather(shard: Shard, value: T) -> list[T]:
    """Return every process's value, in order of rank, to every process."""
    if shard.count == 1:
        return [value]
    from torch import distributed

    values: list[T | None] = [None] * shard.count
    distributed.all_gather_object(values, value)
    return [item for item in values if item is not None]

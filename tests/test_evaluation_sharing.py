from __future__ import annotations

import pytest

from i2uv_edge.evaluation.sharing import Shard, gather


@pytest.mark.parametrize(("total", "count"), [(10, 1), (10, 3), (2, 4), (0, 2)])
def test_the_parts_are_all_in_order_and_nothing_twice(total: int, count: int) -> None:
    parts = [Shard(rank, count).of(total) for rank in range(count)]
    assert [index for part in parts for index in part] == list(range(total))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_one_process_has_all_and_leads() -> None:
    assert Shard().of(7) == range(7)
    assert gather(Shard(), "value") == ["value"]
    assert [Shard(rank, 2).leads for rank in range(2)] == [True, False]

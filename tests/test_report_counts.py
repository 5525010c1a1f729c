from __future__ import annotations

import numpy as np
import pytest

from i2uv_edge.report.counts import Ratios

BINS = Ratios(1e-3, 1e3, 600)  # 2.3 % wide


def counted(values: np.ndarray) -> np.ndarray:
    return np.bincount(BINS.place(values), minlength=BINS.count + 1)


def test_every_value_lies_between_the_bounds_of_its_bin() -> None:
    values = np.geomspace(2e-3, 9e2, 1000)
    place = BINS.place(values)
    assert (BINS.bounds[place] <= values * (1 + 1e-9)).all()
    assert (values <= BINS.bounds[place + 1] * (1 + 1e-9)).all()


def test_what_is_beyond_either_end_is_counted_at_that_end() -> None:
    assert BINS.place(np.array([0.0, 1e-9])).tolist() == [0, 0]
    assert BINS.place(np.array([1e9, np.inf])).tolist() == [BINS.count, BINS.count]


@pytest.mark.parametrize("part", [0.05, 0.5, 0.95, 0.99])
def test_quantiles_are_met_to_the_width_of_a_bin(part: float) -> None:
    values = np.random.default_rng(0).lognormal(0, 1, 20_000)
    assert BINS.quantile(counted(values), part) == pytest.approx(
        np.quantile(values, part), rel=0.03
    )


def test_quantiles_are_taken_column_by_column() -> None:
    first, second = np.full(10, 0.5), np.full(10, 5.0)
    both = np.stack([counted(first), counted(second), np.zeros(BINS.count + 1, int)], 1)
    found = BINS.quantile(both, 0.5)
    assert found[:2] == pytest.approx([0.5, 5.0], rel=0.03)
    assert np.isnan(found[2])  # nothing was counted

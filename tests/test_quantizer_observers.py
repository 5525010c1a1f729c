"""Ranges from streams."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from i2uv_edge.quantizer.observers import BINS, Histogram, choose_range


def normal(count: int, seed: int = 0, scale: float = 1.0) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(size=count) * scale).astype(np.float32)


def observed(*batches: NDArray[np.float32]) -> Histogram:
    histogram = Histogram()
    for batch in batches:
        histogram.add(batch)
    return histogram


def test_memory_does_not_grow_with_the_stream_or_its_range() -> None:
    histogram = Histogram()
    for step in range(60):
        histogram.add(normal(1000, step, scale=1.5**step))
        assert histogram.counts.shape == (BINS,)
    assert histogram.counts.sum() == 60_000


def test_widening_loses_no_count_and_no_extreme() -> None:
    histogram = observed(normal(500), np.array([-700.0, 900.0], np.float32), normal(500, 1))
    assert histogram.counts.sum() == 1002
    assert (histogram.minimum, histogram.maximum) == (-700.0, 900.0)
    assert histogram.low <= -700.0
    assert histogram.low + histogram.width >= 900.0


def test_min_max_is_exact_and_holds_zero() -> None:
    assert choose_range(observed(np.array([2.0, 5.0], np.float32)), "min-max") == (0.0, 5.0)
    assert choose_range(observed(np.array([-3.0, -2.0], np.float32)), "min-max") == (-3.0, 0.0)


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9])
def test_percentile_agrees_with_the_sorted_values(percentile: float) -> None:
    values = normal(200_000)
    low, high = choose_range(
        observed(*np.array_split(values, 7)), "percentile", percentile=percentile
    )
    reach = np.percentile(np.abs(values), percentile)
    assert high == pytest.approx(reach, abs=0.02)
    assert low == -high


def test_percentile_of_values_after_relu_clips_one_side() -> None:
    values = np.maximum(normal(100_000), 0.0)
    low, high = choose_range(observed(values), "percentile", percentile=99.0)
    assert low == 0.0
    assert high == pytest.approx(np.percentile(values, 99.0), abs=0.02)


def squared_error(values: NDArray[np.float32], low: float, high: float) -> float:
    step = (high - low) / 255
    rounded = np.clip(np.round(values / step), round(low / step), round(high / step)) * step
    return float(((rounded - values) ** 2).mean())


def test_mse_clips_outliers_and_lowers_the_error() -> None:
    values = np.concatenate([normal((1 << 18) - 1), np.array([20.0], np.float32)])
    histogram = observed(values)
    best = choose_range(histogram, "mse")
    assert 4.0 < best[1] < 20.0
    everything = choose_range(histogram, "min-max")
    assert squared_error(values, *best) < 0.75 * squared_error(values, *everything)


def test_mse_keeps_a_uniform_range_whole() -> None:
    values = np.random.default_rng(0).uniform(-1, 1, 100_000).astype(np.float32)
    low, high = choose_range(observed(values), "mse")
    assert low == pytest.approx(-1.0, abs=0.02)
    assert high == pytest.approx(1.0, abs=0.02)


def test_order_of_the_stream_hardly_matters() -> None:
    batches = [normal(5000, seed, scale=seed + 1.0) for seed in range(6)]
    first = choose_range(observed(*batches), "percentile", percentile=99.0)
    second = choose_range(observed(*reversed(batches)), "percentile", percentile=99.0)
    assert first[1] == pytest.approx(second[1], rel=0.02)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        Histogram().add(np.array([0.0, value], np.float32))


def test_a_constant_stream_has_a_range() -> None:
    assert choose_range(observed(np.zeros(10, np.float32)), "mse")[0] == 0.0
    assert choose_range(observed(np.full(10, 3.0, np.float32)), "percentile")[1] == 3.0


def test_an_empty_histogram_has_none() -> None:
    with pytest.raises(ValueError, match="empty"):
        choose_range(Histogram(), "min-max")


def test_without_counting_the_ends_are_the_same_and_nothing_else_is_known() -> None:
    values = np.random.default_rng(0).normal(0, 3, 1000).astype(np.float32)
    counted, ends = Histogram(), Histogram(counting=False)
    for histogram in (counted, ends):
        histogram.add(values)
    assert choose_range(ends, "min-max") == choose_range(counted, "min-max")
    assert not ends.counts.any()
    for method in ("mse", "percentile"):
        with pytest.raises(ValueError, match="counted nothing"):
            choose_range(ends, method)
    with pytest.raises(ValueError, match="NaN"):
        ends.add(np.array([np.nan], np.float32))


def test_of_a_large_tensor_a_part_is_counted_and_all_of_it_covered() -> None:
    values = np.random.default_rng(0).normal(size=1 << 20).astype(np.float32)
    values[1], values[2] = -40.0, 50.0
    histogram = Histogram()
    histogram.add(values)
    assert (histogram.minimum, histogram.maximum) == (-40.0, 50.0)
    assert histogram.counts.sum() == -(-(1 << 20) // 5)
    small = Histogram()
    small.add(values[: 1 << 18])
    assert small.counts.sum() == 1 << 18


def test_entropy_keeps_what_is_evenly_spread_and_clips_what_is_rare() -> None:
    even = np.linspace(-1.0, 1.0, 100_001, dtype=np.float32)
    assert choose_range(observed(even), "entropy") == pytest.approx((-1.0, 1.0), abs=0.02)
    spiked = np.concatenate([normal(200_000), np.array([60.0, -60.0], np.float32)])
    low, high = choose_range(observed(spiked), "entropy")
    assert 2.0 < high < 20.0
    assert -20.0 < low < -2.0


def test_entropy_of_one_value_is_a_range_that_holds_it() -> None:
    low, high = choose_range(observed(np.full(100, 3.0, np.float32)), "entropy")
    assert low == 0.0
    assert high == pytest.approx(3.0)

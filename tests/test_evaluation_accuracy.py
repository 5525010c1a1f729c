from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from i2uv_edge.evaluation.accuracy import (
    BIN_MM,
    Accuracy,
    Curve,
    ExactMean,
    ExactSpread,
    Histogram,
    SampleScores,
    merged,
)
from i2uv_edge.hand import metrics

RNG = np.random.default_rng(0)
SAMPLES = 37
TRUTH = RNG.normal(0, 40, (SAMPLES, 30, 3))
PREDICTED = TRUTH * 0.9 + RNG.normal(0, 4, TRUTH.shape)
ERRORS = np.linalg.norm(PREDICTED - TRUTH, axis=-1)


def scores(index: int) -> SampleScores:
    errors = ERRORS[index]
    return SampleScores(
        means={"pa_mpvpe_mm": float(errors.mean()), "f5": float((errors < 5).mean())},
        distances=errors,
        curves={"official_mpvpe_auc": errors},
        pair=(PREDICTED[index], TRUTH[index]),
    )


def seen(indices: Sequence[int]) -> Accuracy:
    accuracy = Accuracy()
    for index in indices:
        accuracy.add(index, f"s{index:02d}", scores(index))
    return accuracy


def rows(accuracy: Accuracy, samples: int = SAMPLES) -> dict[str, Any]:
    return {row.metric: row for row in accuracy.measurements("tflite", "affinenet", samples)}


def test_the_numbers_are_those_of_the_metrics() -> None:
    found = {name: row.value for name, row in rows(seen(range(SAMPLES))).items()}
    assert found["pa_mpvpe_mm"] == pytest.approx(ERRORS.mean(), rel=1e-12)
    assert found["f5"] == pytest.approx((ERRORS < 5).mean(), rel=1e-12)
    assert found["official_mpvpe_auc"] == pytest.approx(metrics.auc(ERRORS), rel=1e-12)
    assert found["spread_ratio"] == pytest.approx(metrics.spread_ratio(PREDICTED, TRUTH), rel=1e-6)
    assert found["vertex_max_mm"] == ERRORS.max()
    for name, percent in (("vertex_p95_mm", 95), ("vertex_p99_mm", 99)):
        assert found[name] == pytest.approx(np.percentile(ERRORS, percent), abs=2 * BIN_MM)


@pytest.mark.parametrize("cuts", [(10,), (1, 2, 30), (0, 37), (18, 18)])
def test_parts_put_together_give_the_same_bits(cuts: tuple[int, ...]) -> None:
    whole = rows(seen(range(SAMPLES)))
    bounds = [0, *cuts, SAMPLES]
    parts = [seen(range(a, b)) for a, b in pairwise(bounds)]
    for order in (parts, parts[::-1]):
        sent = [pickle.loads(pickle.dumps({("tflite", "affinenet"): part})) for part in order]
        assert rows(merged(sent)["tflite", "affinenet"]) == whole


def test_the_order_of_samples_does_not_matter() -> None:
    mixed = np.random.default_rng(1).permutation(SAMPLES).tolist()
    assert rows(seen(mixed)) == rows(seen(range(SAMPLES)))


def test_plain_sums_would_not_have_given_the_same_bits() -> None:
    values = ERRORS.mean(1)
    assert (
        len({float(np.cumsum(values[order])[-1]) for order in (slice(None), slice(None, None, -1))})
        == 2
    )


def test_the_worst_sample_is_named() -> None:
    found = rows(seen(range(SAMPLES)))
    assert found["pa_mpvpe_mm"].worst_sample == f"s{ERRORS.mean(1).argmax():02d}"
    assert found["f5"].worst_sample == f"s{(ERRORS < 5).mean(1).argmin():02d}"
    assert found["spread_ratio"].worst_sample is None


def test_the_worst_sample_is_the_one_furthest_from_the_baseline() -> None:
    accuracy = Accuracy()
    for index, (value, start) in enumerate([(9.0, 9.0), (2.0, 1.0), (5.0, 4.5)]):
        accuracy.add(index, f"s{index}", SampleScores({"a_mm": value}), {"a_mm": start})
    assert rows(accuracy, 3)["a_mm"].worst_sample == "s1"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_equally_bad_samples_the_first_is_named(order: tuple[int, int]) -> None:
    parts = []
    for index in order:
        accuracy = Accuracy()
        accuracy.add(index, f"s{index}", SampleScores({"a_mm": 1.0}))
        parts.append({("x", "y"): accuracy})
    assert rows(merged(parts)["x", "y"], 2)["a_mm"].worst_sample == "s0"


def test_a_sample_without_an_answer_spoils_every_number() -> None:
    found = rows(seen(range(SAMPLES - 1)), SAMPLES)
    assert all(math.isnan(row.value) for row in found.values())


def test_a_metric_that_not_every_sample_has_is_no_number() -> None:
    accuracy = Accuracy()
    accuracy.add(0, "a", SampleScores({"a_mm": 1.0, "b_mm": 1.0}))
    accuracy.add(1, "b", SampleScores({"a_mm": 1.0}))
    found = rows(accuracy, 2)
    assert found["a_mm"].value == 1.0
    assert math.isnan(found["b_mm"].value)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_spoils_what_it_is_part_of(bad: float) -> None:
    accuracy = seen(range(3))
    points = np.full((30, 3), bad)
    spoilt = SampleScores(
        {"pa_mpvpe_mm": bad, "f5": 0.5},
        np.full(30, bad),
        {"official_mpvpe_auc": np.full(30, bad)},
        (points, TRUTH[3]),
    )
    with np.errstate(invalid="ignore"):
        accuracy.add(3, "bad", spoilt)
    found = rows(accuracy, 4)
    assert math.isfinite(found.pop("f5").value)
    assert all(math.isnan(row.value) for row in found.values())
    assert found["pa_mpvpe_mm"].worst_sample == "bad"


def test_nothing_seen_is_no_number() -> None:
    assert math.isnan(ExactMean().value())
    assert math.isnan(Curve().value())
    assert math.isnan(ExactSpread().ratio())
    assert math.isnan(Histogram().quantile(0.5))
    assert math.isnan(Histogram().greatest)


def test_memory_does_not_grow_with_the_samples() -> None:
    few, many = (len(pickle.dumps(seen(list(range(SAMPLES)) * times))) for times in (1, 20))
    assert many < few + 200


def test_quantiles_beyond_the_last_bin_are_on_the_safe_side() -> None:
    histogram = Histogram(width=1.0, bins=4)
    histogram.add(np.array([0.5, 0.6, 99.0]))
    assert histogram.quantile(0.5) == 1.0
    assert histogram.quantile(0.95) == 99.0
    assert (histogram.least, histogram.greatest) == (0.5, 99.0)


def test_a_spread_needs_two_samples_and_a_truth_that_changes() -> None:
    spread = ExactSpread()
    spread.add(PREDICTED[0], TRUTH[0])
    assert math.isnan(spread.ratio())
    spread.add(PREDICTED[1], TRUTH[0])
    assert math.isnan(spread.ratio())
    constant = ExactSpread()
    for index in range(4):
        constant.add(PREDICTED[0], TRUTH[index])
    assert constant.ratio() == 0


def test_large_hands_do_not_overflow() -> None:
    spread = ExactSpread()
    far = np.full((10_000, 3), 3900.0) * np.sign(np.arange(10_000) % 2 - 0.5)[:, None]
    for sign in (1, -1):
        spread.add(0.5 * sign * far, sign * far)
    assert spread.ratio() == pytest.approx(0.25)

"""Gathering scores; what is measured is tested with the runners in test_parity.py."""

from __future__ import annotations

import numpy as np
import pytest

from i2uv_edge.tally import Tally, Values


def tally(**scores: list[float]) -> Tally:
    made = Tally()
    for number, row in enumerate(zip(*scores.values(), strict=True)):
        made.add(f"s{number}", Values(dict(zip(scores, row, strict=True))))
    return made


def test_values_are_means_and_the_worst_sample_has_the_largest() -> None:
    found = tally(normal_deg=[1.0, 5.0, 3.0]).finish((), ["s0", "s1", "s2"], None)
    assert found == [("normal_deg", pytest.approx(3.0), "s1")]


@pytest.mark.parametrize("metric", ["f5", "f15", "masked_psnr_db"])
def test_the_worst_sample_has_the_least_where_more_is_better(metric: str) -> None:
    ((_, _, worst),) = tally(**{metric: [3.0, 1.0, 2.0]}).finish((), ["s0", "s1", "s2"], None)
    assert worst == "s1"


def test_psnr_is_of_the_mean_square_of_all_samples() -> None:
    ((_, value, _),) = tally(masked_psnr_db=[40.0, 60.0]).finish((), ["s0", "s1"], None)
    assert value == pytest.approx(-10 * np.log10((1e-4 + 1e-6) / 2))


def test_a_sample_that_was_not_added_makes_the_value_nan_and_is_the_worst() -> None:
    ((_, value, worst),) = tally(f5=[0.5, 0.6]).finish(("f5",), ["s0", "late", "s1"], None)
    assert np.isnan(value)
    assert worst == "late"


def test_an_empty_tally_has_a_nan_for_every_name() -> None:
    found = Tally().finish(("f5", "vertex_p95_mm"), [], None)
    assert [metric for metric, _, _ in found] == ["f5", "vertex_p95_mm"]
    assert all(np.isnan(value) and worst is None for _, value, worst in found)


def test_with_a_baseline_the_worst_sample_changed_most() -> None:
    ours, start = tally(pa_mpvpe_mm=[9.0, 4.0]), tally(pa_mpvpe_mm=[9.0, 3.0])
    ((_, value, worst),) = ours.finish((), ["s0", "s1"], start)
    assert (value, worst) == (pytest.approx(6.5), "s1")

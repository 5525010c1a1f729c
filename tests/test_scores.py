from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest

from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.scores import Measured, Measurement, Report, Scale, Score, explain, judge
from i2uv_edge.spec import GateSpec


def gate(metric: str = "vertex_mean_mm", limit: float | None = 1.0, **changes: Any) -> GateSpec:
    fields: dict[str, Any] = {
        "metric": metric,
        "reference": "float",
        "candidates": ("*",),
        "stages": ("*",),
        "applies_to": ("*",),
        "reason": "a test",
        "limit": limit,
    }
    return GateSpec(**{**fields, **changes})


def row(value: float, metric: str = "vertex_mean_mm", **changes: Any) -> Measurement:
    made = Measurement("float", "tflite", "affinenet", metric, value, "0007")
    return dataclasses.replace(made, **changes)


def verdict(rows: list[Measurement], gates: list[GateSpec]) -> list[tuple[float | None, bool]]:
    report = judge("edge", Measured(3, tuple(rows)), gates)
    return [(score.limit, score.passed) for score in report.scores]


@pytest.mark.parametrize(("value", "passed"), [(0.5, True), (1.0, True), (1.001, False)])
def test_a_value_above_its_limit_fails(value: float, passed: bool) -> None:
    assert verdict([row(value)], [gate()]) == [(1.0, passed)]


@pytest.mark.parametrize(("value", "passed"), [(0.9, True), (0.8, True), (0.799, False)])
def test_a_value_below_a_least_limit_fails(value: float, passed: bool) -> None:
    least = gate("spread_ratio", 0.8, direction="min")
    assert verdict([row(value, "spread_ratio")], [least]) == [(0.8, passed)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("gates", [[], [gate()], [gate(limit=None)]])
def test_what_is_no_number_fails_with_or_without_a_gate(
    value: float, gates: list[GateSpec]
) -> None:
    ((_, passed),) = verdict([row(value)], gates)
    assert not passed


def test_a_row_no_gate_names_is_reported_and_passes() -> None:
    other = [gate(reference="fake-quant"), gate("f5", direction="min"), gate(stages=("chained",))]
    assert verdict([row(99.0), row(99.0, "vertex_mean_mm/index")], other) == [(None, True)] * 2
    assert verdict([row(99.0)], [gate(limit=None)]) == [(None, True)]


def test_the_strictest_of_several_gates_counts() -> None:
    assert verdict([row(0.7)], [gate(limit=1.0), gate(limit=0.5), gate()]) == [(0.5, False)]
    spread = [gate("spread_ratio", limit, direction="min") for limit in (0.5, 0.8)]
    assert verdict([row(0.7, "spread_ratio")], spread) == [(0.8, False)]


@pytest.mark.parametrize(("value", "passed"), [(6.05, True), (6.07, False), (5.0, True)])
def test_a_relative_gate_starts_from_the_float_model(value: float, passed: bool) -> None:
    rows = [row(6.0, "pa_mpvpe_mm", reference="truth", candidate="float")]
    rows += [row(value, "pa_mpvpe_mm", reference="truth")]
    relative = gate("pa_mpvpe_mm", 0.01, reference="truth", kind="relative")
    found = verdict(rows, [relative])
    assert found[0] == (pytest.approx(6.06), True)
    assert found[1] == (pytest.approx(6.06), passed)


@pytest.mark.parametrize(("value", "passed"), [(0.694, True), (0.692, False), (0.9, True)])
def test_a_difference_gate_starts_from_the_float_model(value: float, passed: bool) -> None:
    rows = [row(0.7, "f5", reference="truth", candidate="float")]
    rows += [row(value, "f5", reference="truth")]
    least = gate("f5", 0.007, reference="truth", kind="difference", direction="min")
    assert verdict(rows, [least])[1] == (pytest.approx(0.693), passed)


def test_a_change_from_what_is_no_number_fails() -> None:
    rows = [row(math.nan, "pa_mpvpe_mm", reference="truth", candidate="float")]
    rows += [row(5.0, "pa_mpvpe_mm", reference="truth")]
    relative = gate("pa_mpvpe_mm", 0.01, reference="truth", kind="relative")
    assert [passed for _, passed in verdict(rows, [relative])] == [False, False]


def test_a_change_without_the_float_model_is_refused() -> None:
    relative = gate("pa_mpvpe_mm", 0.01, reference="truth", kind="relative")
    with pytest.raises(UsageError, match="float") as caught:
        verdict([row(5.0, "pa_mpvpe_mm", reference="truth")], [relative])
    assert caught.value.remedy


def test_a_gate_of_the_wrong_direction_is_refused() -> None:
    with pytest.raises(UsageError, match="direction 'max'"):
        verdict([row(0.9, "spread_ratio")], [gate("spread_ratio", 0.8)])


# --- reports --------------------------------------------------------------------------------------


def report(*rows: Measurement, samples: int = 3, **gate_changes: Any) -> Report:
    scale = Scale("truth", 210.0, 180.0, 240.0)
    return judge("edge", Measured(samples, rows, scale), [gate(**gate_changes)])


def test_a_report_passes_if_every_row_does() -> None:
    assert report(row(0.5), row(2.0, "normal_deg")).passed
    assert not report(row(0.5), row(1.5)).passed


def test_an_empty_comparison_fails() -> None:
    assert not report(samples=3).passed
    assert not report(row(0.5), samples=0).passed
    assert "nothing was compared" in report(samples=0).failures()[0]


def test_every_failure_is_told_at_once() -> None:
    failures = report(row(1.5), row(0.5), row(2.5, stage="chained")).failures()
    assert len(failures) == 2
    assert failures[0].startswith("affinenet: tflite against float, vertex_mean_mm is 1.5")
    assert failures[1].startswith("chained")


@pytest.mark.parametrize(
    ("metric", "value", "limit", "said"),
    [
        ("vertex_mean_mm", 1.23456, 1.0, "a limit of 1.24 would pass"),
        ("vertex_mean_mm", 12345.0, 1.0, "a limit of 1.24e+04 would pass"),
        ("spread_ratio", 0.78961, 0.8, "a limit of 0.789 would pass"),
        ("spread_ratio", 0.0, 0.8, "a limit of 0 would pass"),
        ("vertex_mean_mm", math.nan, 1.0, "no number"),
        ("vertex_mean_mm", 5.0, math.nan, "the float model's is no number"),
    ],
)
def test_a_failure_names_the_limit_that_would_pass_and_the_worst_sample(
    metric: str, value: float, limit: float, said: str
) -> None:
    text = explain(Score("float", "tflite", "chained", metric, value, limit, False, "0007"))
    assert said in text
    assert text.endswith("worst sample 0007")


@pytest.mark.parametrize("value", [1.23456, 0.00123, 99.99, 7.0])
def test_the_limit_that_is_named_does_pass(value: float) -> None:
    (score,) = report(row(value), limit=1e-6).scores
    named = float(explain(score).partition("a limit of ")[2].partition(" would")[0])
    assert report(row(value), limit=named).passed
    assert not report(row(value), limit=named * 0.98).passed


def test_the_json_has_the_rows_of_the_contract() -> None:
    document = json.loads(report(row(1.5)).to_json())
    assert document["schema"] == 1
    assert document["passed"] is False
    assert document["model"] == "edge"
    assert document["samples"] == 3
    assert document["scores"] == [
        {
            "reference": "float",
            "candidate": "tflite",
            "stage": "affinenet",
            "metric": "vertex_mean_mm",
            "value": 1.5,
            "limit": 1.0,
            "passed": False,
            "worst_sample": "0007",
        }
    ]


def test_a_report_survives_json() -> None:
    before = report(row(0.5), row(2.0, "normal_deg"), row(0.9, "spread_ratio", worst_sample=None))
    after = Report.from_json(before.to_json())
    assert after == before
    assert after.to_json() == before.to_json()


def test_what_is_no_number_is_null_in_json_and_still_fails() -> None:
    text = report(row(math.nan)).to_json()
    (written,) = json.loads(text)["scores"]
    assert (written["value"], written["passed"]) == (None, False)
    after = Report.from_json(text)
    assert math.isnan(after.scores[0].value)
    assert not after.passed


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"schema": 2}',
        '{"schema": 1, "model": "edge", "samples": 1, "scores": [{"value": 1}]}',
    ],
)
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="report"):
        Report.from_json(text)

"""The claim: how right the times are about networks that were measured, each left out in turn."""

from __future__ import annotations

from dataclasses import replace

import pytest

from i2uv_edge.device import placement_model
from i2uv_edge.device.cost_evidence import load_evidence, operators_of
from i2uv_edge.device.placement import place
from i2uv_edge.errors import UsageError
from i2uv_edge.plans import Checks
from i2uv_edge.spec import load_target

TARGET = load_target("sd865")


@pytest.fixture(scope="module")
def qnn() -> Checks:
    return placement_model.check(TARGET, "qnn")


def test_networks_that_the_dsp_ran_whole_are_predicted_within_a_quarter(qnn: Checks) -> None:
    whole = [row for row in qnn.rows if row.whole]
    assert len(whole) == 11
    assert qnn.median_error <= 0.25


def test_networks_that_the_dsp_ran_in_part_are_predicted_within_a_factor_of_two(
    qnn: Checks,
) -> None:
    partly = {row.name: row.ratio for row in qnn.rows if not row.whole}
    assert partly.keys() == {"FCN-ResNet50", "ResNeXt50", "U-Net"}
    assert all(0.5 <= ratio <= 2.0 for ratio in partly.values()), partly


def test_the_cpu_is_as_fast_as_is_known_of_it() -> None:
    checks = placement_model.check(TARGET, "xnnpack")
    assert checks.median_error <= 0.25
    cost = placement_model.model_of(TARGET, "xnnpack").cpu.cost
    rows = {row.name: row for row in load_evidence("sd865").row}
    dense = operators_of(rows["ResNet-101"])
    assert 170 <= sum(op.gmac for op in dense) / cost.ms(dense) * 1000 <= 195


def test_few_coefficients_for_many_networks(qnn: Checks) -> None:
    assert len(qnn.coefficients) * 2 < sum(row.whole for row in qnn.rows)


def test_what_is_not_used_is_said(qnn: Checks) -> None:
    assert qnn.unused.keys() == {"MediaPipe pose landmark", "MediaPipe face landmark"}
    assert all(qnn.unused.values())


def test_a_call_costs_less_than_the_fastest_network(qnn: Checks) -> None:
    assert qnn.coefficients["call"] <= 3.2


def test_the_range_holds_every_network_that_was_measured(qnn: Checks) -> None:
    model = placement_model.model_of(TARGET, "qnn")
    for row in qnn.rows:
        assert row.whole or model.fallback is not None
        spread = model.unit.spread if row.whole else model.unit.spread.over(model.fallback)  # type: ignore[arg-type]
        low, high = row.predicted_ms * spread.low, row.predicted_ms * spread.high
        assert low * 0.999 <= row.measured_ms <= high * 1.001, row.name


def test_the_cpu_is_slower_beside_a_delegate(qnn: Checks) -> None:
    assert qnn.beside > 1.0
    rows = {row.name: row for row in load_evidence("sd865").row}
    placement = place(operators_of(rows["FCN-ResNet50"]), TARGET.runtime["qnn"])
    model = placement_model.model_of(TARGET, "qnn")
    left = next(run for run in placement.runs if run.unit == "CPU")
    alone = model.cpu.cost.ms(left.operators)
    assert model.ms(left, placement) == pytest.approx(model.beside * alone)


def test_a_network_of_one_unit_is_charged_as_on_that_unit_alone() -> None:
    model = placement_model.model_of(TARGET, "qnn")
    rows = {row.name: row for row in load_evidence("sd865").row}
    placement = place(operators_of(rows["ResNet-18"]), TARGET.runtime["qnn"])
    assert placement.crossings == 0
    assert model.total(placement) == pytest.approx(7.57, rel=0.1)
    assert model.spread(placement) == model.unit.spread


@pytest.mark.parametrize("name", ["sd888", "sd8gen2"])
def test_nothing_is_predicted_where_nothing_is_measured(name: str) -> None:
    with pytest.raises(UsageError, match=f"nothing is measured on {name}"):
        placement_model.model_of(load_target(name), "xnnpack")


def test_the_model_does_not_know_the_row_it_is_asked_about() -> None:
    """A measurement changed beyond recognition changes no prediction of its own row."""
    evidence = load_evidence("sd865")
    changed = tuple(
        replace(row, dsp_ms=(700.0,)) if row.name == "ResNet-50" else row for row in evidence.row
    )
    with pytest.MonkeyPatch.context() as patch:
        honest = placement_model.check(TARGET, "qnn")
        patch.setattr(placement_model, "load_evidence", lambda name: replace(evidence, row=changed))
        other = placement_model.check(TARGET, "qnn")
    predicted = [
        next(row.predicted_ms for row in checks.rows if row.name == "ResNet-50")
        for checks in (honest, other)
    ]
    assert predicted[0] == pytest.approx(predicted[1])

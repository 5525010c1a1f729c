from __future__ import annotations

import math
from dataclasses import replace

import pytest

from i2uv_edge.device.cost import Sample, Spread, UnitCost, geometric_mean, leave_one_out
from i2uv_edge.device.cost_evidence import Row, operators_of
from i2uv_edge.device.placement_graph import Tensor
from i2uv_edge.target_spec import CostSpec

SPEC = CostSpec("dsp", (32, 32, 32), ("call", "gmac", "mb"), "a test", "assumed")
TRUE = {"call": 2.0, "gmac": 1.5, "mb": 0.25}


def sample(name: str, *layers: str, factor: float = 1.0, spec: CostSpec = SPEC) -> Sample:
    """A network that takes exactly what `TRUE` says, times a factor."""
    operators = operators_of(Row(name, "none", why="a test", layers=layers))
    gmac = sum(operator.lane_gmac(*spec.lanes[:2]) for operator in operators)
    mb = sum(operator.mb(spec.lanes[2]) for operator in operators)
    ms = TRUE["call"] + TRUE["gmac"] * gmac + TRUE["mb"] * mb
    return Sample(name, operators, ms * factor)


SAMPLES = [
    sample("deep", "20 x conv 3x3 256>256 @28x28"),
    sample("wide", "4 x conv 3x3 512>512 @28x28"),
    sample("large", "6 x conv 3x3 64>64 @128x128"),
    sample("thin", "8 x conv 3x3 8>8 @128x128"),
    sample("still", "30 x add 64 @64x64"),
]


def test_the_coefficients_that_made_the_times_are_found() -> None:
    found = leave_one_out(SAMPLES, SPEC)
    assert found.cost.coefficients == pytest.approx(tuple(TRUE.values()), rel=1e-3)
    assert found.spread.low == pytest.approx(1.0, abs=1e-3)
    assert found.spread.high == pytest.approx(1.0, abs=1e-3)
    for one in SAMPLES:
        assert found.predicted[one.name] == pytest.approx(one.ms, rel=1e-2)


def test_a_network_is_predicted_without_its_own_time() -> None:
    """A row that is twice as slow as all others say must not help its own prediction."""
    slow = [*SAMPLES[:-1], replace(SAMPLES[-1], ms=3 * SAMPLES[-1].ms)]
    found = leave_one_out(slow, SPEC)
    assert found.predicted["still"] == pytest.approx(SAMPLES[-1].ms, rel=0.15)
    assert found.spread.high == pytest.approx(3.0, rel=0.15)


def test_no_coefficient_is_below_nothing() -> None:
    factors = (3, 1, 1, 2, 1)
    odd = [replace(one, ms=one.ms * factor) for one, factor in zip(SAMPLES, factors, strict=True)]
    assert min(leave_one_out(odd, SPEC).cost.coefficients) >= 0.0


def test_a_call_costs_no_more_than_what_a_whole_network_took() -> None:
    bounded = replace(SPEC, most_call_ms=1.0)
    assert leave_one_out(SAMPLES, bounded).cost.coefficients[0] == 1.0


def test_thin_layers_are_slower_for_each_multiply() -> None:
    cost = leave_one_out(SAMPLES, SPEC).cost
    thin = operators_of(Row("t", "none", why="a test", layers=("64 x conv 3x3 8>8 @64x64",)))
    dense = operators_of(Row("d", "none", why="a test", layers=("conv 3x3 64>64 @64x64",)))
    assert sum(op.gmac for op in thin) == pytest.approx(sum(op.gmac for op in dense))
    assert cost.ms(thin) - TRUE["call"] > 5 * (cost.ms(dense) - TRUE["call"])


def test_activations_that_stand_alone_have_their_own_price() -> None:
    spec = replace(SPEC, terms=("clip_mb",))
    clips = [
        Sample(line, operators_of(Row(line, "none", why="a", layers=(line,))), ms)
        for line, ms in (("clip 32 @100x100", 0.64), ("2 x clip 32 @100x100", 1.28))
    ]
    assert leave_one_out(clips, spec).cost.coefficients == pytest.approx((1.0,))


def test_float_convolutions_are_slower_by_the_factor_given() -> None:
    (op,) = operators_of(Row("c", "none", why="a", layers=("conv 3x3 64>64 @64x64",)))
    floats = replace(
        op,
        inputs=(Tensor("x", op.inputs[0].shape, "FLOAT32"),),
        output=Tensor("y", op.output.shape, "FLOAT32"),
    )
    spec = replace(SPEC, terms=("gmac",), float_slowdown=3.5)
    cost = UnitCost(spec, (2.0,))
    assert cost.ms([floats]) == pytest.approx(3.5 * cost.ms([op]))


def test_a_spread_holds_the_prediction_itself() -> None:
    assert Spread.of([1.2, 1.4]) == Spread(1.0, 1.4)
    assert Spread.of([0.5]).over(Spread(0.9, 2.0)) == Spread(0.5, 2.0)


def test_the_middle_of_factors_is_between_them() -> None:
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert math.isclose(geometric_mean([3.0]), 3.0)

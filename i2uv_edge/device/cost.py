"""How long operators take on a unit: a few coefficients fitted to what others have measured.

A unit's time is a sum: so much a call, so much a multiply-accumulate in full lanes, so much a
megabyte in full lanes, so much a megabyte of activations that stand alone. Thin layers leave lanes
empty, which is all that makes them slow here. Coefficients are never tuned to a single network: the
range that a prediction comes with is how far the model was off each network when that network was
left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.device.placement_graph import Operator
from i2uv_edge.target_spec import CostSpec

__all__ = ["Fit", "Sample", "Spread", "UnitCost", "geometric_mean", "leave_one_out"]

_CLIPS = ("RELU_0_TO_1", "RELU_N1_TO_1", "RELU", "RELU6", "MINIMUM", "MAXIMUM")
_STEPS = 20  # of reweighting; the coefficients stand still well before


@dataclass(frozen=True)
class Sample:
    """A network that a unit ran whole, and its measured milliseconds."""

    name: str
    operators: tuple[Operator, ...]
    ms: float


@dataclass(frozen=True)
class Spread:
    """The smallest and largest ratio of measured to predicted time that was met."""

    low: float
    high: float

    @classmethod
    def of(cls, ratios: Sequence[float]) -> Spread:
        """Return the spread of some ratios, with what was predicted always inside it."""
        return cls(min(1.0, *ratios), max(1.0, *ratios))

    def over(self, other: Spread) -> Spread:
        """Return what holds both."""
        return Spread(min(self.low, other.low), max(self.high, other.high))


@dataclass(frozen=True)
class UnitCost:
    """Coefficients in milliseconds for each term of a cost."""

    spec: CostSpec
    coefficients: tuple[float, ...]

    def ms(self, operators: Sequence[Operator]) -> float:
        """Predict the milliseconds of operators that run in one call."""
        amounts = _amounts(operators, self.spec)
        return sum(a * paid for a, paid in zip(amounts, self.coefficients, strict=True))


@dataclass(frozen=True)
class Fit:
    """Coefficients, and how far off each network they are when it is left out."""

    cost: UnitCost
    predicted: dict[str, float]
    spread: Spread


def leave_one_out(samples: Sequence[Sample], spec: CostSpec) -> Fit:
    """Fit to all samples, none of the coefficients below 0, and predict each from the others."""
    amounts = np.array([_amounts(sample.operators, spec) for sample in samples])
    times = np.array([sample.ms for sample in samples])
    predicted = {}
    for place, sample in enumerate(samples):
        others = np.arange(len(samples)) != place
        found = _solve(amounts[others], times[others], spec)
        predicted[sample.name] = float(amounts[place] @ found)
    ratios = [sample.ms / predicted[sample.name] for sample in samples]
    coefficients = tuple(float(value) for value in _solve(amounts, times, spec))
    return Fit(UnitCost(spec, coefficients), predicted, Spread.of(ratios))


def _amounts(operators: Sequence[Operator], spec: CostSpec) -> list[float]:
    """How much of each term operators in one call are."""
    read, written, kept = spec.lanes
    slow = spec.float_slowdown
    amounts = {
        "call": 1.0,
        "gmac": sum(op.lane_gmac(read, written) * (slow if op.is_float else 1) for op in operators),
        "mb": sum(op.mb(kept) for op in operators),
        "clip_mb": sum(op.mb(kept) for op in operators if op.kind in _CLIPS),
    }
    return [amounts[term] for term in spec.terms]


def _solve(
    amounts: NDArray[np.float64], times: NDArray[np.float64], spec: CostSpec
) -> NDArray[np.float64]:
    """Least squares of log(predicted / measured), by least squares weighted anew."""
    from scipy.optimize import nnls

    bound = spec.most_call_ms if "call" in spec.terms else None
    call = spec.terms.index("call") if bound is not None else -1
    rest = [place for place in range(len(spec.terms)) if place != call]
    weights = 1 / times
    for _ in range(_STEPS):
        found = nnls(amounts * weights[:, None], times * weights)[0]
        if bound is not None and found[call] > bound:
            left = np.clip(times - bound * amounts[:, call], 0, None)
            found[rest] = nnls(amounts[:, rest] * weights[:, None], left * weights)[0]
            found[call] = bound
        # log(p / t) is (p - t) / sqrt(p t) to third order.
        weights = 1 / np.sqrt(np.clip(amounts @ found, 1e-9, None) * times)
    return np.asarray(found, np.float64)


def geometric_mean(values: Sequence[float]) -> float:
    """Return the middle of factors."""
    return math.exp(sum(math.log(value) for value in values) / len(values))

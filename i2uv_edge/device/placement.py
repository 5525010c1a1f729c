"""Which operator runs on which unit, and why one cannot run on the other.

A delegate takes what its operators and limits allow, and the CPU runs the rest. Runs of operators
on one unit are made as TFLite's partitioning makes them: whatever is ready joins the present one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from i2uv_edge.convert.partition import partition
from i2uv_edge.device.placement_graph import Operator
from i2uv_edge.errors import InputError
from i2uv_edge.target_spec import Certainty, LimitSpec, RuntimeSpec, Unit

__all__ = ["Placement", "Refusal", "Run", "place", "refusal_of", "refusal_of_network"]


@dataclass(frozen=True)
class Refusal:
    """Why a runtime leaves an operator to the CPU."""

    reason: str
    source: str
    certainty: Certainty

    def __str__(self) -> str:
        return f"{self.reason} ({self.certainty})"


@dataclass(frozen=True)
class Run:
    """Operators that run on one unit without a break.

    `refusals` has an entry for each operator that the CPU runs though another unit was asked for.
    """

    unit: Unit
    operators: tuple[Operator, ...]
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True)
class Placement:
    """A network's runs in order; `whole` says why the runtime takes none of it, if it does not."""

    runs: tuple[Run, ...]
    whole: Refusal | None = None

    @property
    def crossings(self) -> int:
        """How often the work passes from one unit to another."""
        return len(self.runs) - 1

    @property
    def delegated(self) -> bool:
        """Whether anything runs elsewhere than on the CPU."""
        return any(run.unit != "CPU" for run in self.runs)


def place(operators: Sequence[Operator], runtime: RuntimeSpec) -> Placement:
    """Place a network.

    Raises
    ------
    InputError
        The operators are not in an order in which they can run.
    """
    if runtime.unit == "CPU":
        return Placement((Run("CPU", tuple(operators)),))
    if refused := refusal_of_network(operators, runtime):
        return Placement((Run("CPU", tuple(operators), (refused,) * len(operators)),), refused)
    refusals = [refusal_of(operator, runtime) for operator in operators]
    units: list[Unit] = [runtime.unit if refusal is None else "CPU" for refusal in refusals]
    reads = [[tensor.name for tensor in operator.inputs] for operator in operators]
    writes = [[operator.output.name] for operator in operators]
    try:
        found = partition(units, reads, writes)
    except ValueError as error:
        raise InputError(
            f"operator {operators[error.args[0]].layer!r} reads what no operator before it writes",
            expected="operators in the order they run, and a name for each tensor",
        ) from error
    runs = []
    for unit, numbers in found:
        named = tuple(refusal for n in numbers if (refusal := refusals[n]) is not None)
        runs.append(Run(unit, tuple(operators[n] for n in numbers), named))
    return Placement(tuple(runs))


def refusal_of_network(operators: Sequence[Operator], runtime: RuntimeSpec) -> Refusal | None:
    """Say why a runtime takes nothing of a network, None if it may take some of it."""
    for limit in runtime.limit:
        most = limit.max_network_tensor_mb
        if most is None:
            continue
        largest = max(
            (tensor for operator in operators for tensor in operator.tensors),
            key=lambda tensor: tensor.mb(),
        )
        if largest.mb() > most:
            reason = (
                f"tensor {largest.name!r} has {largest.mb():.0f} MB, at most {most:g} are taken"
            )
            return Refusal(reason, limit.source, limit.certainty)
    return None


def refusal_of(operator: Operator, runtime: RuntimeSpec) -> Refusal | None:
    """Say why a runtime does not take an operator, None if it does."""
    for limit in runtime.limit:
        if limit.operators and operator.kind not in limit.operators:
            continue
        (condition,) = limit.conditions
        if condition in _BROKEN and (reason := _BROKEN[condition](operator, limit)):
            return Refusal(f"{operator.kind} {reason}", limit.source, limit.certainty)
    if runtime.operators and not any(operator.kind in row.names for row in runtime.operators):
        # What a list leaves out is known no better than its least certain part.
        row = max(runtime.operators, key=lambda row: _SURE.index(row.certainty))
        reason = f"{operator.kind} is not among the operators it takes"
        return Refusal(reason, row.source, row.certainty)
    return None


_SURE: tuple[Certainty, ...] = ("measured", "documented", "derived", "assumed")


def _types(operator: Operator, limit: LimitSpec) -> str:
    found = sorted({tensor.type for tensor in operator.tensors} - set(limit.types))
    return f"is {' and '.join(found)}, only {', '.join(limit.types)} are taken" if found else ""


def _rank(operator: Operator, limit: LimitSpec) -> str:
    rank = max(len(tensor.shape) for tensor in operator.tensors)
    return _above(rank, limit.max_rank, "has {} dimensions")


def _stride(operator: Operator, limit: LimitSpec) -> str:
    return _above(operator.stride, limit.max_stride, "has stride {}")


def _dilation(operator: Operator, limit: LimitSpec) -> str:
    return _above(operator.dilation, limit.max_dilation, "has dilation {}")


def _groups(operator: Operator, limit: LimitSpec) -> str:
    return _above(operator.groups, limit.max_groups, "has {} groups")


def _multiplier(operator: Operator, limit: LimitSpec) -> str:
    return _above(operator.multiplier, limit.max_multiplier, "has depth multiplier {}")


def _kernel_width(operator: Operator, limit: LimitSpec) -> str:
    width = operator.kernel[1]
    wanted = limit.kernel_width
    return f"has kernel width {width}, only {wanted} is taken" if width != wanted else ""


def _output_side(operator: Operator, limit: LimitSpec) -> str:
    return _above(max(operator.output.shape[1:3]), limit.max_output_side, "writes {} pixels a side")


def _padding(operator: Operator, limit: LimitSpec) -> str:
    return "" if operator.zero_padding else "pads with another value than zero"


def _above(found: int, most: int | None, words: str) -> str:
    assert most is not None
    return f"{words.format(found)}, at most {most} is taken" if found > most else ""


_BROKEN: dict[str, Callable[[Operator, LimitSpec], str]] = {
    "types": _types,
    "max_rank": _rank,
    "max_stride": _stride,
    "max_dilation": _dilation,
    "max_groups": _groups,
    "max_multiplier": _multiplier,
    "kernel_width": _kernel_width,
    "max_output_side": _output_side,
    "zero_padding": _padding,
}

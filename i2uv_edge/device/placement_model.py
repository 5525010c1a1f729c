"""Times of placed networks, from the evidence of a target; and how right they are about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from i2uv_edge.device.cost import Fit, Sample, Spread, geometric_mean, leave_one_out
from i2uv_edge.device.cost_evidence import Evidence, Row, load_evidence, operators_of
from i2uv_edge.device.placement import Placement, Run, place
from i2uv_edge.errors import UsageError
from i2uv_edge.plans import Check, Checks
from i2uv_edge.target_spec import CostSpec, RuntimeSpec, TargetSpec

__all__ = ["CPU_RUNTIME", "Model", "check", "model_of"]

CPU_RUNTIME = "xnnpack"


@dataclass(frozen=True)
class Model:
    """What predicts the times of one runtime.

    Attributes
    ----------
    unit
        What it costs on the unit; of a CPU runtime, on the CPU.
    cpu
        What it costs on the CPU alone.
    beside
        How much slower than that the CPU runs what a delegate left to it: TFLite's own kernels
        then run, not XNNPACK's.
    fallback
        The spread over networks that the unit ran in part; None where none was measured.
    """

    unit: Fit
    cpu: Fit
    beside: float
    fallback: Spread | None

    def ms(self, run: Run, placement: Placement) -> float:
        """Predict the milliseconds of one run of a placement."""
        if run.unit != "CPU":
            return self.unit.cost.ms(run.operators)
        slower = self.beside if placement.delegated else 1.0
        return slower * self.cpu.cost.ms(run.operators)

    def total(self, placement: Placement) -> float:
        """Predict the milliseconds of a placed network."""
        return sum(self.ms(run, placement) for run in placement.runs)

    def spread(self, placement: Placement) -> Spread:
        """How far off the prediction may be."""
        if not placement.delegated:
            return self.cpu.spread
        if not placement.crossings or self.fallback is None:
            return self.unit.spread
        return self.unit.spread.over(self.fallback)


def model_of(target: TargetSpec, runtime: str) -> Model:
    """Fit what predicts the times of a runtime of a target.

    Raises
    ------
    UsageError
        There is no evidence to predict from.
    """
    evidence, unit, cpu = _costs(target, runtime)
    return _model(evidence, target.runtime[runtime], unit, cpu)


def check(target: TargetSpec, runtime: str) -> Checks:
    """Predict every network of the evidence from the other ones."""
    evidence, unit, cpu = _costs(target, runtime)
    spec, column = target.runtime[runtime], unit.column
    model = _model(evidence, spec, unit, cpu)
    rows = [
        Check(row.name, True, _measured(row, column), model.unit.predicted[row.name])
        for row in evidence.fitted(column)
    ]
    if spec.unit != "CPU":
        rows += [
            _fallback_check(row, model, evidence, spec, column) for row in evidence.fallback(column)
        ]
    known = {row.name for row in rows}
    unused = {
        row.name: (row.why if row.use == "none" else "") or f"no figure for {spec.unit}"
        for row in evidence.row
        if row.name not in known
    }
    paid: dict[str, float] = dict(zip(unit.terms, model.unit.cost.coefficients, strict=True))
    source = f"{evidence.source}; {unit.source}"
    return Checks(target.name, runtime, source, paid, model.beside, tuple(rows), unused)


def _fallback_check(
    row: Row, model: Model, evidence: Evidence, spec: RuntimeSpec, column: str
) -> Check:
    """Predict a row that was run in part without its own part in how slow the CPU then is."""
    others = [other for other in evidence.fallback(column) if other is not row]
    slower = _beside(others, model.unit, model.cpu, spec, column)
    placement = place(operators_of(row), spec)
    alone = replace(model, beside=slower)
    on_unit = sum(len(run.operators) for run in placement.runs if run.unit != "CPU")
    total = sum(len(run.operators) for run in placement.runs)
    placed = f"{on_unit} of {total} operators on the {spec.unit}, {placement.crossings} crossings"
    return Check(row.name, False, _measured(row, column), alone.total(placement), placed)


def _model(evidence: Evidence, spec: RuntimeSpec, unit: CostSpec, cpu: CostSpec) -> Model:
    cpu_fit = _fit(evidence, cpu)
    if spec.unit == "CPU":
        return Model(cpu_fit, cpu_fit, 1.0, None)
    unit_fit = _fit(evidence, unit)
    rows = evidence.fallback(unit.column)
    slower = _beside(rows, unit_fit, cpu_fit, spec, unit.column)
    model = Model(unit_fit, cpu_fit, slower, None)
    if not rows:
        return model
    checks = [_fallback_check(row, model, evidence, spec, unit.column) for row in rows]
    return replace(model, fallback=Spread.of([1 / row.ratio for row in checks]))


def _beside(rows: Sequence[Row], unit: Fit, cpu: Fit, spec: RuntimeSpec, column: str) -> float:
    """How much slower the CPU is beside a delegate than alone, in the middle of the rows."""
    factors = []
    for row in rows:
        placement = place(operators_of(row), spec)
        if not (placement.delegated and placement.crossings):
            continue
        once, twice = (Model(unit, cpu, slower, None).total(placement) for slower in (1.0, 2.0))
        factors.append(max(1.0, 1 + (_measured(row, column) - once) / (twice - once)))
    return geometric_mean(factors) if factors else 1.0


def _fit(evidence: Evidence, cost: CostSpec) -> Fit:
    samples = [
        Sample(row.name, operators_of(row), _measured(row, cost.column))
        for row in evidence.fitted(cost.column)
    ]
    return leave_one_out(samples, cost)


def _measured(row: Row, column: str) -> float:
    value = row.ms(column)
    assert value is not None
    return value


def _costs(target: TargetSpec, runtime: str) -> tuple[Evidence, CostSpec, CostSpec]:
    unit = target.runtime[runtime].cost
    alone = target.runtime.get(CPU_RUNTIME)
    cpu = None if alone is None else alone.cost
    if not target.evidence or unit is None or cpu is None:
        raise UsageError(
            f"nothing is measured on {target.name} that times of {runtime} could be predicted from",
            expected="a target with evidence, like sd865",
        )
    return load_evidence(target.evidence), unit, cpu

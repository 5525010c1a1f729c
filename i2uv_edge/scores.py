"""From measurements and gates to a report: what passed, what failed, and by how much.

Here is also the form of `report.json`. How things are measured is in `i2uv_edge.parity`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.spec import GateSpec

__all__ = [
    "BASELINE",
    "EMULATED",
    "Measured",
    "Measurement",
    "Report",
    "Scale",
    "Score",
    "explain",
    "judge",
]

BASELINE = "float"
"""The runner whose score relative gates start from."""

EMULATED = "emulated"
"""What computes the ONNX files literally: no runner of its own, but what these files mean."""

SCHEMA = 1
_LARGER_IS_BETTER = ("masked_psnr_db", "f5", "f15", "spread_ratio")


@dataclass(frozen=True)
class Measurement:
    """One number: a metric of a candidate against a reference at one stage.

    `metric` may end in "/" and a finger's name; such rows are reported, no gate judges them.
    `value` is NaN where there was nothing to compare, or no number. `worst_sample` is the id of the
    sample that is furthest off, None for what only a set of samples has.
    """

    reference: str
    candidate: str
    stage: str
    metric: str
    value: float
    worst_sample: str | None = None


@dataclass(frozen=True)
class Scale:
    """How long one map unit was taken to be, and by whom.

    `origin` is "truth" (the samples' own scale), "template" (the built-in hand fitted to the
    reference's vertices) or "mixed"; the numbers are over the samples.
    """

    origin: str
    median_mm: float
    least_mm: float
    greatest_mm: float


@dataclass(frozen=True)
class Measured:
    """All that was measured on one set of samples."""

    samples: int
    measurements: tuple[Measurement, ...]
    scale: Scale | None = None

    def plus(self, measurements: Iterable[Measurement]) -> Measured:
        """Return this with more measurements, of what does not come from samples."""
        return replace(self, measurements=(*self.measurements, *measurements))


@dataclass(frozen=True)
class Score:
    """One row of `report.json`: a measurement and its verdict; `limit` is in the metric's unit."""

    reference: str
    candidate: str
    stage: str
    metric: str
    value: float
    limit: float | None
    passed: bool
    worst_sample: str | None


@dataclass(frozen=True)
class Report:
    """What `report.json` holds."""

    model: str
    samples: int
    scores: tuple[Score, ...]
    scale: Scale | None = None

    @property
    def passed(self) -> bool:
        """Whether something was compared and every row of it passed."""
        return self.samples > 0 and bool(self.scores) and all(s.passed for s in self.scores)

    def failures(self) -> list[str]:
        """Explain every row that failed, one line each, and an empty comparison."""
        lines = [explain(score) for score in self.scores if not score.passed]
        if self.samples < 1 or not self.scores:
            lines.insert(0, "nothing was compared: there are no samples")
        return lines

    def fields(self) -> dict[str, Any]:
        """Return the JSON document; numbers that JSON does not have are null."""
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "passed": self.passed,
            "model": self.model,
            "samples": self.samples,
            "scores": [_finite(asdict(score)) for score in self.scores],
        }
        if self.scale is not None:
            document["scale"] = _finite(asdict(self.scale))
        return document

    def to_json(self) -> str:
        """Return `report.json`, the same text for the same report."""
        return json.dumps(self.fields(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str | bytes) -> Report:
        """Read what `to_json` wrote.

        Raises
        ------
        InputError
            It is no JSON, or not a report of this schema.
        """
        try:
            document = json.loads(text)
            if document["schema"] != SCHEMA:
                raise ValueError(f"schema {document['schema']!r}")
            scores = tuple(_score(row) for row in document["scores"])
            scale = Scale(**_numbers(document["scale"])) if "scale" in document else None
            return Report(str(document["model"]), int(document["samples"]), scores, scale)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"the report cannot be read: {error}",
                expected=f"a report.json of schema {SCHEMA}",
                remedy="write it again with `i2uv-edge validate`",
            ) from error


def judge(model: str, measured: Measured, gates: Sequence[GateSpec]) -> Report:
    """Hold every measurement against the gates that name it.

    A value that is no number fails, gate or no gate. Where several gates judge a row, the
    strictest one counts.

    Parameters
    ----------
    gates
        Those that apply to the recipe, as `load_gates(recipe)` gives them.

    Raises
    ------
    UsageError
        A gate limits a change, and the float model it starts from was not measured.
    """
    baselines = {
        (m.reference, m.stage, m.metric): m.value
        for m in measured.measurements
        if m.candidate == BASELINE
    }
    scores = []
    for m in measured.measurements:
        baseline = baselines.get((m.reference, m.stage, m.metric))
        limit = _limit(m, baseline, gates)
        passed = math.isfinite(m.value) and (limit is None or _within(m.metric, m.value, limit))
        scores.append(Score(**{**asdict(m), "limit": limit, "passed": passed}))
    return Report(model, measured.samples, tuple(scores), measured.scale)


def explain(score: Score) -> str:
    """Say in one line what a row holds, which limit it would pass, and where to look."""
    metric, what = score.metric, f"{score.stage}: {score.candidate} against {score.reference}"
    if not math.isfinite(score.value):
        text = f"{what}, {metric} is no number: an output is missing or not finite, or too few"
    elif score.limit is None:
        text = f"{what}, {metric} is {score.value:.4g}"
    elif not math.isfinite(score.limit):
        text = f"{what}, {metric} is {score.value:.4g}, and the {BASELINE} model's is no number"
    else:
        side = "at least" if metric in _LARGER_IS_BETTER else "at most"
        text = f"{what}, {metric} is {score.value:.4g}, and may be {side} {score.limit:.4g}"
        if not score.passed:
            text += f"; a limit of {_passing(metric, score.value)} would pass"
    return text if score.worst_sample is None else f"{text}; worst sample {score.worst_sample}"


def _limit(m: Measurement, baseline: float | None, gates: Sequence[GateSpec]) -> float | None:
    limits = []
    for gate in gates:
        if not gate.judges(
            metric=m.metric, reference=m.reference, candidate=m.candidate, stage=m.stage
        ):
            continue
        if gate.direction != ("min" if m.metric in _LARGER_IS_BETTER else "max"):
            raise UsageError(
                f"the gate of {m.metric} has direction {gate.direction!r}",
                expected="min for " + ", ".join(_LARGER_IS_BETTER) + "; max for all others",
            )
        if gate.kind != "absolute" and gate.limit is not None and baseline is None:
            raise UsageError(
                f"the gate of {m.metric} limits a change from the {BASELINE} model, which was not "
                f"measured against {m.reference} at stage {m.stage}",
                remedy=f"let a runner named {BASELINE!r} take part",
            )
        bound = gate.bound(baseline)
        if bound is not None:
            limits.append(bound)
    if not limits:
        return None
    if any(math.isnan(limit) for limit in limits):
        return math.nan  # which nothing is within
    return max(limits) if m.metric in _LARGER_IS_BETTER else min(limits)


def _within(metric: str, value: float, limit: float) -> bool:
    return value >= limit if metric in _LARGER_IS_BETTER else value <= limit


def _passing(metric: str, value: float) -> str:
    """Return the value rounded to three digits, to the side on which it passes."""
    if value == 0:
        return "0"
    step = 10.0 ** (math.floor(math.log10(abs(value))) - 2)
    steps = value / step
    rounded = math.floor(steps) if metric in _LARGER_IS_BETTER else math.ceil(steps)
    return f"{rounded * step:.3g}"


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def _numbers(row: dict[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in row.items()}


def _score(row: dict[str, Any]) -> Score:
    names = {field.name for field in fields(Score)}
    if set(row) != names:
        raise ValueError(f"a row has the keys {sorted(row)}, expected {sorted(names)}")
    value = math.nan if row["value"] is None else float(row["value"])
    return Score(**{**row, "value": value})

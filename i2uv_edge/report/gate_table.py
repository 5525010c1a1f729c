"""Every gate with what it judged, why its limit is what it is, and which rows failed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from i2uv_edge.report.material import Material, Section
from i2uv_edge.report.samples import anchors
from i2uv_edge.report.words import gate_limit, gate_title, metric_value
from i2uv_edge.scores import BASELINE, Score, explain
from i2uv_edge.spec import GateSpec
from i2uv_edge.table import columns, own_column

__all__ = ["Cell", "GateGroup", "GateRow", "section"]

STAGES = ("chained", "affinenet", "srnet", "hand")


@dataclass(frozen=True)
class Cell:
    """The value of one candidate; "" where it has none."""

    text: str = ""
    failed: bool = False


@dataclass(frozen=True)
class GateRow:
    """One stage: a cell for each candidate, the limit in the metric's unit, the worst sample."""

    stage: str
    cells: tuple[Cell, ...]
    limit: str
    verdict: str
    worst_sample: str


@dataclass(frozen=True)
class GateGroup:
    """One gate: what it asks of what, and why."""

    title: str
    limit: str
    reason: str
    verdict: str
    rows: tuple[GateRow, ...]


def section(material: Material) -> Section | None:
    """Failed gates first, then those with a limit, then what is only reported."""
    scores = material.report.scores
    names = tuple(columns(scores))
    groups, idle, judged = [], [], set()
    for gate in material.gates:
        own = [score for score in scores if _judges(gate, score)]
        if own:
            groups.append(_group(gate, own, names))
            judged.update(own)
        else:
            idle.append(gate_title(gate))
    stray = [explain(s) for s in scores if not s.passed and s not in judged]
    if not groups and not stray:
        return None
    order = {"failed": 0, "passed": 1, "": 2}
    content = {
        "names": names,
        "groups": sorted(groups, key=lambda group: order[group.verdict]),
        "stray": stray,
        "idle": list(dict.fromkeys(idle)),
        "anchors": anchors(material.evidence),
    }
    return Section("gates", "Gates", "gates.html", content)


def _judges(gate: GateSpec, score: Score) -> bool:
    return gate.judges(
        metric=score.metric,
        reference=score.reference,
        candidate=score.candidate,
        stage=score.stage,
    )


def _group(gate: GateSpec, scores: Sequence[Score], names: Sequence[str]) -> GateGroup:
    stages = [stage for stage in STAGES if any(score.stage == stage for score in scores)]
    if gate.limit is None:
        # A limit on these rows is that of another gate, which shows it.
        scores = [replace(s, limit=None, passed=math.isfinite(s.value)) for s in scores]
    rows = [_row(stage, [s for s in scores if s.stage == stage], names) for stage in stages]
    return GateGroup(gate_title(gate), gate_limit(gate), gate.reason, _verdict(scores), tuple(rows))


def _row(stage: str, scores: Sequence[Score], names: Sequence[str]) -> GateRow:
    by_name = {own_column(score.candidate): score for score in scores}
    cells = []
    for name in names:
        score = by_name.get(name)
        text = "" if score is None else metric_value(score.metric, score.value)
        cells.append(Cell(text, score is not None and not score.passed))
    limits = {metric_value(s.metric, s.limit) for s in scores if s.limit is not None}
    # What was converted is what is shown further down, so its worst sample is the one to name.
    shown = [s for s in scores if not s.passed] or [s for s in scores if s.candidate != BASELINE]
    worst = next((s.worst_sample for s in shown or scores if s.worst_sample is not None), "")
    return GateRow(stage, tuple(cells), " / ".join(sorted(limits)), _verdict(scores), worst or "")


def _verdict(scores: Iterable[Score]) -> str:
    judged = [score for score in scores if score.limit is not None or not score.passed]
    if not judged:
        return ""
    return "passed" if all(score.passed for score in judged) else "failed"

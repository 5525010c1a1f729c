"""Three-way parity: the float networks, the same in fake-quant, and the files made of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from i2uv_edge.report.material import Material, Section
from i2uv_edge.report.words import number
from i2uv_edge.scores import BASELINE, EMULATED, Score
from i2uv_edge.table import STAGES, summary

__all__ = ["PairRow", "Step", "section"]

MIDDLE = "fake-quant"
METRICS = (
    ("vertex_mean_mm", "mean, mm"),
    ("vertex_p95_mm", "p95"),
    ("vertex_p99_mm", "p99"),
    ("vertex_max_mm", "most"),
    ("masked_psnr_db", "PSNR, dB"),
    ("normal_deg", "normals, degrees"),
)
"""What is told of every pair, and what people call it."""


@dataclass(frozen=True)
class Step:
    """From one way to compute the model to the next: how far they are apart on average."""

    name: str
    apart: str
    passed: bool


@dataclass(frozen=True)
class PairRow:
    """A pair at one stage, a cell for each of `METRICS`, "" for what is not known."""

    stage: str
    cells: tuple[str, ...]


def section(material: Material) -> Section | None:
    """None if nothing was compared."""
    report = material.report
    found = summary(report, material.sizes)
    if not found.rows:
        return None
    apart = [s for s in report.scores if s.reference != "truth" and s.candidate != EMULATED]
    steps = _steps(apart)
    content = {
        "summary": found,
        "steps": steps,
        "pairs": _pairs(apart),
        "columns": [title for _, title in METRICS],
    }
    title = "Three ways to compute it" if steps else "Side by side"
    return Section("ways", title, "three_ways.html", content)


def _steps(scores: Sequence[Score]) -> dict[str, list[Step]]:
    """From float to fake-quant, and on to each file; empty unless all three are there."""
    stage = next((s for s in STAGES if any(score.stage == s for score in scores)), "")
    means = [s for s in scores if (s.metric, s.stage) == ("vertex_mean_mm", stage)]
    first = [_step(s) for s in means if (s.reference, s.candidate) == (BASELINE, MIDDLE)]
    then = [_step(s) for s in means if s.reference == MIDDLE]
    return {"rounding": first, "conversion": then} if first and then else {}


def _step(score: Score) -> Step:
    return Step(score.candidate, f"{number(score.value)} mm", score.passed)


def _pairs(scores: Sequence[Score]) -> list[tuple[str, str, list[PairRow]]]:
    """Reference, candidate and the rows of each pair, in the order they were compared."""
    values = {(s.reference, s.candidate, s.stage, s.metric): s.value for s in scores}
    found = []
    for pair in dict.fromkeys((score.reference, score.candidate) for score in scores):
        rows = []
        for stage in STAGES:
            own = [values.get((*pair, stage, metric)) for metric, _ in METRICS]
            if any(value is not None for value in own):
                cells = ("" if value is None else number(value) for value in own)
                rows.append(PairRow(stage, tuple(cells)))
        if rows:
            found.append((*pair, rows))
    return found

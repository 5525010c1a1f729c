"""The top of the page: passed or failed, by how much, and the table as on the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from i2uv_edge.report.material import Material, Section
from i2uv_edge.report.words import decibytes, number, scale_sentence
from i2uv_edge.scores import BASELINE
from i2uv_edge.table import summary

__all__ = ["KeyFigure", "section"]

SHOWN_FAILURES = 12  # the gates further down show all of them


@dataclass(frozen=True)
class KeyFigure:
    """One of the few numbers to take away: what it is, and what to hold it against."""

    value: str
    unit: str
    title: str
    beside: str
    failed: bool = False


def section(material: Material) -> Section:
    """Always there: what was compared, and what came of it."""
    report, subject = material.report, material.subject
    found = summary(report, material.sizes)
    failures = report.failures()
    judged = [score for score in report.scores if score.limit is not None or not score.passed]
    failed = sum(not score.passed for score in judged)
    content = {
        "passed": report.passed,
        "model": report.model,
        "recipe": subject.recipe,
        "target": subject.target,
        "samples": report.samples,
        "judged": len(judged),
        "failed": failed,
        "failures": failures[:SHOWN_FAILURES],
        "more": max(0, len(failures) - SHOWN_FAILURES),
        "scale_sentence": scale_sentence(report.scale),
        "summary": found,
        "figures": _figures(material),
        "worst": material.evidence.samples[0] if material.evidence else None,
        "evidence": material.evidence,
    }
    return Section("verdict", "Verdict", "verdict.html", content)


def _figures(material: Material) -> list[KeyFigure]:
    evidence = material.evidence
    if evidence is None:
        return []
    rows = {
        (score.reference, score.candidate, score.metric): score
        for score in material.report.scores
        if score.stage == evidence.stage
    }
    pair = (evidence.reference, evidence.candidate)
    figures = []
    for metric, title in (
        ("vertex_mean_mm", f"mean vertex distance from {evidence.reference}"),
        ("vertex_p95_mm", "95th percentile of it"),
    ):
        if (score := rows.get((*pair, metric))) is not None:
            beside = "" if score.limit is None else f"limit {number(score.limit)}"
            failed = not score.passed
            figures.append(KeyFigure(number(score.value), "mm", title, beside, failed))
    true = rows.get(("truth", evidence.candidate, "pa_mpvpe_mm"))
    base = rows.get(("truth", BASELINE, "pa_mpvpe_mm"))
    if true is not None and base is not None:
        beside = f"{BASELINE} {number(base.value)}"
        title = "PA-MPVPE, the error against the truth"
        figures.append(KeyFigure(number(true.value), "mm", title, beside, not true.passed))
    ours, theirs = (material.sizes.get(name) for name in (evidence.candidate, BASELINE))
    if ours and theirs:
        value, unit = decibytes(ours).split()
        figures.append(KeyFigure(value, unit, "weights", f"{BASELINE} {decibytes(theirs)}"))
    return figures

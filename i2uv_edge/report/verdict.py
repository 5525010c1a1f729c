"""The top of the page: passed or failed, by how much, and the few numbers to take away."""

from __future__ import annotations

import math
from dataclasses import dataclass

from i2uv_edge.report.material import Material, Section
from i2uv_edge.report.witness import Evidence
from i2uv_edge.report.words import decibytes, number, scale_sentence
from i2uv_edge.scores import BASELINE, Score

__all__ = ["KeyFigure", "section"]

SHOWN_FAILURES = 12  # the gates further down show all of them


@dataclass(frozen=True)
class KeyFigure:
    """One of the few numbers to take away: what it is, and what to hold it against.

    `verdict` is "passed", "failed", or "" where nothing judges it; `part` is how much of what
    is allowed is used up (0..1): of the limit, or of the way from float's number to it.
    """

    value: str
    unit: str
    title: str
    beside: str
    verdict: str = ""
    part: float | None = None


def section(material: Material) -> Section:
    """Always there: what was compared, and what came of it."""
    report, subject = material.report, material.subject
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
        "figures": _figures(material),
        "worst": material.evidence.samples[0] if material.evidence else None,
        "evidence": material.evidence,
    }
    return Section("verdict", "Verdict", "verdict.html", content)


def _figures(material: Material) -> list[KeyFigure]:
    evidence = material.evidence
    figures = [] if evidence is None else _measured(material, evidence)
    theirs = material.sizes.get(BASELINE)
    ours = material.sizes.get(evidence.candidate) if evidence else None
    if ours and theirs:
        value, unit = decibytes(ours).split()
        beside = f"{100 * ours / theirs:.0f} % of {BASELINE}'s {decibytes(theirs)}"
        figures.append(KeyFigure(value, unit, "weights", beside))
    if material.predictions:
        plan = material.predictions[0].plan
        figures.append(
            KeyFigure(
                f"{plan.fps:.0f}",
                "frames/s",
                f"predicted on {plan.target}",
                f"{plan.fps_low:.0f} at the slow end; {plan.runtime}, not measured",
            )
        )
    return figures


def _measured(material: Material, evidence: Evidence) -> list[KeyFigure]:
    rows = {
        (score.reference, score.candidate, score.metric): score
        for score in material.report.scores
        if score.stage == evidence.stage
    }
    pair, ours = (evidence.reference, evidence.candidate), ("truth", evidence.candidate)
    figures = []
    for key, title in (
        ((*pair, "vertex_mean_mm"), f"mean distance of the vertices from {pair[0]}"),
        ((*pair, "vertex_p95_mm"), "95 % of the vertices are within"),
        ((*ours, "pa_mpvpe_mm"), "error against the truth (PA-MPVPE)"),
        ((*ours, "flicker_mm"), "flicker of a still hand"),
    ):
        if (score := rows.get(key)) is not None:
            base = rows.get(("truth", BASELINE, key[2])) if key[0] == "truth" else None
            figures.append(_figure(score, base, title))
    return figures


def _figure(score: Score, base: Score | None, title: str) -> KeyFigure:
    beside = [] if base is None or base is score else [f"{BASELINE} {number(base.value)}"]
    part, verdict = None, "" if score.passed else "failed"
    if score.limit is not None:
        verdict = verdict or "passed"
        beside.append(f"limit {number(score.limit)}")
        start = base.value if base is not None and base is not score else 0.0
        if math.isfinite(score.value) and score.limit > start:
            part = min(max((score.value - start) / (score.limit - start), 0.0), 1.0)
    return KeyFigure(number(score.value), "mm", title, ", ".join(beside), verdict, part)

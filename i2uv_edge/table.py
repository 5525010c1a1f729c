"""A report as a short table: what a person wants to see first, in millimetres.

Everything else is in `report.json`. What failed is not repeated here, see `Report.failures`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from i2uv_edge.scores import BASELINE, EMULATED, Report, Scale, Score

__all__ = ["STAGES", "Row", "Summary", "columns", "origin", "own_column", "summary", "table"]


@dataclass(frozen=True)
class _Line:
    """A line of the table: what it is called, and the rows of the report it shows.

    They are of the last stage, or of the one that is named.
    """

    title: str
    reference: str
    metric: str
    stage: str = ""


_COMPARED = (
    _Line("PA-MPVPE, mm", "truth", "pa_mpvpe_mm"),
    _Line("F@5", "truth", "f5"),
    _Line("spread ratio", "truth", "spread_ratio"),
    _Line("flicker, mm", "truth", "flicker_mm"),
    _Line("off float, mean mm", "float", "vertex_mean_mm"),
    _Line("off float, p95 mm", "float", "vertex_p95_mm"),
    _Line("off float, p99 mm", "float", "vertex_p99_mm"),
    _Line("off fake-quant, mean mm", "fake-quant", "vertex_mean_mm"),
    _Line("ONNX emulated, off fake-quant, units", "fake-quant", "texel_max_units"),
)
_EVALUATED = (
    _Line("MPVPE, mm", "truth", "vertex_mean_mm"),
    _Line("PA-MPVPE, mm", "truth", "pa_mpvpe_mm"),
    _Line("MPJPE, mm", "truth", "official_mpjpe_mm"),
    _Line("MPJPE, wrists together, mm", "truth", "official_root_mpjpe_mm"),
    _Line("PA-MPJPE, mm", "truth", "pa_mpjpe_mm"),
    _Line("AUC of vertices, PA", "truth", "official_pa_mpvpe_auc"),
    _Line("AUC of joints, PA", "truth", "official_pa_mpjpe_auc"),
    _Line("F@5", "truth", "f5"),
    _Line("F@15", "truth", "f15"),
    _Line("normals, degrees", "truth", "normal_deg"),
    _Line("vertices of true maps, % better than bilinear", "truth", "vertex_gain_percent", "srnet"),
    _Line("normals, % better than bilinear", "truth", "normal_gain_percent", "chained"),
    _Line("spread ratio", "truth", "spread_ratio"),
    _Line("flicker, mm", "truth", "flicker_mm"),
)
STAGES = {
    "chained": "both networks chained",
    "srnet": "the SRNet alone",
    "affinenet": "the AffineNet",
    "hand": "the hand that is read",
}
"""What people call the stages, the last one first."""

_ORIGINS = {"truth": "the ground truth", "template": "the built-in hand fitted to the reference"}


@dataclass(frozen=True)
class Row:
    """A line of the table in words: a cell for each runner, the limit and the verdict, or ""."""

    title: str
    cells: tuple[str, ...]
    limit: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class Summary:
    """The last stage of a report: `names` are the runners, `verdict` sums up all stages."""

    heading: str
    names: tuple[str, ...]
    rows: tuple[Row, ...]
    verdict: str


def table(report: Report, sizes: Mapping[str, int] | None = None) -> str:
    """Lay out the last stage of a report, a column for each runner.

    Parameters
    ----------
    report
        What was measured and judged.
    sizes
        Bytes of the networks by runner, for a line of its own.
    """
    found = summary(report, sizes)
    if not found.verdict:
        return found.heading
    limit = "limit" if any(row.limit for row in found.rows) else ""
    rows = [(row.title, *row.cells, row.limit, row.verdict) for row in found.rows]
    lines = _laid_out([("", *found.names, limit, ""), *rows])
    return "\n".join([found.heading, "", *lines, "", found.verdict])


def summary(report: Report, sizes: Mapping[str, int] | None = None) -> Summary:
    """What `table` lays out; without rows if nothing was compared."""
    stage = next((s for s in STAGES if any(score.stage == s for score in report.scores)), None)
    if stage is None:
        return Summary(f"{report.model}: nothing was compared", (), (), "")
    scores = [score for score in report.scores if score.stage == stage]
    names = columns(scores)
    compared = any(score.reference != "truth" for score in scores)
    rows = []
    for line in _COMPARED if compared else _EVALUATED:
        own = [score for score in report.scores if score.stage == (line.stage or stage)]
        if row := _row(line, own, names):
            rows.append(row)
    if sizes:
        cells = (f"{sizes[name] / 1e6:.2f}" if sizes.get(name) else "" for name in names)
        rows.append(Row("weights, MB", tuple(cells)))
    heading = f"{report.model}, {STAGES[stage]}: {report.samples} samples{_unit(report.scale)}"
    return Summary(heading, tuple(names), tuple(rows), _sum(report))


def own_column(candidate: str) -> str:
    """The column that a candidate's numbers stand in: an emulated file is the ONNX file."""
    return "onnx" if candidate == EMULATED else candidate


def columns(scores: Sequence[Score]) -> list[str]:
    """What numbers there are of, the float networks first."""
    names = dict.fromkeys(own_column(score.candidate) for score in scores)
    return sorted(names, key=lambda name: name != BASELINE)


def _row(line: _Line, scores: Sequence[Score], names: Sequence[str]) -> Row | None:
    """A line with a value for each name; None if nobody has one."""
    found = {
        own_column(score.candidate): score
        for score in scores
        if (score.reference, score.metric) == (line.reference, line.metric)
    }
    if not found:
        return None
    judged = [score for score in found.values() if score.limit is not None or not score.passed]
    verdict = ""
    if judged:
        verdict = "pass" if all(score.passed for score in judged) else "FAIL"
    limits = {_number(score.limit, line) for score in judged if score.limit is not None}
    values = (_number(found[name].value, line) if name in found else "" for name in names)
    return Row(line.title, tuple(values), " / ".join(sorted(limits)), verdict)


def _number(value: float, line: _Line) -> str:
    if not math.isfinite(value):
        return "no number"
    return f"{value:.1g}" if line.metric == "texel_max_units" else f"{value:.3f}"


def _unit(scale: Scale | None) -> str:
    """Say how long a map unit was taken to be, without which millimetres mean nothing."""
    if scale is None or not math.isfinite(scale.median_mm):
        return ""
    return f", 1 map unit = {scale.median_mm:.0f} mm (median, from {origin(scale)})"


def origin(scale: Scale) -> str:
    """What the length of a map unit was taken from."""
    return _ORIGINS.get(scale.origin, "the ground truth where there is one")


def _laid_out(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for title, *cells, verdict in rows:
        right = (cell.rjust(width) for cell, width in zip(cells, widths[1:-1], strict=True))
        lines.append("  ".join([title.ljust(widths[0]), *right, verdict]).rstrip())
    return lines


def _sum(report: Report) -> str:
    judged = [score for score in report.scores if score.limit is not None or not score.passed]
    failed = sum(not score.passed for score in judged)
    if failed:
        return f"{failed} of {len(judged)} checks FAILED"
    if judged:
        return f"all {len(judged)} checks passed"
    return f"{len(report.scores)} numbers, all finite"

"""Where the networks would run on the phone, drawn to one scale of time: all of it predicted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from i2uv_edge.plans import Plan, Segment
from i2uv_edge.report.material import Material, Prediction, Section
from i2uv_edge.report.pixels import nice_ceiling
from i2uv_edge.report.scale import ticks
from i2uv_edge.report.words import count

__all__ = ["Piece", "Strip", "section"]


@dataclass(frozen=True)
class Piece:
    """A segment in a strip, `part` (0..1) of its time; `name` is spoken, `row` is tabled."""

    unit: str
    part: float
    name: str
    row: tuple[str, ...]


@dataclass(frozen=True)
class Strip:
    """A plan: its pieces one after the other, `length` (0..1) of the scale.

    `low` and `high` are where on the scale the time may end; `networks` are names and times, `says`
    is the strip in words.
    """

    title: str
    what: str
    length: float
    low: float
    high: float
    pieces: tuple[Piece, ...]
    networks: tuple[tuple[str, str], ...]
    says: str
    time: str
    frame: str
    crossings: int
    notes: tuple[str, ...]


def section(material: Material) -> Section | None:
    """None where nothing is measured that a time could be predicted from."""
    if not material.predictions:
        return None
    top = nice_ceiling(max(own.plan.ms_high for own in material.predictions))
    first = material.predictions[0]
    content = {
        "target": first.plan.target,
        "strips": [_strip(own, top) for own in material.predictions],
        "ticks": ticks(top),
        "units": sorted({s.unit for own in material.predictions for s in own.plan.segments}),
        "others": [
            (other.runtime, _range(other.ms, other.ms_low, other.ms_high), other.crossings)
            for other in first.plan.alternatives
            if other.runtime not in {own.plan.runtime for own in material.predictions}
        ],
        "pre_post_ms": first.plan.pre_post_ms,
        "columns": ("segment", "unit", "operators", "multiply-adds", "MB", "ms", "why"),
    }
    return Section("placement", "Where it would run", "placement.html", content)


def _strip(prediction: Prediction, top: float) -> Strip:
    plan = prediction.plan
    whole = "in segments" if prediction.split else "each network one file"
    return Strip(
        title=f"{plan.runtime}, {whole}",
        what=plan.description,
        length=plan.ms / top,
        low=plan.ms_low / top,
        high=plan.ms_high / top,
        pieces=tuple(_piece(segment, plan.ms) for segment in plan.segments),
        networks=tuple(_networks(plan)),
        says=_says(plan),
        time=_range(plan.ms, plan.ms_low, plan.ms_high),
        frame=f"{plan.fps:.0f} frames a second, {plan.fps_low:.0f} at the slow end",
        crossings=plan.crossings,
        notes=tuple(_notes(prediction)),
    )


def _piece(segment: Segment, total: float) -> Piece:
    why = f"{segment.offender}: {segment.reason}" if segment.offender else segment.reason
    time = _range(segment.ms, segment.ms_low, segment.ms_high)
    row = (
        segment.network,
        segment.unit,
        str(segment.ops),
        count(round(segment.gmac * 1e9)),
        f"{segment.mb:.1f}",
        time,
        why,
    )
    name = f"{segment.network} on the {segment.unit}: {segment.ops} operators, {time}"
    return Piece(segment.unit, segment.ms / total if total else 0.0, name, row)


def _networks(plan: Plan) -> Iterable[tuple[str, str]]:
    """Name and milliseconds of each network; segments are named after theirs."""
    for name, own in groupby(plan.segments, lambda segment: segment.network.split(".")[0]):
        yield name, f"{sum(segment.ms for segment in own):.1f} ms"


def _says(plan: Plan) -> str:
    runs = [
        f"{unit} {sum(segment.ms for segment in own):.1f} ms"
        for unit, own in groupby(plan.segments, lambda segment: segment.unit)
    ]
    return f"{plan.runtime}: {', then '.join(runs)}"


def _notes(prediction: Prediction) -> Iterable[str]:
    checks = prediction.checks
    wholes = sum(row.whole for row in checks.rows)
    if wholes:
        yield (
            f"Each of {wholes} public networks predicted from the others is off by "
            f"{100 * checks.median_error:.0f} % (median) where the unit runs all of it."
        )
    if checks.worst_fallback is not None:
        yield (
            f"Networks run in part are within a factor of {checks.worst_fallback:.1f}, which is "
            "what the range is made of."
        )
    if prediction.plan.note:
        yield f"{prediction.plan.note[0].upper()}{prediction.plan.note[1:]}."
    yield f"Measured by {checks.source}."


def _range(ms: float, low: float, high: float) -> str:
    return f"{ms:.1f} ms ({low:.1f} to {high:.1f})"

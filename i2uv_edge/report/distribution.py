"""How the distances are spread: over all vertices, and over the fingers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from i2uv_edge.report.counts import Counts
from i2uv_edge.report.material import Material, Section
from i2uv_edge.report.pixels import nice_ceiling
from i2uv_edge.report.scale import Tick, ticks
from i2uv_edge.report.witness import Evidence
from i2uv_edge.report.words import number

__all__ = ["Bar", "FingerRow", "Histogram", "Marker", "section"]

BARS = 60
HEADROOM = 1.04  # above the highest bar
BEYOND = 0.001  # part of the vertices that may lie beyond the axis


@dataclass(frozen=True)
class Bar:
    """A bar from `start` to `end` along the axis, `height` high, each 0..1."""

    start: float
    end: float
    height: float


@dataclass(frozen=True)
class Marker:
    """A line at `place` (0..1); `anchor` is the side of it that the SVG text is put on."""

    place: float
    text: str
    anchor: str


@dataclass(frozen=True)
class Histogram:
    """Shares of the vertices (percent) over the distance (mm), from 0 to `top`."""

    top: float
    bars: tuple[Bar, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    markers: tuple[Marker, ...]
    beyond: float
    total: int


@dataclass(frozen=True)
class FingerRow:
    """One finger, mean and 95th percentile each: of its distance, and of its errors.

    `bar` is its mean beside that of the worst finger (0..1). `errors` are those of the reference
    and of the candidate, empty where nobody knows the truth.
    """

    finger: str
    distance: tuple[str, str]
    bar: float
    errors: tuple[str, ...]


def section(material: Material) -> Section | None:
    """None if no distance was finite."""
    evidence = material.evidence
    if evidence is None or not evidence.distances.counts.sum():
        return None
    own = {
        (s.reference, s.candidate, s.metric): s
        for s in material.report.scores
        if s.stage == evidence.stage
    }
    pair = (evidence.reference, evidence.candidate)
    marks = [
        (title, own[*pair, metric].value)
        for title, metric in (
            ("mean", "vertex_mean_mm"),
            ("p95", "vertex_p95_mm"),
            ("p99", "vertex_p99_mm"),
        )
        if (*pair, metric) in own and np.isfinite(own[*pair, metric].value)
    ]
    fingers = _fingers(evidence)
    names = pair if fingers and fingers[0].errors else ()
    content = {
        "reference": evidence.reference,
        "candidate": evidence.candidate,
        "histogram": histogram(evidence.distances, marks),
        "fingers": fingers,
        "names": names,
    }
    return Section("spread", "How the error is spread", "distribution.html", content)


def histogram(found: Counts, marks: list[tuple[str, float]]) -> Histogram:
    """Lay out counts in equal bars up to a round number that nearly all of them are below."""
    counts, bounds = found.counts.astype(np.float64), found.bounds
    reached = np.cumsum(counts) / counts.sum()
    end = bounds[1 + int((reached >= 1 - BEYOND).argmax())]
    top = nice_ceiling(max(float(end), *(value for _, value in marks), 0.0))
    edges = np.linspace(0, top, BARS + 1)
    # What has been counted so far, continued evenly inside a bin, which is far narrower than a bar.
    upto = np.interp(edges, bounds, np.concatenate([[0.0], reached]))
    shares = np.diff(upto) * 100
    highest = float(shares.max()) * HEADROOM
    bars = tuple(
        Bar(number / BARS, (number + 1) / BARS, float(share / highest))
        for number, share in enumerate(shares)
        if share > 0
    )
    return Histogram(
        top=top,
        bars=bars,
        x_ticks=ticks(top),
        y_ticks=ticks(highest, most=4),
        markers=_markers(marks, top),
        beyond=max(0.0, round(1 - float(upto[-1]), 9)),
        total=int(counts.sum()),
    )


def _markers(marks: list[tuple[str, float]], top: float) -> tuple[Marker, ...]:
    """Texts keep clear of each other and of the edges: the first is put left, the last right."""
    sides = ["end", *["middle"] * max(len(marks) - 2, 0), "start"][: len(marks)]
    found = []
    for (name, value), side in zip(marks, sides, strict=True):
        place = value / top
        side = "start" if place < 0.1 else "end" if place > 0.9 else side
        found.append(Marker(place, f"{name} {value:.3g}", side))
    return tuple(found)


def _fingers(evidence: Evidence) -> list[FingerRow]:
    top = max((own.apart.mean for own in evidence.fingers), default=0.0) or 1.0
    rows = []
    known = any(own.theirs for own in evidence.fingers)
    for own in evidence.fingers:
        errors: list[str] = []
        for pair in (own.theirs, own.ours) if known else ():
            # Where the truth is of the first vertices alone, a finger may have none of them.
            errors += ["", ""] if pair is None else [number(pair.mean), number(pair.p95)]
        distance = number(own.apart.mean), number(own.apart.p95)
        rows.append(FingerRow(own.finger, distance, own.apart.mean / top, tuple(errors)))
    return rows

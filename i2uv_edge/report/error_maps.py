"""Where on the hand the candidate is off: on the UV map of each stage, and on the hand itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from i2uv_edge.report.material import Material, Section
from i2uv_edge.report.meshes import hand_sides
from i2uv_edge.report.pixels import colours, heat_png, nice_ceiling, png
from i2uv_edge.report.scale import ColourScale, colour_scale
from i2uv_edge.report.witness import ErrorMap
from i2uv_edge.report.words import millimetres

__all__ = ["Figure", "Panel", "section"]

HAND_SIDE = 320
# Of the texels, how many may be beyond the end of the scale: a single one must not set it.
BEYOND = 0.002


@dataclass(frozen=True)
class Figure:
    """A picture with its words."""

    image: str
    alt: str
    title: str
    note: str
    side: int


@dataclass(frozen=True)
class Panel:
    """Figures that share a scale."""

    title: str
    what: str
    scale: ColourScale
    figures: tuple[Figure, ...]
    smooth: bool = False


STAGE_TITLES = {
    "affinenet": "AffineNet",
    "srnet": "SRNet alone",
    "chained": "Both chained",
    "hand": "Vertices, row after row",
}


def section(material: Material) -> Section | None:
    """None if no stage has a map of finite numbers."""
    evidence = material.evidence
    maps = [m for m in evidence.maps if m.samples] if evidence else []
    if evidence is None or not maps:
        return None
    maps.sort(key=lambda m: list(STAGE_TITLES).index(m.stage))
    panels = [
        _panel(maps, "mean", "Mean over the samples", "mean distance"),
        _panel(maps, "p95", "95th percentile over the samples", "95th percentile of the distance"),
    ]
    if evidence.vertex_mean.any():
        top = panels[0].scale.top
        drawn = hand_sides(material.atlas, colours(evidence.vertex_mean, top), HAND_SIDE)
        titles = {"palm": "Palm", "back": "Back of the hand"}
        figures = [
            Figure(
                image=png(picture),
                alt=f"{titles[name]}, each vertex in the colour of its mean distance",
                title=titles[name],
                note="",
                side=HAND_SIDE,
            )
            for name, picture in drawn.items()
        ]
        if figures:
            panel = panels[0]
            panels.insert(
                0, Panel("On the hand", panel.what, panel.scale, tuple(figures), smooth=True)
            )
    content = {
        "reference": evidence.reference,
        "candidate": evidence.candidate,
        "panels": panels,
        "left_out": max(m.left_out for m in maps),
    }
    return Section("where", "Where the error is", "error_maps.html", content)


def _panel(maps: list[ErrorMap], kind: str, title: str, what: str) -> Panel:
    values = {m.stage: getattr(m, kind) for m in maps}
    ends = [np.nanquantile(v, 1 - BEYOND) for v in values.values()]
    scale = colour_scale(nice_ceiling(float(max(ends))))
    figures = []
    for m in maps:
        own = values[m.stage]
        mean, worst = float(np.nanmean(own)), float(np.nanmax(own))
        row, column = np.unravel_index(int(np.nanargmax(own)), own.shape)
        name = STAGE_TITLES[m.stage]
        figures.append(
            Figure(
                image=heat_png(own, scale.top),
                alt=f"UV map of {name}: {millimetres(mean)} on average, {millimetres(worst)} at "
                f"row {row}, column {column} of {len(own)}",
                title=name,
                note=f"mean {millimetres(mean)}, most {millimetres(worst)}",
                side=len(own),
            )
        )
    return Panel(title, what, scale, tuple(figures))

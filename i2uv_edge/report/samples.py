"""Float and converted meshes over the pictures they were read from, side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from i2uv_edge.hand.metrics import deviation
from i2uv_edge.report.material import Material, Section
from i2uv_edge.report.meshes import enlarged, mesh_over
from i2uv_edge.report.pixels import colours, jpeg, nice_ceiling
from i2uv_edge.report.scale import colour_scale
from i2uv_edge.report.witness import Evidence, KeptSample
from i2uv_edge.tally import SurfaceAtlas

__all__ = ["Drawn", "ShownSample", "anchors", "picture_anchor", "section"]

SIDE = 320


@dataclass(frozen=True)
class Drawn:
    """A picture and what it is; `image` is empty where there is no mesh to draw.

    `anchor` is where on the page it is, "" if nobody asks.
    """

    title: str
    image: str
    alt: str
    anchor: str = ""


@dataclass(frozen=True)
class ShownSample:
    """One sample: its pictures, and its distances in mm."""

    id: str
    rank: str
    anchor: str
    pictures: tuple[Drawn, ...]
    mean: float
    p95: float
    maximum: float
    off_truth: float | None


def section(material: Material) -> Section | None:
    """None if nothing was kept."""
    evidence = material.evidence
    if evidence is None:
        return None
    ends = [np.quantile(s.distances, 0.99) for s in evidence.samples if np.isfinite(s.mean_mm)]
    scale = colour_scale(nice_ceiling(float(max(ends, default=1.0))))
    shown, places = [], anchors(evidence)
    for sample in evidence.samples:
        pictures = _pictures(sample, evidence, material.atlas, scale.top, places[sample.id])
        found = deviation(sample.distances)
        shown.append(
            ShownSample(
                id=sample.id,
                rank=sample.rank,
                anchor=places[sample.id],
                pictures=pictures,
                mean=found.mean,
                p95=found.p95,
                maximum=found.maximum,
                off_truth=sample.off_truth_mm,
            )
        )
    content = {
        "reference": evidence.reference,
        "candidate": evidence.candidate,
        "scale": scale,
        "samples": shown,
        "side": SIDE,
    }
    return Section("samples", "On pictures", "samples.html", content)


def anchors(evidence: Evidence | None) -> dict[str, str]:
    """Where on the page each shown sample is, by its id."""
    samples = () if evidence is None else evidence.samples
    return {sample.id: f"sample-{number}" for number, sample in enumerate(samples)}


def picture_anchor(anchor: str) -> str:
    """The picture without any mesh over it, of the sample that is at `anchor`."""
    return f"{anchor}-picture"


def _pictures(
    sample: KeptSample, evidence: Evidence, atlas: SurfaceAtlas, top: float, anchor: str
) -> tuple[Drawn, ...]:
    picture, what = enlarged(sample.picture, SIDE), f"Sample {sample.id}"
    # Where the candidate is off, on its own mesh.
    tinted = colours(np.nan_to_num(sample.distances, nan=top, posinf=top), top)
    meshes = (
        (evidence.reference, sample.theirs, None, f"the mesh of {evidence.reference} over it"),
        (evidence.candidate, sample.ours, None, f"the mesh of {evidence.candidate} over it"),
        ("distance", sample.ours, tinted, f"the mesh of {evidence.candidate} coloured by distance"),
    )
    drawn = [Drawn("picture", jpeg(picture), what, picture_anchor(anchor))]
    for title, vertices, tint, alt in meshes:
        made = mesh_over(picture, vertices, atlas.faces, tint)
        drawn.append(Drawn(title, "" if made is None else jpeg(made), f"{what} with {alt}"))
    return tuple(drawn)

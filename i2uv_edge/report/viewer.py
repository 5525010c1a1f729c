"""The meshes of the shown samples to be turned in the browser: as numbers, for `assets/viewer.js`.

That script is three.js and `assets/viewer.mjs` in one file; `make viewer` makes it. Where a browser
draws no WebGL, the pictures of `samples` stand for it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.hand import metrics
from i2uv_edge.report.material import Material, Section
from i2uv_edge.report.pixels import nice_ceiling
from i2uv_edge.report.samples import anchors, picture_anchor
from i2uv_edge.report.scale import ColourScale, colour_scale
from i2uv_edge.report.witness import Evidence, KeptSample
from i2uv_edge.tally import Surface, SurfaceAtlas

__all__ = ["SCRIPT", "TurnedSample", "section"]

Array = NDArray[Any]

SCRIPT = "viewer.js"
STEPS = 32767  # of a coordinate, on each side of the middle: some thousandths of a millimetre
MAGNIFIED = (1, 5, 10)  # what is invisible at its own size: half a millimetre on a hand


@dataclass(frozen=True)
class TurnedSample:
    """What is said of a sample that can be turned: its distances in mm."""

    id: str
    rank: str
    mean: float
    p95: float
    theirs_off_truth: float | None
    ours_off_truth: float | None


def section(material: Material) -> Section | None:
    """None if no sample has two finite meshes."""
    evidence = material.evidence
    if evidence is None:
        return None
    shown = [s for s in evidence.samples if np.isfinite(s.distances).all()]
    if not shown:
        return None
    tops = _tops(shown)
    content = {
        "reference": evidence.reference,
        "candidate": evidence.candidate,
        "samples": [_turned(sample) for sample in shown],
        "scales": _scales(evidence, tops),
        "has_truth": "truth" in tops,
        "magnified": MAGNIFIED,
        "data": _data(evidence, shown, material.atlas, tops),
    }
    return Section("mesh", "The hand, to turn", "viewer.html", content, script=SCRIPT)


def _turned(sample: KeptSample) -> TurnedSample:
    found = metrics.deviation(sample.distances)
    off = {
        name: None if apart is None else float(apart.mean())
        for name, apart in _off_truth(sample).items()
    }
    return TurnedSample(sample.id, sample.rank, found.mean, found.p95, off["theirs"], off["ours"])


def _off_truth(sample: KeptSample) -> dict[str, Array | None]:
    """(V,) mm of either mesh from the truth; None where that is not known at every vertex."""
    truth = _whole_truth(sample)
    return {
        name: None if truth is None else metrics.distances(own, truth) * sample.scale_mm
        for name, own in (("theirs", sample.theirs), ("ours", sample.ours))
    }


def _whole_truth(sample: KeptSample) -> Array | None:
    truth = sample.truth
    known = truth is not None and len(truth) == len(sample.theirs) and np.isfinite(truth).all()
    return truth if known else None


def _tops(shown: list[KeptSample]) -> dict[str, float]:
    """Where the colour scales end, one for all samples: a few vertices of each may be beyond."""
    off: dict[str, list[Array]] = {"apart": [sample.distances for sample in shown]}
    for sample in shown:
        off.setdefault("truth", []).extend(o for o in _off_truth(sample).values() if o is not None)
    return {
        name: nice_ceiling(float(max(np.quantile(own, 0.99) for own in found)))
        for name, found in off.items()
        if found
    }


def _scales(evidence: Evidence, tops: Mapping[str, float]) -> list[tuple[str, ColourScale, str]]:
    words = {
        "apart": f"distance of {evidence.candidate} from {evidence.reference}",
        "truth": "distance from the truth, nothing aligned",
    }
    return [(name, colour_scale(top), words[name]) for name, top in tops.items()]


def _data(
    evidence: Evidence, shown: list[KeptSample], atlas: SurfaceAtlas, tops: Mapping[str, float]
) -> dict[str, Any]:
    """Plain JSON; arrays are little-endian and in base64."""
    vertices = len(atlas.template)
    places = anchors(evidence)
    fingers = Surface(atlas).fingers
    labels = np.zeros(vertices, np.uint8)
    for number, own in enumerate(fingers.values()):
        labels[own] = number
    return {
        "vertices": vertices,
        "faces": _packed(atlas.faces, "<u4" if vertices > 0xFFFF else "<u2"),
        "fingers": {"names": list(fingers), "labels": _packed(labels, "u1")} if fingers else None,
        "ramp": colour_scale(1.0).swatches,
        "tops": dict(tops),
        "samples": [_sample_data(sample, places[sample.id]) for sample in shown],
    }


def _sample_data(sample: KeptSample, anchor: str) -> dict[str, Any]:
    meshes = {"theirs": sample.theirs, "ours": sample.ours}
    if (truth := _whole_truth(sample)) is not None:
        meshes["truth"] = np.asarray(truth, np.float32)
    low, high = sample.theirs.min(0), sample.theirs.max(0)
    centre = (low.astype(np.float64) + high) / 2
    placed = {name: (own - centre) * sample.scale_mm for name, own in meshes.items()}
    step = max(float(np.abs(own).max()) for own in placed.values()) / STEPS or 1.0
    radius = float(np.linalg.norm(placed["theirs"], axis=1).max())
    return {
        "id": sample.id,
        "picture": picture_anchor(anchor),
        "centre": [round(float(value), 6) for value in centre],
        "unit_mm": sample.scale_mm,
        "radius_mm": radius,
        "step_mm": step,
        "meshes": {name: _packed(np.rint(own / step), "<i2") for name, own in placed.items()},
    }


def _packed(values: Array, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values).astype(kind).tobytes()).decode("ascii")

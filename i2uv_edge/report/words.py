"""Numbers and names as people read them."""

from __future__ import annotations

import math

from i2uv_edge.scores import Scale
from i2uv_edge.spec import GateSpec
from i2uv_edge.table import origin

__all__ = [
    "METRICS",
    "count",
    "decibytes",
    "gate_limit",
    "gate_title",
    "metric_value",
    "millimetres",
    "number",
    "scale_sentence",
]

METRICS = {
    "vertex_mean_mm": ("mean vertex distance", "mm"),
    "vertex_p95_mm": ("vertex distance, 95th percentile", "mm"),
    "vertex_p99_mm": ("vertex distance, 99th percentile", "mm"),
    "vertex_max_mm": ("greatest vertex distance", "mm"),
    "texel_mean_mm": ("mean texel distance", "mm"),
    "texel_max_units": ("greatest texel distance, ONNX emulated", "map units"),
    "masked_psnr_db": ("PSNR of the maps", "dB"),
    "pa_mpvpe_mm": ("PA-MPVPE", "mm"),
    "pa_mpjpe_mm": ("PA-MPJPE", "mm"),
    "f5": ("F@5", ""),
    "f15": ("F@15", ""),
    "normal_deg": ("angle of the normals", "degrees"),
    "flicker_mm": ("flicker of a still hand", "mm"),
    "spread_ratio": ("spread ratio", ""),
    "float_macs_share": ("share of multiply-adds in float", ""),
}
"""Name and unit of each metric."""


def number(value: float | None) -> str:
    """Three decimals, or why there are none."""
    if value is None or not math.isfinite(value):
        return "no number"
    if value and abs(value) < 0.0005:
        return "< 0.001" if value > 0 else "> -0.001"
    return f"{value:.3f}"


def millimetres(value: float) -> str:
    """A distance to about a hundredth of a millimetre, which is less than anybody can see."""
    if not math.isfinite(value):
        return "no number of mm"
    return f"{value:.1f} mm" if value >= 10 else f"{value:.2f} mm" if value >= 0.01 else "< 0.01 mm"


def metric_value(metric: str, value: float | None) -> str:
    """A value as its metric is read; shares in percent."""
    if metric == "float_macs_share" and value is not None and math.isfinite(value):
        return f"{value:.2%}"
    if metric == "texel_max_units" and value is not None and math.isfinite(value):
        return f"{value:.1g}"
    return number(value)


def decibytes(size: int) -> str:
    """Bytes in decimal units."""
    for unit, factor in (("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.2f} {unit}"
    return f"{size} B"


def count(value: int) -> str:
    """A large count: 1.32 G, 45.1 M, 812."""
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if value >= factor:
            return f"{value / (1e3 if unit == 'k' else factor):.3g} {unit}"
    return str(value)


def gate_title(gate: GateSpec) -> str:
    """What a gate judges."""
    name, unit = METRICS[gate.metric]
    title = name[0].upper() + name[1:] + (f", {unit}" if unit else "")
    if gate.metric in ("float_macs_share", "flicker_mm", "spread_ratio"):
        return title
    return f"{title}, against {'the truth' if gate.reference == 'truth' else gate.reference}"


def gate_limit(gate: GateSpec) -> str:
    """What a gate asks."""
    if gate.limit is None:
        return "reported, without a limit"
    if gate.kind == "absolute":
        side = "at most" if gate.direction == "max" else "at least"
        share = gate.metric == "float_macs_share"
        return f"{side} {gate.limit:.0%}" if share else f"{side} {gate.limit:g}"
    amount = f"{gate.limit * 100:g} %" if gate.kind == "relative" else f"{gate.limit:g}"
    return f"at most {amount} {'above' if gate.direction == 'max' else 'below'} float's"


def scale_sentence(scale: Scale | None) -> str:
    """How long a map unit was taken to be; "" where nobody knows."""
    if scale is None or not math.isfinite(scale.median_mm):
        return ""
    spread = ""
    if scale.least_mm < scale.greatest_mm:
        spread = f", {scale.least_mm:.0f} to {scale.greatest_mm:.0f} mm over the samples"
    return f"One map unit is {scale.median_mm:.0f} mm (median{spread}), from {origin(scale)}."

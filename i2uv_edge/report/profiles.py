"""Speed and cost, a table for each source: measured here, counted by an emulator, on a phone."""

from __future__ import annotations

from i2uv_edge.report.material import Material, Section

__all__ = ["section"]


def section(material: Material) -> Section | None:
    """None where nothing was profiled."""
    if not material.profiles:
        return None
    return Section("profiles", "Profiles", "profiles.html", {"sources": material.profiles})

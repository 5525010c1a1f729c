"""Where everything came from, and how to make it again."""

from __future__ import annotations

from i2uv_edge.report.material import Material, Section
from i2uv_edge.report.words import decibytes

__all__ = ["section"]

# Kinds of which a bundle holds hundreds of files: counted here, listed in its manifest.
COUNTED = ("eval", "golden")


def section(material: Material) -> Section:
    """Always there: whatever was compared has an origin."""
    subject = material.subject
    listed = [a for a in subject.artifacts if a.kind not in COUNTED]
    counted = []
    for kind in COUNTED:
        own = [a for a in subject.artifacts if a.kind == kind]
        if own:
            counted.append((f"{kind}/", len(own), decibytes(sum(a.bytes for a in own))))
    content = {
        "commands": subject.commands,
        "remarks": subject.remarks,
        "tools": subject.tools,
        "sources": subject.sources,
        "artifacts": [(a.path, decibytes(a.bytes), a.sha256) for a in listed],
        "counted": counted,
        "sha256": subject.sha256,
        "target": subject.target,
        "recipe": subject.recipe,
    }
    return Section("origin", "Where it comes from", "provenance.html", content)

"""Which blocks cost how many millimetres, and what leaving some in float would buy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from i2uv_edge.findings import BlockFinding, Findings
from i2uv_edge.report.material import Material, Section
from i2uv_edge.report.words import number

__all__ = ["CostRow", "NetworkCosts", "section"]

SHOWN = 12  # blocks of a network; all stand in analysis.json


@dataclass(frozen=True)
class CostRow:
    """A block: its share of the multiply-adds, and what it costs; `bar` is beside the worst."""

    block: str
    macs: str
    alone: str
    left: str
    saved: str
    bar: float


@dataclass(frozen=True)
class NetworkCosts:
    """The costliest blocks of one network, how many there are, and what all cost together."""

    role: str
    rows: tuple[CostRow, ...]
    blocks: int
    integer: str


def section(material: Material) -> Section | None:
    """None without an analysis."""
    found = material.findings
    if found is None or not found.blocks:
        return None
    content = {
        "recipe": found.recipe,
        "own_recipe": material.subject.recipe[0],
        "pictures": found.pictures,
        "networks": [_costs(found, role, mm) for role, mm in found.integer_mm.items()],
        "ladder": [step.line() for step in found.ladder],
        "budgets": [budget.line() for budget in found.budgets],
        "footnote": found.footnote,
    }
    return Section("sensitivity", "Which blocks cost what", "sensitivity.html", content)


def _costs(found: Findings, role: str, integer_mm: float) -> NetworkCosts:
    own = [block for block in found.blocks if block.network == role]
    top = max((b.alone_mm for b in own if math.isfinite(b.alone_mm)), default=0.0) or 1.0
    rows = tuple(_row(block, top) for block in own[:SHOWN])
    return NetworkCosts(role, rows, len(own), number(integer_mm))


def _row(block: BlockFinding, top: float) -> CostRow:
    return CostRow(
        block=block.block,
        macs=f"{block.macs:.1%}",
        alone=number(block.alone_mm),
        left=number(block.all_but_mm),
        saved=number(block.saved_mm),
        bar=block.alone_mm / top if math.isfinite(block.alone_mm) else 1.0,
    )

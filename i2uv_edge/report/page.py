"""The sections put together into one HTML file that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from i2uv_edge.report import (
    blocks,
    conversion,
    distribution,
    error_maps,
    gate_table,
    profiles,
    provenance,
    samples,
    verdict,
)
from i2uv_edge.report.material import Material, Section
from i2uv_edge.report.words import millimetres, number

__all__ = ["SECTIONS", "render"]

SECTIONS: tuple[Callable[[Material], Section | None], ...] = (
    verdict.section,
    samples.section,
    error_maps.section,
    distribution.section,
    gate_table.section,
    blocks.section,
    conversion.section,
    profiles.section,
    provenance.section,
)
"""From top to bottom; one that has nothing to show gives None and is left out."""


def render(material: Material) -> str:
    """The page, the same text for the same material.

    Whatever comes from outside (names of files, models, candidates) is text in it, never markup.
    """
    sections = [found for make in SECTIONS if (found := make(material)) is not None]
    page = _environment().get_template("page.html")
    return page.render(report=material.report, subject=material.subject, sections=sections)


@cache
def _environment() -> Environment:
    templates = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = number
    environment.filters["mm"] = millimetres
    return environment

"""The sections put together into one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import hashlib
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
    placement,
    profiles,
    provenance,
    samples,
    sensitivity,
    three_ways,
    verdict,
    viewer,
)
from i2uv_edge.report.material import Material, Section
from i2uv_edge.report.words import millimetres, number

__all__ = ["SECTIONS", "render"]

SECTIONS: tuple[Callable[[Material], Section | None], ...] = (
    verdict.section,
    viewer.section,
    samples.section,
    error_maps.section,
    distribution.section,
    three_ways.section,
    gate_table.section,
    sensitivity.section,
    blocks.section,
    placement.section,
    profiles.section,
    conversion.section,
    provenance.section,
)
"""From top to bottom; one that has nothing to show gives None and is left out."""

HERE = Path(__file__).parent


def render(material: Material) -> str:
    """The page, the same text for the same material.

    Whatever comes from outside (names of files, models, candidates) is text in it, never markup.
    """
    sections = [found for make in SECTIONS if (found := make(material)) is not None]
    scripts = [_script(name) for name in dict.fromkeys(s.script for s in sections if s.script)]
    page = _environment().get_template("page.html")
    return page.render(
        report=material.report,
        subject=material.subject,
        sections=sections,
        scripts=scripts,
        hashes=[_hash(script) for script in scripts],
    )


@cache
def _script(name: str) -> str:
    return (HERE / "assets" / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """What the page's policy names a script by: no other one runs, wherever it came from."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = number
    environment.filters["mm"] = millimetres
    return environment

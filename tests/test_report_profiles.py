"""The section that shows speed and cost by source."""

from __future__ import annotations

import re

from report_toys import material

from i2uv_edge.report import profiles
from i2uv_edge.report.page import render


def shown() -> str:
    _, _, behind = render(material()).partition('<section id="profiles"')
    return behind.partition("</section>")[0]


def test_there_is_no_section_where_nothing_was_profiled() -> None:
    assert profiles.section(material(profiles=())) is None
    assert 'id="profiles"' not in render(material(profiles=()))


def test_each_source_has_a_table_of_its_own() -> None:
    _, host, hub = re.split("<h3>", shown())
    assert "host: a processor; measured on a desktop machine" in host
    assert "1.250" in host
    assert "4.000" not in host
    assert "hub: Samsung Galaxy Tab S7" in hub
    assert "4.000" in hub
    assert "1.250" not in hub


def test_operators_notes_jobs_and_versions_stand_with_their_source() -> None:
    _, host, hub = re.split("<h3>", shown())
    assert "<code>stem.0</code>" in host
    assert "176 operators, 176 on the CPU" in host
    assert "ai-edge-litert 2.3.0" in host
    assert "from a server at 127.0.0.1: invented" in hub
    assert "job j1: profile, SUCCESS" in hub
    assert "invented" not in host

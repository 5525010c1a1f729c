"""The table of all networks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.networks import BEGIN, END, Row, off_float, rows, table, written
from i2uv_edge.spec import load_network, network_names


def row(**changes: object) -> Row:
    values = {
        "name": "toy",
        "takes": "image 8x8x3",
        "answers": "pose 3",
        "parameters": 1_500_000,
        "gmac": 0.25,
        "segments": 2,
        "ms": (3.0, 2.0, 4.0),
        "runtime": "qnn",
        "host": 1.5,
    }
    return Row(**{**values, **changes})  # type: ignore[arg-type]


def test_a_line_has_a_cell_for_each_title() -> None:
    lines = table([row(), row(name="other")], {"toy": 0.5}).splitlines()
    assert {line.count("|") for line in lines} == {11}
    assert lines[2] == (
        "| `toy` | image 8x8x3 | pose 3 | 1.50 | 0.250 | 0.50 | 2 | 3.0 (2.0..4.0) | qnn | 1.50 |"
    )


def test_the_table_replaces_what_was_between_its_marks() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert written(page, "new") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    with pytest.raises(ValueError, match="the page has no"):
        written("nothing", "new")


def test_networks_are_converted_placed_and_timed() -> None:
    found = rows(["srnet-edge"])
    assert found[0].host == 1.0
    assert found[0].segments == 1
    assert found[0].gmac == pytest.approx(0.173, abs=0.001)


def test_the_page_lists_every_network_that_answers_with_a_hand() -> None:
    page = (Path(__file__).parents[1] / "docs" / "networks.md").read_text(encoding="utf-8")
    listed = page.partition(BEGIN)[2].partition(END)[0]
    hands = [name for name in network_names() if load_network(name).role == "hand"]
    assert [name for name in hands if f"`{name}`" not in listed] == []


def test_millimetres_are_those_of_a_bundles_report(exported: tuple[object, Path]) -> None:
    _, bundle = exported
    report = json.loads((bundle / "report.json").read_bytes())
    wanted = next(
        s["value"]
        for s in report["scores"]
        if (s["reference"], s["candidate"], s["stage"], s["metric"])
        == ("float", "tflite", "affinenet", "vertex_mean_mm")
    )
    assert wanted in off_float([bundle]).values()

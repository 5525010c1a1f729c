"""Sections by themselves: what stands in them, worked out from plain data."""

from __future__ import annotations

import base64
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_toys import (
    SCALE_MM,
    atlas,
    compared,
    evidence,
    findings,
    hand,
    material,
    plan,
    prediction,
    score,
    scores,
    segment,
)

from i2uv_edge.report import page as page_module
from i2uv_edge.report import placement, sensitivity, three_ways, verdict, viewer
from i2uv_edge.report.material import Material
from i2uv_edge.report.page import render
from i2uv_edge.scores import Report

ASSETS = Path(page_module.__file__).parent / "assets"


def content(module: Any, given: Material) -> dict[str, Any]:
    found = module.section(given)
    assert found is not None
    return dict(found.content)


def report(*rows: Any) -> Report:
    return Report("toy", 3, rows)


# --- the numbers on top ---------------------------------------------------------------------------


def figures(*rows: Any, **changes: Any) -> dict[str, verdict.KeyFigure]:
    given = material(report=report(*rows), **changes) if rows else material(**changes)
    return {own.title: own for own in content(verdict, given)["figures"]}


def test_a_figure_says_how_much_of_its_limit_is_used_up() -> None:
    own = figures(score(value=0.3, limit=1.2))["mean distance of the vertices from float"]
    assert (own.value, own.unit, own.beside, own.verdict) == (
        "0.300",
        "mm",
        "limit 1.200",
        "passed",
    )
    assert own.part == pytest.approx(0.25)


def test_of_a_limit_that_starts_from_float_the_way_from_there_counts() -> None:
    truth = {"reference": "truth", "limit": 9.2}
    rows = [
        score("pa_mpvpe_mm", 9.05, **truth),
        score("pa_mpvpe_mm", 9.0, candidate="float", **truth),
    ]
    own = figures(*rows)["error against the truth (PA-MPVPE)"]
    assert own.part == pytest.approx(0.25)
    assert own.beside == "float 9.000, limit 9.200"


@pytest.mark.parametrize(
    ("value", "limit", "passed", "part", "word"),
    [
        (2.0, 1.0, False, 1.0, "failed"),
        (math.nan, 1.0, False, None, "failed"),
        (2.0, None, True, None, ""),
        (0.0, 0.0, True, None, "passed"),
    ],
)
def test_figures_that_fail_or_have_no_limit(
    value: float, limit: float | None, passed: bool, part: float | None, word: str
) -> None:
    row = score(value=value, limit=limit, passed=passed)
    own = figures(row)["mean distance of the vertices from float"]
    assert (own.part, own.verdict) == (part, word)


def test_speed_on_top_is_said_to_be_a_prediction() -> None:
    own = figures()["predicted on sd865"]
    assert own.value == f"{plan().fps:.0f}"
    assert own.beside == f"{plan().fps_low:.0f} at the slow end; qnn, not measured"
    assert "predicted on sd865" not in figures(predictions=())


# --- three ways -----------------------------------------------------------------------------------


def test_the_way_from_float_to_each_file_goes_over_fake_quant() -> None:
    middle = {"reference": "fake-quant"}
    rows = (
        *scores(),
        score(value=1.1, candidate="fake-quant"),
        score(value=0.008, **middle),
        score(value=0.4, candidate="onnx", passed=False, limit=0.1, **middle),
        score("texel_max_units", 0.0, candidate="emulated", **middle),
    )
    steps = content(three_ways, material(report=report(*rows)))["steps"]
    assert [(s.name, s.apart, s.passed) for s in steps["rounding"]] == [
        ("fake-quant", "1.100 mm", True)
    ]
    assert [(s.name, s.apart, s.passed) for s in steps["conversion"]] == [
        ("tflite", "0.008 mm", True),
        ("onnx", "0.400 mm", False),
    ]


def test_without_fake_quant_there_is_no_such_way_but_every_pair() -> None:
    found = content(three_ways, material())
    assert found["steps"] == {}
    ((reference, candidate, rows),) = found["pairs"]
    assert (reference, candidate) == ("float", "tflite")
    assert rows[0].cells == ("1.167", "2.000", "2.000", "", "", "")


def test_a_number_that_is_none_is_said_to_be_none() -> None:
    found = content(three_ways, material(report=report(score(value=math.nan))))
    assert found["pairs"][0][2][0].cells[0] == "no number"


def test_of_an_empty_comparison_there_is_nothing_to_show() -> None:
    assert three_ways.section(material(report=Report("toy", 0, ()))) is None


# --- where it would run ---------------------------------------------------------------------------


def test_a_strip_is_as_long_as_its_time_and_its_pieces_fill_it() -> None:
    fast = prediction(segment("CPU", 4.0), runtime="xnnpack", unit="CPU")
    found = content(placement, material(predictions=(fast, prediction())))
    first, second = found["strips"]
    assert second.length / first.length == pytest.approx(10.0 / 4.0)
    assert [piece.part for piece in second.pieces] == pytest.approx([0.4, 0.2, 0.4])
    assert [piece.unit for piece in second.pieces] == ["DSP", "CPU", "DSP"]
    assert first.low < first.length < first.high
    assert max(own.high for own in found["strips"]) <= 1.0
    assert found["units"] == ["CPU", "DSP"]


def test_a_strip_says_in_words_what_it_shows_and_what_it_rests_on() -> None:
    (strip,) = content(placement, material())["strips"]
    assert strip.says == "qnn: DSP 4.0 ms, then CPU 2.0 ms, then DSP 4.0 ms"
    assert strip.networks == (
        ("affinenet", "6.0 ms"),
        ("srnet", "4.0 ms"),
    )
    assert strip.pieces[1].row[-1] == "decoder.0.head: CONV_2D is FLOAT32"
    text = " ".join(strip.notes)
    assert "off by 10 % (median)" in text
    assert "within a factor of 1.7" in text
    assert "a public table" in text


def test_segments_of_a_split_network_are_counted_as_one_network() -> None:
    own = prediction(
        segment(network="affinenet.00.dsp"), segment("CPU", network="affinenet.01.cpu"), split=True
    )
    (strip,) = content(placement, material(predictions=(own,)))["strips"]
    assert [name for name, _ in strip.networks] == ["affinenet"]
    assert strip.title == "qnn, in segments"


def test_a_plan_that_takes_no_time_is_no_error() -> None:
    own = prediction(segment(ms=0.0))
    (strip,) = content(placement, material(predictions=(own,)))["strips"]
    assert strip.pieces[0].part == 0.0
    render(material(predictions=(own,)))


def test_the_page_says_that_it_is_a_prediction() -> None:
    assert "Predicted, not measured" in render(material())
    assert placement.section(material(predictions=())) is None


# --- which blocks cost what -----------------------------------------------------------------------


def test_blocks_are_shown_from_the_costliest_on() -> None:
    (network,) = content(sensitivity, material())["networks"]
    assert [row.block for row in network.rows] == ["decoder.0", "stem"]
    assert [row.bar for row in network.rows] == [1.0, 0.5]
    assert network.integer == "0.600"
    text = render(material())
    assert "0.35 mm: decoder.0 float, +2.0 % time, estimated" in text
    assert "0.480 mm on 200 pictures" in text


def test_of_many_blocks_the_costliest_are_shown_and_all_are_counted() -> None:
    block = findings().blocks[0]
    many = tuple(replace(block, block=f"b{n}") for n in range(40))
    (network,) = content(sensitivity, material(findings=replace(findings(), blocks=many)))[
        "networks"
    ]
    assert (len(network.rows), network.blocks) == (sensitivity.SHOWN, 40)


def test_another_recipe_than_the_bundle_s_is_told() -> None:
    assert "this bundle's is" not in render(material())
    other = replace(findings(), recipe="w8a8-strict")
    assert "this bundle's is <code>w8a8</code>" in render(material(findings=other))


def test_a_star_is_explained_where_there_is_one() -> None:
    (step,) = findings().ladder
    starred = replace(findings(), ladder=(replace(step, float_macs=0.2),))
    assert "* of a network" in render(material(findings=starred))
    assert "* of a network" not in render(material())


# --- the meshes to turn ---------------------------------------------------------------------------


def unpacked(text: str, kind: str) -> np.ndarray[Any, Any]:
    return np.frombuffer(base64.b64decode(text), kind)


def data(**changes: Any) -> dict[str, Any]:
    """What the script is given, as it stands in the page."""
    page = render(material(**changes))
    (text,) = re.findall(r'<script type="application/json" id="viewer-data">(.*?)</script>', page)
    return dict(json.loads(text))


def test_meshes_come_out_as_they_went_in_to_a_few_thousandths_of_a_millimetre() -> None:
    found = data(evidence=evidence(compared("a", 2.0)))
    (sample,) = found["samples"]
    centre = np.array(sample["centre"])
    for name, wanted in (("theirs", hand()), ("ours", hand() + np.float32([2.0 / SCALE_MM, 0, 0]))):
        steps = unpacked(sample["meshes"][name], "<i2").reshape(-1, 3)
        vertices = steps * sample["step_mm"] / sample["unit_mm"] + centre
        assert np.abs(vertices - wanted).max() * SCALE_MM < 0.01
    assert np.array_equal(unpacked(found["faces"], "<u2").reshape(-1, 3), atlas().faces)
    assert len(unpacked(found["fingers"]["labels"], "u1")) == found["vertices"] == len(hand())


def test_a_mesh_of_many_vertices_gets_wider_numbers() -> None:
    class Large:
        template = np.zeros((70_000, 3), np.float32)
        joint_regressor = np.zeros((0, 70_000), np.float32)
        faces = np.array([[0, 1, 69_999]], np.int32)
        mask = np.ones((4, 4), np.bool_)

    shown = list(evidence().samples)
    found = viewer._data(evidence(), shown, Large(), {"apart": 1.0})  # type: ignore[arg-type]
    assert unpacked(found["faces"], "<u4").tolist() == [0, 1, 69_999]
    assert found["fingers"] is None


def test_truth_is_left_out_where_it_is_not_known_at_every_vertex() -> None:
    sample = compared("a", 1.0)
    assert sample.sample.truth is not None
    few = replace(sample.sample.truth, coarse=sample.sample.truth.coarse[:100])
    for truth in (None, few):
        found = data(evidence=evidence(replace(sample, sample=replace(sample.sample, truth=truth))))
        assert set(found["samples"][0]["meshes"]) == {"theirs", "ours"}
        assert set(found["tops"]) == {"apart"}
    assert set(data()["samples"][0]["meshes"]) == {"theirs", "ours", "truth"}


def test_a_sample_that_is_not_finite_is_not_to_be_turned() -> None:
    sample = compared("a", 1.0)
    vertices, distances = sample.ours.vertices.copy(), sample.distances.copy()
    vertices[0], distances[0] = np.nan, np.nan
    bad = replace(sample, ours=replace(sample.ours, vertices=vertices), distances=distances)
    assert viewer.section(material(evidence=evidence(bad))) is None
    page = render(material(evidence=evidence(bad)))
    assert "<canvas" not in page
    assert "script-src" not in page
    assert [s["id"] for s in data(evidence=evidence(bad, compared("b", 2.0)))["samples"]] == ["b"]


def test_each_picture_that_is_laid_on_a_mesh_is_on_the_page() -> None:
    page = render(material())
    for sample in data()["samples"]:
        assert f'<img id="{sample["picture"]}" src="data:image/jpeg' in page


def test_the_script_is_made_of_the_sources_beside_it() -> None:
    """`make viewer` was run after the last change, and three.js is the pinned one."""
    import hashlib

    built = (ASSETS / viewer.SCRIPT).read_text(encoding="utf-8")
    source = hashlib.sha256((ASSETS / "viewer.mjs").read_bytes()).hexdigest()
    pinned = json.loads((ASSETS / "package.json").read_text())["devDependencies"]["three"]
    assert built.startswith(f"/* viewer.mjs {source}\nthree.js {pinned}\n")
    assert "The MIT License" in built[:400]
    assert "three.js authors" in built[:400]
    assert len(built) < 600_000
    assert "</script" not in built


def test_the_pins_name_no_place_on_any_network() -> None:
    assert "resolved" not in (ASSETS / "package-lock.json").read_text()

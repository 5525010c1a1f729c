"""The page: what stands in it, what is left out, and that it needs nothing beside it."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections import Counter
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from report_toys import (
    compared,
    evidence,
    finger_labels,
    gates,
    material,
    score,
    scores,
    subject,
)

from i2uv_edge.bundle import Artifact
from i2uv_edge.hand.metrics import FINGERS
from i2uv_edge.report.distribution import section as distribution_section
from i2uv_edge.report.gate_table import section as gate_section
from i2uv_edge.report.material import ConvertedFile, Material
from i2uv_edge.report.page import SECTIONS, render
from i2uv_edge.scores import Report
from i2uv_edge.spec import GateSpec
from i2uv_edge.table import table

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;{{ 7*7 }}.jpg"
VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """The elements of a page, the text in them, and whether it is well formed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.feed(text)
        self.close()
        self.faults += [f"{tag} is not closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"{tag} is closed out of turn")

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", " ".join(data.split())))

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, *tags: str) -> str:
        unseen = ("style", "script")
        inside = (t for tag, t in self.texts if tag not in unseen and (not tags or tag in tags))
        return " ".join(inside)


@cache
def standard() -> str:
    return render(material())


def page(**changes: Any) -> Page:
    return Page(render(material(**changes)) if changes else standard())


def hash_of(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def outside(text: str) -> list[str]:
    """Everything by which a page would reach for something that is not in it."""
    found = []
    read = Page(text)
    (policy,) = (a["content"] for a in read.named("meta") if "http-equiv" in a)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    found += [script[:80] for script in scripts if hash_of(script) not in policy]
    data = [a for a in read.named("script") if a.get("type") == "application/json"]
    found += ["script"] * (len(read.named("script")) - len(scripts) - len(data))
    for tag, attributes in read.elements:
        if tag in ("link", "iframe", "object", "embed", "base", "form", "audio", "video"):
            found.append(tag)
        for name, value in attributes.items():
            reaches = name in ("src", "href", "srcset", "action", "poster", "xlink:href", "data")
            if reaches and not value.startswith(("#", "data:image/")):
                found.append(f"{tag} {name}={value}")
            if name.startswith("on") or "url(" in value:
                found.append(f"{tag} {name}={value}")
    for style in re.findall(r"<style>(.*?)</style>", text, re.S):
        found += re.findall(r"url\(|@import|@font-face", style)
    return found


# --- it stands alone ------------------------------------------------------------------------------


def test_nothing_outside_the_file_is_asked_for() -> None:
    text = standard()
    assert outside(text) == []
    (policy,) = (a for a in Page(text).named("meta") if "http-equiv" in a)
    assert policy["content"].startswith("default-src 'none'")
    assert "connect-src" not in policy["content"]
    assert "'unsafe-eval'" not in policy["content"]


@pytest.mark.parametrize(
    "planted",
    [
        "<script>1</script>",
        '<script src="x.js"></script>',
        '<script type="module">1</script>',
        '<img src="https://example.org/a.png">',
        '<a href="file:///etc">x</a>',
        '<div onclick="x()"></div>',
        "<style>@import 'x.css'</style>",
        '<p style="background: url(x.png)"></p>',
    ],
)
def test_the_proof_sees_what_reaches_out(planted: str) -> None:
    assert outside(standard().replace("</main>", f"{planted}</main>"))


def test_a_page_is_small_and_the_same_every_time() -> None:
    text = standard()
    assert text == render(material())
    assert len(text) < 1_000_000


def test_no_time_is_written_down() -> None:
    assert not re.search(r"\b20\d\d-\d\d-\d\d|\b\d\d:\d\d\b", page().text())


# --- it can be read -------------------------------------------------------------------------------


def test_it_is_well_formed() -> None:
    assert page().faults == []
    assert Page("<p><b>x</p></b>").faults


def test_headings_go_down_one_level_at_a_time() -> None:
    levels = [int(tag[1]) for tag, _ in page().elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert (np.diff(levels) <= 1).all()


def test_every_picture_and_every_table_says_what_it_is() -> None:
    found = page()
    assert all(picture["alt"].strip() for picture in found.named("img"))
    assert len(found.named("img")) > 4
    assert len(found.named("table")) == len(found.named("caption")) > 4
    assert all(cell.get("scope") for cell in found.named("th"))
    for drawing in found.named("svg"):
        named = {"aria-label", "aria-labelledby"} & set(drawing)
        assert drawing.get("aria-hidden") == "true" or (drawing["role"] == "img" and named)


def test_every_link_and_label_has_its_target() -> None:
    found = page()
    ids = Counter(a["id"] for _, a in found.elements if "id" in a)
    assert set(ids.values()) == {1}
    targets = [a["href"][1:] for a in found.named("a")]
    targets += [i for _, a in found.elements for i in a.get("aria-labelledby", "").split()]
    assert targets
    assert set(targets) <= set(ids)


def test_what_scrolls_by_itself_can_be_reached_with_the_keyboard() -> None:
    regions = [a for _, a in page().elements if a.get("class") == "scroll"]
    assert regions
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in regions)


def luminance(colour: str) -> float:
    levels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in levels]
    return sum(v * w for v, w in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["ink", "muted", "accent", "bad"])
def test_text_stands_out_from_the_page(name: str, dark: bool) -> None:
    """A contrast of 4.5 to 1: WCAG 2.2, success criterion 1.4.3."""
    style = re.findall(r"<style>(.*?)</style>", standard(), re.S)[0]
    pairs = re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", style)
    colours = {own: pair[dark] for own, *pair in pairs}
    for behind in ("page", "raised"):
        first, second = sorted(luminance(colours[key]) for key in (name, behind))
        assert (second + 0.05) / (first + 0.05) >= 4.5, behind


def test_it_fits_a_phone() -> None:
    (viewport,) = (a for a in page().named("meta") if a.get("name") == "viewport")
    assert "width=device-width" in viewport["content"]


# --- what stands in it ----------------------------------------------------------------------------


def test_the_verdict_comes_first() -> None:
    text = page().text()
    assert text.index("Passed") < text.index("On pictures")
    assert "Passed all 4 checks, on 3 samples." in text
    assert "toy w8a8 for sd865" in text
    assert "One map unit is 200 mm (median, 190 to 210 mm over the samples)" in text
    assert "from the ground truth" in text


def test_the_table_is_that_of_the_terminal() -> None:
    given = material()
    lines = table(given.report, given.sizes).splitlines()
    text = page().text()
    assert lines[0] in text
    for line in lines[2:-2]:
        for word in line.split():
            assert {"pass": "passed"}.get(word, word) in text


def test_a_failure_is_in_words_with_what_would_pass() -> None:
    rows = (score(value=2.5, limit=1.0, passed=False), *scores()[1:])
    text = page(report=Report("toy", 3, rows)).text()
    assert "Failed 1 of 4 checks, on 3 samples." in text
    assert "a limit of 2.5 would pass; worst sample b" in text
    assert "Passed" not in text


def test_of_many_failures_a_few_stand_on_top() -> None:
    rows = [score(value=2.0, limit=1.0, passed=False, worst_sample=f"n{n}") for n in range(40)]
    found = page(report=Report("toy", 3, (*rows, *scores()[1:])))
    assert [f"worst sample n{n}" in found.text("li") for n in (0, 11, 12)] == [True, True, False]
    assert "and 28 more" in found.text("li")


def test_the_worst_sample_is_named_and_shown() -> None:
    found = page()
    text = found.text()
    assert "The worst sample is b , 2.00 mm off on average." in text
    assert "b worst" in text
    assert any(a["href"] == "#sample-0" for a in found.named("a"))
    alts = [picture["alt"] for picture in found.named("img")]
    assert "Sample b with the mesh of tflite over it" in alts
    assert "Sample b with the mesh of float over it" in alts


def test_everything_that_was_converted_is_listed() -> None:
    text = page().text()
    for words in (
        "CONV_2D 3 1",
        "int8 90.0% (9 M), float32 10.0% (1 M)",
        "affinenet.tflite 1.23 MB",
        "float/affinenet.safetensors 4.00 MB",
        "affinenet 46 33 32 37",
        "Heads give coordinates.",
        "first.head",
    ):
        assert words in text, words


def test_what_counts_as_integer_in_onnx_is_said_where_it_matters() -> None:
    def of(**operators: int) -> str:
        file = ConvertedFile(Artifact("a.onnx", "onnx", "ab" * 32, 5), {**operators})
        return page(subject=subject(files=(file,))).text()

    assert "counts here as computed in integers" in of(**{"QuantizeLinear FLOAT32>UINT8": 2})
    assert "counts here as computed in integers" not in of(**{"Conv FLOAT32>FLOAT32": 2})


def test_a_file_that_nothing_reads_is_listed_by_its_size() -> None:
    file = ConvertedFile(Artifact("affinenet.dlc", "dlc", "ab" * 32, 5_500_000))
    found = page(subject=subject(files=(file,)))
    assert "affinenet.dlc 5.50 MB" in found.text()
    assert "multiply-accumulates" not in found.text()


def test_origins_and_commands_are_listed() -> None:
    text = page().text()
    for words in ("12" * 32, "ab" * 32, "34" * 32, "2.13.0", "i2uv-edge export toy"):
        assert words in text
    assert "1 file, in manifest.json" in text


def test_fingers_are_listed_with_their_errors_against_the_truth() -> None:
    off = np.where(finger_labels() == FINGERS.index("thumb"), 3.0, 1.0)
    given = material(evidence=evidence(compared("a", off)))
    found = distribution_section(given)
    assert found is not None
    rows = {row.finger: row for row in found.content["fingers"]}
    assert list(rows) == list(FINGERS)
    assert rows["thumb"].distance[0] == "3.000"
    assert rows["index"].distance[0] == "1.000"
    assert [float(rows[name].distance[1]) for name in ("thumb", "index")] == pytest.approx(
        [3.0, 1.0], rel=0.01
    )
    # The reference is off by a shift, which is aligned away; the candidate's thumb is not.
    assert rows["thumb"].errors[:2] == ("< 0.001", "< 0.001")
    assert float(rows["thumb"].errors[2]) > float(rows["index"].errors[2]) > 0
    assert "thumb 3.000" in Page(render(given)).text()


# --- gates ----------------------------------------------------------------------------------------


def groups(*rows: Any, judged_by: tuple[GateSpec, ...] | None = None) -> Any:
    report = Report("toy", 3, rows or scores())
    found = gate_section(material(report=report, gates=judged_by or gates()))
    assert found is not None
    return found.content


def test_every_gate_says_what_it_asks_and_why() -> None:
    content = groups()
    reasons = [gate.reason for gate in gates()]
    assert all(group.reason in reasons for group in content["groups"])
    text = page().text()
    for group in content["groups"]:
        assert group.reason in text
    (relative,) = [g for g in content["groups"] if g.limit == "at most 1 % above float's"]
    (row,) = relative.rows
    assert [cell.text for cell in row.cells] == ["9.000", "9.050"]
    assert (row.limit, row.verdict, row.worst_sample) == ("9.090", "passed", "b")


def test_failed_gates_come_first_and_unlimited_ones_last() -> None:
    rows = (scores()[0], score("vertex_p95_mm", 9.0, limit=3.0, passed=False), *scores()[2:])
    verdicts = [group.verdict for group in groups(*rows)["groups"]]
    assert verdicts[0] == "failed"
    assert verdicts == sorted(verdicts, key=["failed", "passed", ""].index)
    assert verdicts[-1] == ""


def test_a_gate_without_a_limit_does_not_show_that_of_another() -> None:
    (reported,) = [
        g
        for g in groups()["groups"]
        if g.limit == "reported, without a limit" and g.title.startswith("PA-MPVPE")
    ]
    assert [(row.limit, row.verdict) for row in reported.rows] == [("", "")]


def test_only_the_candidate_that_failed_is_marked() -> None:
    rows = (
        score(value=2.0, limit=1.0, passed=False, worst_sample="x"),
        score(value=0.5, limit=1.0, candidate="fake-quant", worst_sample="y"),
    )
    group = groups(*rows)["groups"][0]
    assert [cell.failed for cell in group.rows[0].cells] == [True, False]
    assert group.rows[0].worst_sample == "x"


def test_what_fails_without_a_gate_is_told() -> None:
    stray = score("normal_deg", math.nan, passed=False)
    (line,) = groups(stray, *scores())["stray"]
    assert "normal_deg is no number" in line
    assert groups()["stray"] == []


def test_gates_with_nothing_to_judge_are_named_as_such() -> None:
    assert "Flicker of a still hand, mm" in groups()["idle"]
    text = page().text()
    assert "Nothing here to be held against: " in text


# --- what comes from outside is text --------------------------------------------------------------


def hostile() -> Material:
    shown = evidence(replace_id(HOSTILE))
    rows = (
        score(worst_sample=HOSTILE, limit=0.1, passed=False),
        score(candidate=HOSTILE, worst_sample=HOSTILE),
    )
    file = Artifact(f"{HOSTILE}.tflite", "tflite", HOSTILE, 5)
    return material(
        report=Report(HOSTILE, 1, rows),
        evidence=replace(shown, candidate=HOSTILE, reference=HOSTILE),
        subject=subject(
            model=HOSTILE,
            recipe=(HOSTILE, HOSTILE),
            target=(HOSTILE, HOSTILE),
            files=(ConvertedFile(file, {f"{HOSTILE} A>B": 1}, {HOSTILE: 1}),),
            tools={HOSTILE: HOSTILE},
            sources={HOSTILE: HOSTILE},
            artifacts=(file,),
            commands=(HOSTILE,),
            remarks=(HOSTILE,),
        ),
    )


def replace_id(name: str) -> Any:
    return compared(name, 1.0)


def test_hostile_names_are_text_everywhere() -> None:
    text = render(hostile())
    found = Page(text)
    assert outside(text) == []
    assert found.faults == []
    assert len(found.named("script")) == len(page().named("script"))
    assert all(picture["src"].startswith("data:image/") for picture in found.named("img"))
    assert found.text().count(" ".join(HOSTILE.split())) > 10


def test_the_proof_sees_a_name_that_is_markup() -> None:
    assert outside(standard().replace("toy", HOSTILE))


# --- what there is none of is left out ------------------------------------------------------------


def test_without_evidence_the_numbers_stand_alone() -> None:
    found = page(evidence=None)
    text = found.text("h2")
    assert text == (
        "Side by side Gates Which blocks cost what Block by block Where it would run "
        "Profiles What was converted Where it comes from"
    )
    assert found.named("img") == []
    assert found.faults == []


def test_a_float_bundle_has_nothing_to_say_of_encodings() -> None:
    text = page(subject=subject(encodings=(), kept_float=())).text("h3")
    assert "Encodings" not in text
    assert "Left in float" not in text
    assert "Encodings" in page().text("h3")


def test_without_truth_there_is_no_error_against_it() -> None:
    rows = tuple(row for row in scores() if row.reference != "truth")
    sample = compared("a", 1.0)
    shown = evidence(replace(sample, sample=replace(sample.sample, truth=None)))
    text = page(report=Report("toy", 1, rows), evidence=shown).text()
    assert "off the truth" not in text
    assert "PA-MPVPE" not in text.partition("Gates ")[0]
    assert "thumb 1.000 1.00" in text


def test_without_fingers_there_is_no_table_of_them() -> None:
    assert "By finger" in page().text()
    assert "By finger" not in page(evidence=replace(evidence(), fingers=())).text()


def test_an_empty_comparison_is_a_failure_in_words() -> None:
    text = page(report=Report("toy", 0, ()), evidence=None).text()
    assert "Failed nothing was compared: there are no samples" in text


def test_a_sample_without_a_finite_mesh_is_named_without_one() -> None:
    sample = compared("a", 1.0)
    vertices, distances = sample.ours.vertices.copy(), sample.distances.copy()
    vertices[0], distances[0] = np.nan, np.nan
    sample = replace(sample, ours=replace(sample.ours, vertices=vertices), distances=distances)
    found = page(evidence=evidence(sample))
    assert found.text().count("no mesh: a vertex is not finite") == 2
    assert "Sample a with the mesh of float over it" in [a["alt"] for a in found.named("img")]


def test_every_section_can_be_reached_from_the_top() -> None:
    found = page()
    links = {a["href"][1:] for a in found.named("a")}
    anchors = {a["id"] for a in found.named("section")}
    assert anchors <= links
    assert len(anchors) == len(SECTIONS) - 1

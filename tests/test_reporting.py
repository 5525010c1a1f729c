"""report.json and report.html of real bundles: when they are written, and what from."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path

import cv2
import numpy as np
import pytest
from model_toys import PICTURES, Ended, Toy, run
from report_toys import findings

from i2uv_edge import pipeline, planning, reporting, requests, spec
from i2uv_edge.bundle import Bundle
from i2uv_edge.device.profiles import Device, Profile, write_profile
from i2uv_edge.report import witness as witness_module

pytestmark = pytest.mark.usefixtures("toy_world")

HOSTILE = '<img src=x onerror=alert(1)>&".png'


@pytest.fixture
def bundle(exported: tuple[Ended, Path], tmp_path: Path) -> Path:
    """Give a bundle of one's own."""
    return Path(shutil.copytree(exported[1], tmp_path / "own"))


def page_of(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def text_of(folder: Path) -> str:
    return unescape(page_of(folder))


def headings(page: str) -> list[str]:
    return re.findall(r"<h2[^>]*>(.*?)</h2>", page)


def commands(page: str) -> list[list[str]]:
    (block,) = re.findall(r"<pre[^>]*><code>(.*?)</code></pre>", page, re.S)
    return [shlex.split(line) for line in unescape(block).splitlines()]


def pictures(folder: Path, *names: str) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in names:
        picture = cv2.resize(rng.integers(0, 255, (6, 7, 3), np.uint8), (90, 70))
        assert cv2.imwrite(str(folder / "made.png"), picture)
        (folder / "made.png").rename(folder / name)
    return folder


# --- what an export writes ------------------------------------------------------------------------


def test_an_export_writes_a_page_beside_its_scores(exported: tuple[Ended, Path]) -> None:
    page = page_of(exported[1])
    assert headings(page) == [
        "The hand, to turn",
        "On pictures",
        "Where the error is",
        "How the error is spread",
        "Three ways to compute it",
        "Gates",
        "Block by block",
        "Where it would run",
        "What was converted",
        "Where it comes from",
    ]
    assert f"on {PICTURES} samples" in page
    assert 500_000 < len(page) < 2_000_000


def test_the_page_is_no_part_of_the_seal(bundle: Path) -> None:
    (bundle / "report.html").write_text("anything")
    assert "report.html" not in {artifact.path for artifact in Bundle.open(bundle).artifacts}


def test_every_stage_has_its_map_and_the_worst_sample_is_that_of_the_scores(bundle: Path) -> None:
    page = page_of(bundle)
    for stage in ("AffineNet", "SRNet alone", "Both chained"):
        assert f'alt="UV map of {stage}: ' in page
    rows = json.loads((bundle / "report.json").read_text())["scores"]
    wanted = {"reference": "float", "candidate": "tflite", "stage": "chained"}
    (worst,) = [
        row["worst_sample"]
        for row in rows
        if row["metric"] == "vertex_mean_mm" and wanted.items() <= row.items()
    ]
    assert f'The worst sample is <a href="#sample-0">{worst}</a>' in page
    assert '<img src="data:image/jpeg;base64,' in page
    assert f'alt="Sample {worst} with the mesh of tflite over it"' in page


def test_files_operators_encodings_and_hashes_are_those_of_the_bundle(bundle: Path) -> None:
    page = page_of(bundle)
    for artifact in Bundle.open(bundle).artifacts:
        if artifact.kind not in ("eval", "golden"):
            assert artifact.sha256 in page, artifact.path
    stored = json.loads((bundle / "encodings.json").read_text())
    for role, own in stored.items():
        cells = "".join(
            f"<td>{len(own[key])}</td>"
            for key in ("activations", "weights", "equalization", "bias_correction")
        )
        assert f'<tr><th scope="row">{role}</th>{cells}</tr>' in page
    assert "<code>CONV_2D</code>" in page
    for override in spec.load_recipe("w8a8").overrides:
        if not override.optional:  # the toy has no such parts
            assert override.reason in text_of(bundle)
    assert "first.head" in page


def test_a_failed_gate_stands_on_top_of_the_page(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = tuple(
        replace(gate, limit=0.001) if gate.metric == "vertex_p95_mm" else gate
        for gate in spec.load_gates("w8a8")
    )
    monkeypatch.setattr(pipeline, "load_gates", lambda *recipe: strict)
    options = ["--checkpoint", str(toy.affinenet_weights), "-o", str(tmp_path / "out")]
    assert run("export", str(toy.affinenet), *options).code == 3
    page = page_of(tmp_path / "out")
    assert '<strong class="failed">Failed</strong>' in page
    assert page.index("vertex_p95_mm is ") < page.index("<main>")
    first = page.index('<tr class="gate">')
    assert "95th percentile" in page[first : first + 200]


def test_a_float_srnet_alone_has_a_page_of_what_there_is(toy: Toy, tmp_path: Path) -> None:
    options = ["--checkpoint", str(toy.srnet_weights), "--recipe", "float"]
    assert run("export", str(toy.srnet), *options, "-o", str(tmp_path / "out")).code == 0
    page = page_of(tmp_path / "out")
    assert "SRNet alone" in page
    assert "AffineNet" not in page
    assert "Encodings" not in page
    assert "Left in float" not in page
    assert "fake-quant" not in page.replace("against fake-quant", "")
    assert "with the mesh of tflite over it" in page


# --- when validate writes -------------------------------------------------------------------------


def test_validate_writes_the_report_of_a_bundle_anew_with_the_same_bytes(bundle: Path) -> None:
    before = {name: (bundle / name).read_bytes() for name in ("report.json", "report.html")}
    for name in before:
        (bundle / name).unlink()
    ended = run("validate", str(bundle))
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[-1] == f"report  {bundle / 'report.html'}"
    assert {name: (bundle / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    "options",
    [["--candidate", "tflite"], ["--reference", "float"], ["--images", "pictures"]],
    ids=["candidate", "reference", "pictures"],
)
def test_a_comparison_of_something_else_leaves_the_report_alone(
    bundle: Path, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "pictures", "a.png")
    (bundle / "report.json").unlink()
    (bundle / "report.html").write_text("the export's")
    ended = run("validate", str(bundle), *options)
    assert ended.code in (0, 3)
    assert "report  " not in ended.out
    assert not (bundle / "report.json").exists()
    assert page_of(bundle) == "the export's"


def test_a_report_can_be_asked_for_of_any_comparison(bundle: Path, tmp_path: Path) -> None:
    folder, out = pictures(tmp_path / "own-pictures", "a.png", HOSTILE), tmp_path / "new" / "report"
    command = ["validate", str(bundle), "--images", str(folder), "--report", str(out)]
    ended = run(*command)
    assert ended.code in (0, 3)
    assert f"report  {out / 'report.html'}" in ended.out
    document = json.loads((out / "report.json").read_text())
    assert document["samples"] == 2
    page = page_of(out)
    assert "&lt;img src=x onerror=alert(1)&gt;&amp;&#34;.png" in page
    assert "<img src=x" not in page
    assert "the built-in hand fitted to the reference" in page
    assert "off the truth" not in page
    assert str(tmp_path) not in page
    assert commands(page)[-1][2:] == [".", "--images", "PICTURES", "--report", "../report"]
    # What lies there is somebody's.
    again = run(*command)
    assert again.code == 2
    assert f"{out / 'report.json'} exists already" in again.err
    assert run(*command, "--force").code == ended.code


def test_a_bundle_that_cannot_be_written_to_is_validated_all_the_same(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, text: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(reporting, "write_json", refuse)
    ended = run("validate", str(bundle))
    assert ended.code == 0
    assert re.search(r"^all \d+ checks passed$", ended.out, re.M)
    assert "report  " not in ended.out
    asked = run("validate", str(bundle), "--report", str(tmp_path / "out"))
    assert asked.code == 2
    assert f"cannot be written into {tmp_path / 'out'}: Permission denied" in asked.err


def test_a_name_that_is_no_text_can_be_written_down(bundle: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "own-pictures", "a.png")
    (folder / "a.png").rename(os.fsdecode(os.fsencode(folder) + b"/\xff.png"))
    command = ["validate", str(bundle), "--images", str(folder), "--report", str(tmp_path / "out")]
    run(*command)
    assert "\\udcff.png" in page_of(tmp_path / "out")


# --- how to make it again -------------------------------------------------------------------------


def test_the_commands_on_the_page_make_the_bundle_and_the_page_again(
    toy: Toy, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(toy.model, bundle / "toy.toml")  # which does not come with the package
    page = page_of(bundle)
    assert "toy.toml does not come with the package" in text_of(bundle)
    export, validate = commands(page)
    monkeypatch.chdir(bundle)
    assert export[0] == validate[0] == "i2uv-edge"
    assert run(*export[1:]).code == 0
    ours = {artifact.path: artifact.sha256 for artifact in Bundle.open(bundle).artifacts}
    again = {a.path: a.sha256 for a in Bundle.open(bundle.parent / "again").artifacts}
    assert again == ours
    (bundle / "report.html").unlink()
    assert run(*validate[1:]).code == 0
    assert page_of(bundle) == page


def test_a_manifest_that_says_less_gives_a_page_that_says_less(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest |= {"target": None, "tools": [], "calibration": 5}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert run("validate", str(bundle)).code == 0
    assert "Where it comes from" in headings(page_of(bundle))


def test_own_calibration_pictures_are_named_by_their_hash(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pictures(tmp_path / "own", "a.png", "b.png")
    options = ["--checkpoint", str(toy.affinenet_weights), "--calibration", str(folder)]
    run("export", str(toy.affinenet), *options, "-o", str(tmp_path / "out"))
    page = page_of(tmp_path / "out")
    assert "--calibration PICTURES" in page
    sha256 = Bundle.open(tmp_path / "out").manifest["calibration"]["sha256"]
    assert f"2 pictures that the ranges were taken from; their SHA-256 is {sha256}" in page


def test_bundled_weights_need_no_checkpoint() -> None:
    text = (spec.resources.export_data() / "models" / "edge.toml").read_text()
    assert "affinenet-edge.safetensors" in text
    source = spec.resources.checkpoints() / "affinenet-edge.safetensors"
    assert reporting.sha256_of(source) == reporting.bundled_weights("edge", "affinenet")
    assert reporting.bundled_weights("nobody's", "affinenet") is None


def test_the_first_pair_is_shown_where_there_is_no_tflite(bundle: Path) -> None:
    contents = pipeline.comparison.open_contents(Bundle.open(bundle))
    made = reporting.witness(contents, [("float", "dump"), ("float", "tflite")])
    assert isinstance(made, witness_module.ReportWitness)
    assert made.pair == ("float", "tflite")
    assert reporting.witness(contents, [("float", "dump")]).pair == ("float", "dump")


def test_the_page_shows_what_was_profiled_of_this_bundle_and_nothing_else(bundle: Path) -> None:
    sha256 = Bundle.open(bundle).sha256
    own = Profile("host", sha256, Device("this one"), {}, (), notes=("of this bundle",))
    write_profile(bundle, own)
    write_profile(bundle, Profile("hub", "ab" * 32, Device("x"), {}, (), notes=("of another",)))
    assert run("validate", str(bundle)).code == 0
    assert "Profiles" in headings(page_of(bundle))
    assert "of this bundle" in page_of(bundle)
    assert "of another" not in page_of(bundle)


# --- where it would run ---------------------------------------------------------------------------


def test_the_best_plan_comes_first_and_then_that_of_the_dsp(bundle: Path) -> None:
    contents = pipeline.comparison.open_contents(Bundle.open(bundle))
    found = reporting._predictions(contents)
    assert [(own.plan.runtime, own.split) for own in found] == [("xnnpack", False), ("qnn", False)]
    assert [own.checks.runtime for own in found] == ["xnnpack", "qnn"]
    assert found[0].plan.fields() == planning.plan(requests.PlanRequest(bundle)).fields()


def test_segments_are_planned_for_the_dsp(toy: Toy, tmp_path: Path) -> None:
    strict = ["--recipe", "w8a8-strict", "--split"]
    assert toy.export(tmp_path / "out", *strict).code in (0, 3)
    contents = pipeline.comparison.open_contents(Bundle.open(tmp_path / "out"))
    found = reporting._predictions(contents)
    assert [(own.plan.runtime, own.split) for own in found][-1] == ("qnn", True)
    assert len(found) == 3
    assert "qnn, in segments" in page_of(tmp_path / "out")


@pytest.mark.parametrize("target", [{"name": "mine"}, {"name": "sd888"}, None])
def test_nothing_is_predicted_of_a_target_that_nobody_measured(
    target: dict[str, str] | None, bundle: Path
) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**manifest, "target": target}))
    contents = pipeline.comparison.open_contents(Bundle.open(bundle))
    assert reporting._predictions(contents) == ()


# --- an analysis ----------------------------------------------------------------------------------


def analysis(path: Path, **changes: object) -> Path:
    path.write_text(json.dumps({**replace(findings(), model="toy").fields(), **changes}))
    return path


def test_an_analysis_is_shown_and_kept_beside_the_report(bundle: Path, tmp_path: Path) -> None:
    given = analysis(tmp_path / "given.json")
    assert run("validate", str(bundle), "--analysis", str(given)).code == 0
    assert "Which blocks cost what" in headings(page_of(bundle))
    assert (bundle / "analysis.json").read_bytes() == given.read_bytes()
    page = page_of(bundle)
    Bundle.open(bundle)  # it is no part of the seal
    (bundle / "report.html").unlink()
    assert run("validate", str(bundle)).code == 0
    assert page_of(bundle) == page


def test_an_analysis_goes_with_a_report_elsewhere(bundle: Path, tmp_path: Path) -> None:
    given, out = analysis(tmp_path / "given.json"), tmp_path / "out"
    options = ["--candidate", "tflite", "--analysis", str(given)]
    assert run("validate", str(bundle), *options, "--report", str(out)).code == 0
    assert "Which blocks cost what" in headings(page_of(out))
    assert (out / "analysis.json").exists()
    assert not (bundle / "analysis.json").exists()
    assert commands(page_of(out))[-1][-4:] == ["--analysis", "ANALYSIS", "--report", "../report"]
    ended = run("validate", str(bundle), *options)
    assert ended.code == 2
    assert "--report" in ended.err


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (None, 2, "there is no analysis"),
        ("{", 6, "cannot be read as an analysis"),
        ("[]", 6, "is no analysis"),
        ({"schema": 9}, 2, "schema 9"),
        ({"model": "another"}, 2, "an analysis of the model another"),
        ({"blocks": [{"network": "affinenet"}]}, 6, "blocks[0]"),
    ],
    ids=["missing", "no JSON", "no object", "schema", "model", "keys"],
)
def test_what_is_no_analysis_of_the_bundle_is_refused_before_anything_is_run(
    text: object,
    code: int,
    said: str,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "measure", None)
    path = tmp_path / "given.json"
    if isinstance(text, dict):
        analysis(path, **text)
    elif isinstance(text, str):
        path.write_text(text)
    before = page_of(bundle)
    ended = run("validate", str(bundle), "--analysis", str(path))
    assert ended.code == code
    assert said in ended.err
    assert page_of(bundle) == before
    assert not (bundle / "analysis.json").exists()


def test_a_profile_that_is_damaged_is_named(bundle: Path) -> None:
    (bundle / "profiles").mkdir()
    (bundle / "profiles" / "host.json").write_text("{")
    ended = run("validate", str(bundle))
    assert ended.code == 6
    assert "host.json" in ended.err

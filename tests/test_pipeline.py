"""The commands from end to end, on a toy model."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from model_toys import PICTURES, Ended, Toy, run

from i2uv_edge import pipeline, spec
from i2uv_edge.bundle import Bundle
from i2uv_edge.networks.checkpoint import save_checkpoint
from i2uv_edge.networks.registry import build
from i2uv_edge.requests import ValidateRequest

pytestmark = pytest.mark.usefixtures("toy_world")


@pytest.fixture
def bundle(exported: tuple[Ended, Path]) -> Path:
    return exported[1]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def rows(document: Any, **wanted: str) -> list[dict[str, Any]]:
    return [s for s in document["scores"] if all(s[key] == value for key, value in wanted.items())]


def pictures(folder: Path, count: int = 3) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        picture = cv2.resize(rng.integers(0, 255, (6, 7, 3), np.uint8), (90, 70))
        assert cv2.imwrite(str(folder / f"{number}.png"), picture)
    return folder


# --- export ---------------------------------------------------------------------------------------


def test_export_prints_a_short_table_in_millimetres_and_where_things_are(
    exported: tuple[Ended, Path],
) -> None:
    ended, bundle = exported
    assert ended.code == 0, ended.err
    assert ended.err == ""
    assert re.search(r"^PA-MPVPE, mm( +[\d.]+){5}  pass$", ended.out, re.M)
    assert "all 60 checks passed" in ended.out
    assert f"report  {bundle / 'report.html'}" in ended.out
    assert len(ended.out.splitlines()) < 20


def test_the_report_of_a_bundle_is_what_validate_says_of_it(bundle: Path) -> None:
    ended = run("validate", str(bundle), "--json")
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out) == json.loads((bundle / "report.json").read_text())


def test_the_same_inputs_give_the_same_bytes(toy: Toy, bundle: Path, tmp_path: Path) -> None:
    assert toy.export(tmp_path / "again").code == 0
    again = Bundle.open(tmp_path / "again")
    assert again.sha256 == Bundle.open(bundle).sha256
    for artifact in again.artifacts:
        ours, theirs = tmp_path / "again" / artifact.path, bundle / artifact.path
        assert ours.read_bytes() == theirs.read_bytes(), artifact.path


def test_a_float_bundle_has_no_encodings_and_agrees_with_torch(toy: Toy, tmp_path: Path) -> None:
    ended = toy.export(tmp_path / "out", "--recipe", "float", "--json")
    assert (ended.code, ended.err) == (0, "")
    document = json.loads(ended.out)
    assert not (tmp_path / "out" / "encodings.json").exists()
    assert Bundle.open(tmp_path / "out").manifest["calibration"] is None
    assert {score["candidate"] for score in document["scores"]} == {"float", "tflite", "onnx"}
    means = rows(document, reference="float", stage="chained", metric="vertex_mean_mm")
    assert [mean["candidate"] for mean in means] == ["tflite", "onnx"]
    assert all(mean["value"] < 0.01 for mean in means)
    assert all(mean["limit"] == 0.1 for mean in means)


@pytest.mark.parametrize("role", ["affinenet", "srnet"])
def test_a_network_alone_is_exported_and_judged(toy: Toy, tmp_path: Path, role: str) -> None:
    network, weights = {
        "affinenet": (toy.affinenet, toy.affinenet_weights),
        "srnet": (toy.srnet, toy.srnet_weights),
    }[role]
    out = tmp_path / "out"
    ended = run("export", str(network), "--checkpoint", str(weights), "-o", str(out))
    assert ended.code == 0, ended.err
    assert names(out) >= {f"{role}.tflite", f"{role}.onnx", "encodings.json", "atlas.npz", "eval"}
    assert ("golden" in names(out)) == (role == "affinenet")
    document = json.loads((out / "report.json").read_text())
    assert {score["stage"] for score in document["scores"]} == {role}
    assert document["samples"] == PICTURES
    assert rows(document, reference="truth", candidate="tflite", metric="pa_mpvpe_mm")
    evaluated = run("evaluate", str(out), "--json")
    assert evaluated.code == 0
    assert rows(json.loads(evaluated.out), candidate="tflite", metric="f5")


def test_a_failed_gate_exits_3_and_the_bundle_stays_marked(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = tuple(
        replace(gate, limit=0.001) if gate.metric == "vertex_p95_mm" else gate
        for gate in spec.load_gates("w8a8")
    )
    monkeypatch.setattr(pipeline, "load_gates", lambda *recipe: strict)
    ended = toy.export(tmp_path / "out")
    assert ended.code == 3
    assert "FAIL" in ended.out
    assert "vertex_p95_mm" in ended.err
    assert f"the bundle {tmp_path / 'out'} stays" in ended.err
    assert json.loads((tmp_path / "out" / "report.json").read_text())["passed"] is False
    assert Bundle.open(tmp_path / "out").manifest["model"] == "toy"


def test_a_recipe_of_the_users_own_is_held_to_the_post_training_gates(tmp_path: Path) -> None:
    bundled = spec.resources.quantization_data() / "recipes" / "w8a8.toml"
    shutil.copy(bundled, tmp_path / "mine.toml")
    recipe = spec.load_recipe(tmp_path / "mine.toml")
    assert recipe.name == "mine"
    assert pipeline._gates(recipe) == pipeline.load_gates("w8a8")
    assert pipeline._gates(spec.load_recipe("float")) == pipeline.load_gates("float")


# --- validate -------------------------------------------------------------------------------------


def test_validate_on_a_folder_of_pictures_has_no_truth_to_hold_against(
    bundle: Path, tmp_path: Path
) -> None:
    folder = pictures(tmp_path / "own")
    (folder / "notes.txt").write_text("no picture")
    ended = run("validate", str(bundle), "--images", str(folder), "--json")
    assert ended.err.splitlines()[0] == f"skipped 1 file that is no picture in {folder}"
    document = json.loads(ended.out)
    assert document["samples"] == 3
    assert document["scale"]["origin"] == "template"
    truth = {score["metric"] for score in rows(document, reference="truth")}
    assert truth == {"flicker_mm"}
    assert rows(document, reference="float", candidate="tflite", stage="chained")


FROM_FLOAT = {("float", "tflite"), ("float", "onnx"), ("float", "fake-quant")}


@pytest.mark.parametrize(
    ("options", "pairs"),
    [
        ([], {*FROM_FLOAT, ("fake-quant", "tflite"), ("fake-quant", "onnx")}),
        (["--reference", "float"], FROM_FLOAT),
        (["--reference", "fake-quant"], {("fake-quant", "tflite"), ("fake-quant", "onnx")}),
        (["--candidate", "tflite"], {("float", "tflite")}),
        (["--candidate", "onnx"], {("float", "onnx")}),
        (["--candidate", "fake-quant"], {("float", "fake-quant")}),
        (["--reference", "fake-quant", "--candidate", "onnx"], {("fake-quant", "onnx")}),
    ],
    ids=["default", "float", "fake-quant", "tflite", "onnx", "only fake-quant", "one pair"],
)
def test_reference_and_candidates_choose_the_pairs(
    bundle: Path, options: list[str], pairs: set[tuple[str, str]]
) -> None:
    document = json.loads(run("validate", str(bundle), *options, "--json").out)
    found = rows(document, metric="vertex_mean_mm", stage="chained")
    found = [score for score in found if score["reference"] != "truth"]
    assert {(score["reference"], score["candidate"]) for score in found} == pairs


def test_the_golden_outputs_are_a_dump_that_agrees_with_tflite(bundle: Path) -> None:
    golden = str(bundle / "golden")
    ended = run("validate", str(bundle), "--candidate", "tflite", "--candidate", golden, "--json")
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    assert document["samples"] == 4
    for stage in ("affinenet", "chained"):
        for metric in ("vertex_mean_mm", "texel_mean_mm", "normal_deg"):
            wanted = {"reference": "float", "stage": stage, "metric": metric}
            (ours,) = rows(document, candidate="tflite", **wanted)
            (dumped,) = rows(document, candidate=golden, **wanted)
            assert dumped["value"] == pytest.approx(ours["value"], rel=1e-6)


def test_a_float_bundle_has_no_fake_quant_to_compare(toy: Toy, tmp_path: Path) -> None:
    weights = ["--checkpoint", str(toy.srnet_weights), "--recipe", "float"]
    assert run("export", str(toy.srnet), *weights, "-o", str(tmp_path / "out")).code == 0
    ended = run("validate", str(tmp_path / "out"), "--candidate", "fake-quant")
    assert ended.code == 2
    assert "cannot provide 'fake-quant'" in ended.err
    assert "expected: one of float, tflite, onnx, arm64, split, qnn, or" in ended.err


def test_nothing_is_compared_with_itself(bundle: Path) -> None:
    options = "--reference fake-quant --candidate fake-quant".split()
    ended = run("validate", str(bundle), *options)
    assert ended.code == 2
    assert "compared with itself" in ended.err


def test_as_a_process_json_is_all_that_is_printed(bundle: Path) -> None:
    command = [sys.executable, "-m", "i2uv_edge", "validate", str(bundle), "--json"]
    command += ["--candidate", str(bundle / "golden"), "--candidate", "tflite"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert json.loads(ended.stdout)["samples"] == 4
    assert ended.returncode == 3  # flicker: this process is not patient
    assert all("flicker_mm" in line for line in ended.stderr.splitlines()[1:])


def test_torch_is_held_to_one_thread_and_given_back(bundle: Path) -> None:
    threads = torch.get_num_threads()
    seen: set[int] = set()
    torch.set_num_threads(2)
    try:
        request = ValidateRequest(bundle, candidates=("tflite",))
        pipeline.validate(request, lambda *progress: seen.add(torch.get_num_threads()))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert seen == {1}


def test_progress_counts_up_to_all_samples(bundle: Path) -> None:
    told: list[tuple[str, int, int]] = []
    request = ValidateRequest(bundle, candidates=("tflite",))
    pipeline.validate(request, lambda *progress: told.append(progress))
    assert told == [("comparing", done, PICTURES) for done in range(PICTURES + 1)]


# --- evaluate -------------------------------------------------------------------------------------


def test_evaluate_of_a_bundle_states_numbers_and_no_verdict(bundle: Path) -> None:
    ended = run("evaluate", str(bundle), "--json")
    assert (ended.code, ended.err) == (0, "")
    document = json.loads(ended.out)
    assert document["samples"] == PICTURES
    assert {score["reference"] for score in document["scores"]} == {"truth"}
    assert {score["limit"] for score in document["scores"]} == {None}
    candidates = {score["candidate"] for score in document["scores"]}
    assert candidates == {"float", "tflite", "onnx", "fake-quant"}


def test_evaluate_of_a_checkpoint_agrees_with_its_bundle(
    toy: Toy, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "i2uv_edge.networks.model.load_network", lambda name: spec.load_network(toy.affinenet)
    )
    document = json.loads(run("evaluate", str(toy.affinenet_weights), "--json").out)
    (alone,) = rows(document, candidate="float", metric="pa_mpvpe_mm")
    report = json.loads((bundle / "report.json").read_text())
    wanted = {"candidate": "float", "stage": "affinenet", "metric": "pa_mpvpe_mm"}
    (within,) = rows(report, **wanted)
    assert alone["value"] == pytest.approx(within["value"], rel=1e-5)
    shown = run("evaluate", str(toy.affinenet_weights)).out
    assert "PA-MPJPE, mm" in shown
    assert "limit" not in shown


def test_evaluate_of_an_srnet_feeds_it_true_maps(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "i2uv_edge.networks.model.load_network", lambda name: spec.load_network(toy.srnet)
    )
    ended = run("evaluate", str(toy.srnet_weights), "--json")
    assert ended.code == 0, ended.err
    (error,) = rows(json.loads(ended.out), stage="srnet", metric="pa_mpvpe_mm")
    assert 0 < error["value"] < 10


def test_evaluate_does_not_blame_a_network_that_has_learned_nothing(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "i2uv_edge.networks.model.load_network", lambda name: spec.load_network(toy.affinenet)
    )
    path = tmp_path / "fresh.safetensors"
    torch.manual_seed(0)
    save_checkpoint(build(spec.load_network(toy.affinenet)), path, {"network": "toy-affinenet"})
    ended = run("evaluate", str(path), "--json")
    (spread,) = rows(json.loads(ended.out), metric="spread_ratio")
    assert spread["value"] < 0.1
    assert ended.code == 0


# --- train ----------------------------------------------------------------------------------------

CONFIG = """
steps = 2
batch = 2
learning_rate = 1e-3
workers = 0
precision = "float32"
evaluation_samples = 2
"""


@pytest.mark.parametrize("role", ["affinenet", "srnet"])
def test_train_a_few_steps_and_go_on(toy: Toy, tmp_path: Path, role: str) -> None:
    (tmp_path / "run.toml").write_text(CONFIG)
    network = {"affinenet": toy.affinenet, "srnet": toy.srnet}[role]
    out = tmp_path / "run"
    command = ["train", str(network), "--config", str(tmp_path / "run.toml"), "-o", str(out)]
    first = run(*command, "--json")
    assert (first.code, first.err) == (0, "")
    result = json.loads(first.out)
    assert Path(result["checkpoint"]).is_file()
    assert set(result["metrics"]) == {"loss", "score_mm"}
    assert run(*command).code == 2  # a run lies there
    further = run(*command, "--resume", "--steps", "3")
    assert further.code == 0, further.err
    assert result["checkpoint"] in further.out
    assert re.search(r"^score_mm +[\d.]+", further.out, re.M)


def test_a_trained_checkpoint_can_be_exported(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(CONFIG)
    options = ["--config", str(tmp_path / "run.toml"), "--initial", str(toy.srnet_weights)]
    options += ["-o", str(tmp_path / "run")]
    assert run("train", str(toy.srnet), *options).code == 0
    made = tmp_path / "run" / "toy-srnet.safetensors"
    out = tmp_path / "out"
    ended = run("export", str(toy.srnet), "--checkpoint", str(made), "-o", str(out), "--json")
    assert ended.code in (0, 3)
    assert json.loads(ended.out)["model"] == "toy-srnet"


# --- calibrate ------------------------------------------------------------------------------------


def test_calibrate_makes_a_set_that_export_takes(toy: Toy, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "own")
    (folder / "notes.txt").write_text("no picture")
    ended = run("calibrate", str(folder), "--json")
    assert ended.code == 0
    assert ended.err == f"skipped 1 file that is no picture in {folder}\n"
    made = json.loads(ended.out)
    assert (made["folder"], made["pictures"]) == (f"{folder}-calibration", 3)
    exported = toy.export(tmp_path / "out", "--calibration", made["folder"], "--json")
    assert exported.code in (0, 3)
    manifest = Bundle.open(tmp_path / "out").manifest
    assert manifest["calibration"] == {"pictures": 3, "sha256": made["sha256"]}


def test_calibrate_replaces_a_set_with_force_only(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "own")
    assert run("calibrate", str(folder)).code == 0
    assert run("calibrate", str(folder)).code == 2
    (folder / "0.png").unlink()
    assert run("calibrate", str(folder), "--force").code == 0
    assert len(names(tmp_path / "own-calibration")) == 2

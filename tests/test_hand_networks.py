"""A network that answers with a hand goes the way of every other, by the same commands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import move_in
from model_toys import PICTURES, Ended, Toy, run

from i2uv_edge import resources
from i2uv_edge.bundle import Bundle
from i2uv_edge.comparison import open_contents
from i2uv_edge.data.evaluation import bundled_samples
from i2uv_edge.data.stand_in import stand_in
from i2uv_edge.device.stages import bundle_stages
from i2uv_edge.networks.checkpoint import save_checkpoint
from i2uv_edge.networks.registry import build
from i2uv_edge.runners import TfliteRunner
from i2uv_edge.spec import load_network
from i2uv_edge.standpoints import seen_from

pytestmark = pytest.mark.usefixtures("toy_world")

STEPS = 60


def learned_by_heart(path: Path) -> Path:
    """FMHR's decoder that has seen the toy world's few hands until it told them apart."""
    torch.manual_seed(0)
    network = build(load_network("fmhr-gcn")).train()
    shown = [seen_from("keypoints", sample) for sample in bundled_samples(64)]
    feeds = torch.from_numpy(np.stack([item.taken for item in shown])).permute(0, 3, 1, 2)
    hands = np.stack([item.truth.coarse for item in shown if item.truth is not None])
    wanted = torch.from_numpy(hands).flatten(1)
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * (1 - step / STEPS)
        optimizer.zero_grad()
        loss = (network(feeds)[:, :2700].flatten(1) - wanted).abs().mean()
        loss.backward()
        optimizer.step()
    save_checkpoint(network, path, {"network": "fmhr-gcn"})
    return path


@pytest.fixture(scope="module")
def exported(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path]:
    folder = tmp_path_factory.mktemp("fmhr")
    bundle = folder / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        move_in(toy, patch)
        weights = learned_by_heart(folder / "fmhr.safetensors")
        ended = run("export", "fmhr-gcn", "--checkpoint", str(weights), "-o", str(bundle))
    return ended, bundle


@pytest.fixture
def bundle(exported: tuple[Ended, Path]) -> Path:
    return exported[1]


def test_export_passes_its_gates_and_prints_millimetres(exported: tuple[Ended, Path]) -> None:
    ended, _ = exported
    assert ended.code == 0, ended.out + ended.err
    assert f"fmhr-gcn, the hand that is read: {PICTURES} samples" in ended.out
    assert "off float, mean mm" in ended.out
    assert "flicker" not in ended.out  # which is of a camera's noise


def test_the_manifest_says_what_an_app_needs(bundle: Path) -> None:
    entry = Bundle.open(bundle).manifest["networks"]["hand"]
    assert entry["inputs"][0]["shape"] == [1, 1, 1, 63]
    assert entry["spec"]["readout"] == {
        "origin": "keypoints",
        "fields": {"vertices": 2700, "pose": 45, "shape": 10},
        "hand": "stand-in",
    }
    assert (bundle / "hand.tflite").exists()
    assert (bundle / "hand.onnx").exists()


def test_the_hand_model_lies_in_the_bundle(bundle: Path) -> None:
    contents = open_contents(Bundle.open(bundle))
    assert contents.atlases.mano is not None
    np.testing.assert_array_equal(contents.atlases.mano.template, stand_in().template)
    assert contents.atlases.built_in


def test_golden_vertices_are_those_of_the_file(bundle: Path) -> None:
    contents = open_contents(Bundle.open(bundle))
    document = json.loads((bundle / "golden" / "dump.json").read_bytes())
    row = document["samples"][0]
    read = {
        key: np.fromfile(bundle / "golden" / row[key]["file"], row[key]["dtype"])
        for key in ("input", "vertices")
    }
    runner = TfliteRunner(bundle / "hand.tflite", contents.specs["hand"])
    made = runner({"keypoints": read["input"].reshape(1, 1, 1, 63)})["hand"]
    np.testing.assert_array_equal(made.ravel()[:2700], read["vertices"])


def test_what_was_compared_is_the_bundled_keypoints(bundle: Path) -> None:
    ended = run("validate", str(bundle), "--json")
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    found = {
        (row["reference"], row["candidate"]): row["value"]
        for row in document["scores"]
        if row["metric"] == "vertex_mean_mm" and row["stage"] == "hand"
    }
    assert 0 < found["float", "tflite"] <= 1.0
    assert found["fake-quant", "tflite"] <= 0.1
    assert found["truth", "float"] < 10


def test_the_page_shows_the_hand(bundle: Path) -> None:
    page = (bundle / "report.html").read_text()
    assert "Vertices, row after row" in page


def test_the_plan_is_of_the_same_file(bundle: Path) -> None:
    ended = run("plan", str(bundle), "--json")
    assert ended.code == 0, ended.err
    assert {s["network"] for s in json.loads(ended.out)["segments"]} == {"hand"}


def test_accuracy_is_evaluated_on_rendered_hands(bundle: Path) -> None:
    ended = run("evaluate", str(bundle), "--json")
    assert ended.code == 0, ended.err
    stages = {row["stage"] for row in json.loads(ended.out)["scores"]}
    assert stages == {"hand"}


def test_a_folder_of_pictures_is_refused_by_what_takes_keypoints(
    bundle: Path, tmp_path: Path
) -> None:
    pictures = resources.calibration_data() / "evaluation"
    ended = run("validate", str(bundle), "--images", str(pictures))
    assert ended.code == 2
    assert "fmhr-gcn, which takes no pictures" in ended.err
    weights = bundle / "float" / "hand.safetensors"
    ended = run(
        "export", "fmhr-gcn", "--checkpoint", str(weights), "--calibration", str(pictures),
        "-o", str(tmp_path / "again"),
    )  # fmt: skip
    assert ended.code == 2
    assert "fmhr-gcn takes no pictures" in ended.err


def test_analysis_of_what_is_no_map_is_refused(bundle: Path, tmp_path: Path) -> None:
    weights = bundle / "float" / "hand.safetensors"
    ended = run(
        "quantize", "fmhr-gcn", "--recipe", "w8a8-hand", "--analyze",
        "--checkpoint", str(weights), "-o", str(tmp_path / "out"),
    )  # fmt: skip
    assert ended.code == 2
    assert "answers with a hand" in ended.err


def test_profiles_hold_a_file_against_the_float_network(bundle: Path) -> None:
    contents = open_contents(Bundle.open(bundle))
    stage = bundle_stages(contents)["hand"]
    runner = TfliteRunner(bundle / "hand.tflite", contents.specs["hand"])
    off = stage.off_mm(runner({"keypoints": stage.feed})["hand"])
    assert 0 < off.mean <= 1.0
    with pytest.raises(ValueError, match="answers of shape"):
        stage.off_mm(np.zeros((1, 2, 2, 3), np.float32))


def test_a_users_own_hand_model_is_taken_and_its_path_stays_out(
    bundle: Path, tmp_path: Path
) -> None:
    own = stand_in()
    replace(own, template=own.template + 0.001).save(tmp_path / "mine.npz")
    text = (resources.export_data() / "networks" / "fmhr-gcn.toml").read_text()
    network = tmp_path / "mine.toml"
    network.write_text(text.replace('hand = "stand-in"', 'hand = "mine.npz"'))
    made = tmp_path / "bundle"
    weights = str(bundle / "float" / "hand.safetensors")
    ended = run("export", str(network), "--checkpoint", weights, "-o", str(made))
    assert ended.code == 0, ended.err
    assert "PA-MPVPE" not in ended.out  # there is no rendered ground truth of that hand
    assert "off float, mean mm" in ended.out
    opened = Bundle.open(made)
    assert opened.manifest["networks"]["hand"]["spec"]["readout"]["hand"] == "mine.npz"
    assert "mano" in opened.sources
    assert str(tmp_path) not in (made / "manifest.json").read_text()


@pytest.mark.slow
def test_s2hand_goes_the_same_way(tmp_path: Path) -> None:
    small = tmp_path / "s2hand-small.toml"
    text = (resources.export_data() / "networks" / "s2hand.toml").read_text()
    small.write_text(text.replace("224, 224", "64, 64"))
    torch.manual_seed(0)
    network = build(load_network(small))
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.8, 1.6)
    weights = tmp_path / "weights.safetensors"
    save_checkpoint(network, weights)
    bundle = tmp_path / "bundle"
    ended = run("export", str(small), "--checkpoint", str(weights), "-o", str(bundle))
    assert ended.code == 3, ended.err  # it has not learned to see
    document: Any = json.loads((bundle / "report.json").read_bytes())
    failed = {row["metric"] for row in document["scores"] if not row["passed"]}
    assert failed <= {"spread_ratio", "flicker_mm"}
    ended = run("plan", str(bundle), "--json")
    assert ended.code == 0, ended.err

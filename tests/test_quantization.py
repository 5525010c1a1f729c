"""Quantization-aware training from the command line to the bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import move_in
from model_toys import Ended, Toy, run
from safetensors import safe_open

from i2uv_edge import resources
from i2uv_edge.bundle import Bundle
from i2uv_edge.data.pictures import list_pictures
from i2uv_edge.networks.checkpoint import save_checkpoint
from i2uv_edge.networks.model import load_networks
from i2uv_edge.quantization import default_recipe, trained_weights
from i2uv_edge.quantizer.stored import is_stored, read_stored, write_stored
from i2uv_edge.spec import load_model, load_recipe

FEW = [
    part
    for setting in (
        "steps=6",
        "batch=4",
        "learning_rate=1e-4",
        "warmup_steps=2",
        "evaluation_samples=4",
        "evaluate_every=3",
        "workers=0",
    )
    for part in ("--set", setting)
]


def quantize(toy: Toy, output: Path, *options: str) -> Ended:
    return run("quantize", str(toy.model), *toy.checkpoints, "-o", str(output), *FEW, *options)


@pytest.fixture(scope="module")
def trained(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path]:
    """Train the toy's AffineNet for a few steps."""
    folder = tmp_path_factory.mktemp("quantized")
    with pytest.MonkeyPatch.context() as patch:
        move_in(toy, patch)
        ended = quantize(toy, folder, "--json")
    return ended, folder


@pytest.fixture(scope="module")
def weights(trained: tuple[Ended, Path]) -> Path:
    ended, folder = trained
    assert ended.code == 0, ended.err
    return folder / "toy-affinenet.w8a8-qat.safetensors"


@pytest.fixture(scope="module")
def bundle(toy: Toy, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("exported") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        move_in(toy, patch)
        ended = toy.export(folder, "--recipe", "w8a8-qat", "--checkpoint", str(weights))
    assert ended.code in (0, 3), ended.err  # gates are for networks that have learned enough
    return Bundle.open(folder)


def test_it_says_what_it_wrote_and_how_far_from_float_that_is(
    trained: tuple[Ended, Path], weights: Path
) -> None:
    document = json.loads(trained[0].out)
    assert document["files"] == [str(weights)]
    assert 0.0 < document["off_float_mm"]["toy-affinenet"] < 20.0


def test_a_bundle_holds_the_trained_integers_and_their_ranges(
    bundle: Bundle, weights: Path
) -> None:
    stored = read_stored(weights)
    with safe_open(bundle.file("quantized/affinenet.safetensors"), framework="pt") as file:
        assert set(file.keys()) == set(stored.tensors)
        for key, value in stored.tensors.items():
            assert torch.equal(file.get_tensor(key), value), key
    encodings = json.loads(bundle.file("encodings.json").read_text())
    assert encodings["affinenet"] == stored.encodings.to_dict()
    assert encodings["srnet"]["recipe"] == "w8a8-qat"
    kinds = {artifact.kind for artifact in bundle.artifacts}
    assert "quantized" in kinds


def test_files_keep_what_the_trained_network_scores(bundle: Bundle) -> None:
    report = json.loads((bundle.path / "report.json").read_text())
    found = {
        (score["candidate"], score["stage"]): score
        for score in report["scores"]
        if score["reference"] == "fake-quant" and score["metric"] == "vertex_mean_mm"
    }
    for candidate in ("tflite", "onnx"):
        assert found[candidate, "affinenet"]["value"] < 0.02
        assert found[candidate, "affinenet"]["passed"]


def test_the_gates_are_those_of_the_recipe(bundle: Bundle) -> None:
    report = json.loads((bundle.path / "report.json").read_text())
    limits = {
        score["metric"]: score["limit"]
        for score in report["scores"]
        if (score["reference"], score["candidate"], score["stage"])
        == ("float", "tflite", "chained")
    }
    assert (limits["vertex_mean_mm"], limits["vertex_p95_mm"]) == (0.5, 1.0)


def test_weights_differ_from_those_that_calibration_makes(
    bundle: Bundle, exported: tuple[Ended, Path]
) -> None:
    calibrated = Bundle.open(exported[1])
    for kind in ("tflite", "onnx"):
        assert (
            bundle.file(f"affinenet.{kind}").read_bytes()
            != calibrated.file(f"affinenet.{kind}").read_bytes()
        )


@pytest.mark.usefixtures("toy_world")
def test_a_killed_run_goes_on_to_the_same_weights(
    toy: Toy, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    from i2uv_edge.training import loop

    update: Callable[..., float] = loop._Run._update

    def dies(self: loop._Run, *arguments: object) -> float:
        if self.step == 4:
            raise KilledError
        return update(self, *arguments)

    every = ("--set", "checkpoint_every=2")
    with monkeypatch.context() as patch:
        patch.setattr(loop._Run, "_update", dies)
        with pytest.raises(KilledError):
            quantize(toy, tmp_path, *every)
    again = quantize(toy, tmp_path, *every)
    assert again.code == 2
    assert "--resume" in again.err
    assert quantize(toy, tmp_path, *every, "--resume").code == 0
    made = tmp_path / weights.name
    assert made.read_bytes() == weights.read_bytes()


@pytest.mark.usefixtures("toy_world")
def test_pictures_without_annotations_are_enough(toy: Toy, tmp_path: Path) -> None:
    ended = quantize(toy, tmp_path, "--images", str(toy.data / "pictures"))
    assert ended.code == 0, ended.err
    assert list_pictures(toy.data / "pictures")[0]
    labelled = quantize(
        toy, tmp_path / "other", "--images", str(toy.data / "pictures"), "--set", "labels=1"
    )
    assert labelled.code == 2
    assert "labels" in labelled.err


@pytest.mark.usefixtures("toy_world")
def test_features_and_keypoints_are_terms_of_the_training(
    toy: Toy, tmp_path: Path, weights: Path
) -> None:
    terms = ("--set", "features=0.1", "--set", "keypoints.length=0.1")
    ended = quantize(toy, tmp_path / "more", *terms)
    assert ended.code == 0, ended.err
    more, plain = (read_stored(path) for path in (tmp_path / "more" / weights.name, weights))
    assert any(not torch.equal(more.tensors[key], plain.tensors[key]) for key in plain.tensors)


@pytest.mark.usefixtures("toy_world")
def test_a_recipe_that_trains_asks_for_what_training_made(toy: Toy, tmp_path: Path) -> None:
    ended = toy.export(tmp_path / "bundle", "--recipe", "w8a8-qat")
    assert ended.code == 2
    assert "i2uv-edge quantize" in ended.err
    assert not (tmp_path / "bundle").exists()


@pytest.mark.usefixtures("toy_world")
def test_weights_that_were_trained_from_others_are_refused(
    toy: Toy, tmp_path: Path, weights: Path
) -> None:
    stored = read_stored(weights)
    other = tmp_path / "other.safetensors"
    write_stored(other, type(stored)(stored.network, "0" * 64, stored.encodings, stored.tensors))
    ended = toy.export(tmp_path / "bundle", "--recipe", "w8a8-qat", "--checkpoint", str(other))
    assert ended.code == 2
    assert "trained from other weights" in ended.err


@pytest.mark.usefixtures("toy_world")
def test_of_two_files_for_one_network_the_first_is_refused_by_name(
    toy: Toy, tmp_path: Path, weights: Path
) -> None:
    first = tmp_path / "first.safetensors"
    shutil.copy(weights, first)
    both = [part for path in (first, weights) for part in ("--checkpoint", str(path))]
    ended = toy.export(tmp_path / "bundle", "--recipe", "w8a8-qat", *both)
    assert ended.code == 2
    assert "first.safetensors" in ended.err


@pytest.mark.usefixtures("toy_world")
def test_trained_weights_under_a_recipe_without_training_are_refused(
    toy: Toy, tmp_path: Path, weights: Path
) -> None:
    ended = toy.export(tmp_path / "bundle", "--recipe", "w8a8", "--checkpoint", str(weights))
    assert ended.code == 2
    assert weights.name in ended.err


def bundled(toy: Toy, weights: Path, folder: Path) -> Path:
    """A model whose float and trained weights both come with the package, from ``folder``."""
    for path in (toy.affinenet_weights, toy.srnet_weights, weights):
        shutil.copy(path, folder)
    model = folder / "toy.toml"
    model.write_text(
        toy.model.read_text()
        + f'[checkpoints]\naffinenet = "{toy.affinenet_weights.name}"\n'
        + f'srnet = "{toy.srnet_weights.name}"\n[quantized]\naffinenet = "{weights.name}"\n'
    )
    return model


@pytest.mark.usefixtures("toy_world")
def test_trained_weights_that_are_bundled_make_their_recipe_the_default(
    toy: Toy, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(bundled(toy, weights, tmp_path))
    monkeypatch.setattr(resources, "checkpoints", lambda: tmp_path)
    networks = load_networks(model)
    assert default_recipe(model, networks, {}, None).name == "w8a8-qat"
    (stored,) = trained_weights(model, load_recipe("w8a8-qat"), networks, {}).values()
    assert stored.network == "toy-affinenet"
    # Pictures of one's own to calibrate on, and weights that training has not seen, have it not.
    assert default_recipe(model, networks, {}, toy.data).name == "w8a8"
    others = tmp_path / "others.safetensors"
    save_checkpoint(networks["affinenet"].module, others, {"network": "another"})
    assert default_recipe(model, load_networks(model, [others]), {}, None).name == "w8a8"


def test_a_recipe_without_training_trains_nothing(toy: Toy, tmp_path: Path) -> None:
    ended = run("quantize", str(toy.model), "--recipe", "w8a8", "-o", str(tmp_path))
    assert ended.code == 2
    assert "i2uv-edge export" in ended.err


def test_a_damaged_file_is_named(tmp_path: Path, weights: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(weights.read_bytes()[:-100])
    assert is_stored(weights)
    assert not is_stored(broken)
    with pytest.raises(Exception, match=r"broken\.safetensors"):
        read_stored(broken)


def test_stored_weights_are_integers(weights: Path) -> None:
    kinds = {value.dtype for value in read_stored(weights).tensors.values()}
    assert kinds == {torch.int8, torch.float32}
    assert np.all(
        [
            v.abs().max() <= 127
            for v in read_stored(weights).tensors.values()
            if v.dtype == torch.int8
        ]
    )

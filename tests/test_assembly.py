"""What lies in a bundle, as the contract says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_toys import PICTURES, Ended, Toy
from safetensors import safe_open

from i2uv_edge.bundle import Bundle, sha256_of
from i2uv_edge.data.evaluation import read_evaluation
from i2uv_edge.dumps import DumpRunner
from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.hand.model import HandModel
from i2uv_edge.spec import load_network

EVERY_BUNDLE = {"manifest.json", "report.json", "report.html", "atlas.npz", "eval", "float"}


@pytest.fixture(scope="module")
def bundle(exported: tuple[Ended, Path]) -> Bundle:
    return Bundle.open(exported[1])


@pytest.fixture(scope="module")
def manifest(bundle: Bundle) -> Any:
    return json.loads((bundle.path / "manifest.json").read_text())


def test_a_bundle_holds_the_files_of_the_contract(bundle: Bundle) -> None:
    names = {path.name for path in bundle.path.iterdir()}
    assert names == EVERY_BUNDLE | {
        "affinenet.tflite",
        "srnet.tflite",
        "affinenet.onnx",
        "srnet.onnx",
        "encodings.json",
        "golden",
        "quantized",  # integers that are not just the nearest
    }
    for folder in ("float", "quantized"):
        files = {path.name for path in (bundle.path / folder).iterdir()}
        assert files == {"affinenet.safetensors", "srnet.safetensors"}
    assert len(list((bundle.path / "eval").glob("*.jpg"))) == PICTURES


def test_everything_but_the_report_is_sealed(bundle: Bundle) -> None:
    found = {p.relative_to(bundle.path).as_posix() for p in bundle.path.rglob("*") if p.is_file()}
    sealed = {artifact.path for artifact in bundle.artifacts}
    assert found - sealed == {"manifest.json", "report.json", "report.html"}


def test_the_manifest_says_what_was_built_from_what(manifest: Any, toy: Toy) -> None:
    assert manifest["schema"] == 1
    assert manifest["model"] == "toy"
    assert manifest["recipe"]["name"] == "w8a8"
    assert manifest["target"]["name"] == "sd865"
    assert {"i2uv-edge", "torch", "python", *("ai-edge-litert", "onnx", "onnxruntime")} <= set(
        manifest["tools"]
    )
    assert manifest["calibration"]["pictures"] == PICTURES
    assert manifest["sources"]["calibration"] == manifest["calibration"]["sha256"]
    assert manifest["sources"]["checkpoint.srnet"] == sha256_of(toy.srnet_weights)


def test_every_made_file_names_its_parent(bundle: Bundle, manifest: Any) -> None:
    parents = {artifact.path: artifact.parent for artifact in bundle.artifacts}
    hashes = {artifact.path: artifact.sha256 for artifact in bundle.artifacts}
    for role in ("affinenet", "srnet"):
        for kind in ("tflite", "onnx"):
            assert parents[f"{role}.{kind}"] == hashes[f"float/{role}.safetensors"]
        source = manifest["sources"][f"checkpoint.{role}"]
        assert parents[f"float/{role}.safetensors"] == source
    assert parents["encodings.json"] == manifest["sources"]["calibration"]


@pytest.mark.parametrize(
    ("role", "shapes"),
    [
        ("affinenet", ([1, 64, 64, 3], [1, 16, 16, 3])),
        ("srnet", ([1, 16, 16, 3], [1, 64, 64, 3])),
    ],
)
def test_the_manifest_tells_an_app_all_about_a_network(
    manifest: Any, role: str, shapes: tuple[list[int], list[int]], toy: Toy
) -> None:
    network = manifest["networks"][role]
    spec = load_network(toy.affinenet if role == "affinenet" else toy.srnet)
    for side, wanted, (batch, rows, columns, channels) in zip(
        ("inputs", "outputs"), (spec.input, spec.output), shapes, strict=True
    ):
        common = {
            "name": wanted.name,
            "dtype": "float32",
            "scale": 1.0,
            "zero_point": 0,
            "unit": wanted.unit,
            "range": list(wanted.range),
        }
        nhwc = {"shape": [batch, rows, columns, channels], "layout": "NHWC"}
        nchw = {"shape": [batch, channels, rows, columns], "layout": "NCHW"}
        assert network[side] == [{**common, **nhwc}]
        assert network["onnx"][side] == [{**common, **nchw}]


def test_the_manifest_says_how_to_crop_and_how_to_chain(manifest: Any) -> None:
    preprocess = manifest["preprocess"]
    assert preprocess["size"] == 64
    assert preprocess["range"] == [0.0, 1.0]
    assert {"crop", "colour", "interpolation", "layout", "margin"} <= set(preprocess)
    assert set(manifest["chain"]) == {"normalisation", "clip", "minimum_span"}


def test_nothing_sealed_tells_where_it_was_made(bundle: Bundle, toy: Toy) -> None:
    for artifact in bundle.artifacts:
        content = (bundle.path / artifact.path).read_bytes()
        assert str(toy.model.parent).encode() not in content, artifact.path
    assert str(toy.model.parent) not in (bundle.path / "manifest.json").read_text()


def test_the_atlas_reads_vertices_by_nothing_but_numpy(bundle: Bundle) -> None:
    hand = HandModel.load()
    with np.load(bundle.path / "atlas.npz", allow_pickle=False) as arrays:
        index, weight = arrays["texel_index"], arrays["texel_weight"]
        count = len(hand.fine.vertices)
        assert index.shape == weight.shape
        assert (len(index), index.dtype, weight.dtype) == (count, np.int32, np.float32)
        assert np.allclose(weight.sum(1), 1, atol=1e-5)
        assert arrays["template"].shape == (count, 3)
        assert arrays["joint_regressor"].shape == (21, count)
        assert arrays["mask"].shape == (64, 64)
        assert {"faces", "uv", "seams"} <= set(arrays.files)
    maps = np.random.default_rng(0).random((64, 64, 3), np.float32)
    read = (maps.reshape(-1, 3)[index] * weight[..., None]).sum(1)
    atlas = Atlas.of_mesh(hand.fine, 64)
    assert np.allclose(read, atlas.read_vertices(maps), atol=1e-5)


def test_the_encodings_name_every_network(bundle: Bundle) -> None:
    encodings = json.loads((bundle.path / "encodings.json").read_text())
    assert set(encodings) == {"affinenet", "srnet"}
    assert all(item["activations"] and item["weights"] for item in encodings.values())


def test_the_float_weights_are_float32_and_say_whose_they_are(bundle: Bundle) -> None:
    with safe_open(bundle.path / "float" / "affinenet.safetensors", framework="np") as file:
        assert file.metadata() == {"network": "toy-affinenet"}
        assert file.get_tensor("first.head.weight").dtype == np.float32


def test_golden_holds_pictures_maps_and_vertices_of_the_first_samples(bundle: Bundle) -> None:
    golden = DumpRunner(bundle.path / "golden")
    samples = list(read_evaluation(bundle.path / "eval", 64))
    assert golden.ids == tuple(sample.id for sample in samples[:4])
    assert (golden.source, golden.bundle) == ("tflite", "")
    found = golden.sample(samples[0].id)
    assert np.abs(found["input"] - samples[0].picture).max() < 1e-6
    assert found["affinenet"].shape == (16, 16, 3)
    assert found["srnet"].shape == (64, 64, 3)
    assert found["vertices"].shape == HandModel.load().fine.vertices.shape

"""Parity inside the networks of a bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from model_toys import Ended, Toy, run
from onnx import numpy_helper

from i2uv_edge.blockwise import tensor_table
from i2uv_edge.bundle import Bundle
from i2uv_edge.comparison import Contents, open_contents, samples
from i2uv_edge.report.material import TensorTable

pytestmark = pytest.mark.usefixtures("toy_world")

PICTURES = 2


@pytest.fixture
def contents(exported: tuple[Ended, Path], tmp_path: Path) -> Contents:
    return open_contents(Bundle.open(shutil.copytree(exported[1], tmp_path / "own")))


def table(contents: Contents, *formats: str) -> TensorTable:
    few = list(samples(contents).first(PICTURES).stream)
    found = tensor_table(contents, few, formats)
    assert found is not None
    return found


def test_every_tensor_that_is_computed_is_compared_in_all_forms(contents: Contents) -> None:
    found = table(contents, "tflite", "onnx")
    assert found.pictures == PICTURES
    stored = json.loads(contents.bundle.file("encodings.json").read_bytes())
    for role, own in stored.items():
        names = {name for name in own["activations"] if not name.endswith("constant")}
        assert {t.name for t in found.tensors if t.role == role} == names
    for tensor in found.tensors:
        assert tensor.values > 0
        assert tensor.sqnr_db > 10, tensor.name
        assert 0 <= tensor.saturated < 0.05, tensor.name
        assert set(tensor.files) == {"tflite", "onnx"}
        for apart in tensor.files.values():
            assert apart.share < 0.02, tensor.name
            assert apart.most <= 3, tensor.name


def test_only_the_files_that_are_asked_for_are_run(contents: Contents) -> None:
    for tensor in table(contents, "onnx").tensors:
        assert set(tensor.files) == {"onnx"}
    assert all(not tensor.files for tensor in table(contents).tensors)


def test_a_fault_in_a_file_shows_from_its_layer_on(contents: Contents) -> None:
    path = contents.bundle.path / "affinenet.onnx"
    model = onnx.load(str(path))
    (own,) = [i for i in model.graph.initializer if i.name == "encoder.stages.2.0.0.weight"]
    weight = numpy_helper.to_array(own)
    own.CopyFrom(numpy_helper.from_array(np.roll(weight, 1, 0), own.name))
    onnx.save(model, str(path))
    shares = {t.name: t.files["onnx"].share for t in table(contents, "onnx").tensors}
    assert shares["encoder.stages.1.0.2"] < 0.02
    assert shares["encoder.stages.2.0.2"] > 0.2


def test_where_nothing_is_quantized_there_is_nothing_to_compare(toy: Toy, tmp_path: Path) -> None:
    weights = ["--checkpoint", str(toy.srnet_weights), "--recipe", "float"]
    assert run("export", str(toy.srnet), *weights, "-o", str(tmp_path / "out")).code == 0
    contents = open_contents(Bundle.open(tmp_path / "out"))
    assert tensor_table(contents, list(samples(contents).stream), ("tflite",)) is None
    assert "Block by block" not in (tmp_path / "out" / "report.html").read_text()

"""What is inside converted files while their runtimes run them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from quantizer_toys import pictures, recipe, run_tflite, spec_of, toy

from i2uv_edge.convert.onnx import to_onnx
from i2uv_edge.convert.probes import OnnxProbe, TfliteProbe
from i2uv_edge.convert.tflite import to_tflite
from i2uv_edge.onnx_runner import OnnxRunner
from i2uv_edge.quantizer.network import QuantizedNetwork, quantize
from i2uv_edge.quantizer.tensors import rounded_tensors

SIZE = 32


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[QuantizedNetwork, Path]:
    folder = tmp_path_factory.mktemp("files")
    network = toy()
    quantized = quantize(network, recipe("head"), [pictures(3, SIZE)], network_role="affinenet")
    to_tflite(quantized, spec_of(network, SIZE), folder / "toy.tflite")
    to_onnx(quantized, spec_of(network, SIZE), folder / "toy.onnx")
    return quantized, folder


def test_more_outputs_change_nothing_that_a_file_computes(
    made: tuple[QuantizedNetwork, Path],
) -> None:
    quantized, folder = made
    sample = pictures(1, SIZE, seed=3)
    names = quantized.encodings.activations
    found, _ = TfliteProbe(folder / "toy.tflite", names)(sample)
    np.testing.assert_array_equal(found, run_tflite(folder / "toy.tflite", sample))
    nchw = np.ascontiguousarray(sample.transpose(0, 3, 1, 2))
    found, _ = OnnxProbe(folder / "toy.onnx", names)(nchw)
    whole = OnnxRunner(folder / "toy.onnx", spec_of(toy(), SIZE))
    expected = whole({"picture_in": sample})["map_out"]
    np.testing.assert_array_equal(found.transpose(0, 2, 3, 1), expected)


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_every_tensor_of_the_encodings_is_there_with_fake_quants_integers(
    kind: str, made: tuple[QuantizedNetwork, Path]
) -> None:
    quantized, folder = made
    sample = pictures(1, SIZE, seed=3)
    nchw = np.ascontiguousarray(sample.transpose(0, 3, 1, 2))
    graph = quantized.module_in("xnnpack" if kind == "tflite" else "onnxruntime").graph_module
    expected = rounded_tensors(graph, torch.from_numpy(nchw).double())
    names = quantized.encodings.activations
    if kind == "tflite":
        probe, feed = TfliteProbe(folder / "toy.tflite", names), sample
    else:
        probe, feed = OnnxProbe(folder / "toy.onnx", names), nchw
    assert set(probe.names) == set(names) == set(expected)
    _, found = probe(feed)
    for name, steps in found.items():
        assert steps.min() >= -128
        assert steps.max() <= 127
        assert np.ptp(steps) > 10, name
        np.testing.assert_array_equal(steps, expected[name].steps, err_msg=name)


def test_a_name_that_the_file_does_not_know_is_left_out(
    made: tuple[QuantizedNetwork, Path],
) -> None:
    _, folder = made
    assert TfliteProbe(folder / "toy.tflite", ["nothing", "deep.2"]).names == ("deep.2",)
    assert OnnxProbe(folder / "toy.onnx", ["nothing", "deep.2"]).names == ("deep.2",)

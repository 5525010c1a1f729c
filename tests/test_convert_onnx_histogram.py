from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from model_toys import Ended
from onnx import TensorProto, helper, numpy_helper, save

from i2uv_edge.convert.histogram import macs_by_dtype
from i2uv_edge.convert.onnx_histogram import onnx_histogram, onnx_macs


def write(path: Path, *, quantized_weights: bool = True, quantized_result: bool = True) -> Path:
    """A convolution with its ReLU, and a resize, between dequantization and quantization."""
    weights = np.ones((4, 3, 3, 3), np.int8)
    constants = {
        "scale": np.float32(0.5),
        "zero": np.uint8(0),
        "weight_zero": np.int8(0),
        "w": weights if quantized_weights else weights.astype(np.float32),
        "sizes": np.float32([1, 1, 2, 2]),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "scale", "zero"], ["xd"]),
        helper.make_node("Conv", ["xd", "wd" if quantized_weights else "w"], ["y"]),
        helper.make_node("Relu", ["y"], ["z"]),
    ]
    if quantized_weights:
        nodes.insert(2, helper.make_node("DequantizeLinear", ["w", "scale", "weight_zero"], ["wd"]))
    if quantized_result:
        nodes += [
            helper.make_node("QuantizeLinear", ["z", "scale", "zero"], ["zq"]),
            helper.make_node("DequantizeLinear", ["zq", "scale", "zero"], ["zd"]),
            helper.make_node("Resize", ["zd", "", "sizes"], ["r"]),
            helper.make_node("QuantizeLinear", ["r", "scale", "zero"], ["rq"]),
            helper.make_node("DequantizeLinear", ["rq", "scale", "zero"], ["out"]),
        ]
    last = "out" if quantized_result else "z"
    size = 12 if quantized_result else 6
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, 4, size, size])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), path)
    return path


def test_what_lies_between_dequantization_and_quantization_counts_as_integer(
    tmp_path: Path,
) -> None:
    found = onnx_histogram(write(tmp_path / "a.onnx"))
    assert found == {
        "DequantizeLinear UINT8>FLOAT32": 3,
        "QuantizeLinear FLOAT32>UINT8": 3,
        "Conv UINT8>UINT8": 1,
        "DequantizeLinear INT8>FLOAT32": 1,
        "Relu UINT8>UINT8": 1,
        "Resize UINT8>UINT8": 1,
    }


@pytest.mark.parametrize(
    "options",
    [{"quantized_weights": False}, {"quantized_result": False}],
    ids=["weights", "result"],
)
def test_a_convolution_with_a_float_on_any_side_counts_as_float(
    tmp_path: Path, options: dict[str, bool]
) -> None:
    path = write(tmp_path / "a.onnx", **options)
    assert onnx_histogram(path)["Conv FLOAT32>FLOAT32"] == 1
    assert onnx_macs(path) == {"FLOAT32": 4 * 27 * 36}


def test_multiply_accumulates_are_weights_times_positions(tmp_path: Path) -> None:
    assert onnx_macs(write(tmp_path / "a.onnx")) == {"UINT8": 4 * 27 * 36}


@pytest.mark.parametrize("role", ["affinenet", "srnet"])
def test_both_formats_of_a_bundle_compute_as_much_in_integers(
    exported: tuple[Ended, Path], role: str
) -> None:
    path = exported[1] / f"{role}.onnx"
    ours, theirs = onnx_macs(path), macs_by_dtype(path.with_suffix(".tflite"))
    assert ours["UINT8"] == theirs["INT8"]
    assert ours.get("FLOAT32", 0) == theirs.get("FLOAT32", 0)

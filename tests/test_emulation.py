"""ONNX files computed literally, and the fake-quant networks in real arithmetic beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from quantizer_toys import (
    apply,
    guided,
    pictures,
    recipe,
    relief,
    spec_of,
    tiny_affinenet,
    tiny_srnet,
    toy,
)
from torch import nn

from i2uv_edge.convert.onnx import to_onnx
from i2uv_edge.convert.onnx_lowering import lower
from i2uv_edge.emulation import EmulatedRunner, Emulation
from i2uv_edge.errors import InputError
from i2uv_edge.onnx_runner import open_session
from i2uv_edge.quantizer.network import QuantizedNetwork, quantize
from i2uv_edge.spec import RecipeSpec

Array = NDArray[Any]

# What float64 leaves of outputs around one; the gate's limit has room for float32 outputs, too.
ROUNDING = 1e-12


def written(
    network: nn.Module, made: RecipeSpec, size: int, path: Path, role: str = "affinenet"
) -> QuantizedNetwork:
    quantized = quantize(network, made, [pictures(3, size)], network_role=role)
    model = lower(
        quantized.graph,
        input_name="picture_in",
        output_name="map_out",
        integer_input=made.input == "int8",
        integer_output=made.output == "int8",
    )
    path.write_bytes(model.SerializeToString())
    return quantized


def apart(quantized: QuantizedNetwork, path: Path, size: int, count: int = 4) -> float:
    """The largest difference of any value, module in real arithmetic against file."""
    emulation, worst = Emulation(path), 0.0
    graph = quantized.module_in("real").graph_module
    for picture in pictures(count, size, seed=5):
        feed = torch.from_numpy(picture.transpose(2, 0, 1).copy())[None].double()
        with torch.no_grad():
            worst = max(worst, float((graph(feed) - emulation(feed)).abs().max()))
    return worst


# --- the file is the module -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "size", "made", "role"),
    [
        (toy(), 32, recipe("head"), "affinenet"),
        (toy(), 32, recipe(), "affinenet"),
        (toy(), 32, recipe(granularity="per-tensor", symmetric=True), "affinenet"),
        (toy(), 32, recipe(input="int8", output="int8"), "affinenet"),
        (guided(), 16, recipe("head*", "warp*"), "affinenet"),
        (guided(), 16, recipe("warp*"), "affinenet"),
        (relief(), 16, recipe(), "srnet"),
        (tiny_affinenet(), 64, recipe("*head", "*warp"), "affinenet"),
        (tiny_srnet(), 16, recipe(), "srnet"),
    ],
    ids=[
        "pool, concat, add, resize",
        "integer head",
        "per tensor",
        "integer ends",
        "warp and code",
        "integer heads and a warp",
        "depth to space",
        "affinenet",
        "srnet",
    ],
)
def test_a_file_computed_literally_is_the_module_in_real_arithmetic(
    network: nn.Module, size: int, made: RecipeSpec, role: str, tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"
    quantized = written(network, made, size, path, role)
    assert apart(quantized, path, size) < ROUNDING


def test_a_file_that_was_simplified_is_the_module_still(tmp_path: Path) -> None:
    path, network = tmp_path / "net.onnx", toy()
    quantized = quantize(network, recipe("head"), [pictures(3, 32)], network_role="affinenet")
    to_onnx(quantized, spec_of(network, 32), path)
    assert apart(quantized, path, 32) < ROUNDING


def changed(path: Path, name: str, change: Any) -> Path:
    """A copy of a file in which one of its constants is another."""
    model = onnx.load(str(path))
    (own,) = [item for item in model.graph.initializer if item.name == name]
    values = numpy_helper.to_array(own)
    own.CopyFrom(numpy_helper.from_array(np.asarray(change(values), values.dtype), name))
    copy = path.with_name("changed.onnx")
    onnx.save(model, str(copy))
    return copy


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mix.2/scale", lambda scale: scale * (1 + 1e-5)),
        ("stem.0.weight/scale", lambda scale: scale * (1 + 1e-5)),
        ("mix.2/zero_point", lambda zero: zero + 1),
        ("head.bias", lambda bias: bias + np.float32(1e-5)),
        ("deep.0.weight", lambda weight: np.where(weight == weight.max(), weight - 1, weight)),
    ],
)
def test_one_number_that_is_slightly_off_in_the_file_shows(
    name: str, change: Any, tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"
    quantized = written(toy(), recipe("head"), 32, path)
    assert apart(quantized, changed(path, name, change), 32) > 1e-6


# --- what each operation means --------------------------------------------------------------------


def model_of(op: str, shape: tuple[int, ...], *more: Array, **options: Any) -> ModelProto:
    """A model of one node that reads the input and constants; `NONE` leaves one out."""
    names = [f"c{number}" if item.size else "" for number, item in enumerate(more)]
    constants = [numpy_helper.from_array(v, n) for n, v in zip(names, more, strict=True) if n]
    graph = helper.make_graph(
        [helper.make_node(op, ["x", *names], ["y"], **options)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20)])


def grid(side: int) -> Array:
    """Places within and beyond the feature, edges and centres among them."""
    values = np.random.default_rng(1).uniform(-1.3, 1.3, (1, side, side, 2)).astype(np.float32)
    values[0, 0, :3] = [[-1.0, 1.0], [0.0, 0.0], [1.0, -1.0]]
    return values


def floats(*shape: int) -> Array:
    return np.random.default_rng(2).standard_normal(shape).astype(np.float32)


NONE = np.zeros(0, np.float32)
DOUBLE = np.array([1, 1, 2, 2], np.float32)


@pytest.mark.parametrize(
    "model",
    [
        *(
            model_of(
                "GridSample",
                (1, 3, 6, 6),
                grid(5),
                mode="linear",
                padding_mode=padding,
                align_corners=corners,
            )
            for padding in ("border", "zeros")
            for corners in (0, 1)
        ),
        *(
            model_of(
                "Resize",
                (1, 2, 5, 5),
                NONE,
                DOUBLE * np.array([1, 1, factor, factor], np.float32),
                mode="linear",
                coordinate_transformation_mode=mode,
            )
            for mode in ("half_pixel", "align_corners")
            for factor in (1, 2)
        ),
        model_of(
            "Conv",
            (1, 4, 7, 7),
            floats(6, 2, 3, 3),
            floats(6),
            group=2,
            strides=(2, 1),
            dilations=(1, 2),
            pads=(1, 2, 0, 1),
            kernel_shape=(3, 3),
        ),
        model_of("MaxPool", (1, 2, 7, 7), kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1)),
        model_of("DepthToSpace", (1, 12, 3, 3), blocksize=2, mode="DCR"),
        model_of(
            "Pad",
            (1, 2, 3, 3),
            np.array([0, 0, 1, 2, 0, 0, 3, 0], np.int64),
            np.array(0.5, np.float32),
            mode="constant",
        ),
        model_of("Slice", (1, 5, 3, 3), *(np.array([n], np.int64) for n in (1, 3, 1))),
        model_of("Clip", (1, 2, 3, 3), np.array(-0.5, np.float32), np.array(0.5, np.float32)),
        model_of("Transpose", (1, 2, 3, 4), perm=(0, 2, 3, 1)),
        model_of("Reshape", (1, 2, 3, 4), np.array([1, 24], np.int64)),
        model_of("Sigmoid", (1, 2, 3, 3)),
        model_of("Relu", (1, 2, 3, 3)),
    ],
    ids=lambda model: model.graph.node[0].op_type,
)
def test_an_operation_computes_what_onnx_runtime_does(model: ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "one.onnx"
    onnx.save(model, str(path))
    x = floats(*[dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim])
    (wanted,) = open_session(path.read_bytes()).run(None, {"x": x})
    made = Emulation(path)(torch.from_numpy(x).double()).numpy()
    np.testing.assert_allclose(made, wanted, atol=2e-6, rtol=0)


@pytest.mark.parametrize("zero", [0, 100, 128, 255])
def test_rounding_is_half_to_even_and_clips(zero: int, tmp_path: Path) -> None:
    path = tmp_path / "one.onnx"
    scale = np.float32(0.3)
    grid_of = np.array(scale), np.array(zero, np.uint8)
    model = model_of("QuantizeLinear", (1, 1, 2, 4), *grid_of)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    onnx.save(model, str(path))
    steps = np.array([-300, -1.5, -0.5, 0.5, 1.5, 2.5, 2.6, 300])
    x = torch.from_numpy(steps * float(scale)).reshape(1, 1, 2, 4)
    expected = np.clip(np.array([-300, -2, 0, 0, 2, 2, 3, 300]) + zero, 0, 255) - zero
    made = Emulation(path)(x).numpy().ravel() / float(scale)
    np.testing.assert_allclose(made, expected, atol=1e-9)


# --- as a runner ----------------------------------------------------------------------------------


def test_a_runner_gives_nhwc_float32_and_checks_what_it_is_fed(tmp_path: Path) -> None:
    path, network = tmp_path / "net.onnx", toy()
    quantized = written(network, recipe("head"), 32, path)
    runner = EmulatedRunner(path, spec_of(network, 32))
    sample = pictures(2, 32)
    made = runner({"picture_in": sample})["map_out"]
    assert (made.dtype, made.shape) == (np.float32, (2, 16, 16, 3))
    np.testing.assert_allclose(made, apply(quantized.module_in("real"), sample), atol=1e-6)
    with pytest.raises(InputError, match="emulated was fed"):
        runner({"picture_in": sample[:, :16]})


def test_an_operation_that_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "one.onnx"
    onnx.save(model_of("Softmax", (1, 2, 3, 3)), str(path))
    with pytest.raises(InputError, match="holds Softmax, which is not emulated"):
        Emulation(path)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        Emulation(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(InputError, match="is no ONNX model"):
        Emulation(tmp_path / "text.onnx")

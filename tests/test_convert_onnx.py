"""From network to checked ONNX file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxsim
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
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

from i2uv_edge.convert.onnx import simplified, to_onnx
from i2uv_edge.convert.onnx_checks import check_model, check_ranges
from i2uv_edge.errors import ConversionError, InputError, MissingDependencyError
from i2uv_edge.onnx_runner import OnnxRunner
from i2uv_edge.quantizer.network import QuantizedNetwork, quantize
from i2uv_edge.spec import RecipeSpec

Array = NDArray[Any]


def quantized(network: nn.Module, made: RecipeSpec, size: int = 32) -> QuantizedNetwork:
    return quantize(network, made, [pictures(3, size)], network_role="affinenet")


def run(path: Path, network: nn.Module, size: int, batch: Array) -> Array:
    return OnnxRunner(path, spec_of(network, size))({"picture_in": batch})["map_out"]


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "size", "tolerance"),
    [
        (toy(), 32, 1e-5),
        (guided(), 16, 1e-5),
        (tiny_affinenet(), 64, 1e-5),
        (tiny_srnet(), 16, 1e-6),
    ],
    ids=["toy", "guided", "affinenet", "srnet"],
)
def test_a_float_file_equals_the_float_network(
    network: nn.Module, size: int, tolerance: float, tmp_path: Path
) -> None:
    path = tmp_path / "float.onnx"
    to_onnx(network, spec_of(network, size), path)
    sample = pictures(2, size)
    np.testing.assert_allclose(
        run(path, network, size, sample), apply(network, sample), atol=tolerance, rtol=0
    )
    assert not any("Quantize" in node.op_type for node in onnx.load(str(path)).graph.node)


def test_input_and_output_are_named_by_the_spec_and_nchw(tmp_path: Path) -> None:
    path = tmp_path / "toy.onnx"
    to_onnx(quantized(toy(), recipe("head")), spec_of(toy(), 32), path)
    graph = onnx.load(str(path)).graph
    ports = [
        (port.name, [size.dim_value for size in port.type.tensor_type.shape.dim])
        for port in (*graph.input, *graph.output)
    ]
    assert ports == [("picture_in", [1, 3, 32, 32]), ("map_out", [1, 3, 16, 16])]


@pytest.mark.parametrize("ends", [("int8", "float"), ("float", "int8"), ("int8", "int8")])
def test_integer_ends_hold_the_same_numbers(ends: tuple[str, str], tmp_path: Path) -> None:
    network, sample = toy(), pictures(2, 32, seed=4)
    made = quantized(network, recipe(input=ends[0], output=ends[1]))
    path = tmp_path / "toy.onnx"
    to_onnx(made, spec_of(network, 32), path)
    takes, gives = OnnxRunner(path, spec_of(network, 32)).tensors()
    types = {"int8": "uint8", "float": "float32"}
    assert (takes["dtype"], gives["dtype"]) == tuple(types[end] for end in ends)
    if ends[0] == "int8":  # a picture's bytes as they are
        assert (takes["scale"], takes["zero_point"]) == (pytest.approx(1 / 255), 0)
    if ends[1] == "int8":
        entry = made.encodings.activations["head"]
        assert (gives["scale"], gives["zero_point"]) == (entry.scale, entry.zero_point + 128)
    expected = apply(made.module_in("onnxruntime"), sample)
    np.testing.assert_allclose(run(path, network, 32, sample), expected, atol=1e-6)


_PROGRAM = """
import sys
from pathlib import Path
from quantizer_toys import pictures, recipe, spec_of, tiny_affinenet
from i2uv_edge.convert.onnx import to_onnx
from i2uv_edge.quantizer.network import quantize
network = tiny_affinenet()
made = quantize(network, recipe("head*"), [pictures(2, 64)], network_role="affinenet")
to_onnx(made, spec_of(network, 64), Path(sys.argv[1]))
"""


def test_another_process_in_another_folder_writes_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for name, seed in (("one", "1"), ("two", "2")):
        (tmp_path / name).mkdir()
        files.append(tmp_path / name / "net.onnx")
        subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(files[-1])],
            check=True,
            cwd=tmp_path / name,
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
        )
    assert files[0].read_bytes() == files[1].read_bytes()
    assert str(tmp_path).encode() not in files[0].read_bytes()


def test_a_spec_of_another_shape_is_refused(tmp_path: Path) -> None:
    spec = spec_of(toy(), 32)
    wrong = replace(spec, output=replace(spec.output, shape=(1, 32, 32, 3)))
    with pytest.raises(ConversionError, match=r"the output has shape \[1, 3, 16, 16\]"):
        to_onnx(quantized(toy(), recipe()), wrong, tmp_path / "toy.onnx")


def test_nan_weights_are_refused_by_name(tmp_path: Path) -> None:
    network = relief()
    with torch.no_grad():
        network.last.weight[0, 0, 0, 0] = float("nan")  # type: ignore[index, operator]
    with pytest.raises(InputError, match=r"last\.weight holds 1 of"):
        to_onnx(network, spec_of(relief(), 16), tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxsim"])
def test_a_missing_package_is_named_before_any_work(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=f"package {package} ") as caught:
        to_onnx(relief(), spec_of(relief(), 16), tmp_path / "x.onnx")
    assert caught.value.exit_code == 4
    assert "pip install onnx onnxruntime onnxsim" in caught.value.remedy


# --- simplification -------------------------------------------------------------------------------


def foldable() -> ModelProto:
    """Y = X + (1 + 2), and a node that does nothing."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 3, 4, 4)) for n in "XY"]
    constants = [
        numpy_helper.from_array(np.full((1,), value, np.float32), name)
        for name, value in (("one", 1.0), ("two", 2.0))
    ]
    nodes = [
        helper.make_node("Add", ["one", "two"], ["three"]),
        helper.make_node("Identity", ["X"], ["same"]),
        helper.make_node("Add", ["same", "three"], ["Y"]),
    ]
    graph = helper.make_graph(nodes, "main", ends[:1], ends[1:], constants)
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20)])


def test_simplification_folds_what_is_constant_and_adds_no_texts() -> None:
    made = simplified(foldable(), name="x.onnx")
    assert [node.op_type for node in made.graph.node] == ["Add"]
    assert not made.metadata_props


@pytest.mark.parametrize("recipe_made", [recipe("head"), recipe()], ids=["float head", "integer"])
def test_simplification_leaves_quantized_weights_alone(
    recipe_made: RecipeSpec, tmp_path: Path
) -> None:
    made = quantized(toy(), recipe_made)
    path = tmp_path / "toy.onnx"
    to_onnx(made, spec_of(toy(), 32), path)
    constants = {item.name: item.data_type for item in onnx.load(str(path)).graph.initializer}
    for name in made.encodings.weights:
        assert constants[name] == TensorProto.INT8


def test_a_simplification_that_changes_the_result_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = onnxsim.simplify

    def wrong(model: ModelProto, **options: Any) -> tuple[ModelProto, bool]:
        result, checked = real(model, **options)
        (constant,) = result.graph.initializer
        nearly = numpy_helper.to_array(constant) + np.float32(1e-4)
        constant.CopyFrom(numpy_helper.from_array(nearly, constant.name))
        return result, checked

    monkeypatch.setattr(onnxsim, "simplify", wrong)
    with pytest.raises(ConversionError, match=r"x\.onnx: simplification .* changed the output by"):
        simplified(foldable(), name="x.onnx")


# --- ranges ---------------------------------------------------------------------------------------


def model_of(made: QuantizedNetwork, tmp_path: Path, size: int = 32) -> ModelProto:
    path = tmp_path / "toy.onnx"
    to_onnx(made, spec_of(toy(), size), path)
    return onnx.load(str(path))


def test_a_range_that_differs_by_one_bit_is_named(tmp_path: Path) -> None:
    made = quantized(toy(), recipe("head"))
    model = model_of(made, tmp_path)
    entries = dict(made.encodings.activations)
    old = entries["mix.2"]
    scale = float(np.nextafter(np.float32(old.scale), np.float32(1)))
    entries["mix.2"] = replace(old, scale=scale)
    with pytest.raises(ConversionError, match=r"'mix\.2' has scale .* and zero point 0 at index 0"):
        check_ranges(model, replace(made.encodings, activations=entries), name="toy.onnx")
    entries["mix.2"] = replace(old, zero_point=-127)
    with pytest.raises(ConversionError, match=r"'mix\.2' has scale"):
        check_ranges(model, replace(made.encodings, activations=entries), name="toy.onnx")


def test_a_weight_scale_that_differs_is_named_with_its_channel(tmp_path: Path) -> None:
    made = quantized(toy(), recipe("head"))
    model = model_of(made, tmp_path)
    entries = dict(made.encodings.weights)
    scales = list(entries["deep.0.weight"].scale)
    scales[5] *= 2.0
    entries["deep.0.weight"] = replace(entries["deep.0.weight"], scale=tuple(scales))
    with pytest.raises(ConversionError, match=r"'deep\.0\.weight' has scale .* at index 5"):
        check_ranges(model, replace(made.encodings, weights=entries), name="toy.onnx")


def test_a_dropped_range_and_one_from_nowhere_are_named(tmp_path: Path) -> None:
    made, whole = quantized(toy(), recipe("head")), quantized(toy(), recipe())
    model = model_of(made, tmp_path)
    with pytest.raises(ConversionError, match="activation 'head' is not an integer tensor"):
        check_ranges(model, whole.encodings, name="toy.onnx")
    entries = {k: v for k, v in made.encodings.activations.items() if k != "mix.2"}
    with pytest.raises(ConversionError, match=r"tensor 'mix\.2/quantized' has a range that no"):
        check_ranges(model, replace(made.encodings, activations=entries), name="toy.onnx")


def scaled(model: ModelProto, name: str) -> None:
    (constant,) = (item for item in model.graph.initializer if item.name == name)
    values = numpy_helper.to_array(constant) * np.float32(1.01)
    constant.CopyFrom(numpy_helper.from_array(np.asarray(values), name))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ("deep.2/scale", r"'deep\.2' has scale"),
        ("deep.0.weight/scale", r"'deep\.0\.weight' has scale"),
        ("deep.0.bias/scale", r"'deep\.0\.bias' has scale"),
        ("pool/scale", r"tensor 'pool/quantized' has a range that no encoding holds"),
    ],
)
def test_a_scale_changed_in_the_file_is_found(changed: str, named: str, tmp_path: Path) -> None:
    made = quantized(toy(), recipe("head"))
    model = model_of(made, tmp_path)
    scaled(model, changed)
    with pytest.raises(ConversionError, match=named):
        check_ranges(model, made.encodings, name="toy.onnx")


def test_a_reader_with_a_range_of_its_own_is_found(tmp_path: Path) -> None:
    made = quantized(toy(), recipe("head"))
    model = model_of(made, tmp_path)
    (node,) = (n for n in model.graph.node if n.output[0] == "deep.2/dequantized")
    node.input[1] = "mix.2/scale"
    with pytest.raises(ConversionError, match=r"'deep\.2/quantized' has two ranges"):
        check_ranges(model, made.encodings, name="toy.onnx")


# --- operations -----------------------------------------------------------------------------------


def check(model: ModelProto, made: RecipeSpec) -> None:
    check_model(model, made, network_role="affinenet", name="toy.onnx")


def node_of(model: ModelProto, name: str) -> NodeProto:
    (node,) = (node for node in model.graph.node if node.name == name)
    return node


def test_a_type_that_the_recipe_does_not_say_is_named(tmp_path: Path) -> None:
    model = model_of(quantized(toy(), recipe("head")), tmp_path)
    check(model, recipe("head"))
    with pytest.raises(ConversionError, match=r"Conv of layer 'head' is float, .* says integer"):
        check(model, recipe())
    with pytest.raises(ConversionError, match=r"Conv of layer 'mix\.0' is integer, .* says float"):
        check(model, recipe("head", "mix*"))


def test_too_much_work_in_float_is_refused(tmp_path: Path) -> None:
    model = model_of(quantized(toy(), recipe("head")), tmp_path)
    with pytest.raises(ConversionError, match=r"\d+\.\d+% of the multiply-accumulates are float"):
        check(model, recipe("head", max_float_macs=0.01))


def unquantized_bias(model: ModelProto) -> None:
    bias = np.zeros(8, np.float32)
    model.graph.initializer.append(numpy_helper.from_array(bias, "plain"))
    node_of(model, "deep.0").input[2] = "plain"


def second_reader(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["deep.0"], ["more"], name="more"))


def transposed(model: ModelProto) -> None:
    node = helper.make_node("Transpose", ["mix.2"], ["t"], name="t", perm=(0, 1, 3, 2))
    model.graph.node.append(node)


def unknown(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Softmax", ["mix.2"], ["s"], name="s"))


def double(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2), "exact"))


def rounded_again(model: ModelProto) -> None:
    grid = ["deep.2/scale", "deep.2/zero_point"]
    node = helper.make_node("QuantizeLinear", ["deep.2/dequantized", *grid], ["q"], name="q")
    model.graph.node.append(node)


def described(model: ModelProto) -> None:
    model.graph.node[0].doc_string = "File somewhere, line 3"


def located(model: ModelProto) -> None:
    model.graph.node[-1].name = "/home/somebody/net.py"


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (unquantized_bias, r"Conv of layer 'deep\.0' reads a bias that is not dequantized"),
        (second_reader, r"Conv of layer 'deep\.0' has a result that is not quantized"),
        (transposed, "Transpose at 't' is not the network's"),
        (unknown, "Softmax at 's' has no place here"),
        (double, "tensor 'exact' is DOUBLE"),
        (rounded_again, "QuantizeLinear at 'q' rounds what is on its grid already"),
        (described, "it holds texts"),
        (located, "it holds the path '/home/somebody'"),
    ],
)
def test_what_has_no_place_in_the_file_is_named(
    spoil: Callable[[ModelProto], None], named: str, tmp_path: Path
) -> None:
    model = model_of(quantized(toy(), recipe("head")), tmp_path)
    spoil(model)
    with pytest.raises(ConversionError, match=named):
        check(model, recipe("head"))


def test_transposes_are_the_code_s_and_the_warps_grids(tmp_path: Path) -> None:
    network = tiny_affinenet()
    path = tmp_path / "net.onnx"
    to_onnx(quantized(network, recipe("*head"), 64), spec_of(network, 64), path)
    names = {node.name for node in onnx.load(str(path)).graph.node if node.op_type == "Transpose"}
    grids = {f"decoder.{number}.warp.grid" for number in range(3)}
    assert names == {"bridge.permute", "bridge.permute_1"} | grids

"""Each operation in the ONNX file computes what torch computes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from layer_toys import HEADS, LAYERS, SIZES, one
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper
from quantizer_toys import (
    apply,
    guided,
    pictures,
    recipe,
    relief,
    tiny_affinenet,
    tiny_srnet,
    toy,
)
from torch import Tensor, nn

from i2uv_edge.convert.onnx_graph import GraphBuilder
from i2uv_edge.convert.onnx_lowering import lower
from i2uv_edge.errors import ConversionError
from i2uv_edge.networks.layers import ConvBnRelu, Upsample, deploy
from i2uv_edge.onnx_runner import open_session
from i2uv_edge.quantizer.fake_quant import ActivationQuantizer, QuantAdd
from i2uv_edge.quantizer.graph import prepare
from i2uv_edge.quantizer.network import QuantizedNetwork, QuantOptions, quantize

Array = NDArray[Any]


def run(model: ModelProto, batch: Array) -> Array:
    """Run a float-in, float-out model sample by sample, NHWC."""
    session = open_session(model.SerializeToString())
    feeds = ({"x": sample[None].transpose(0, 3, 1, 2).copy()} for sample in batch)
    return np.concatenate([session.run(None, feed)[0].transpose(0, 2, 3, 1) for feed in feeds])


def converted(network: QuantizedNetwork) -> ModelProto:
    return lower(network.graph, input_name="x", output_name="y")


def quantizations(model: ModelProto) -> list[NodeProto]:
    return [node for node in model.graph.node if node.op_type == "QuantizeLinear"]


def operations(model: ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def fused(model: ModelProto, monkeypatch: pytest.MonkeyPatch, path: Any) -> Counter[str]:
    """What ONNX Runtime really runs: the operations after its own optimisation."""
    import onnx
    import onnxruntime

    class Saving(onnxruntime.SessionOptions):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.optimized_model_filepath = str(path)

    monkeypatch.setattr(onnxruntime, "SessionOptions", Saving)
    open_session(model.SerializeToString())
    return operations(onnx.load(str(path)))


@pytest.mark.parametrize("name", LAYERS)
def test_float_layers_equal_torch(name: str) -> None:
    network, size = LAYERS[name], SIZES.get(name, 12)
    model = lower(prepare(network, (1, 3, size, size)), input_name="x", output_name="y")
    sample = pictures(1, size)
    np.testing.assert_allclose(
        run(model, sample), apply(deploy(network), sample), atol=2e-6, rtol=0
    )


@pytest.mark.parametrize("name", sorted(set(LAYERS) - {"sigmoid", "guided"}))
@pytest.mark.parametrize(
    "options",
    [{}, {"granularity": "per-tensor"}, {"symmetric": True}],
    ids=["per-channel", "per-tensor", "symmetric"],
)
def test_integer_layers_equal_fake_quant(name: str, options: dict[str, Any]) -> None:
    network, size = LAYERS[name], SIZES.get(name, 12)
    made = quantize(network, recipe(**options), [pictures(4, size)], network_role="affinenet")
    sample = pictures(3, size, seed=4)
    found = run(converted(made), sample)
    expected = apply(made.module_in("onnxruntime"), sample)
    step = max(entry.scale for entry in made.encodings.activations.values())
    steps = np.abs(found - expected) / step
    assert steps.max() <= 1.01
    assert (steps > 0.01).mean() <= 2e-4
    assert expected.std() > step


@pytest.mark.parametrize(
    ("network", "size", "floats", "role"),
    [
        (guided(), 16, HEADS, "affinenet"),
        (tiny_affinenet(), 64, HEADS, "affinenet"),
        (tiny_srnet(), 16, (), "srnet"),
    ],
    ids=["guided", "affinenet", "srnet"],
)
@pytest.mark.parametrize("ranges", ["min-max", "mse"])
def test_whole_networks_equal_fake_quant(
    network: nn.Module, size: int, floats: tuple[str, ...], role: str, ranges: str
) -> None:
    batch = pictures(4, size, seed=8)
    made = quantize(network, recipe(*floats, ranges=ranges), [pictures(6, size)], network_role=role)
    found, expected = run(converted(made), batch), apply(made.module_in("onnxruntime"), batch)
    assert np.abs(found - expected).mean() <= 2e-5  # 0.004 mm for a hand of 200 mm
    assert expected.std() > 0.01


@pytest.mark.parametrize("concat", ["auto", "shared", "requantize"])
def test_concatenations_of_all_kinds_equal_fake_quant(concat: str) -> None:
    options = QuantOptions(concat=concat)  # type: ignore[arg-type]
    made = quantize(
        toy(), recipe("head"), [pictures(4, 32)], network_role="affinenet", options=options
    )
    sample = pictures(2, 32, seed=4)
    model = converted(made)
    np.testing.assert_allclose(
        run(model, sample), apply(made.module_in("onnxruntime"), sample), atol=1e-6
    )
    requantized = sum(node.input[0].endswith("/dequantized") for node in quantizations(model))
    assert requantized == {"auto": 1, "shared": 0, "requantize": 2}[concat]


def test_the_arithmetic_of_tflite_would_round_otherwise() -> None:
    """The fault worked round: XNNPACK interpolates with weights of 11 bits."""
    network = one(nn.Conv2d(3, 16, 1), Upsample(4))
    made = quantize(network, recipe(), [pictures(4, 12)], network_role="affinenet")
    model, sample = converted(made), pictures(3, 12, seed=4)
    step = made.encodings.activations["1"].scale
    found = run(model, sample)
    assert (np.abs(apply(made.module, sample) - found) > step / 2).mean() > 3e-4
    assert (np.abs(apply(made.module_in("onnxruntime"), sample) - found) > step / 2).sum() == 0


@pytest.mark.parametrize("seed", range(4))
def test_sums_of_all_pairs_of_integers_are_onnx_runtime_s(seed: int) -> None:
    rng = np.random.default_rng(seed)
    quantizers = [ActivationQuantizer() for _ in range(3)]
    for quantizer in quantizers:
        quantizer.set_encoding(float(rng.uniform(0.01, 0.1)), int(rng.integers(-128, 128)))
    first, second, target = quantizers
    builder = GraphBuilder()
    left = builder.tensor("x", (1, 1, 256, 1), first)
    steps = np.arange(-128, 128)
    (scale, zero), (other_scale, other_zero) = first.encoding, second.encoding
    right = ((steps - other_zero) * other_scale).astype(np.float32).reshape(1, 1, 1, 256)
    constant = builder.quantized_constant("c", right, second)
    total = builder.node("Add", "sum", [left, constant], (1, 1, 256, 256))
    model = builder.to_model(left, builder.quantized(total, target, "y"))
    feed = {"x": (steps + 128).astype(np.uint8).reshape(1, 1, 256, 1)}
    (found,) = open_session(model.SerializeToString()).run(None, feed)
    add = QuantAdd(first, second, target)
    add.arithmetic = "onnxruntime"
    a = torch.from_numpy((steps - zero) * scale).reshape(1, 1, 256, 1)
    b = torch.from_numpy((steps - other_zero) * other_scale).reshape(1, 1, 1, 256)
    made = target(add(a, b)) / target.encoding[0] + target.encoding[1] + 128
    np.testing.assert_array_equal(found, np.rint(made.numpy()))


def test_a_weight_channel_in_another_place_does_not_pass_as_equal() -> None:
    made = quantize(toy(), recipe("head"), [pictures(4, 32)], network_role="affinenet")
    model, sample = converted(made), pictures(2, 32, seed=4)
    expected = apply(made.module_in("onnxruntime"), sample)
    assert np.abs(run(model, sample) - expected).mean() <= 2e-5
    (weight,) = (item for item in model.graph.initializer if item.name == "deep.0.weight")
    rolled = np.roll(numpy_helper.to_array(weight), 1, axis=0)
    weight.CopyFrom(numpy_helper.from_array(rolled, weight.name))
    assert np.abs(run(model, sample) - expected).mean() > 1e-3


def test_integers_are_those_of_the_encodings_128_higher() -> None:
    made = quantize(toy(), recipe("head"), [pictures(4, 32)], network_role="affinenet")
    model = converted(made)
    constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    for name, entry in made.encodings.activations.items():
        assert constants[f"{name}/scale"] == np.float32(entry.scale)
        zero = constants[f"{name}/zero_point"]
        assert (zero.dtype, int(zero)) == (np.uint8, entry.zero_point + 128)
    weight, scale = constants["deep.0.weight"], constants["deep.0.weight/scale"]
    assert (weight.dtype, weight.shape, scale.shape) == (np.int8, (8, 8, 3, 3), (8,))
    assert constants["deep.0.bias"].dtype == np.int32
    step = scale.astype(np.float64) * made.encodings.activations["block.relu"].scale
    np.testing.assert_array_equal(constants["deep.0.bias/scale"], step.astype(np.float32))


@pytest.mark.parametrize(
    ("network", "size", "kept"),
    # What stays in float: the heads' convolutions, and none.
    [(tiny_affinenet(), 64, 4), (tiny_srnet(), 16, 0), (toy(), 32, 1)],
    ids=["affinenet", "srnet", "toy"],
)
def test_every_integer_convolution_and_sum_becomes_an_integer_kernel(
    network: nn.Module, size: int, kept: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    floats = ("*head",) if kept else ()
    made = quantize(network, recipe(*floats), [pictures(2, size)], network_role="affinenet")
    model = converted(made)
    found = fused(model, monkeypatch, tmp_path / "optimised.onnx")
    assert found["Conv"] + found["FusedConv"] == kept
    assert found["QLinearConv"] == operations(model)["Conv"] - kept
    integer_adds = sum("adds." in str(node.target) for node in made.graph.graph.nodes)
    assert found["QLinearAdd"] == integer_adds


def test_a_relu_on_a_grid_that_does_not_start_at_zero_keeps_its_convolution_integer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = ConvBnRelu(3, 4), ConvBnRelu(3, 4, relu=False)
            self.last = nn.Conv2d(8, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.last(torch.cat((self.one(x), self.two(x)), 1))
            return result

    network = one(Mixed())
    made = quantize(network, recipe(), [pictures(2, 12)], network_role="affinenet")
    assert made.encodings.activations["0.one.2"].zero_point > -128
    model, sample = converted(made), pictures(2, 12, seed=4)
    np.testing.assert_allclose(run(model, sample), apply(made.module, sample), atol=1e-6)
    assert fused(model, monkeypatch, tmp_path / "optimised.onnx")["QLinearConv"] == 3


def test_depth_to_space_is_integer_in_the_residual() -> None:
    made = quantize(relief(), recipe(), [pictures(2, 16)], network_role="srnet")
    model = converted(made)
    writer = {node.output[0]: node for node in model.graph.node}
    (node,) = (node for node in model.graph.node if node.op_type == "DepthToSpace")
    assert writer[node.input[0]].op_type == "DequantizeLinear"
    assert "expand/quantized" in writer


def test_tensors_are_named_by_their_layers_and_all_shapes_are_written_down() -> None:
    made = quantize(guided(), recipe(*HEADS), [pictures(2, 16)], network_role="affinenet")
    model = converted(made)
    names = [node.output[0] for node in model.graph.node]
    assert {"feature.2", "feature.2/quantized", "feature.2/dequantized", "warp", "y"} <= set(names)
    assert [node.name for node in model.graph.node] == names
    assert {"feature.0.weight", "feature.2/scale"} <= {c.name for c in model.graph.initializer}
    known = {port.name for port in (*model.graph.value_info, *model.graph.output)}
    assert set(names) <= known


def test_a_layer_called_like_the_input_makes_room_for_it() -> None:
    network = nn.Sequential()
    network.add_module("x", nn.Conv2d(3, 3, 1))
    network.add_module("y", nn.Conv2d(3, 3, 1))
    model = lower(prepare(network, (1, 3, 4, 4)), input_name="x", output_name="y")
    assert [port.name for port in (*model.graph.input, *model.graph.output)] == ["x", "y"]
    sample = pictures(1, 4)
    np.testing.assert_allclose(run(model, sample), apply(network, sample), atol=1e-6)


class Transposed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 1, 3, 2)


class RowsJoined(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, x), 2)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Transposed(), r"layer 'permute' \(permute\): permute.* has no place"),
        (RowsJoined(), "layer 'cat' .*along dimension 2"),
        (one(nn.MaxPool2d(3, 2, dilation=2)), "layer '0' .*max pooling with dilation"),
        (one(nn.Conv2d(3, 3, 3, padding="same")), "layer '0' .*padding by the name 'same'"),
    ],
)
def test_what_has_no_lowering_is_named(network: nn.Module, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        lower(prepare(network, (1, 3, 12, 12)), input_name="x", output_name="y")

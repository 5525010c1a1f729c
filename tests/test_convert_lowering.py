"""Each operation in the file computes what torch computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from layer_toys import HEADS, LAYERS, SIZES, Warped, one
from quantizer_toys import (
    apply,
    guided,
    pictures,
    recipe,
    relief,
    run_tflite,
    tiny_affinenet,
    tiny_srnet,
    toy,
)
from torch import Tensor, nn

from i2uv_edge.convert.histogram import dtype_histogram, read_operators
from i2uv_edge.convert.lowering import lower
from i2uv_edge.errors import ConversionError
from i2uv_edge.networks.layers import deploy
from i2uv_edge.quantizer.graph import prepare
from i2uv_edge.quantizer.network import QuantizedNetwork, QuantOptions, quantize


@pytest.mark.parametrize("name", LAYERS)
def test_float_layers_equal_torch(name: str, tmp_path: Path) -> None:
    network, size = LAYERS[name], SIZES.get(name, 12)
    path = tmp_path / "layer.tflite"
    path.write_bytes(lower(prepare(network, (1, 3, size, size)), input_name="x", output_name="y"))
    sample = pictures(1, size)
    made, expected = run_tflite(path, sample), apply(deploy(network), sample)
    np.testing.assert_allclose(made, expected, atol=2e-6, rtol=0)


def test_a_large_warp_is_done_in_blocks_that_gather_integers(tmp_path: Path) -> None:
    network = nn.Sequential(Warped(2048), nn.Conv2d(2048, 3, 1))
    made = quantize(network, recipe(), [pictures(4, 12)], network_role="affinenet")
    counts = dtype_histogram(converted(made, tmp_path / "warp.tflite"))
    assert counts["GATHER INT8>INT8"] == 4 * 4
    assert counts["QUANTIZE FLOAT32>INT8"] == 1 + 4  # the input, and each block
    assert counts["CONCATENATION INT8>INT8"] == 1


def converted(network: QuantizedNetwork, path: Path) -> Path:
    path.write_bytes(lower(network.graph, input_name="x", output_name="y"))
    return path


@pytest.mark.parametrize("name", sorted(set(LAYERS) - {"sigmoid", "guided"}))
@pytest.mark.parametrize(
    "options",
    [{}, {"granularity": "per-tensor"}, {"symmetric": True}],
    ids=["per-channel", "per-tensor", "symmetric"],
)
def test_integer_layers_equal_fake_quant(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    network, size = LAYERS[name], SIZES.get(name, 12)
    made = quantize(network, recipe(**options), [pictures(4, size)], network_role="affinenet")
    sample = pictures(3, size, seed=4)
    found = run_tflite(converted(made, tmp_path / "layer.tflite"), sample)
    expected = apply(made.module, sample)
    step = max(entry.scale for entry in made.encodings.activations.values())
    steps = np.abs(found - expected) / step
    assert steps.max() <= 1.01
    assert (steps > 0.01).mean() <= 2e-4
    assert expected.std() > step


@pytest.mark.parametrize("concat", ["auto", "shared", "requantize"])
def test_concatenations_of_all_kinds_equal_fake_quant(concat: str, tmp_path: Path) -> None:
    options = QuantOptions(concat=concat)  # type: ignore[arg-type]
    made = quantize(
        toy(), recipe("head"), [pictures(4, 32)], network_role="affinenet", options=options
    )
    path = converted(made, tmp_path / "toy.tflite")
    sample = pictures(2, 32, seed=4)
    difference = np.abs(run_tflite(path, sample) - apply(made.module, sample))
    requantized = dtype_histogram(path).get("QUANTIZE INT8>INT8", 0)
    assert requantized == {"auto": 1, "shared": 0, "requantize": 2}[concat]
    # XNNPACK requantizes with a multiplier of 8 bits, so "shared" is exact and the others nearly.
    assert difference.mean() < (1e-4 if concat == "shared" else 5e-3)


@pytest.mark.parametrize(
    ("network", "size", "floats", "role"),
    [
        (guided(), 16, HEADS, "affinenet"),
        (tiny_affinenet(), 64, HEADS, "affinenet"),
        (tiny_affinenet(warps=0), 64, ("head*",), "affinenet"),
        (
            tiny_affinenet(warps=2, decoder_widths=(8,) * 5, lateral_widths=(8,) * 4),
            64,
            HEADS,
            "affinenet",
        ),
        (tiny_srnet(), 16, (), "srnet"),
    ],
    ids=["guided", "affinenet", "affinenet-without-warps", "affinenet-of-five-stages", "srnet"],
)
@pytest.mark.parametrize("ranges", ["min-max", "mse"])
def test_whole_networks_equal_fake_quant(
    network: nn.Module, size: int, floats: tuple[str, ...], role: str, ranges: str, tmp_path: Path
) -> None:
    batch = pictures(4, size, seed=8)
    made = quantize(network, recipe(*floats, ranges=ranges), [pictures(6, size)], network_role=role)
    found = run_tflite(converted(made, tmp_path / "network.tflite"), batch)
    expected = apply(made.module, batch)
    assert np.abs(found - expected).mean() <= 2e-5  # 0.004 mm for a hand of 200 mm
    assert expected.std() > 0.01


def test_float32_arithmetic_alone_would_round_otherwise(tmp_path: Path) -> None:
    """The fault worked round: halves are common between pixels, and the kernel rounds them up."""
    made = quantize(
        LAYERS["resize-half-pixel"], recipe(), [pictures(4, 12)], network_role="affinenet"
    )
    sample = pictures(3, 12, seed=4)
    step = made.encodings.activations["1"].scale
    file = run_tflite(converted(made, tmp_path / "layer.tflite"), sample)
    plain = np.concatenate([apply(made.graph, sample[i : i + 1]) for i in range(len(sample))])
    assert (np.abs(plain - file) > step / 2).mean() > 0.01
    assert (np.abs(apply(made.module, sample) - file) > step / 2).mean() == 0.0


@pytest.mark.parametrize("network", [tiny_affinenet(), tiny_srnet()], ids=["affinenet", "srnet"])
def test_nothing_is_transposed_and_warps_are_row_gathers(
    network: nn.Module, tmp_path: Path
) -> None:
    size = 64 if "encoder" in dict(network.named_children()) else 16
    made = quantize(network, recipe(), [pictures(2, size)], network_role="affinenet")
    path = converted(made, tmp_path / "network.tflite")
    ops = {op.op for op in read_operators(path)}
    assert not ops & {"TRANSPOSE", "GATHER_ND", "TRANSPOSE_CONV", "EMBEDDING_LOOKUP"}
    assert ("GATHER" if size == 64 else "DEPTH_TO_SPACE") in ops


def test_depth_to_space_is_integer_in_the_residual(tmp_path: Path) -> None:
    made = quantize(relief(), recipe(), [pictures(2, 16)], network_role="srnet")
    counts = dtype_histogram(converted(made, tmp_path / "relief.tflite"))
    assert counts == {
        "CONV_2D INT8>INT8": 2,
        "ADD FLOAT32>FLOAT32": 1,
        "DEPTH_TO_SPACE INT8>INT8": 1,
        "DEQUANTIZE INT8>FLOAT32": 1,
        "QUANTIZE FLOAT32>INT8": 1,
        "RESIZE_BILINEAR FLOAT32>FLOAT32": 1,
    }


def test_constants_start_on_16_bytes(tmp_path: Path) -> None:
    from ai_edge_litert import schema_py_generated as schema

    data = lower(prepare(toy(), (1, 3, 32, 32)), input_name="x", output_name="y")
    model = schema.Model.GetRootAs(data, 0)
    starts = []
    for index in range(model.BuffersLength()):
        values = model.Buffers(index).DataAsNumpy()
        if isinstance(values, np.ndarray) and values.size:
            base = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
            starts.append(values.__array_interface__["data"][0] - base)
    assert len(starts) > 10
    assert {start % 16 for start in starts} == {0}


def test_a_dead_layer_gives_a_file_that_runs(tmp_path: Path) -> None:
    """The fault worked round: XNNPACK refuses to load scales that rise 256-fold in a layer."""
    network = one(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1))
    with torch.no_grad():
        network[2].bias.fill_(-100.0)  # type: ignore[index, union-attr, operator]
    made = quantize(network, recipe(), [pictures(2, 12)], network_role="srnet")
    sample = pictures(1, 12, seed=4)
    found = run_tflite(converted(made, tmp_path / "dead.tflite"), sample)
    np.testing.assert_allclose(found, apply(made.module, sample), atol=1e-6)
    np.testing.assert_allclose(found, apply(network, sample), atol=0.01)


class Transposed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 1, 3, 2)


class Reshaped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(1, 3, 72, 2)


class RowsJoined(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, x), 2)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Transposed(), r"layer 'permute' \(permute\): permute.* would need a transpose"),
        (Reshaped(), "layer 'reshape' .*would need a transpose"),
        (RowsJoined(), "layer 'cat' .*along dimension 2"),
        (one(nn.Conv2d(3, 6, 1, groups=3)), "layer '0' .*grouped convolution"),
        (one(nn.MaxPool2d(3, 2, 1)), "layer '0' .*max pooling with its own padding"),
    ],
)
def test_what_has_no_lowering_is_named(network: nn.Module, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        lower(prepare(network, (1, 3, 12, 12)), input_name="x", output_name="y")

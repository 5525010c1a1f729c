"""Post-training quantization as a whole, and reading it back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from quantizer_toys import apply, guided, pictures, recipe, relief, tiny_affinenet, tiny_srnet, toy
from torch import nn

from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.quantizer.encodings import Encodings
from i2uv_edge.quantizer.fake_quant import ActivationQuantizer, QuantConv2d
from i2uv_edge.quantizer.network import QuantizedNetwork, QuantOptions, load_quantized, quantize
from i2uv_edge.spec import ActivationSpec, RecipeSpec, WeightSpec

FLOATS = ("head*", "*warp*")


def quantized(network: nn.Module, made: RecipeSpec, size: int = 32) -> QuantizedNetwork:
    return quantize(network, made, [pictures(4, size)], network_role="affinenet")


@pytest.mark.parametrize("ranges", ["min-max", "percentile", "mse"])
def test_fake_quant_stays_close_to_float(ranges: str) -> None:
    network, batch = toy(), pictures(4, 32, seed=9)
    result = quantized(network, recipe("head", ranges=ranges))
    expected = apply(network, batch)
    error = np.abs(apply(result.module, batch) - expected).mean()
    assert 0.0 < error < 0.02 * expected.std() + 0.005


def test_every_integer_tensor_lies_on_its_grid() -> None:
    graph = quantized(toy(), recipe()).graph
    seen: list[tuple[torch.Tensor, ActivationQuantizer]] = []

    def watch(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        assert isinstance(layer, ActivationQuantizer)
        seen.append((output, layer))

    for layer in graph.modules():
        if isinstance(layer, ActivationQuantizer):
            layer.register_forward_hook(watch)
    apply(graph, pictures(1, 32))
    assert len(seen) > 8
    for values, layer in seen:
        steps = values / layer.encoding[0]
        torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=1e-6)


def test_all_convolutions_but_the_overridden_have_integer_weights() -> None:
    graph = quantized(toy(), recipe("head")).graph
    kinds = {name: type(layer) for name, layer in graph.named_modules() if hasattr(layer, "stride")}
    assert kinds.pop("head") is nn.Conv2d
    assert kinds.pop("pool") is nn.MaxPool2d
    assert set(kinds.values()) == {QuantConv2d}


@pytest.mark.parametrize(
    ("network", "size", "floats"),
    [
        (toy(), 32, ("head",)),
        (guided(), 16, FLOATS),
        (tiny_affinenet(), 64, FLOATS),
        (tiny_srnet(), 16, ()),
    ],
    ids=["toy", "guided", "affinenet", "srnet"],
)
def test_encodings_give_the_same_network_again_bit_for_bit(
    network: nn.Module, size: int, floats: tuple[str, ...]
) -> None:
    made = recipe(*floats, ranges="mse")
    first = quantized(network, made, size)
    text = json.dumps(first.encodings.to_dict())
    second = load_quantized(network, made, Encodings.from_dict(json.loads(text)))
    batch = pictures(2, size, seed=3)
    assert (apply(first.module, batch) == apply(second.module, batch)).all()
    assert json.dumps(second.encodings.to_dict()) == text


def test_quantizing_twice_gives_the_same_document() -> None:
    documents = [json.dumps(quantized(toy(), recipe()).encodings.to_dict()) for _ in range(2)]
    assert documents[0] == documents[1]


def test_encodings_say_how_each_range_was_found() -> None:
    encodings = quantized(toy(), recipe("head", ranges="percentile", percentile=99.0)).encodings
    entry = encodings.activations["block.relu"]
    assert (entry.method, entry.percentile, entry.bits) == ("percentile", 99.0, 8)
    assert entry.minimum == 0.0 < 255 * entry.scale < entry.maximum
    assert encodings.activations["picture"].method == "fixed"
    assert encodings.activations["picture"].scale == float(np.float32(1 / 255))
    weight = encodings.weights["mix.0.weight"]
    assert (len(weight.scale), weight.axis, weight.method) == (8, 0, "max")


def test_per_tensor_weights_have_one_scale() -> None:
    made = recipe("head", granularity="per-tensor")
    encodings = quantized(toy(), made).encodings
    assert {len(entry.scale) for entry in encodings.weights.values()} == {1}
    assert {entry.axis for entry in encodings.weights.values()} == {None}
    again = load_quantized(toy(), made, encodings)
    assert again.encodings == encodings


def test_mse_weight_ranges_are_never_wider() -> None:
    batches = [pictures(2, 32)]
    options = QuantOptions(weight_range="mse")
    fine = quantize(toy(), recipe(), batches, network_role="affinenet", options=options)
    plain = quantize(toy(), recipe(), batches, network_role="affinenet")
    pairs = [
        (a, b)
        for name, entry in fine.encodings.weights.items()
        for a, b in zip(entry.scale, plain.encodings.weights[name].scale, strict=True)
    ]
    assert all(a <= b for a, b in pairs)
    assert any(a < b for a, b in pairs)


def test_any_batch_size_runs() -> None:
    network = quantized(tiny_affinenet(), recipe(*FLOATS), 64).module
    batch = pictures(3, 64)
    together = apply(network, batch)
    apart = np.concatenate([apply(network, batch[i : i + 1]) for i in range(3)])
    assert (together == apart).all()


def test_the_float_network_is_left_as_it_was() -> None:
    network = toy()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    quantized(network, recipe())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_calibration_is_read_once_and_one_batch_at_a_time() -> None:
    alive: list[int] = []

    def stream() -> Iterator[NDArray[np.float32]]:
        for index in range(5):
            alive.append(index)
            yield pictures(1, 32, seed=index)

    quantize(toy(), recipe(), stream(), network_role="affinenet")
    assert alive == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "the calibration set is empty"),
        ([np.zeros((0, 32, 32, 3), np.float32)], "the calibration set is empty"),
        ([np.zeros((32, 32, 3), np.float32)], r"has shape \[32, 32, 3\]"),
        ([pictures(1, 32), pictures(1, 16)], r"batch 1 has shape \[1, 16, 16, 3\]"),
        ([np.full((1, 32, 32, 3), np.nan, np.float32)], "sample 0 holds NaN"),
    ],
)
def test_bad_calibration_is_refused(batches: list[NDArray[np.float32]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        quantize(toy(), recipe(), batches, network_role="affinenet")


def test_weights_that_overflow_during_calibration_name_the_layer() -> None:
    network = relief()
    with torch.no_grad():
        network.last.weight.fill_(3e38)  # type: ignore[operator, union-attr]
    with pytest.raises(InputError, match="layer 'last': a value is NaN or infinite"):
        quantize(network, recipe(), [pictures(1, 16)], network_role="srnet")


def test_a_float_recipe_quantizes_nothing() -> None:
    made = RecipeSpec("float", "", WeightSpec(32), ActivationSpec(32), max_float_macs=1.0)
    with pytest.raises(UsageError, match="recipe float quantizes nothing"):
        quantized(toy(), made)


def test_encodings_of_another_network_are_refused() -> None:
    encodings = quantized(toy(), recipe()).encodings
    with pytest.raises(InputError, match=r"differ in activations: missing \['.*unknown"):
        load_quantized(relief(), recipe(), encodings)
    with pytest.raises(InputError, match=r"differ in .*unknown \['head"):
        load_quantized(toy(), recipe("head"), encodings)


def test_encodings_that_break_up_a_shared_range_are_refused() -> None:
    encodings = quantized(toy(), recipe()).encodings
    entries = dict(encodings.activations)
    entries["up"] = replace(entries["up"], scale=entries["up"].scale * 2)
    with pytest.raises(InputError, match=r"'up' differ from those of 'block\.relu'"):
        load_quantized(toy(), recipe(), replace(encodings, activations=entries))
    entries["up"] = replace(entries["up"], group="up")
    with pytest.raises(InputError, match="share the range of 'up'"):
        load_quantized(toy(), recipe(), replace(encodings, activations=entries))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 99}, "schema 99"),
        ({"extra": 1}, "missing or unknown keys: extra"),
        ({"input_shape": [1, 3]}, "input_shape"),
        ({"weights": {"head.weight": {"scale": [1.0]}}}, r"'head\.weight': missing or unknown"),
    ],
)
def test_a_document_that_is_no_encodings_is_refused(
    change: dict[str, object], message: str
) -> None:
    document = quantized(toy(), recipe()).encodings.to_dict()
    with pytest.raises(InputError, match=message):
        Encodings.from_dict({**document, **change})


@pytest.mark.parametrize("scale", [float("nan"), 0.0, -1.0])
def test_a_scale_that_is_no_step_is_refused(scale: float) -> None:
    document = quantized(toy(), recipe()).encodings.to_dict()
    document["activations"]["block.relu"]["scale"] = scale
    with pytest.raises(InputError, match=r"'block\.relu': scale"):
        Encodings.from_dict(document)

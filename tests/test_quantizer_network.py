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


@pytest.mark.parametrize("ranges", ["min-max", "percentile", "mse", "entropy"])
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
    kinds = {name.removeprefix("network."): kind for name, kind in kinds.items()}
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


def test_a_global_code_has_room_for_more_than_was_seen() -> None:
    activations = quantized(tiny_affinenet(), recipe(*FLOATS), 64).encodings.activations
    for name, slack in (("bridge.relu", 1.25), ("encoder.stem.1.2", 1.0)):
        entry = activations[name]
        assert 255 * entry.scale == pytest.approx(slack * entry.maximum, rel=1e-5)


def test_encodings_say_how_each_range_was_found() -> None:
    encodings = quantized(toy(), recipe("head", ranges="percentile", percentile=99.0)).encodings
    entry = encodings.activations["block.relu"]
    assert (entry.method, entry.percentile, entry.bits) == ("percentile", 99.0, 8)
    assert entry.minimum == 0.0 < 255 * entry.scale < entry.maximum
    assert encodings.activations["input"].method == "fixed"
    assert encodings.activations["input"].scale == float(np.float32(1 / 255))
    weight = encodings.weights["mix.0.weight"]
    assert (len(weight.scale), weight.axis, weight.method) == (8, 0, "max")


def test_per_tensor_weights_have_one_scale() -> None:
    made = recipe("head", granularity="per-tensor")
    encodings = quantized(toy(), made).encodings
    assert {len(entry.scale) for entry in encodings.weights.values()} == {1}
    assert {entry.axis for entry in encodings.weights.values()} == {None}
    again = load_quantized(toy(), made, encodings)
    assert again.encodings == encodings


def test_a_bias_without_weights_keeps_its_value() -> None:
    network = toy()
    with torch.no_grad():
        convolution, norm = network.mix[0], network.mix[1]  # type: ignore[index, union-attr]
        convolution.weight[2].fill_(1e-12)  # type: ignore[union-attr, index, operator]
        norm.bias[2], norm.running_mean[2] = 0.5, 0.0  # type: ignore[union-attr, index, operator]
    batch = pictures(2, 32)
    result = quantized(network, recipe())
    difference = np.abs(apply(result.module, batch) - apply(network, batch))
    assert difference.mean() < 0.02


def test_bias_correction_brings_means_back() -> None:
    network = tiny_affinenet()
    batch = pictures(16, 64)
    shifts = {}
    for correct in (False, True):
        result = quantize(
            network,
            recipe(*FLOATS),
            [batch],
            network_role="affinenet",
            options=QuantOptions(correct_bias=correct),
        )
        difference = apply(result.module, batch) - apply(network, batch)
        shifts[correct] = float(np.abs(difference.mean((0, 1, 2))).max())
        assert bool(result.encodings.bias_correction) is correct
    assert shifts[True] < 0.5 * shifts[False]


def test_corrections_are_of_every_convolution_whose_mean_is_known_the_float_ones_too() -> None:
    # Not of `deep.0`, of which the samples show too few values.
    corrections = quantized(toy(), recipe("head")).encodings.bias_correction
    assert {name: len(values) for name, values in corrections.items()} == {
        "stem.0": 8,
        "block.conv1.0": 8,
        "block.conv2.0": 8,
        "mix.0": 8,
        "head": 3,
    }


def test_texels_that_nobody_reads_widen_no_range() -> None:
    network = relief()
    batch = pictures(4, 16)
    inside = np.zeros((32, 32), np.bool_)
    inside[16:28, 8:24] = True
    batch[:, :4] *= 40.0  # outside: far from the rows that are read
    scales, errors = {}, {}
    for mask in (None, inside):
        result = quantize(network, recipe(), [batch], network_role="srnet", output_mask=mask)
        difference = np.abs(apply(result.module, batch) - apply(network, batch))[:, inside]
        name = "all" if mask is None else "inside"
        scales[name] = result.encodings.activations["last"].scale
        errors[name] = difference.mean()
    assert scales["inside"] < 0.2 * scales["all"]
    assert errors["inside"] < errors["all"]


@pytest.mark.parametrize(
    "mask", [np.ones((16, 16), np.bool_), np.ones((32, 32)), np.zeros((32, 32), np.bool_)]
)
def test_a_mask_that_is_none_of_the_output_is_refused(mask: NDArray[np.bool_]) -> None:
    with pytest.raises(UsageError, match="output_mask is"):
        quantize(relief(), recipe(), [pictures(1, 16)], network_role="srnet", output_mask=mask)


def test_training_reaches_weights_and_scales() -> None:
    graph = quantized(toy(), recipe("head")).graph
    before = graph(torch.zeros(1, 3, 32, 32))
    graph.train()
    quantizers = [item for item in graph.modules() if isinstance(item, ActivationQuantizer)]
    for item in quantizers[1:]:
        item.stretch.requires_grad_(True)
    graph(torch.rand(1, 3, 32, 32)).square().mean().backward()
    convolutions = [item for item in graph.modules() if isinstance(item, QuantConv2d)]
    for tensor in [c.weight for c in convolutions] + [q.stretch for q in quantizers[1:]]:
        assert tensor.grad is not None
        assert float(tensor.grad.abs().max()) > 0
        with torch.no_grad():
            tensor.sub_(0.1 * tensor.abs().max().clamp(min=1.0) * tensor.grad.sign())
    graph.eval()
    assert not torch.equal(graph(torch.zeros(1, 3, 32, 32)), before)


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
        ([255.0 * pictures(2, 32)], r"values of 0 to 2\d\d"),
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

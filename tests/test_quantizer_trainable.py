"""What can be trained, what training leaves, and that it is stored without loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from quantizer_toys import pictures, recipe, tiny_affinenet, toy
from torch import fx, nn

from i2uv_edge.errors import InputError
from i2uv_edge.quantizer.fake_quant import QuantConv2d
from i2uv_edge.quantizer.network import QuantizedNetwork, load_quantized, quantize, tuned
from i2uv_edge.quantizer.trainable import LEARNED, load_tensors, tensors_of, trainable

FLOATS = ("*.head", "*.warp")


def quantized(
    module: nn.Module, *floats: str, size: int = 32, granularity: str = "per-channel"
) -> QuantizedNetwork:
    made = recipe(*floats, granularity=granularity)
    return quantize(module, made, [pictures(4, size)], network_role="affinenet")


def steps(graph: fx.GraphModule, size: int, count: int = 5, rate: float = 2e-3) -> None:
    parameters = [item for item in graph.parameters() if item.requires_grad]
    optimizer = torch.optim.Adam(parameters, rate)
    batch = torch.from_numpy(pictures(3, size).transpose(0, 3, 1, 2).copy())
    for _ in range(count):
        optimizer.zero_grad()
        graph(batch).square().mean().backward()
        optimizer.step()


def test_what_is_trained_computes_what_is_exported() -> None:
    network = quantized(tiny_affinenet(), *FLOATS, size=64)
    batch = torch.from_numpy(pictures(3, 64).transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        together = trainable(network.graph)(batch)
        apart = torch.cat([network.graph(sample[None]) for sample in batch])
    # Float sums of another order round one value in a thousand otherwise.
    assert float((together - apart).abs().mean()) < 2e-3 * float(apart.std())


def test_the_network_it_was_made_from_stays() -> None:
    network = quantized(toy(), "head")
    before = {key: value.clone() for key, value in network.graph.state_dict().items()}
    steps(trainable(network.graph), 32)
    for key, value in network.graph.state_dict().items():
        torch.testing.assert_close(value, before[key], atol=0, rtol=0)


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
def test_training_moves_weights_and_every_range_but_the_pictures(granularity: str) -> None:
    module = toy()
    before = quantized(module, "head", granularity=granularity)
    graph = trainable(before.graph)
    steps(graph, 32)
    after = tuned(module, before, graph)
    moved = {
        name: value.scale != before.encodings.activations[name].scale
        for name, value in after.encodings.activations.items()
    }
    assert [name for name, was in moved.items() if not was] == ["input"]
    for name, encoding in after.encodings.activations.items():
        assert encoding.method == (LEARNED if moved[name] else "fixed")
    for name, weight in after.encodings.weights.items():
        assert weight.scale != before.encodings.weights[name].scale
        assert len(weight.scale) == len(before.encodings.weights[name].scale)


def test_no_gradient_reaches_the_coordinates_of_a_warp() -> None:
    graph = trainable(quantized(tiny_affinenet(), *FLOATS, size=64).graph)
    calls = [node for node in graph.graph.nodes if node.target == "detach"]
    assert len(calls) == 3


def test_stored_tensors_give_the_same_network_again() -> None:
    module = tiny_affinenet()
    before = quantized(module, *FLOATS, size=64)
    graph = trainable(before.graph)
    steps(graph, 64)
    after = tuned(module, before, graph)
    assert after.tensors is not None
    again = load_quantized(module, after.recipe, after.encodings, after.tensors)
    for name, layer in after.graph.named_modules():
        if isinstance(layer, QuantConv2d):
            other = again.graph.get_submodule(name)
            assert isinstance(other, QuantConv2d)
            trained = graph.get_submodule(name)
            assert isinstance(trained, QuantConv2d)
            for found in (other, trained):
                np.testing.assert_array_equal(found.integer_weight(), layer.integer_weight())
                np.testing.assert_array_equal(found.integer_bias(), layer.integer_bias())
    sample = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(again.graph(sample), after.graph(sample), atol=0, rtol=0)
        assert not torch.equal(after.graph(sample), before.graph(sample))


def test_weights_are_stored_as_integers_and_the_rest_as_float() -> None:
    tensors = tensors_of(quantized(toy(), "head").graph)
    kinds = {name: value.dtype for name, value in tensors.items()}
    assert kinds["stem.0.weight"] == torch.int8
    assert kinds["stem.0.bias"] == torch.float32
    assert kinds["head.weight"] == torch.float32


@pytest.mark.parametrize("fault", ["missing", "another shape", "float", "-128"])
def test_tensors_of_something_else_are_refused_by_name(fault: str) -> None:
    network = quantized(toy(), "head")
    tensors = tensors_of(network.graph)
    weight = tensors["deep.0.weight"]
    if fault == "missing":
        del tensors["deep.0.weight"]
    elif fault == "another shape":
        tensors["deep.0.weight"] = weight[:2]
    elif fault == "float":
        tensors["deep.0.weight"] = weight.float()
    else:
        tensors["deep.0.weight"] = torch.full_like(weight, -128)
    with pytest.raises(InputError, match=r"deep\.0\.weight"):
        load_tensors(network.graph, tensors)

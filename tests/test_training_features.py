"""Features of a fake-quant network beside those of its float network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from quantizer_toys import pictures, recipe, spec_of, tiny_affinenet, toy
from torch import Tensor, fx, nn

from i2uv_edge.errors import UsageError
from i2uv_edge.quantizer.network import QuantizedNetwork, QuantOptions, float_twin, quantize
from i2uv_edge.quantizer.trainable import trainable
from i2uv_edge.training.features import distance, head_layers, with_features

FLOATS = ("*.head", "*.warp")
SIZE = 64
HEADS = ("first.head", "decoder.0.head", "decoder.1.head", "decoder.2.head")


def quantized(module: nn.Module, **options: Any) -> QuantizedNetwork:
    calibration = [pictures(4, SIZE)]
    return quantize(
        module,
        recipe(*FLOATS),
        calibration,
        network_role="affinenet",
        options=QuantOptions(**options),
    )


def batch(seed: int = 0) -> Tensor:
    return torch.from_numpy(pictures(3, SIZE, seed).transpose(0, 3, 1, 2).copy())


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return tiny_affinenet()


@pytest.fixture(scope="module")
def before(network: nn.Module) -> QuantizedNetwork:
    return quantized(network)


@pytest.fixture(scope="module")
def twin(network: nn.Module, before: QuantizedNetwork) -> fx.GraphModule:
    return float_twin(network, before)


def test_heads_are_found_by_the_part_that_the_network_names(
    network: nn.Module, twin: fx.GraphModule
) -> None:
    spec = replace(spec_of(network, SIZE), parts={"heads": "*.head"})
    assert head_layers(twin, spec) == HEADS
    for without in (replace(spec, parts={}), replace(spec, parts={"heads": "none"})):
        with pytest.raises(UsageError, match="heads"):
            head_layers(twin, without)


@torch.no_grad()
def test_the_twin_answers_as_the_float_network(network: nn.Module, twin: fx.GraphModule) -> None:
    made, features = with_features(twin, batch(), HEADS)
    inside = np.s_[..., 2:-2, 2:-2]  # its padding is the nearest grey level, see picture_input
    torch.testing.assert_close(made[inside], network(batch())[inside], atol=5e-3, rtol=0)
    assert tuple(features) == HEADS
    assert [feature.shape for feature in features.values()] == [
        (3, 8, size, size) for size in (2, 4, 8, 16)
    ]
    assert float(distance(features, features)) == 0.0


@torch.no_grad()
def test_features_are_compared_at_the_scales_of_the_equalized_network(
    network: nn.Module, before: QuantizedNetwork, twin: fx.GraphModule
) -> None:
    assert before.encodings.equalization
    _, found = with_features(trainable(before.graph), batch(), HEADS)
    _, wanted = with_features(twin, batch(), HEADS)
    near = float(distance(found, wanted))
    raw = float_twin(network, quantized(network, equalize=None))
    _, unscaled = with_features(raw, batch(), HEADS)
    assert 0.0 < near < 0.25 * float(distance(found, unscaled))


def test_distance_counts_in_the_wanted_features_spread() -> None:
    generator = torch.Generator().manual_seed(0)
    wanted = {"a": torch.randn(2, 4, 8, 8, generator=generator)}
    wanted["b"] = 100.0 * wanted["a"]
    moved = {name: feature + 0.5 * feature.std() for name, feature in wanted.items()}
    assert float(distance(moved, wanted)) == pytest.approx(0.5, rel=1e-4)
    assert float(distance({**wanted, "b": moved["b"]}, wanted)) == pytest.approx(0.25, rel=1e-4)
    dead = {"a": torch.zeros(1, 1, 2, 2)}
    assert float(distance(dead, dead)) == 0.0


def test_training_on_features_brings_them_nearer(network: nn.Module) -> None:
    coarse = recipe(*FLOATS, granularity="per-tensor")  # leaves something to be learned
    before = quantize(network, coarse, [pictures(4, SIZE)], network_role="affinenet")
    student = trainable(before.graph)
    twin = float_twin(network, before).requires_grad_(False)
    with torch.no_grad():
        _, wanted = with_features(twin, batch(), HEADS)
    parameters = [item for item in student.parameters() if item.requires_grad]
    optimizer = torch.optim.Adam(parameters, 3e-4)
    away = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = distance(with_features(student, batch(), HEADS)[1], wanted)
        loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in parameters if p.grad is not None)
        optimizer.step()
        away.append(float(loss.detach()))
    assert away[-1] < 0.9 * away[0]


def test_a_module_that_is_no_graph_has_no_layers_to_compare() -> None:
    spec = replace(spec_of(toy(), 32), parts={"heads": "head"})
    with pytest.raises(UsageError, match="heads"):
        head_layers(toy(), spec)

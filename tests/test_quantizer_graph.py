"""Tracing, folding and naming."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from quantizer_toys import apply, guided, pictures, settle, tiny_affinenet, tiny_srnet, toy
from torch import Tensor, nn

from i2uv_edge.errors import ConversionError, InputError
from i2uv_edge.networks.layers import deploy
from i2uv_edge.quantizer.graph import kind_of, layer_of, mac_count, prepare


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
def test_folding_batch_norms_changes_nothing(
    network: nn.Module, size: int, tolerance: float
) -> None:
    sample = pictures(1, size)
    graph = prepare(network, (1, 3, size, size))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in _called(graph))
    np.testing.assert_allclose(
        apply(graph, sample), apply(deploy(network), sample), atol=tolerance, rtol=0
    )


def _called(graph: nn.Module) -> list[nn.Module]:
    nodes = graph.graph.nodes  # type: ignore[union-attr]
    return [graph.get_submodule(node.target) for node in nodes if node.op == "call_module"]


def test_preparing_leaves_the_network_as_it_was() -> None:
    network = toy().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    prepare(network, (1, 3, 32, 32))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_layers_are_named_by_module_path_and_each_name_is_used_once() -> None:
    nodes = prepare(guided(), (1, 3, 16, 16)).graph.nodes
    names = [layer_of(node) for node in nodes]
    assert len(set(names)) == len(names)
    assert {"feature.0", "feature.2", "warp", "up", "up_1", "place", "add_3"} <= set(names)
    names = [layer_of(node) for node in prepare(toy(), (1, 3, 32, 32)).graph.nodes]
    assert {"block.conv1.0", "block.add", "block.relu"} <= set(names)


def test_a_constant_added_to_a_global_code_moves_into_its_bias() -> None:
    names = [layer_of(node) for node in prepare(guided(), (1, 3, 16, 16)).graph.nodes]
    assert "place" in names
    assert "constant" not in names


def test_multiply_accumulates_are_those_of_the_convolutions() -> None:
    nodes = prepare(toy(), (1, 3, 32, 32)).graph.nodes
    counts = {layer_of(node): mac_count(node) for node in nodes if mac_count(node)}
    assert counts["stem.0"] == 3 * 8 * 9 * 16 * 16
    assert counts["head"] == 8 * 3 * 9 * 16 * 16
    assert len(counts) == 6


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(value: float) -> None:
    network = toy()
    network.mix[0].weight.data[3, 2, 1, 1] = value  # type: ignore[index, union-attr]
    with pytest.raises(InputError, match=r"mix\.0\.weight holds 1 of"):
        prepare(network, (1, 3, 32, 32))


class _Reused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(self.conv(x))
        return result


class _Unknown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Module()
        self.inner = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Softplus())

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.inner(x)
        return result


class _NormFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(self.norm(x))
        return result


class _ForkedNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        result: Tensor = self.norm(y) + y
        return result


class _Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1.0 if x.sum() > 0 else x


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (_Reused(), "layer 'conv' is used 2 times"),
        (_Unknown(), r"layer 'inner\.1': operation Softplus"),
        (_NormFirst(), "layer 'norm': batch norm cannot be folded into 'input'"),
        (_Branching(), "_Branching cannot be traced"),
    ],
)
def test_what_cannot_be_converted_is_named(network: nn.Module, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        prepare(settle(network), (1, 3, 8, 8))


def test_a_convolution_read_raw_and_normalised_becomes_two() -> None:
    network = settle(_ForkedNorm())
    graph = prepare(network, (1, 3, 8, 8))
    picture = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(graph(picture), network(picture))
    layers = [layer_of(node) for node in graph.graph.nodes if kind_of(node) == "conv"]
    assert sorted(layers) == ["conv", "conv_normalized"]


def test_identities_and_dropouts_vanish() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Dropout(), nn.Identity(), nn.ReLU())
    kinds = [kind_of(node) for node in prepare(network, (1, 3, 8, 8)).graph.nodes]
    assert kinds == ["input", "conv", "relu", "output"]

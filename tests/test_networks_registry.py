"""From a network's spec to its module."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from network_toys import AFFINENET, SRNET, tensor, with_architecture, write_toml

from i2uv_edge.errors import UsageError
from i2uv_edge.networks.affinenet_edge import AffineNetEdge
from i2uv_edge.networks.readouts import HandNetwork
from i2uv_edge.networks.registry import FAMILIES, build, families
from i2uv_edge.networks.srnet_edge import SRNetEdge
from i2uv_edge.spec import NetworkSpec, load_network, network_names


@pytest.mark.parametrize("name", network_names())
def test_every_bundled_network_can_be_built(name: str) -> None:
    spec = load_network(name)
    network = build(spec)
    assert isinstance(network, HandNetwork) == (spec.role == "hand")
    assert spec.role == "hand" or type(network) is FAMILIES[spec.family]
    assert not network.training


@pytest.mark.parametrize(("spec", "kind"), [(AFFINENET, AffineNetEdge), (SRNET, SRNetEdge)])
def test_spec_is_built_as_its_family(spec: NetworkSpec, kind: type) -> None:
    network = build(spec)
    assert type(network) is kind
    size, made = spec.input.shape[1], spec.output.shape[1]
    with torch.no_grad():
        assert network(torch.rand(1, 3, size, size)).shape == (1, 3, made, made)


def test_architecture_of_the_spec_is_used() -> None:
    wide = build(with_architecture(SRNET, width=10))
    assert wide.last.in_channels == 10
    assert build(SRNET).last.in_channels == 6


def test_file_of_a_user_is_built_like_a_bundled_one(tmp_path: Path) -> None:
    spec = load_network(write_toml(AFFINENET, tmp_path))
    assert build(spec).state_dict().keys() == build(AFFINENET).state_dict().keys()


def test_unknown_family_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="toy-srnet: unknown family 'srnet_egde'") as raised:
        build(replace(SRNET, family="srnet_egde"))
    assert raised.value.expected == "one of " + ", ".join(sorted(families()))
    assert {"affinenet_edge", "srnet_edge", "s2hand"} <= set(families())
    assert raised.value.remedy == "did you mean 'srnet_edge'?"


@pytest.mark.parametrize("key", ["widht", "input_size"])
def test_unknown_architecture_key_is_refused_with_the_known_ones(key: str) -> None:
    with pytest.raises(UsageError, match=f"unknown architecture key '{key}'") as raised:
        build(with_architecture(SRNET, **{key: 64}))
    assert raised.value.expected == "one of depth, factor, width"


def test_size_of_the_input_is_said_in_one_place() -> None:
    with pytest.raises(UsageError, match="unknown architecture key 'input_size'"):
        build(with_architecture(AFFINENET, input_size=128))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        pytest.param(with_architecture(SRNET, depth=1), "depth 1", id="value"),
        pytest.param(with_architecture(SRNET, width="wide"), "toy-srnet: ", id="type"),
        pytest.param(
            with_architecture(AFFINENET, encoder_widths=[8]), "encoder_widths", id="count"
        ),
        pytest.param(with_architecture(AFFINENET, encoder_widths=8), "toy-affinenet: ", id="list"),
        pytest.param(replace(AFFINENET, input=tensor("picture", 100)), "100 is not", id="size"),
    ],
)
def test_unusable_architecture_is_refused_by_the_network_s_name(
    spec: NetworkSpec, said: str
) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        build(spec)
    assert raised.value.what.startswith(f"network {spec.name}: ")


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(replace(AFFINENET, output=tensor("map", 32)), id="size of the map"),
        pytest.param(with_architecture(SRNET, factor=4), id="factor"),
        pytest.param(
            replace(SRNET, input=replace(SRNET.input, shape=(1, 16, 20, 3))), id="no square"
        ),
        pytest.param(replace(SRNET, input=replace(SRNET.input, shape=(2, 16, 16, 3))), id="batch"),
    ],
)
def test_shapes_that_are_not_the_network_s_are_refused(spec: NetworkSpec) -> None:
    with pytest.raises(UsageError, match="shapes") as raised:
        build(spec)
    size = spec.input.shape[1]
    assert f"[1, {size}, {size}, 3]" in raised.value.expected

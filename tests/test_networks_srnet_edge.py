"""SRNet: shapes, the budget of the bundled spec, its residual, its deploy form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from network_toys import fitted, smooth_map
from torch.nn import functional as F

from i2uv_edge.networks.layers import deploy, macs
from i2uv_edge.networks.registry import build
from i2uv_edge.networks.srnet_edge import SRNetEdge
from i2uv_edge.spec import load_network


def test_bundled_network_keeps_to_its_budget() -> None:
    spec = load_network("srnet-edge")
    network = build(spec)
    assert macs(network, spec.input.shape[1]) <= 0.2e9
    assert sum(parameter.numel() for parameter in network.parameters()) <= 1e5


def test_bundled_network_has_the_shapes_of_its_spec() -> None:
    spec = load_network("srnet-edge")
    _, height, width, channels = spec.input.shape
    with torch.no_grad():
        made = build(spec)(torch.rand(1, channels, height, width))
    assert made.shape == (1, 3, *spec.output.shape[1:3])


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_map_grows_by_the_factor(factor: int) -> None:
    network = SRNetEdge(width=4, depth=2, factor=factor).eval()
    with torch.no_grad():
        assert network(torch.rand(2, 3, 8, 8)).shape == (2, 3, 8 * factor, 8 * factor)
    assert network.output_size(8) == 8 * factor


def test_fresh_network_hands_the_upsampled_map_on() -> None:
    with torch.no_grad():
        made = SRNetEdge(width=8, depth=3, factor=4).eval()(smooth_map(16))
    expected = F.interpolate(smooth_map(16), (64, 64), mode="bilinear", align_corners=True)
    torch.testing.assert_close(made, expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("factor", [2, 4])
def test_deploy_form_agrees_with_the_training_form(factor: int) -> None:
    torch.manual_seed(0)
    network = fitted(SRNetEdge(width=8, depth=3, factor=factor), 16)
    with torch.no_grad():
        expected = network(smooth_map(16))
        torch.testing.assert_close(deploy(network)(smooth_map(16)), expected, atol=1e-4, rtol=0)
    plain = F.interpolate(smooth_map(16), scale_factor=factor, mode="bilinear", align_corners=True)
    assert (expected - plain).abs().max() > 0.05  # it has learned something to agree on


def test_depth_counts_the_convolutions() -> None:
    network = SRNetEdge(width=4, depth=5, factor=2)
    convolutions = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert len(convolutions) == 5


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"depth": 1}, "depth 1"), ({"width": 0}, "width 0"), ({"factor": 0}, "factor 0")],
)
def test_unusable_sizes_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SRNetEdge(**{"width": 4, "depth": 2, "factor": 2, **changes})

"""SRNet as published: size, names, arithmetic against the published form."""

from __future__ import annotations

import torch

from benchmarks import published
from i2uv_edge.networks.layers import deploy, macs
from i2uv_edge.networks.registry import build
from i2uv_edge.networks.srnet import SRNet
from i2uv_edge.spec import load_network


def test_size_is_that_of_the_published_network() -> None:
    network = build(load_network("srnet"))
    assert sum(parameter.numel() for parameter in network.parameters()) == 69_251
    assert round(macs(network, 256) / 1e9, 2) == 4.53


@torch.no_grad()
def test_result_is_that_of_the_published_form() -> None:
    torch.manual_seed(0)
    network = SRNet().eval()
    form = published.SRNet()
    form.load_state_dict(network.state_dict())
    maps = torch.rand(2, 3, 20, 20)
    torch.testing.assert_close(network(maps), form.eval()(maps), atol=1e-6, rtol=0)
    assert torch.equal(deploy(network)(maps), network(maps))


def test_map_keeps_its_size() -> None:
    assert SRNet().output_size(256) == 256

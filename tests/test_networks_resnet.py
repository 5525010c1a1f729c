"""The ResNet layers: names and shapes of torchvision."""

from __future__ import annotations

import pytest
import torch

from i2uv_edge.networks import resnet


@pytest.mark.parametrize(
    ("depth", "parameters"),
    [
        # torchvision's counts without stem (9,536) and classifier.
        (18, 11_689_512 - 9_536 - 513_000),
        (34, 21_797_672 - 9_536 - 513_000),
        (50, 25_557_032 - 9_536 - 2_049_000),
        (101, 44_549_160 - 9_536 - 2_049_000),
        (152, 60_192_808 - 9_536 - 2_049_000),
    ],
)
def test_layers_have_as_many_parameters_as_torchvision_s(depth: int, parameters: int) -> None:
    with torch.device("meta"):
        made = resnet.layers(depth)
    assert sum(p.numel() for layer in made for p in layer.parameters()) == parameters


def test_names_are_torchvision_s() -> None:
    with torch.device("meta"):
        first, second = resnet.layers(50)[:2]
    names = set(first.state_dict())
    assert {"0.conv1.weight", "0.bn3.running_var", "0.downsample.0.weight"} <= names
    assert "0.downsample.1.bias" in names
    assert "1.downsample.0.weight" not in names
    assert second[0].conv2.stride == (2, 2)  # and not that of the 1x1 before it
    assert second[0].conv1.stride == (1, 1)


@pytest.mark.parametrize("depth", [18, 50])
@torch.no_grad()
def test_layers_halve_from_the_second_on(depth: int) -> None:
    x = torch.rand(1, 64, 16, 16)
    sizes = []
    for layer in resnet.layers(depth):
        x = layer.eval()(x)
        sizes.append((x.shape[1], x.shape[2]))
    assert sizes == list(zip(resnet.widths(depth), (16, 8, 4, 2), strict=True))

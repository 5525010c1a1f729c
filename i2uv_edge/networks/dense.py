"""What the heads of published hand networks are made of: fully connected layers as convolutions.

On one position a 1x1 convolution is a fully connected layer, and its batch norm is the same one.
The quantizer, the converters and every accelerator have convolutions; so there is nothing to add.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

__all__ = ["as_convolutions", "branch", "start_small", "trunk_layers"]

_START = 0.01  # standard deviation of the first weights of what gives parameters


def trunk_layers(inputs: int) -> nn.Sequential:
    """(N, inputs, 1, 1) -> (N, 512, 1, 1)."""
    return nn.Sequential(
        nn.Conv2d(inputs, 1024, 1),
        nn.BatchNorm2d(1024),
        nn.ReLU(),
        nn.Conv2d(1024, 512, 1),
        nn.BatchNorm2d(512),
        nn.ReLU(),
    )


def branch(*outputs: int) -> nn.Sequential:
    """(N, 512, 1, 1) -> (N, outputs[-1], 1, 1), with nothing between the layers of `outputs`."""
    layers: list[nn.Module] = [nn.Conv2d(512, 128, 1), nn.ReLU()]
    for before, after in zip((128, *outputs), outputs, strict=False):
        layers.append(nn.Conv2d(before, after, 1))
    return nn.Sequential(*layers)


def start_small(*branches: nn.Sequential) -> None:
    """Let freshly initialised branches answer next to nothing: the mean hand."""
    for layers in branches:
        last = layers[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.normal_(last.weight, std=_START)
        nn.init.zeros_(last.bias)


def as_convolutions(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state whose fully connected weights, (O, I), became those of 1x1 convolutions."""
    return {
        key: value[:, :, None, None] if key.endswith("weight") and value.ndim == 2 else value
        for key, value in state.items()
    }

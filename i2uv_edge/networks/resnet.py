"""ResNet (He et al., CVPR 2016) as torchvision shapes and names it, without its classifier.

The stride of a bottleneck is that of its 3x3 convolution (torchvision's "v1.5"). Parameter names
are torchvision's, so that weights trained there fit: `layer1.0.conv1.weight`, `bn1.bias`.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

__all__ = ["DEPTHS", "Depth", "layers", "widths"]

Depth = Literal[18, 34, 50, 101, 152]

STEM = 64  # channels of the first convolution
_EXPANSION = 4  # of a bottleneck

DEPTHS: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a residual (depths 18 and 34)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.downsample = _downsample(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        result: Tensor = self.relu2(y + (x if self.downsample is None else self.downsample(x)))
        return result


class Bottleneck(nn.Module):
    """1x1 to `width`, 3x3, 1x1 to four times as many, and a residual (depths 50, 101, 152)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * _EXPANSION
        self.conv1 = _conv(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = _conv(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu3 = nn.ReLU()
        self.downsample = _downsample(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.relu2(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        result: Tensor = self.relu3(y + (x if self.downsample is None else self.downsample(x)))
        return result


def widths(depth: int) -> tuple[int, int, int, int]:
    """Channels of the four layers."""
    factor = 1 if depth < 50 else _EXPANSION
    return 64 * factor, 128 * factor, 256 * factor, 512 * factor


def layers(depth: int) -> tuple[nn.Sequential, ...]:
    """The four layers, freshly initialised: (N, 64, s, s) -> ... -> (N, widths[3], s/8, s/8)."""
    block = BasicBlock if depth < 50 else Bottleneck
    before, made = STEM, []
    for number, (count, outputs) in enumerate(zip(DEPTHS[depth], widths(depth), strict=True)):
        width = 64 << number
        first = block(before, width, 2 if number else 1)
        made.append(nn.Sequential(first, *(block(outputs, width, 1) for _ in range(count - 1))))
        before = outputs
    return tuple(made)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def _downsample(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """What brings the residual to the block's shape, None where it has it."""
    if inputs == outputs and stride == 1:
        return None
    return nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

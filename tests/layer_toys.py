"""A small network for each kind of layer: what the tests of every format's lowering go through."""

from __future__ import annotations

from typing import Any

import torch
from quantizer_toys import guided, settle, toy
from torch import Tensor, nn

from i2uv_edge.networks.efficientnet import Swish
from i2uv_edge.networks.layers import (
    ConvBnRelu,
    DepthToSpace,
    FirstChannels,
    Gate,
    Gathered,
    RowNorm,
    StridedPad,
    Upsample,
    Warp,
)

HEADS = ("head*", "*warp*")


class Warped(nn.Module):
    def __init__(self, channels: int = 5, **sampling: Any) -> None:
        super().__init__()
        self.feature = nn.Conv2d(3, channels, 1)
        self.warp = Warp(12, **sampling)

    def forward(self, x: Tensor) -> Tensor:
        # Beyond 0..1 on all sides: the borders are part of what must agree.
        result: Tensor = self.warp(self.feature(x), x * 1.6 - 0.3)
        return result


class Forked(nn.Module):
    """A convolution read raw and behind a batch norm, as the first one of a published AffineNet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return torch.cat((self.relu(self.norm(y)), y), 1)


class Flattened(nn.Module):
    """One position to a small map, as AffineNet's global code does it."""

    def __init__(self) -> None:
        super().__init__()
        self.code = nn.Conv2d(3, 4 * 4 * 5, 12)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        flat = self.relu(self.code(x))
        return flat.permute(0, 2, 3, 1).reshape(-1, 4, 4, 5).permute(0, 3, 1, 2)


class Weighed(nn.Module):
    """Squeeze and excite: channels weighed by what the whole picture shows."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 6, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.expand = nn.Conv2d(6, 6, 1)
        self.gate = Gate()

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        result: Tensor = self.gate(y, self.expand(self.pool(y)))
        return result


class Vertices(nn.Module):
    """One position to features of 18 rows, and a layer over these."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.code = nn.Conv2d(3, 18 * 8, 12)
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        flat = self.code(x).permute(0, 2, 3, 1).reshape(-1, 1, 18, 8)
        result: Tensor = self.layer(flat.permute(0, 3, 1, 2))
        return result


def gathered(rows: int = 25, taps: int = 3) -> Gathered:
    layer = Gathered(rows, taps)
    generator = torch.Generator().manual_seed(3)
    layer.index.copy_(torch.randint(0, 18, (rows, taps), generator=generator))
    layer.weight.copy_(torch.randn(rows, taps, generator=generator))
    return layer


def row_norm(channels: int, groups: int) -> RowNorm:
    layer = RowNorm(channels, groups)
    with torch.no_grad():
        layer.gamma.copy_(torch.linspace(0.5, 1.5, channels)[None, :, None])
        layer.beta.copy_(torch.linspace(-1.0, 1.0, channels)[None, :, None])
    return layer


def one(*layers: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return settle(nn.Sequential(*layers))


def deepen(channels: int = 4) -> nn.Conv2d:
    return nn.Conv2d(3, channels, 1)


LAYERS = {
    "conv3x3": one(nn.Conv2d(3, 5, 3, padding=1)),
    "conv1x1": one(nn.Conv2d(3, 5, 1, bias=False)),
    "conv5x5-unpadded": one(nn.Conv2d(3, 5, 5)),
    "conv-stride-2": one(nn.Conv2d(3, 5, 3, stride=2, padding=1)),
    "conv-stride-2-odd-padding": one(nn.Conv2d(3, 5, 4, stride=2, padding=1)),
    "conv-stride-3": one(nn.Conv2d(3, 5, 3, stride=3, padding=2)),
    "conv-dilated": one(nn.Conv2d(3, 5, 3, dilation=2, padding=2)),
    "depthwise": one(deepen(6), nn.Conv2d(6, 6, 3, padding=1, groups=6)),
    "conv-bn-relu": one(ConvBnRelu(3, 5)),
    "max-pool": one(deepen(), nn.MaxPool2d(2)),
    "zero-pad-max-pool": one(deepen(), nn.ReLU(), nn.ZeroPad2d(1), nn.MaxPool2d(3, 2)),
    "relu-behind-pool": one(deepen(), nn.MaxPool2d(2), nn.ReLU()),
    "resize-corners": one(deepen(), Upsample()),
    "resize-half-pixel": one(deepen(), Upsample(corners=False)),
    "resize-by-4": one(deepen(), Upsample(4)),
    "depth-to-space": one(deepen(12), DepthToSpace(2, 3)),
    "sigmoid": one(deepen(), nn.Sigmoid()),
    "warp": one(Warped()),
    "warp-zeros": one(Warped(padding="zeros")),
    "warp-zeros-corners": one(Warped(padding="zeros", align_corners=True)),
    "warp-of-long-rows": one(Warped(64)),
    "warp-in-blocks": one(Warped(2048)),
    "first-channels": one(deepen(5), FirstChannels(3)),
    "forked-norm": one(Forked()),
    "reshape": one(Flattened()),
    "depthwise-5x5-stride-2": one(
        deepen(6), StridedPad(5, 2), nn.Conv2d(6, 6, 5, stride=2, groups=6)
    ),
    "conv-stride-2-padded-behind": one(StridedPad(3, 2), nn.Conv2d(3, 5, 3, stride=2)),
    "padding-that-is-not-SAME": one(nn.ZeroPad2d((2, 0, 1, 0)), nn.Conv2d(3, 5, 3, stride=2)),
    "mean": one(deepen(5), nn.AdaptiveAvgPool2d(1)),
    "swish": one(deepen(5), Swish()),
    "squeeze-excite": one(Weighed()),
    "leaky-relu": one(deepen(5), nn.LeakyReLU(0.2)),
    "gathered": one(Vertices(gathered())),
    "row-norm": one(Vertices(row_norm(8, 8))),
    "row-norm-of-groups": one(Vertices(row_norm(8, 4))),
    "residual": toy(),
    "guided": guided(),
}

SIZES = {"residual": 32, "guided": 16}

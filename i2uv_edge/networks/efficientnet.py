"""EfficientNet-B3 (Tan and Le, ICML 2019) as S2HAND and HiFiHR use it, without its classifier.

Parameter names are those of the package efficientnet_pytorch. Its paddings depend on the picture
size it is told, and 300, its default for B3, is not what these networks run at: here every layer of
stride 2 is padded behind its input alone (kernel 3) or by one more there (kernel 5), which is what
"SAME" means at 224, and what the authors' copy does at every size.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor, nn

from i2uv_edge.networks.layers import Gate, StridedPad

__all__ = ["FEATURES", "Activation", "EfficientNet"]

Activation = Literal["swish", "relu"]

FEATURES = 1536  # channels of what is pooled
_STEM = 40
_EPSILON = 1e-3
# The published 0.01 averages over more pictures than short runs have, and tells nobody who does not
# train.
_MOMENTUM = 0.1


class _Stage(NamedTuple):
    """Blocks of one width: how many, and the first one's kernel and stride; `ratio` expands."""

    blocks: int
    kernel: int
    stride: int
    ratio: int
    outputs: int


_STAGES = (
    _Stage(2, 3, 1, 1, 24),
    _Stage(3, 3, 2, 6, 32),
    _Stage(3, 5, 2, 6, 48),
    _Stage(5, 3, 2, 6, 96),
    _Stage(5, 5, 1, 6, 136),
    _Stage(6, 5, 2, 6, 232),
    _Stage(2, 3, 1, 6, 384),
)


class EfficientNet(nn.Module):
    """(N, 3, S, S) RGB 0..1 -> (N, 1536, 1, 1), where S is a multiple of 32.

    Parameters
    ----------
    activation
        "swish" as published. "relu" is a form for phones, with other weights.
    squeeze_excite
        Whether blocks weigh their channels by what the whole picture shows.
    """

    def __init__(self, *, activation: Activation = "swish", squeeze_excite: bool = True) -> None:
        super().__init__()
        self._pad = StridedPad(3, 2)
        self._conv_stem = nn.Conv2d(3, _STEM, 3, 2, bias=False)
        self._bn0 = _norm(_STEM)
        self._act0 = _activation(activation)
        blocks, inputs = [], _STEM
        for stage in _STAGES:
            for number in range(stage.blocks):
                stride = 1 if number else stage.stride
                size = inputs, stage.outputs, stage.kernel, stride, stage.ratio
                blocks.append(_Block(*size, activation, squeeze_excite))
                inputs = stage.outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(inputs, FEATURES, 1, bias=False)
        self._bn1 = _norm(FEATURES)
        self._act1 = _activation(activation)
        self._avg_pooling = nn.AdaptiveAvgPool2d(1)

    def forward(self, picture: Tensor) -> Tensor:
        x = self._act0(self._bn0(self._conv_stem(self._pad(picture))))
        for block in self._blocks:
            x = block(x)
        pooled: Tensor = self._avg_pooling(self._act1(self._bn1(self._conv_head(x))))
        return pooled


class _Block(nn.Module):
    """Inverted bottleneck: expand, filter each channel, weigh the channels, project."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        ratio: int,
        activation: Activation,
        squeeze_excite: bool,
    ) -> None:
        super().__init__()
        width = inputs * ratio
        self.expands = ratio > 1
        self.adds = stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = nn.Conv2d(inputs, width, 1, bias=False)
            self._bn0 = _norm(width)
            self._act0 = _activation(activation)
        self._pad = StridedPad(kernel, stride) if stride > 1 else nn.Identity()
        padding = 0 if stride > 1 else kernel // 2
        self._depthwise_conv = nn.Conv2d(
            width, width, kernel, stride, padding, groups=width, bias=False
        )
        self._bn1 = _norm(width)
        self._act1 = _activation(activation)
        self.weighs = squeeze_excite
        if squeeze_excite:
            squeezed = inputs // 4
            self._se_pool = nn.AdaptiveAvgPool2d(1)
            self._se_reduce = nn.Conv2d(width, squeezed, 1)
            self._se_act = _activation(activation)
            self._se_expand = nn.Conv2d(squeezed, width, 1)
            self._se_gate = Gate()
        self._project_conv = nn.Conv2d(width, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if self.expands:
            y = self._act0(self._bn0(self._expand_conv(y)))
        y = self._act1(self._bn1(self._depthwise_conv(self._pad(y))))
        if self.weighs:
            squeezed = self._se_act(self._se_reduce(self._se_pool(y)))
            y = self._se_gate(y, self._se_expand(squeezed))
        result: Tensor = self._bn2(self._project_conv(y))
        return x + result if self.adds else result


class Swish(nn.Module):
    """x * sigmoid(x)."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.gate(x, x)
        return result


def _activation(name: Activation) -> nn.Module:
    if name not in ("swish", "relu"):
        raise ValueError(f"activation {name!r} is none of swish, relu")
    return Swish() if name == "swish" else nn.ReLU()


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON, momentum=_MOMENTUM)

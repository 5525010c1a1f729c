"""AffineNet and SRNet in the form they were published in (I2UV-HandNet, ICCV 2021).

Written the way anyone would write them in PyTorch: padding as an operation of its own, the warp as
`grid_sample`, the first convolution's output read by two. It is what "converted as it stands" means
in the benchmarks, and an independent oracle for `i2uv_edge.networks`, which arranges the same
arithmetic for a converter: same `state_dict`, same outputs. Keys are those of the public archive's
checkpoints, so that these load there and here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["DEPTHS", "AffineNet", "SRNet"]

DEPTHS = (18, 34, 50, 101, 152)
_BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (ResNet-18 and -34)."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 (which strides) and 1x1 convolutions beside a shortcut (ResNet-50 and deeper)."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = _shortcut(inputs, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if inputs == outputs and stride == 1:
        return None
    convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    """The encoder: six skips, the first of which is the raw first convolution."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        block = BasicBlock if depth < 50 else Bottleneck
        self.widths = tuple(width * block.expansion for width in (64, 128, 256, 512))
        self.firstconv = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.firstbn = nn.BatchNorm2d(64)
        self.firstmaxpool = nn.MaxPool2d(3, 2, 1)
        before = 64
        for number, count in enumerate(_BLOCKS[depth]):
            width, stride = 64 << number, 2 if number else 1
            blocks = [block(before, width, stride)]
            before = width * block.expansion
            blocks += [block(before, width, 1) for _ in range(count - 1)]
            self.add_module(f"encoder{number + 1}", nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> list[Tensor]:
        first = self.firstconv(x)
        skips = [first, self.firstmaxpool(F.relu(self.firstbn(first)))]
        for number in range(1, 5):
            skips.append(self.get_submodule(f"encoder{number}")(skips[-1]))
        return skips


class Encoder(nn.Module):
    """A wrapper that gives the keys their prefix."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.encoder_layer = ResNet(depth)

    def forward(self, x: Tensor) -> list[Tensor]:
        skips: list[Tensor] = self.encoder_layer(x)
        return skips


class Convolution(nn.Module):
    """Zero pad, 3x3 convolution with bias, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_base = nn.Conv2d(inputs, outputs, 3)
        self.normalize = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.normalize(self.conv_base(F.pad(x, (1, 1, 1, 1)))))


class UpConvolution(nn.Module):
    """Bilinear upsampling, then a `Convolution`."""

    def __init__(self, inputs: int, outputs: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.conv1 = Convolution(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.conv1(_upsample(x, self.scale))
        return made


class Head(nn.Module):
    """Zero pad, 3x3 convolution, sigmoid."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.conv1(F.pad(x, (1, 1, 1, 1))))


class Decoder(nn.Module):
    """Six stages, coarse to fine; five fetch features where the map of the stage before points."""

    def __init__(self, widths: tuple[int, ...], channels: int, *, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.upconv6 = UpConvolution(widths[3], 512, 2)
        self.iconv6 = Convolution(widths[2] + 512, 512)
        self.out6_layer = Head(512, channels)
        self.upconv5 = UpConvolution(512, 256, 2)
        self.iconv5 = Convolution(widths[1] + 256, 256)
        self.out5_layer = Head(256, channels)
        self.upconv4 = UpConvolution(256, 128, 2)
        self.iconv4 = Convolution(widths[0] + 128, 128)
        self.out4_layer = Head(128, channels)
        self.upconv3 = UpConvolution(128, 64, 1)
        self.iconv3 = Convolution(64 + 64 + channels, 64)
        self.out3_layer = Head(64, channels)
        self.upconv2 = UpConvolution(64, 32, 2)
        self.iconv2 = Convolution(32 + 64 + channels, 32)
        self.out2_layer = Head(32, channels)
        self.upconv1 = UpConvolution(32, 16, 2)
        self.iconv1 = Convolution(16 + channels, 16)
        self.out1_layer = Head(16, channels)

    def forward(self, skips: list[Tensor]) -> tuple[Tensor, ...]:
        first, pooled, layer1, layer2, layer3, layer4 = skips
        x = self.iconv6(torch.cat((self.upconv6(layer4), layer3), 1))
        out6 = self.out6_layer(x)
        uv6 = _upsample(out6, 2)
        x = torch.cat((self._warp(self.upconv5(x), uv6), self._warp(layer2, uv6)), 1)
        x = self.iconv5(x)
        out5 = self.out5_layer(x)
        uv5 = _upsample(out5, 2)
        x = self.iconv4(torch.cat((self.upconv4(x), self._warp(layer1, uv5)), 1))
        out4 = self.out4_layer(x)
        x = self.iconv3(torch.cat((self.upconv3(x), self._warp(pooled, out4), out4), 1))
        out3 = self.out3_layer(x)
        uv3 = _upsample(out3, 2)
        x = self.iconv2(torch.cat((self.upconv2(x), self._warp(first, uv3), uv3), 1))
        out2 = self.out2_layer(x)
        uv2 = _upsample(out2, 2)
        x = self.iconv1(torch.cat((self.upconv1(x), uv2), 1))
        return out6, out5, out4, out3, out2, self.out1_layer(x)

    def _warp(self, feature: Tensor, uv: Tensor) -> Tensor:
        """The affine connection: features fetched at the map's x and y."""
        grid = 2.0 * torch.clamp(uv[:, :2], 0.0, 1.0).permute(0, 2, 3, 1) - 1.0
        return F.grid_sample(
            feature,
            grid,
            mode="bilinear",
            padding_mode="zeros",
            align_corners=self.align_corners,
        )


def _upsample(x: Tensor, scale: float) -> Tensor:
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=True)


class AffineNet(nn.Module):
    """UV position map of the hand from one picture, as published.

    Parameters
    ----------
    depth
        Of the ResNet: 18, 34, 50 (the paper's), 101 or 152.
    align_corners
        Of `grid_sample`. The archive leaves it to torch, whose default was True in the version its
        script pins and is False in the one its README names.
    do_score
        Give each texel a fourth number, the log-scale of its error; the stages behind see it too.
    """

    def __init__(
        self, depth: int = 50, *, align_corners: bool = True, do_score: bool = False
    ) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"there is no ResNet-{depth}; known are {DEPTHS}")
        self.encoder = Encoder(depth)
        widths = self.encoder.encoder_layer.widths
        self.decoder = Decoder(widths, 4 if do_score else 3, align_corners=align_corners)

    def forward(self, picture: Tensor) -> Tensor:
        """(N, 3, S, S) RGB 0..1 -> the finest map, (N, 3, S, S) in 0..1."""
        finest: Tensor = self.decoder(self.encoder(picture))[-1]
        return finest[:, :3] if finest.shape[1] > 3 else finest

    def stages(self, picture: Tensor) -> tuple[Tensor, ...]:
        """All six outputs, coarse to fine (sides S/16, S/8, S/8, S/4, S/2, S), scores included.

        The third is its stage's map halved, whatever for.
        """
        out6, out5, out4, *finer = self.decoder(self.encoder(picture))
        return out6, out5, _upsample(out4, 0.5), *finer


class SRNet(nn.Module):
    """SRCNN 9-5-5 at full size: (N, 3, S, S) -> (N, 3, S, S)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 9, padding=4)
        self.conv2 = nn.Conv2d(64, 32, 5, padding=2)
        self.conv3 = nn.Conv2d(32, 3, 5, padding=2)

    def forward(self, uv: Tensor) -> Tensor:
        made: Tensor = self.conv3(F.relu(self.conv2(F.relu(self.conv1(uv)))))
        return made

"""AffineNet as published: I2UV-HandNet (ICCV 2021, section 3.2) and the archive of its authors.

A ResNet encoder, a decoder of six map stages, coarse to fine. From the second stage on, image
features are fetched where the map of the stage before says that each texel is seen. Parameter names
are the archive's, so that its checkpoints load.

Two things are written otherwise than there, with the same result: paddings belong to the
convolutions, and what two warps with the same coordinates fetched is concatenated first and fetched
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2uv_edge.networks import resnet
from i2uv_edge.networks.layers import FirstChannels, Upsample, Warp

__all__ = ["AffineNet"]

STRIDE = 32  # of the encoder: the side of a picture is a multiple of it
_MAP = 3  # channels of the UV position map; a confidence comes behind them


class ResNetEncoder(nn.Module):
    """The six skips of a ResNet; `firstconv`'s is taken before its batch norm, as published."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.firstconv = nn.Conv2d(3, resnet.STEM, 7, 2, 3, bias=False)
        nn.init.kaiming_normal_(self.firstconv.weight, mode="fan_out", nonlinearity="relu")
        self.firstbn = nn.BatchNorm2d(resnet.STEM)
        self.firstrelu = nn.ReLU()
        # Behind a ReLU a border of zeros is what a border of -inf is; integers have no -inf.
        self.firstmaxpool = nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, 2))
        self.encoder1, self.encoder2, self.encoder3, self.encoder4 = resnet.layers(depth)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, S, S) -> features at 1/2, 1/4, 1/4, 1/8, 1/16 and 1/32 of the side."""
        first = self.firstconv(x)
        pooled = self.firstmaxpool(self.firstrelu(self.firstbn(first)))
        one = self.encoder1(pooled)
        two = self.encoder2(one)
        three = self.encoder3(two)
        return first, pooled, one, two, three, self.encoder4(three)


class Encoder(nn.Module):
    """The archive's wrapper around its encoders; here for the names."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.encoder_layer = ResNetEncoder(depth)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return cast(tuple[Tensor, ...], self.encoder_layer(x))


class Conv(nn.Module):
    """3x3 convolution with a bias, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_base = _conv(inputs, outputs)
        self.normalize = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.relu(self.normalize(self.conv_base(x)))
        return result


class UpConv(nn.Module):
    """Bilinear upsampling, then `Conv`."""

    def __init__(self, inputs: int, outputs: int, factor: int = 2) -> None:
        super().__init__()
        self.up = Upsample(factor) if factor > 1 else nn.Identity()
        self.conv1 = Conv(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv1(self.up(x))
        return result


class Head(nn.Module):
    """3x3 convolution to the map (and the confidence), sigmoid."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, outputs)
        self.activate_fn = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            # Not under autocast: a bfloat16 map has steps of a millimetre.
            with torch.autocast(x.device.type, enabled=False):
                exact: Tensor = self.activate_fn(self.conv1(x.float()))
                return exact
        result: Tensor = self.activate_fn(self.conv1(x))
        return result


class Decoder(nn.Module):
    """Six stages, numbered as in the archive: 6 is the coarsest."""

    def __init__(
        self, skips: tuple[int, ...], outputs: int, size: int, align_corners: bool
    ) -> None:
        super().__init__()

        def warp(stride: int) -> Warp:
            return Warp(size // stride, padding="zeros", align_corners=align_corners)

        self.upconv6 = UpConv(skips[3], 512)
        self.iconv6 = Conv(skips[2] + 512, 512)
        self.out6_layer = Head(512, outputs)
        self.upmap6 = Upsample()
        self.warp6 = warp(8)
        self.upconv5 = UpConv(512, 256)
        self.iconv5 = Conv(skips[1] + 256, 256)
        self.out5_layer = Head(256, outputs)
        self.upmap5 = Upsample()
        self.warp5 = warp(4)
        self.upconv4 = UpConv(256, 128)
        self.iconv4 = Conv(skips[0] + 128, 128)
        self.out4_layer = Head(128, outputs)
        self.warp4 = warp(4)
        self.upconv3 = UpConv(128, 64, factor=1)
        self.iconv3 = Conv(resnet.STEM + 64 + outputs, 64)
        self.out3_layer = Head(64, outputs)
        self.upmap3 = Upsample()
        self.warp3 = warp(2)
        self.upconv2 = UpConv(64, 32)
        self.iconv2 = Conv(resnet.STEM + 32 + outputs, 32)
        self.out2_layer = Head(32, outputs)
        self.upmap2 = Upsample()
        self.upconv1 = UpConv(32, 16)
        self.iconv1 = Conv(16 + outputs, 16)
        self.out1_layer = Head(16, outputs)

    def forward(
        self, skips: tuple[Tensor, ...], guides: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, ...]:
        """Skips of the encoder -> maps of sides S/16, S/8, S/4, S/4, S/2, S.

        ``guides`` are what the four warps follow in the place of the coarser stage's maps.
        """
        first, pooled, one, two, three, last = skips
        guide6, guide5, guide4, guide3 = (None,) * 4 if guides is None else guides
        x = self.iconv6(torch.cat((self.upconv6(last), three), 1))
        out6 = self.out6_layer(x)

        uv6 = self.upmap6(out6) if guide6 is None else guide6
        fetched = self.warp6(torch.cat((self.upconv5(x), two), 1), uv6)
        x = self.iconv5(fetched)
        out5 = self.out5_layer(x)

        uv5 = self.upmap5(out5) if guide5 is None else guide5
        x = self.iconv4(torch.cat((self.upconv4(x), self.warp5(one, uv5)), 1))
        out4 = self.out4_layer(x)

        uv4 = out4 if guide4 is None else guide4
        x = self.iconv3(torch.cat((self.upconv3(x), self.warp4(pooled, uv4), out4), 1))
        out3 = self.out3_layer(x)

        uv3 = self.upmap3(out3)
        where = uv3 if guide3 is None else guide3
        x = self.iconv2(torch.cat((self.upconv2(x), self.warp3(first, where), uv3), 1))
        out2 = self.out2_layer(x)

        x = self.iconv1(torch.cat((self.upconv1(x), self.upmap2(out2)), 1))
        return out6, out5, out4, out3, out2, self.out1_layer(x)


class AffineNet(nn.Module):
    """UV position map of the hand from one picture.

    Parameters
    ----------
    input_size
        Side of the picture in pixels, a multiple of 32; that of the finest map is the same.
    resnet_depth
        18, 34, 50, 101 or 152; the paper's is 50.
    align_corners
        Of the warps. The archive leaves it to torch's default: True in the version that its script
        pins (1.2), False from 1.3 on. A checkpoint is right with the value it was trained with.
    confidence
        Whether the heads have a fourth channel, the archive's ``do_score``: a log-scale per texel.
        `stages` returns it, the network's own result has the map alone.
    """

    def __init__(
        self,
        *,
        input_size: int = 256,
        resnet_depth: int = 50,
        align_corners: bool,
        confidence: bool = False,
    ) -> None:
        super().__init__()
        if input_size < 1 or input_size % STRIDE:
            raise ValueError(f"input_size {input_size} is not a multiple of {STRIDE}")
        if resnet_depth not in resnet.DEPTHS:
            known = ", ".join(map(str, resnet.DEPTHS))
            raise ValueError(f"resnet_depth {resnet_depth} must be one of {known}")
        self.input_size = input_size
        self.encoder = Encoder(resnet_depth)
        outputs = _MAP + confidence
        self.decoder = Decoder(resnet.widths(resnet_depth), outputs, input_size, align_corners)
        self.map = FirstChannels(_MAP) if confidence else nn.Identity()

    def output_size(self, size: int) -> int:
        """Side of the map of a picture of side ``size``."""
        return size

    def forward(self, picture: Tensor) -> Tensor:
        """(N, 3, S, S) RGB 0..1 -> (N, 3, S, S), x and y in crop units 0..1, z in the same unit."""
        result: Tensor = self.map(self.decoder(self.encoder(picture))[-1])
        return result

    def guide_sizes(self, size: int) -> tuple[int, int, int, int]:
        """Sides of the maps that the warps follow, where the finest map is of side ``size``."""
        return size // 8, size // 4, size // 4, size // 2

    def stages(self, picture: Tensor, guides: Sequence[Tensor] | None = None) -> tuple[Tensor, ...]:
        """The archive's six outputs, coarse to fine: sides S/16, S/8, S/8, S/4, S/2, S.

        The third is its stage's map halved, as published. Three channels, or four with confidence.

        ``guides``: maps of the sides `guide_sizes` that the warps follow instead of the predicted
        ones (teacher forcing).
        """
        maps = list(self.decoder(self.encoder(picture), guides))
        maps[2] = F.interpolate(maps[2], scale_factor=0.5, mode="bilinear", align_corners=True)
        return tuple(maps)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.xavier_uniform_(conv.weight)
    return conv

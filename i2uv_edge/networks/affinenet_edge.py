"""AffineNet for a phone: one RGB picture -> UV position map of the coarse hand mesh.

The idea is I2UV-HandNet's (ICCV 2021, section 3.2): decode coarse to fine and let each stage fetch
image features where the map of the stage before says every texel is seen. What differs from the
paper's network, and why:

- a dense encoder of a fiftieth of the work that does most of it at low resolution: 3x3 convolutions
  there are what integer kernels run fastest (a depthwise 3x3 reaches a twelfth of their rate);
- a global code between encoder and decoder. Image features live where the hand is seen, map
  features live in the UV atlas; only a layer that sees all positions at once can carry one into the
  other. The paper's 2048-channel bottleneck does it implicitly, a slim one cannot;
- a learned constant at each decoder stage, so that a texel knows which part of the hand it is;
- linear heads, each adding to the upsampled coarser map, instead of sigmoid heads: a residual of a
  few millimetres keeps the head's weights small and the map free of saturation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from i2uv_edge.networks.layers import ConvBnRelu, Upsample, Warp

STRIDES = 6  # the encoder halves the picture six times: 256 -> 4
STAGES = (4, 5)  # map stages there may be: of 1/32, 1/16, 1/8, 1/4 and 1/2 of the picture's side


class Encoder(nn.Module):
    """Two stem convolutions and five stages of plain 3x3 convolutions.

    Returns the features at 1/2, 1/4, 1/8, 1/16 and 1/64 of the picture's side.
    """

    def __init__(self, stem: int, widths: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvBnRelu(3, stem, stride=2), ConvBnRelu(stem, widths[0], stride=2)
        )
        stages: list[nn.Module] = []
        before = widths[0]
        for number, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            first = ConvBnRelu(before, width, stride=2 if number else 1)
            others = [ConvBnRelu(width, width) for _ in range(depth - 1)]
            stages.append(nn.Sequential(first, *others))
            before = width
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        half = self.stem[0](x)
        x = self.stem[1](half)
        features: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return half, features[0], features[1], features[2], features[4]


class GlobalCode(nn.Module):
    """Image-space features -> UV-space features through one vector that sees every position.

    Two convolutions on whole maps (a fully connected layer each, written so that no layout change
    is needed): (N, inputs, s, s) -> (N, outputs, 2s, 2s).
    """

    def __init__(self, inputs: int, reduced: int, code: int, outputs: int, size: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.side = 2 * size
        self.reduce = ConvBnRelu(inputs, reduced, kernel=1)
        self.encode = nn.Conv2d(reduced, code, size)
        self.relu = nn.ReLU()
        self.decode = nn.Conv2d(code, self.side * self.side * outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        flat = self.decode(self.relu(self.encode(self.reduce(x))))
        nhwc: Tensor = flat.permute(0, 2, 3, 1).reshape(-1, self.side, self.side, self.outputs)
        return nhwc.permute(0, 3, 1, 2)


class Place(nn.Module):
    """Adds a learned constant: what convolutions cannot know, which texel of the atlas this is."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.constant = nn.Parameter(torch.randn(1, width, size, size) * 0.3)

    def forward(self, x: Tensor) -> Tensor:
        # Under autocast the sum would become float32, and all that is concatenated with it.
        return x + (self.constant.to(x.dtype) if self.training else self.constant)


class First(nn.Module):
    """The coarsest stage: code -> features and map, nothing to fetch yet."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.place = Place(width, size)
        self.refine = nn.Sequential(ConvBnRelu(width, width), ConvBnRelu(width, width))
        self.head = nn.Conv2d(width, 3, 1)
        nn.init.normal_(self.head.weight, std=0.003)
        nn.init.constant_(self.head.bias, 0.5)  # type: ignore[arg-type]  # the crop's centre

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        x = self.refine(self.place(code))
        uv = self.head(x)
        return x, uv.float() if self.training else uv


class MapSum(nn.Module):
    """The way of the map: the coarser stage's upsampled, this one's residual added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.up = Upsample()

    def forward(self, coarse: Tensor, residual: Tensor) -> Tensor:
        return coarse + residual


class Stage(nn.Module):
    """One finer stage: the map upsampled, image features fetched where it points, both refined.

    Parameters
    ----------
    before, width
        Channels of the coarser stage and of this one.
    image, lateral
        Channels of the image features, and what they are reduced to before the warp.
    size
        Side of the map and of the image features.
    warped
        False: image features are taken where they lie in the picture, a plain skip connection.
    """

    def __init__(
        self, before: int, width: int, image: int, lateral: int, size: int, *, warped: bool = True
    ) -> None:
        super().__init__()
        self.narrow = ConvBnRelu(before, width, kernel=1, relu=False)
        self.up = Upsample()
        self.map = MapSum()
        self.place = Place(width, size)
        self.lateral = ConvBnRelu(image, lateral, kernel=1)
        self.warp = Warp(size) if warped else None
        self.mix = ConvBnRelu(width + lateral, width, kernel=1)
        self.refine = nn.Sequential(ConvBnRelu(width, width), ConvBnRelu(width, width))
        self.head = nn.Conv2d(width, 3, 1)
        nn.init.normal_(self.head.weight, std=0.003)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(
        self, x: Tensor, uv: Tensor, image: Tensor, guide: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Features and map of the coarser stage -> those of this one.

        ``guide`` is the map that the warp follows in the place of the coarser stage's.
        """
        coarse = self.map.up(uv)
        # No gradient through the coordinates: while the map is centimetres off, where to look
        # better is nothing the features nearby can tell.
        where = coarse if guide is None else guide
        fetched = self.lateral(image)
        if self.warp is not None:
            fetched = self.warp(fetched, where.detach() if self.training else where)
        x = self.mix(torch.cat((self.place(self.up(self.narrow(x))), fetched), 1))
        x = self.refine(x)
        residual = self.head(x)
        # Under autocast residuals may be bfloat16; the maps they add up to may not (1 mm steps).
        return x, self.map(coarse, residual.float() if self.training else residual)


class AffineNetEdge(nn.Module):
    """UV position map of the hand from one picture.

    Parameters
    ----------
    input_size
        Side of the picture in pixels, a multiple of 64.
    stem
        Channels at half the picture's side.
    encoder_widths, encoder_depths
        Channels and convolutions of the five encoder stages.
    decoder_widths
        Channels of the map stages, coarse to fine: four make a map of a quarter of the picture's
        side, five one of half of it, from the features of the first convolution.
    lateral_widths
        Channels of the image features that each finer stage fetches, one number fewer.
    warps
        How many of the finer stages fetch by a warp, counted from the coarsest; the others take
        image features where they lie. None: all; 0: no affine connections. Counted from there
        because each warp follows the map that the ones before it helped to make, and samples four
        times the texels: what is left out first is the dearest. A recipe that names the part
        "warps" refuses a network without any.
    reduced, code
        Global code: channels before it, its length.
    """

    def __init__(
        self,
        *,
        input_size: int = 256,
        stem: int = 16,
        encoder_widths: Sequence[int] = (24, 40, 80, 160, 224),
        encoder_depths: Sequence[int] = (1, 2, 3, 3, 2),
        decoder_widths: Sequence[int] = (64, 48, 32, 24),
        lateral_widths: Sequence[int] = (48, 32, 24),
        reduced: int = 64,
        code: int = 512,
        warps: int | None = None,
    ) -> None:
        super().__init__()
        if input_size < 1 or input_size % (1 << STRIDES):
            raise ValueError(f"input_size {input_size} is not a multiple of {1 << STRIDES}")
        if len(decoder_widths) not in STAGES:
            raise ValueError(
                f"decoder_widths {list(decoder_widths)} must hold "
                f"{' or '.join(map(str, STAGES))} numbers, one for each map stage"
            )
        finer = len(decoder_widths) - 1
        for name, widths, count in (
            ("stem, reduced, code", (stem, reduced, code), 3),
            ("encoder_widths", encoder_widths, STRIDES - 1),
            ("encoder_depths", encoder_depths, STRIDES - 1),
            ("decoder_widths", decoder_widths, finer + 1),
            ("lateral_widths", lateral_widths, finer),
        ):
            if len(widths) != count or min(widths) < 1:
                raise ValueError(f"{name} {list(widths)} must hold {count} numbers of at least 1")
        if warps is None:
            warps = finer
        if not 0 <= warps <= finer:
            raise ValueError(f"warps {warps} must lie in 0..{finer}, the number of finer stages")
        self.input_size = input_size
        self.encoder = Encoder(stem, encoder_widths, encoder_depths)
        self.bridge = GlobalCode(
            encoder_widths[4], reduced, code, decoder_widths[0], input_size >> STRIDES
        )
        size = input_size // 32
        images = (*encoder_widths[2::-1], stem)  # as `stages` hands them to the decoder
        self.first = First(decoder_widths[0], size)
        self.decoder = nn.ModuleList(
            Stage(
                decoder_widths[number],
                decoder_widths[number + 1],
                images[number],
                lateral_widths[number],
                size << (number + 1),
                warped=number < warps,
            )
            for number in range(finer)
        )

    def output_size(self, size: int) -> int:
        """Side of the map of a picture of side ``size``."""
        return size >> (STRIDES - 1 - len(self.decoder))

    def forward(self, picture: Tensor) -> Tensor:
        """(N, 3, S, S) RGB 0..1 -> (N, 3, M, M), M = S/4 or, with five stages, S/2.

        x and y in crop units 0..1, z in the same unit, 0.5 at the mean depth of the hand.
        """
        return self.stages(picture)[-1]

    def guide_sizes(self, size: int) -> tuple[int, ...]:
        """Sides of the maps of the finer stages, where the finest map is of side ``size``."""
        return tuple(size >> halvings for halvings in reversed(range(len(self.decoder))))

    def stages(self, picture: Tensor, guides: Sequence[Tensor] | None = None) -> tuple[Tensor, ...]:
        """All maps, coarse to fine (sides S/32, S/16, S/8, S/4 and, with five stages, S/2).

        ``guides``: maps of the sides `guide_sizes` that the warps follow instead of the predicted
        ones (teacher forcing); a stage without a warp has no use for its own.
        """
        half, quarter, eighth, sixteenth, last = self.encoder(picture * 4.0 - 2.0)
        x, uv = self.first(self.bridge(last))
        maps = [uv]
        images = (sixteenth, eighth, quarter, half)[: len(self.decoder)]
        for number, (stage, image) in enumerate(zip(self.decoder, images, strict=True)):
            x, uv = stage(x, uv, image, None if guides is None else guides[number])
            maps.append(uv)
        return tuple(maps)

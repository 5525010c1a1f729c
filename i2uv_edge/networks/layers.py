"""Layers the networks share, each in a training form and a deploy form with the same weights.

The deploy form exists for the converter: it spells the warp out in the very arithmetic that the
TFLite file holds, so that a comparison of the two finds faults and not another rounding.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

M = TypeVar("M", bound=nn.Module)


class ConvBnRelu(nn.Sequential):
    """3x3 (or 1x1) convolution, batch norm and, unless ``relu=False``, ReLU.

    The padding is the convolution's own: a separate pad operator costs two transposes in the
    converter. Dense rather than depthwise: on the int8 kernels measured, a depthwise 3x3 runs at a
    twelfth of the rate of a dense one, and quantizes worse.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, relu: bool = True
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        if relu:
            layers.append(nn.ReLU())
        super().__init__(*layers)


class Upsample(nn.Module):
    """Bilinear upsampling.

    Parameters
    ----------
    factor
        How many times larger the result is.
    corners
        True for maps and what lives on them: texel 0 and texel M - 1 sit on the edges of the UV
        square at every size M (``align_corners=True``). False for image features: half-pixel
        centres.
    """

    def __init__(self, factor: int = 2, *, corners: bool = True) -> None:
        super().__init__()
        self.factor = factor
        self.corners = corners

    def forward(self, x: Tensor) -> Tensor:
        size = (x.shape[-2] * self.factor, x.shape[-1] * self.factor)
        y = F.interpolate(x, size, mode="bilinear", align_corners=self.corners)
        # Autocast returns float32 here; casting back keeps concatenations behind it in bfloat16.
        return y.to(x.dtype) if self.training else y


Padding = Literal["border", "zeros"]


@dataclass(frozen=True)
class Sampling:
    """How a warp samples: what `torch.nn.functional.grid_sample` calls by the same names.

    Attributes
    ----------
    padding
        "border": beyond the feature its border repeats. "zeros": coordinates are clamped to 0..1
        first, and where half a pixel of that lies beyond the feature it is zero.
    align_corners
        Coordinate 0 is the centre of the first pixel (True) or its outer edge (False).
    """

    padding: Padding = "border"
    align_corners: bool = False

    @property
    def fades(self) -> bool:
        """Whether coordinates in 0..1 reach beyond the outermost pixel centres into zeros."""
        return self.padding == "zeros" and not self.align_corners

    def affine(self, size: int) -> tuple[float, float]:
        """Factor and offset from a coordinate to a position in pixels, 0 the first centre."""
        return (size - 1.0, 0.0) if self.align_corners else (float(size), -0.5)


def last_position(size: int) -> float:
    """The largest float32 below size - 1, so that the tap at floor + 1 exists."""
    return float(np.nextafter(np.float32(size - 1), np.float32(0)))


class WarpCoordinates(nn.Module):
    """Row indices and weights of the four taps of a bilinear sample.

    The arithmetic runs on 1-D vectors, one an axis, and stays float in every recipe: eight bits
    cannot address a row. Kept as a module of its own so that a quantizer can name it.

    Parameters
    ----------
    size
        Height and width of the sampled feature.
    sampling
        Padding and alignment.
    """

    def __init__(self, size: int, sampling: Sampling) -> None:
        super().__init__()
        self.size = size
        self.sampling = sampling

    def forward(self, uv: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """(1, C, m, m), x and y in 0..1 -> four (m*m,) int32 indices, four (m*m, 1) weights."""
        flat = uv.permute(0, 2, 3, 1).reshape(-1, uv.shape[1])
        x0, wx0, wx1 = self._axis(flat[:, 0])
        y0, wy0, wy1 = self._axis(flat[:, 1])
        corner = y0 * float(self.size) + x0
        offsets = (0.0, 1.0, float(self.size), float(self.size + 1))
        indices = [(corner + offset).to(torch.int32) for offset in offsets]
        weights = [(a * b).reshape(-1, 1) for b in (wy0, wy1) for a in (wx0, wx1)]
        return indices, weights

    def _axis(self, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        factor, offset = self.sampling.affine(self.size)
        if self.sampling.fades:
            value = value.clamp(0.0, 1.0)
        raw = value * factor + offset
        position = raw.clamp(0.0, last_position(self.size))
        floor = torch.floor(position)
        fraction = position - floor
        if not self.sampling.fades:
            return floor, 1.0 - fraction, fraction
        # A position half a pixel beyond the border sees the border pixel at half its weight: what
        # a sample of zeros gives, with taps that all exist.
        share = 1.0 - (raw - position).abs()
        return floor, (1.0 - fraction) * share, fraction * share


class WarpSample(nn.Module):
    """Weighted sum of four row gathers: (1, C, s, s) features -> (1, C, m, m)."""

    def forward(self, feature: Tensor, indices: list[Tensor], weights: list[Tensor]) -> Tensor:
        channels = feature.shape[1]
        rows = feature.permute(0, 2, 3, 1).reshape(-1, channels)
        total = F.embedding(indices[0], rows) * weights[0]
        for index, weight in zip(indices[1:], weights[1:], strict=True):
            total = total + F.embedding(index, rows) * weight
        side = round(indices[0].shape[0] ** 0.5)
        return total.reshape(1, side, side, channels).permute(0, 3, 1, 2)


class Warp(nn.Module):
    """Affine connection: image features fetched where the UV map says each texel is seen.

    ``grid_sample(feature, 2 * xy - 1)``, bilinear; xy are the map's first two channels. With the
    fixed orthographic camera the paper's affine projection is the identity on xy (I2UV-HandNet
    section 3.2).

    Parameters
    ----------
    size
        Height and width of the feature that will be sampled.
    padding, align_corners
        See `Sampling`.
    """

    def __init__(
        self, size: int, *, padding: Padding = "border", align_corners: bool = False
    ) -> None:
        super().__init__()
        self.size = size
        self.sampling = Sampling(padding, align_corners)
        self.coordinates: WarpCoordinates | None = None
        self.sample: WarpSample | None = None

    def forward(self, feature: Tensor, uv: Tensor) -> Tensor:
        """Features (N, C, size, size), map (N, 3, m, m) in 0..1 -> (N, C, m, m); N = 1 deployed."""
        if self.coordinates is not None and self.sample is not None:
            indices, weights = self.coordinates(uv)
            warped: Tensor = self.sample(feature, indices, weights)
            return warped
        xy = uv[:, :2]
        if self.sampling.padding == "zeros":
            xy = xy.clamp(0.0, 1.0)
        where = xy.permute(0, 2, 3, 1) * 2.0 - 1.0
        # Autocast samples in float32 by itself, and would find coordinates of eight bits rounded to
        # a quarter of a pixel already.
        if not torch.is_autocast_enabled(feature.device.type):
            where = where.to(feature.dtype)
        return F.grid_sample(
            feature,
            where,
            padding_mode=self.sampling.padding,
            align_corners=self.sampling.align_corners,
        )

    def to_deploy(self) -> None:
        self.coordinates = WarpCoordinates(self.size, self.sampling)
        self.sample = WarpSample()

    def to_plain(self) -> None:
        """Back to `grid_sample`: no arithmetic of a file's own."""
        self.coordinates = self.sample = None


class FirstChannels(nn.Module):
    """The first ``count`` channels: (N, C, H, W) -> (N, count, H, W)."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : self.count]


class DepthToSpace(nn.Module):
    """(N, C*b*b, m, m) -> (N, C, m*b, m*b) in TensorFlow's order: channel (y*b + x)*C + c.

    One ``DEPTH_TO_SPACE`` in a TFLite file; ``pixel_shuffle`` orders its channels the other way.
    """

    def __init__(self, block: int, channels: int) -> None:
        super().__init__()
        self.block = block
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        b = self.block
        y = x.reshape(n, b, b, self.channels, h, w).permute(0, 3, 4, 1, 5, 2)
        return y.reshape(n, self.channels, h * b, w * b)


class Gate(nn.Module):
    """``x * sigmoid(gate)``; the gate may be one number a channel, (N, C, 1, 1)."""

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        return x * torch.sigmoid(gate)


class StridedPad(nn.ZeroPad2d):
    """The zeros that TensorFlow's "SAME" puts around an even side before a convolution of stride 2.

    They are uneven: the odd row and column lie behind.
    """

    def __init__(self, kernel: int, stride: int) -> None:
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        super().__init__((before, after, before, after))


class Gathered(nn.Module):
    """Each row of the result is a weighted sum of a few rows: (N, C, 1, R) -> (N, C, 1, R').

    A sparse matrix with at most K entries a row, as a gather, products and a sum.

    Parameters
    ----------
    rows, taps
        R' and K.
    """

    index: Tensor
    weight: Tensor

    def __init__(self, rows: int, taps: int) -> None:
        super().__init__()
        self.register_buffer("index", torch.zeros(rows, taps, dtype=torch.int64))
        self.register_buffer("weight", torch.zeros(rows, taps))

    def forward(self, x: Tensor) -> Tensor:
        rows, taps = self.index.shape
        # As a sparse product, which has a gradient in a thirtieth of the gather's time.
        places = torch.arange(rows, device=x.device)[:, None].expand(rows, taps)
        matrix = torch.sparse_coo_tensor(
            torch.stack((places.flatten(), self.index.flatten())),
            self.weight.flatten().to(x.dtype),
            (rows, x.shape[3]),
            check_invariants=False,
        )
        mixed: Tensor = torch.sparse.mm(matrix, x.flatten(0, 2).T).T
        return mixed.reshape(*x.shape[:3], rows)


class RowNorm(nn.Module):
    """Group norm over the channels and rows of (N, C, 1, R), weights of shape (1, C, 1)."""

    def __init__(self, channels: int, groups: int = 32, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.groups, self.epsilon = min(groups, channels), epsilon
        self.gamma = nn.Parameter(torch.ones(1, channels, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.groups, self.gamma.flatten(), self.beta.flatten(), self.epsilon)


def deploy(module: M) -> M:
    """A copy in deploy form: same ``state_dict``, evaluation mode, batch 1."""
    deployed = copy.deepcopy(module).eval()
    for layer in deployed.modules():
        if isinstance(layer, Warp):
            layer.to_deploy()
    return deployed


def macs(module: nn.Module, shape: int | tuple[int, ...]) -> int:
    """Multiply-accumulates of the convolutions for one input: its side, or (H, W, C)."""
    total = 0
    height, width, channels = (shape, shape, 3) if isinstance(shape, int) else shape

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d)
        taps = layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
        total += taps * int(output[0].numel())

    hooks = [
        layer.register_forward_hook(count)
        for layer in module.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    was_training = module.training
    parameter = next(module.parameters())
    with torch.no_grad():
        zeros = torch.zeros(1, channels, height, width)
        module.eval()(zeros.to(parameter.device, parameter.dtype))
    module.train(was_training)
    for hook in hooks:
        hook.remove()
    return total

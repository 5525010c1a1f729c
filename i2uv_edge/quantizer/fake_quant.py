"""Modules that compute in float what integers will compute: activations, convolutions, resizing.

In evaluation mode they are made of `torch.ops.quantized_decomposed` operators with constant
scales, which is what exporters understand. Fed with float64 they compute the integers themselves:
float32 sums put one value in two thousand on the wrong side of a rounding, in every layer, and
that adds up. In training mode rounding passes gradients straight through and scales are
parameters, so that quantization-aware training changes weights and ranges of exactly these layers.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
import torch.ao.quantization.fx._decomposed  # registers quantized_decomposed
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from i2uv_edge.networks.layers import Upsample

__all__ = ["ActivationQuantizer", "QuantAdd", "QuantConv2d", "QuantUpsample", "affine_parameters"]

_OPS = cast(Any, torch.ops.quantized_decomposed)
_TIE_GRID = 2.0**24  # finer than float32 at an int8 step
_SMALLEST_SPAN = 1e-6  # of an activation that is always zero: any grid holds it
WEIGHT_LIMIT = 127  # symmetric int8 without -128, as TFLite's kernels require


def affine_parameters(low: float, high: float, *, bits: int, symmetric: bool) -> tuple[float, int]:
    """Scale (exactly a float32) and zero point of the signed grid that covers low..high and 0."""
    limit = 1 << (bits - 1)
    low, high = min(low, 0.0), max(high, 0.0)
    if symmetric:
        return float(np.float32(max(-low, high, _SMALLEST_SPAN) / (limit - 1))), 0
    scale = float(np.float32(max(high - low, _SMALLEST_SPAN) / (2 * limit - 1)))
    return scale, int(np.clip(round(-limit - low / scale), -limit, limit - 1))


def _round(x: Tensor) -> Tensor:
    """Round half to even; the gradient passes straight through."""
    return x + (torch.round(x) - x).detach()


class ActivationQuantizer(nn.Module):
    """Quantize and dequantize with one scale and zero point (float32 in, float32 out).

    One instance serves every tensor of a group that must share its range.
    """

    graph_kind = "quantizer"

    def __init__(self, *, bits: int = 8, symmetric: bool = False) -> None:
        super().__init__()
        self.bits = bits
        self.symmetric = symmetric
        self.low, self.high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        self.scale = nn.Parameter(torch.tensor(1.0), requires_grad=False)
        self.zero_point: Tensor
        self.register_buffer("zero_point", torch.tensor(0, dtype=torch.int32))
        # Exported graphs need Python numbers: reading a tensor's value cannot be traced.
        self.encoding = (1.0, 0)

    def set_encoding(self, scale: float, zero_point: int) -> None:
        """Fix scale and zero point; the scale is rounded to float32, as files hold it."""
        with torch.no_grad():
            self.scale.fill_(scale)
            self.zero_point.fill_(zero_point)
        self.refresh()

    def refresh(self) -> None:
        """Take the values evaluation uses from the parameters training changes."""
        self.encoding = (float(self.scale.detach()), int(self.zero_point))

    def train(self, mode: bool = True) -> ActivationQuantizer:
        super().train(mode)
        if not mode:
            self.refresh()
        return self

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            q = torch.clamp(_round(x / self.scale) + self.zero_point, self.low, self.high)
            return (q - self.zero_point) * self.scale
        scale, zero = self.encoding
        if x.dtype == torch.float64:
            # The inner rounding keeps what is half a step in float32 a tie here.
            steps = torch.round(torch.round(x / scale * _TIE_GRID) / _TIE_GRID)
            return (torch.clamp(steps + zero, self.low, self.high) - zero) * scale
        dtype = torch.int8 if self.bits == 8 else torch.int16
        q = _OPS.quantize_per_tensor.default(x, scale, zero, self.low, self.high, dtype)
        result: Tensor = _OPS.dequantize_per_tensor.default(
            q, scale, zero, self.low, self.high, dtype
        )
        return result


class QuantUpsample(Upsample):
    """Bilinear upsampling of integers, rounded as XNNPACK's kernel rounds.

    The kernel has interpolation weights of 11 bits and rounds halves up. Where grey lies between
    two steps in a ratio of 1:3, as at half-pixel centres, one value in ten is decided by that.
    """

    graph_kind = "resize"

    def __init__(self, layer: Upsample, quantizer: ActivationQuantizer) -> None:
        super().__init__(layer.factor, corners=layer.corners)
        self._quantizer = (quantizer,)  # a tuple: a reference, not a submodule

    def forward(self, x: Tensor) -> Tensor:
        if self.training or x.dtype != torch.float64:
            return super().forward(x)
        scale = self._quantizer[0].encoding[0]
        rows, columns = (
            _interpolation(size, size * self.factor, self.corners) for size in x.shape[-2:]
        )
        exact = rows @ torch.round(x / scale) @ columns.T
        return torch.floor(exact + 0.5) * scale


class QuantAdd(nn.Module):
    """Sum of two integer tensors, rescaled as XNNPACK's kernel does it: multipliers of 21 bits."""

    graph_kind = "add"

    def __init__(
        self, first: ActivationQuantizer, second: ActivationQuantizer, target: ActivationQuantizer
    ) -> None:
        super().__init__()
        self._quantizers = (first, second, target)  # references, not submodules

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if self.training or x.dtype != torch.float64:
            return x + y
        first, second, target = (np.float32(item.encoding[0]) for item in self._quantizers)
        ratios = np.array([first / target, second / target], np.float32)
        shift = 20 - (int(np.frexp(ratios.max())[1]) - 1)
        a, b = np.rint(np.ldexp(ratios.astype(np.float64), shift))
        total = torch.round(x / float(first)) * a + torch.round(y / float(second)) * b
        return torch.floor(total / 2.0**shift + 0.5) * float(target)


def _interpolation(size: int, target: int, corners: bool) -> Tensor:
    """(target, size) float64 weights in steps of 1/2048, computed in float32 as the kernel does."""
    steps = np.arange(target, dtype=np.float32)
    if corners:
        place = steps * np.float32((size - 1) / max(target - 1, 1))
    else:
        ratio = np.float32(size / target)
        place = steps * ratio + (np.float32(0.5) * ratio - np.float32(0.5))
    place = np.clip(place, 0.0, np.float32(size - 1))
    low = place.astype(np.int64)
    weight = np.rint((place - low) * np.float32(2048)) / 2048.0
    matrix = np.zeros((target, size))
    np.add.at(matrix, (np.arange(target), low), 1.0 - weight)
    np.add.at(matrix, (np.arange(target), np.minimum(low + 1, size - 1)), weight)
    return torch.from_numpy(matrix)


class QuantConv2d(nn.Module):
    """Convolution with symmetric integer weights and an int32 bias.

    Parameters
    ----------
    conv
        The float convolution, batch norm folded in.
    source
        The quantizer of its input: the bias is stored in steps of input scale x weight scale.
    target
        The quantizer of its output, behind the ReLU if there is one.
    per_channel
        One scale for each output channel, or one for all.
    """

    graph_kind = "conv"

    def __init__(
        self,
        conv: nn.Conv2d,
        source: ActivationQuantizer,
        target: ActivationQuantizer,
        *,
        per_channel: bool = True,
    ) -> None:
        super().__init__()
        if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            raise ValueError(f"padding {conv.padding!r} ({conv.padding_mode}) is not supported")
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        self.kernel_size, self.stride = conv.kernel_size, conv.stride
        self.padding, self.dilation, self.groups = conv.padding, conv.dilation, conv.groups
        self.per_channel = per_channel
        self.weight = nn.Parameter(conv.weight.detach().clone())
        zeros = torch.zeros(conv.out_channels)
        self.bias = nn.Parameter(zeros if conv.bias is None else conv.bias.detach().clone())
        self.scale = nn.Parameter(torch.ones(conv.out_channels), requires_grad=False)
        self.zero_point: Tensor
        self.register_buffer(
            "zero_point", torch.zeros(conv.out_channels, dtype=torch.int64), persistent=False
        )
        self.rounded_bias: Tensor
        self.register_buffer("rounded_bias", zeros.clone(), persistent=False)
        self._source = (source,)  # a tuple: a reference, not a submodule
        self._target = (target,)

    @property
    def source(self) -> ActivationQuantizer:
        """The quantizer of this convolution's input."""
        return self._source[0]

    def set_scale(self, scale: Tensor) -> None:
        """Fix the weight scales, shape (out_channels,)."""
        with torch.no_grad():
            self.scale.copy_(scale)
        self.refresh()

    def refresh(self) -> None:
        """Take the bias evaluation uses from the parameters training changes."""
        step = self.bias_step()
        self.rounded_bias = torch.from_numpy(
            (self.integer_bias().astype(np.float64) * step).astype(np.float32)
        ).to(self.bias.device)

    def train(self, mode: bool = True) -> QuantConv2d:
        super().train(mode)
        if not mode:
            self.source.refresh()
            self.refresh()
        return self

    def bias_step(self) -> NDArray[np.float64]:
        """Input scale x weight scale, shape (out_channels,)."""
        scale = self.scale.detach().cpu().numpy().astype(np.float64)
        return scale * self.source.encoding[0]

    def integer_bias(self) -> NDArray[np.int32]:
        """The bias in its steps, shape (out_channels,)."""
        bias = self.bias.detach().cpu().numpy().astype(np.float64)
        limit = np.iinfo(np.int32)
        return np.clip(np.round(bias / self.bias_step()), limit.min, limit.max).astype(np.int32)

    def integer_weight(self) -> NDArray[np.int8]:
        """The weights as stored, OIHW, -127..127."""
        return cast(NDArray[np.int8], self._integers().detach().cpu().numpy())

    def _integers(self) -> Tensor:
        # In float32 whatever type the module has: the file's integers are rounded from these.
        result: Tensor = _OPS.quantize_per_channel.default(
            self.weight.float(),
            self.scale.float(),
            self.zero_point,
            0,
            -WEIGHT_LIMIT,
            WEIGHT_LIMIT,
            torch.int8,
        )
        return result

    def _exact(self, x: Tensor) -> Tensor:
        """Integer sums, requantized in float32 as XNNPACK's kernel does it (float64 in and out)."""
        step = np.float32(self.source.encoding[0])
        target = np.float32(self._target[0].encoding[0])
        sums = F.conv2d(
            torch.round(x / float(step)),
            self._integers().double(),
            torch.from_numpy(self.integer_bias().astype(np.float64)),
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )
        ratio = step * self.scale.detach().float().numpy() / target
        return (sums.float() * torch.from_numpy(ratio)[:, None, None]).double() * float(target)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            scale = self.scale[:, None, None, None]
            weight = torch.clamp(_round(self.weight / scale), -WEIGHT_LIMIT, WEIGHT_LIMIT) * scale
            bias: Tensor = self.bias
        elif x.dtype == torch.float64:
            return self._exact(x)
        else:
            weight = _OPS.dequantize_per_channel.default(
                self._integers(),
                self.scale,
                self.zero_point,
                0,
                -WEIGHT_LIMIT,
                WEIGHT_LIMIT,
                torch.int8,
            )
            bias = self.rounded_bias
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

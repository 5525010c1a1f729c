"""Modules that compute in float what integers will compute: activations, convolutions, resizing.

In evaluation mode they are made of `torch.ops.quantized_decomposed` operators with constant
scales, which is what exporters understand. Fed with float64 they compute the integers themselves:
float32 sums put one value in two thousand on the wrong side of a rounding, in every layer, and
that adds up. Where formats round differently, in resizing and adding, they follow the `Arithmetic`
of one. In training mode rounding passes gradients straight through and scales are parameters, so
that quantization-aware training changes weights and ranges of exactly these layers.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np
import torch
import torch.ao.quantization.fx._decomposed  # registers quantized_decomposed
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from i2uv_edge.networks.layers import Upsample
from i2uv_edge.quantizer.integer_sums import Geometry, PackedWeight, conv_sums, pack

__all__ = [
    "ROUNDING",
    "ActivationQuantizer",
    "Arithmetic",
    "QuantAdd",
    "QuantConv2d",
    "QuantMean",
    "QuantMul",
    "QuantUpsample",
    "affine_parameters",
]

Arithmetic = Literal["xnnpack", "onnxruntime", "real"]
"""Whose rounding is followed: XNNPACK runs TFLite files, ONNX Runtime the ONNX ones.

One value in a thousand behind a resize differs by a step, and that grows with depth. "real" is no
kernel's: operations compute real numbers of what the files hold, and quantizers alone round.
"""

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


class _Rounded(torch.autograd.Function):
    """To the grid of `scale` and back, with gradients for both (LSQ, Esser et al., ICLR 2020).

    Within the grid the gradient of x passes straight through, and the scale's is what rounding
    moved x by; beyond it x has none, and the scale's is the end of the grid.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero: int, low: int, high: int) -> Tensor:
        least, most = low - zero, high - zero
        steps = x / scale
        # The half step beyond either end is rounded, not clipped.
        inside = (steps >= least - 0.5) & (steps <= most + 0.5)
        rounded = torch.round(steps).clamp_(least, most)
        ctx.save_for_backward(inside, rounded - steps.mul_(inside))
        ctx.shape, ctx.strides = scale.shape, x.stride()
        return rounded * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inside, moved = ctx.saved_tensors
        (gradient,) = gradients
        to_scale = (gradient * moved).sum_to_size(ctx.shape) if ctx.needs_input_grad[1] else None
        # Laid out as x is: processes that train together sum gradients as they lie in memory.
        to_x = gradient.new_empty_strided(gradient.shape, ctx.strides)
        torch.mul(gradient, inside, out=to_x)
        return to_x, to_scale, None, None, None


def _rounded(x: Tensor, scale: Tensor, zero: int, low: int, high: int) -> Tensor:
    result: Tensor = _Rounded.apply(x, scale, zero, low, high)  # type: ignore[no-untyped-call]
    return result


def _stretch(shape: tuple[int, ...]) -> nn.Parameter:
    """Logarithm of what training has multiplied a scale by.

    Scales differ by orders of magnitude, and a step of their logarithms means the same for each.
    """
    return nn.Parameter(torch.zeros(shape), requires_grad=False)


@torch.no_grad()
def _take_stretch(scale: Tensor, stretch: Tensor) -> None:
    """Make what training did to a scale part of it."""
    if stretch.any():
        scale.mul_(stretch.exp())
        stretch.zero_()


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
        self.scale: Tensor
        self.register_buffer("scale", torch.tensor(1.0))
        self.stretch = _stretch(())
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
        _take_stretch(self.scale, self.stretch)
        self.encoding = (float(self.scale), int(self.zero_point))

    def train(self, mode: bool = True) -> ActivationQuantizer:
        super().train(mode)
        if not mode:
            self.refresh()
        return self

    def forward(self, x: Tensor) -> Tensor:
        scale, zero = self.encoding
        if self.training:
            trained = self.scale * self.stretch.exp()
            return _rounded(x, trained, zero, self.low, self.high)
        if x.dtype == torch.float64:
            # The inner rounding keeps what is half a step in float32 a tie here. In place: making
            # a tensor of megabytes costs more than the arithmetic on it.
            steps = (x / scale).mul_(_TIE_GRID).round_().div_(_TIE_GRID).round_()
            return steps.add_(zero).clamp_(self.low, self.high).sub_(zero).mul_(scale)
        dtype = torch.int8 if self.bits == 8 else torch.int16
        q = _OPS.quantize_per_tensor.default(x, scale, zero, self.low, self.high, dtype)
        result: Tensor = _OPS.dequantize_per_tensor.default(
            q, scale, zero, self.low, self.high, dtype
        )
        return result


class QuantUpsample(Upsample):
    """Bilinear upsampling of integers, rounded as the kernels round.

    XNNPACK's has interpolation weights of 11 bits and rounds halves up. Where grey lies between two
    steps in a ratio of 1:3, as at half-pixel centres, one value in ten is decided by that. ONNX
    Runtime interpolates in float32 and rounds halves to even.
    """

    graph_kind = "resize"

    def __init__(self, layer: Upsample, quantizer: ActivationQuantizer) -> None:
        super().__init__(layer.factor, corners=layer.corners)
        self.arithmetic: Arithmetic = "xnnpack"
        self._quantizer = (quantizer,)  # a tuple: a reference, not a submodule

    def forward(self, x: Tensor) -> Tensor:
        if self.training or x.dtype != torch.float64 or self.arithmetic == "real":
            return super().forward(x)
        scale = self._quantizer[0].encoding[0]
        if self.arithmetic == "onnxruntime":
            return torch.round(self._in_float32(x) / scale).double() * scale
        rows, columns = (
            _interpolation(size, size * self.factor, self.corners) for size in x.shape[-2:]
        )
        exact = rows @ (x / scale).round_() @ columns.T
        return exact.add_(0.5).floor_().mul_(scale)

    def _in_float32(self, x: Tensor) -> Tensor:
        """Bilinear interpolation in the order of ONNX Runtime's sums."""
        (low_row, high_row, up, down), (low_column, high_column, left, right) = (
            _neighbours(size, size * self.factor, self.corners) for size in x.shape[-2:]
        )
        x = x.float()
        above, below = x[..., low_row, :], x[..., high_row, :]
        up, down = up[:, None], down[:, None]
        total = right * down * above[..., low_column]
        total = total + left * down * above[..., high_column]
        total = total + right * up * below[..., low_column]
        return total + left * up * below[..., high_column]


class QuantAdd(nn.Module):
    """Sum of two integer tensors, rescaled as the kernels do it.

    XNNPACK has multipliers of 21 bits and rounds halves up; ONNX Runtime multiplies and adds in
    float32, rounding once for both, and rounds halves to even.
    """

    graph_kind = "add"

    def __init__(
        self, first: ActivationQuantizer, second: ActivationQuantizer, target: ActivationQuantizer
    ) -> None:
        super().__init__()
        self.arithmetic: Arithmetic = "xnnpack"
        self._quantizers = (first, second, target)  # references, not submodules

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if self.training or x.dtype != torch.float64 or self.arithmetic == "real":
            return x + y
        first, second, target = (np.float32(item.encoding[0]) for item in self._quantizers)
        ratios = np.array([first / target, second / target], np.float32)
        if self.arithmetic == "onnxruntime":
            return self._in_float32(torch.round(x / float(first)), torch.round(y / float(second)))
        shift = 20 - (int(np.frexp(ratios.max())[1]) - 1)
        a, b = np.rint(np.ldexp(ratios.astype(np.float64), shift))
        total = (x / float(first)).round_().mul_(a) + (y / float(second)).round_().mul_(b)
        return total.div_(2.0**shift).add_(0.5).floor_().mul_(float(target))

    def _in_float32(self, x: Tensor, y: Tensor) -> Tensor:
        # Products of two float32 are exact in float64, so rounding the sum is what an FMA does.
        (first, zero), (second, one), (target, end) = (
            (np.float32(item.encoding[0]), item.encoding[1] - item.low) for item in self._quantizers
        )
        a, b = (float(scale / target) for scale in (first, second))
        offset = float(np.float32(end - np.float32(a * zero + float(np.float32(b * one)))))
        total = ((y + one) * b + offset).float().double()
        total = ((x + zero) * a + total).float().double()
        return (torch.round(total) - end) * float(target)


class QuantMul(nn.Module):
    """Product of two integer tensors: exact, then scaled in float32, as the kernels do it.

    One of them may have one value a channel.
    """

    graph_kind = "mul"

    def __init__(
        self, first: ActivationQuantizer, second: ActivationQuantizer, target: ActivationQuantizer
    ) -> None:
        super().__init__()
        self.arithmetic: Arithmetic = "xnnpack"
        self._quantizers = (first, second, target)  # references, not submodules

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if self.training or x.dtype != torch.float64 or self.arithmetic == "real":
            return x * y
        first, second, target = (np.float32(item.encoding[0]) for item in self._quantizers)
        products = (x / float(first)).round_() * (y / float(second)).round_()
        ratio = float(first * second / target)
        return products.float().mul_(ratio).double().mul_(float(target))


class QuantMean(nn.Module):
    """Mean of an integer tensor over its positions: an exact sum, then scaled in float32."""

    graph_kind = "mean"

    def __init__(self, source: ActivationQuantizer, target: ActivationQuantizer) -> None:
        super().__init__()
        self.arithmetic: Arithmetic = "xnnpack"
        self._quantizers = (source, target)  # references, not submodules

    def forward(self, x: Tensor) -> Tensor:
        if self.training or x.dtype != torch.float64 or self.arithmetic == "real":
            return x.mean((2, 3), keepdim=True)
        source, target = (np.float32(item.encoding[0]) for item in self._quantizers)
        sums = (x / float(source)).round_().sum((2, 3), keepdim=True)
        ratio = float(source / (target * np.float32(x.shape[2] * x.shape[3])))
        return sums.float().mul_(ratio).double().mul_(float(target))


def _neighbours(size: int, target: int, corners: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The two source indices of each of `target` places, and how far it is from either."""
    steps = np.arange(target, dtype=np.float32)
    if corners:
        place = steps * np.float32(size - 1) / np.float32(max(target - 1, 1))
    else:
        place = (steps + np.float32(0.5)) / np.float32(target / size) - np.float32(0.5)
    place = np.clip(place, np.float32(0), np.float32(size - 1))
    low = place.astype(np.int64)
    high = np.minimum(low + 1, size - 1)
    behind, ahead = np.abs(place - low.astype(np.float32)), np.abs(place - high.astype(np.float32))
    behind[low == high] = ahead[low == high] = 0.5
    return tuple(map(torch.from_numpy, (low, high, behind, ahead)))  # type: ignore[return-value]


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
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(conv.out_channels))
        self.stretch = _stretch((conv.out_channels if per_channel else 1,))
        self.zero_point: Tensor
        self.register_buffer(
            "zero_point", torch.zeros(conv.out_channels, dtype=torch.int64), persistent=False
        )
        self.rounded_bias: Tensor
        self.register_buffer("rounded_bias", zeros.clone(), persistent=False)
        self.arithmetic: Arithmetic = "xnnpack"
        self._source = (source,)  # a tuple: a reference, not a submodule
        self._target = (target,)
        self._packed: tuple[PackedWeight, Tensor] | None = None

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
        """Take what evaluation uses from the parameters training changes."""
        self._packed = None
        _take_stretch(self.scale, self.stretch)
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
        if self._packed is None:
            bias = torch.from_numpy(self.integer_bias().astype(np.int64))
            self._packed = pack(self._integers().detach()), bias
        weight, bias = self._packed
        geometry = Geometry(self.kernel_size, self.stride, self.padding, self.dilation, self.groups)
        zero_point = self.source.encoding[1]
        steps = (x / float(step)).round_()
        sums = conv_sums(steps, weight, bias, geometry, zero_point=zero_point)
        ratio = step * self.scale.detach().float().numpy() / target
        return sums.mul_(torch.from_numpy(ratio)[:, None, None]).double().mul_(float(target))

    def _real(self, x: Tensor) -> Tensor:
        """Integer sums times the scales, and the bias as files hold it (float64 in and out)."""
        step = self.source.encoding[0]
        # Exact: sums of products of integers.
        sums = self._convolved((x / step).round_(), self._integers().detach().double(), None)
        scale = torch.from_numpy(self.bias_step())[:, None, None]
        bias = self.integer_bias() * self.bias_step().astype(np.float32).astype(np.float64)
        return sums.mul_(scale).add_(torch.from_numpy(bias)[:, None, None])

    def _convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            scale = (self.scale * self.stretch.exp())[:, None, None, None]
            weight = _rounded(self.weight, scale, 0, -WEIGHT_LIMIT, WEIGHT_LIMIT)
            bias: Tensor = self.bias
        elif x.dtype == torch.float64:
            return self._real(x) if self.arithmetic == "real" else self._exact(x)
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
        return self._convolved(x, weight, bias)


ROUNDING = (QuantAdd, QuantConv2d, QuantMean, QuantMul, QuantUpsample)
"""The modules that have an `arithmetic`."""

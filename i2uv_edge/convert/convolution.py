"""Convolutions as TFLite has them: OHWI weights, padding by name or by an operator of its own."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from torch import nn

from i2uv_edge.convert.emitter import FUSED_RELU, NOT_FUSED, Emitter, Value
from i2uv_edge.convert.flatbuffer import Quantization
from i2uv_edge.quantizer.fake_quant import QuantConv2d

__all__ = ["emit_convolution", "is_supported"]

Convolution = QuantConv2d | nn.Conv2d


def is_supported(conv: Convolution) -> bool:
    """Whether a convolution is dense or depthwise and pads with zeros."""
    grouped = conv.groups > 1 and not _is_depthwise(conv)
    return not grouped and not isinstance(conv.padding, str)


def emit_convolution(
    emitter: Emitter,
    layer: str,
    conv: Convolution,
    source: Value,
    result: Value,
    *,
    before: tuple[int, int],
    relu: bool,
) -> None:
    """Append a supported convolution that computes `result` (N, H, W, C) from `source`.

    `before` is how many rows and columns of zeros lie before the first of `source`.
    """
    depthwise = _is_depthwise(conv)
    kernel, bias = _weights(emitter, layer, conv, depthwise)
    source, same = _pad(emitter, layer, conv, source, result, before)
    options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    if depthwise:
        options.depthMultiplier = 1
    options.padding = schema.Padding.SAME if same else schema.Padding.VALID
    options.strideH, options.strideW = conv.stride
    options.dilationHFactor, options.dilationWFactor = conv.dilation
    options.fusedActivationFunction = FUSED_RELU if relu else NOT_FUSED
    op = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    version = 3 if source.is_integer else 1
    inputs = [source.index, kernel, bias]
    emitter.writer.operator(op, inputs, [result.index], options, version=version)


def _is_depthwise(conv: Convolution) -> bool:
    return conv.groups > 1 and conv.groups == conv.in_channels == conv.out_channels


def _weights(emitter: Emitter, layer: str, conv: Convolution, depthwise: bool) -> tuple[int, int]:
    """Indices of the kernel and the bias."""
    order = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)  # OIHW -> IHWO or OHWI
    add = emitter.writer.constant
    if not isinstance(conv, QuantConv2d):
        weight = conv.weight.detach().numpy().transpose(order)
        bias = np.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach().numpy()
        kernel = add(f"{layer}.weight", np.ascontiguousarray(weight))
        return kernel, add(f"{layer}.bias", bias.astype(np.float32))
    count = conv.out_channels if conv.per_channel else 1
    scale = tuple(float(value) for value in conv.scale.detach().numpy()[:count])
    step = tuple(float(value) for value in conv.bias_step()[:count])
    axis = order.index(0) if conv.per_channel else 0
    integers = np.ascontiguousarray(conv.integer_weight().transpose(order))
    kernel = add(f"{layer}.weight", integers, Quantization(scale, (0,) * count, axis))
    return kernel, add(f"{layer}.bias", conv.integer_bias(), Quantization(step, (0,) * count))


def _pad(
    emitter: Emitter,
    layer: str,
    conv: Convolution,
    source: Value,
    result: Value,
    padding: tuple[int, int],
) -> tuple[Value, bool]:
    """The input, padded if it has to be, and whether the padding is what TFLite calls SAME."""
    after: list[int] = []
    implied: list[bool] = []
    for axis in range(2):
        size, out = source.shape[1 + axis], result.shape[1 + axis]
        span = (conv.kernel_size[axis] - 1) * conv.dilation[axis] + 1
        needed = max((out - 1) * conv.stride[axis] + span - size, 0)  # rows beyond the input
        after.append(max(needed - padding[axis], 0))
        # SAME splits what is needed evenly, the odd row behind; torch always pads in front first.
        implied.append(-(-size // conv.stride[axis]) == out and needed // 2 == padding[axis])
    if not any((*padding, *after)):
        return source, False
    if all(implied):
        return source, True
    return emitter.padded(f"{layer}.pad", source, padding, after), False

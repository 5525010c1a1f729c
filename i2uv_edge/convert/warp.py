"""The affine connection's warp as TFLite operators: float coordinates, four row gathers.

Operation by operation what `WarpCoordinates` and `WarpSample` compute. The sums are float
throughout: an int8 form would round four products and three sums where this rounds once.

A large warp is bound by memory, not by arithmetic. So rows that are long enough are gathered as the
integers they are and become float tap by tap; and a map is done in blocks of rows whose taps fit a
core's second-level cache. On the warps of the published AffineNet, one x86 thread, the two together
take the time down to 0.48 (256 channels at 64x64), 0.53 (768 at 32x32) and 0.58 (64 at 128x128) of
the plain form, and none of it changes a bit of the result.
"""

from __future__ import annotations

import math

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from i2uv_edge.convert.emitter import Emitter, Value
from i2uv_edge.networks.layers import Warp, last_position
from i2uv_edge.quantizer.fake_quant import ActivationQuantizer

__all__ = ["lower_warp"]

_BLOCK_BYTES = 1 << 19  # of one float tap: it and a sum of taps fit a megabyte
_INTEGER_ROW = 64  # channels from which on gathering integers pays for four conversions


def lower_warp(
    emitter: Emitter,
    layer: str,
    feature: Value,
    uv: Value,
    warp: Warp,
    target: ActivationQuantizer | None = None,
) -> Value:
    """Features (1, s, s, C), float or int8, and a float map (1, m, m, 3) -> (1, m, m, C).

    Float, or int8 in the grid of `target` where there is one and the map is done in blocks.
    """
    if feature.shape[3] < _INTEGER_ROW:
        feature = emitter.to_float(feature)
    rows = emitter.reshaped(f"{layer}.rows", feature, (warp.size**2, feature.shape[3]), nhwc=False)
    height, width = uv.shape[1:3]
    bytes_of_all = 4 * height * width * feature.shape[3]
    blocks = math.gcd(height, 1 << math.ceil(math.log2(max(1, bytes_of_all / _BLOCK_BYTES))))
    if blocks == 1:
        return _block(emitter, layer, rows, uv, warp)
    parts = []
    for number in range(blocks):
        name = f"{layer}.block"
        shape = (1, height // blocks, width, uv.shape[3])
        part = emitter.sliced(f"{name}.map", uv, (0, number * shape[1], 0, 0), shape)
        value = _block(emitter, name, rows, part, warp)
        parts.append(value if target is None else emitter.quantized(f"{name}.int8", value, target))
    return emitter.concatenated(layer, parts, axis=1)


def _block(emitter: Emitter, layer: str, rows: Value, uv: Value, warp: Warp) -> Value:
    """The rows of the map that `uv` is, float."""
    name, size = f"{layer}.coordinates", warp.size
    x0, wx0, wx1 = _axis(emitter, f"{name}.x", uv, 0, warp)
    y0, wy0, wy1 = _axis(emitter, f"{name}.y", uv, 1, warp)
    row = emitter.arithmetic(f"{name}.row", "MUL", y0, float(size))
    corner = emitter.arithmetic(f"{name}.corner", "ADD", row, x0)
    indices = _indices(emitter, name, corner, size)
    weights = [
        emitter.arithmetic(f"{name}.weight", "MUL", a, b) for b in (wy0, wy1) for a in (wx0, wx1)
    ]
    return _sample(emitter, layer, rows, indices, weights)


def _axis(
    emitter: Emitter, name: str, uv: Value, channel: int, warp: Warp
) -> tuple[Value, Value, Value]:
    """First tap and the weights of both taps along one axis, (1, m, m, 1) each."""
    value = emitter.sliced(f"{name}.slice", uv, (0, 0, 0, channel), (*uv.shape[:3], 1))
    fades = warp.sampling.fades
    if fades:
        value = emitter.arithmetic(f"{name}.least", "MAXIMUM", value, 0.0)
        value = emitter.arithmetic(f"{name}.clamped", "MINIMUM", value, 1.0)
    factor, offset = warp.sampling.affine(warp.size)
    # A ReLU is the lower clamp of the position; where it is needed unclamped too, it stands alone.
    value = emitter.arithmetic(f"{name}.scaled", "MUL", value, factor, relu=not offset)
    raw = value
    if offset:
        raw = emitter.arithmetic(f"{name}.raw", "ADD", value, offset, relu=not fades)
    positive = emitter.arithmetic(f"{name}.positive", "MAXIMUM", raw, 0.0) if fades else raw
    last = last_position(warp.size)
    position = emitter.arithmetic(f"{name}.position", "MINIMUM", positive, last)
    floor = emitter.tensor(f"{name}.floor", position.shape, "float32")
    emitter.emit("FLOOR", [position], floor)
    fraction = emitter.arithmetic(f"{name}.fraction", "SUB", position, floor)
    rest = emitter.arithmetic(f"{name}.rest", "SUB", 1.0, fraction)
    if not fades:
        return floor, rest, fraction
    outside = emitter.arithmetic(f"{name}.outside", "SUB", raw, position)
    distance = emitter.tensor(f"{name}.distance", position.shape, "float32")
    emitter.emit("ABS", [outside], distance)
    share = emitter.arithmetic(f"{name}.share", "SUB", 1.0, distance)
    parts = (emitter.arithmetic(f"{name}.faded", "MUL", part, share) for part in (rest, fraction))
    first, second = parts
    return floor, first, second


def _indices(emitter: Emitter, name: str, corner: Value, size: int) -> list[Value]:
    """Row indices (1, m, m) of the four taps, from the first's."""
    flat = emitter.reshaped(f"{name}.flat", corner, corner.shape[:3], nhwc=False)
    first = emitter.tensor(f"{name}.index", flat.shape, "int32", nhwc=False)
    options = schema.CastOptionsT()
    options.inDataType = schema.TensorType.FLOAT32
    options.outDataType = schema.TensorType.INT32
    indices = [emitter.emit("CAST", [flat], first, options)]
    for step in (1, size, size + 1):
        index = emitter.tensor(f"{name}.index", flat.shape, "int32", nhwc=False)
        offset = emitter.constant(f"{name}.step", np.array(step, np.int32))
        indices.append(emitter.emit("ADD", [first, offset], index, schema.AddOptionsT()))
    return indices


def _sample(
    emitter: Emitter, layer: str, rows: Value, indices: list[Value], weights: list[Value]
) -> Value:
    """The weighted sum of four rows a texel, float."""
    parts = []
    for index, weight in zip(indices, weights, strict=True):
        tap = emitter.like(f"{layer}.tap", rows, (*index.shape, rows.shape[1]))
        options = schema.GatherOptionsT()
        options.axis = 0
        found = emitter.to_float(emitter.emit("GATHER", [rows, index], tap, options))
        seen = found.viewed(nhwc=True)
        parts.append(emitter.arithmetic(f"{layer}.weighted", "MUL", seen, weight))
    total = emitter.arithmetic(f"{layer}.sum", "ADD", parts[0], parts[1])
    total = emitter.arithmetic(f"{layer}.sum", "ADD", total, parts[2])
    return emitter.arithmetic(layer, "ADD", total, parts[3])

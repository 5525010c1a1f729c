"""The affine connection's warp as TFLite operators: float coordinates, four row gathers.

Operation by operation what `WarpCoordinates` and `WarpSample` compute. It is float throughout: the
int8 form would round four products and three sums where this rounds once, and saves a tenth of a
millisecond at most.
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from i2uv_edge.convert.emitter import Emitter, Value
from i2uv_edge.networks.layers import Warp, last_position

__all__ = ["lower_warp"]


def lower_warp(emitter: Emitter, layer: str, feature: Value, uv: Value, warp: Warp) -> Value:
    """Features (1, s, s, C) and a map (1, m, m, 3), both float -> (1, m, m, C)."""
    name, size = f"{layer}.coordinates", warp.size
    x0, wx0, wx1 = _axis(emitter, f"{name}.x", uv, 0, warp)
    y0, wy0, wy1 = _axis(emitter, f"{name}.y", uv, 1, warp)
    row = emitter.arithmetic(f"{name}.row", "MUL", y0, float(size))
    corner = emitter.arithmetic(f"{name}.corner", "ADD", row, x0)
    indices = _indices(emitter, name, corner, size)
    weights = [
        emitter.arithmetic(f"{name}.weight", "MUL", a, b) for b in (wy0, wy1) for a in (wx0, wx1)
    ]
    return _sample(emitter, layer, feature, indices, weights)


def _axis(
    emitter: Emitter, name: str, uv: Value, channel: int, warp: Warp
) -> tuple[Value, Value, Value]:
    """First tap and the weights of both taps along one axis, (1, m, m, 1) each."""
    value = emitter.tensor(f"{name}.slice", (*uv.shape[:3], 1), "float32")
    begin = emitter.integers(f"{name}.begin", (0, 0, 0, channel))
    extent = emitter.integers(f"{name}.extent", value.shape)
    emitter.emit("SLICE", [uv, begin, extent], value, schema.SliceOptionsT())
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
    emitter: Emitter, layer: str, feature: Value, indices: list[Value], weights: list[Value]
) -> Value:
    _, height, width, channels = feature.shape
    rows = emitter.reshaped(f"{layer}.rows", feature, (height * width, channels), nhwc=False)
    parts = []
    for index, weight in zip(indices, weights, strict=True):
        tap = emitter.tensor(f"{layer}.tap", (*index.shape, channels), "float32")
        options = schema.GatherOptionsT()
        options.axis = 0
        emitter.emit("GATHER", [rows, index], tap, options)
        parts.append(emitter.arithmetic(f"{layer}.weighted", "MUL", tap, weight))
    total = emitter.arithmetic(f"{layer}.sum", "ADD", parts[0], parts[1])
    total = emitter.arithmetic(f"{layer}.sum", "ADD", total, parts[2])
    return emitter.arithmetic(layer, "ADD", total, parts[3])

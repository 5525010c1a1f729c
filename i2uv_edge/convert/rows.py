"""What a network over the vertices of a mesh is made of, as float TFLite operators.

Features are (1, 1, R, C), a row a vertex. A sparse matrix is a gather, products and a sum; there is
no operator for a group norm, so it is its mean, its variance and what follows from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from i2uv_edge.convert.emitter import Emitter, Value
from i2uv_edge.networks.layers import Gathered, RowNorm

__all__ = ["lower_gathered", "lower_row_norm"]


def lower_gathered(emitter: Emitter, name: str, source: Value, layer: Gathered) -> Value:
    """(1, 1, R, C) float -> (1, 1, R', C)."""
    channels = source.shape[3]
    table = emitter.reshaped(f"{name}.rows", source, source.shape[2:], nhwc=False)
    index = layer.index.numpy().astype(np.int32)
    weight = layer.weight.detach().numpy().astype(np.float32)[:, :, None]
    taps = emitter.tensor(f"{name}.taps", (*index.shape, channels), "float32", nhwc=False)
    options = schema.GatherOptionsT()
    options.axis = 0
    emitter.emit("GATHER", [table, emitter.constant(f"{name}.index", index)], taps, options)
    shares = emitter.constant(f"{name}.weight", weight)
    weighted = emitter.arithmetic(f"{name}.weighted", "MUL", taps, shares)
    total = emitter.tensor(f"{name}.sum", (len(index), channels), "float32", nhwc=False)
    axis = emitter.integers(f"{name}.axis", (1,))
    emitter.emit("SUM", [weighted, axis], total, schema.ReducerOptionsT())
    return emitter.reshaped(name, total, (1, 1, len(index), channels), nhwc=True)


def lower_row_norm(emitter: Emitter, name: str, source: Value, layer: RowNorm) -> Value:
    """(1, 1, R, C) float -> the same shape."""
    _, _, rows, channels = source.shape
    grouped = source.shape
    axes: tuple[int, ...] = (2,)  # where each channel is a group
    if channels > layer.groups:
        grouped, axes = (1, rows, layer.groups, channels // layer.groups), (1, 3)
    x = _reshaped(emitter, f"{name}.grouped", source, grouped)
    mean = _mean(emitter, f"{name}.mean", x, axes)
    centred = emitter.arithmetic(f"{name}.centred", "SUB", x, mean)
    squared = emitter.arithmetic(f"{name}.squared", "MUL", centred, centred)
    variance = _mean(emitter, f"{name}.variance", squared, axes)
    raised = emitter.arithmetic(f"{name}.raised", "ADD", variance, layer.epsilon)
    inverse = emitter.tensor(f"{name}.inverse", raised.shape, "float32", nhwc=False)
    emitter.emit("RSQRT", [raised], inverse)
    normed = emitter.arithmetic(f"{name}.normed", "MUL", centred, inverse)
    whole = _reshaped(emitter, f"{name}.whole", normed, source.shape)
    gained = emitter.arithmetic(
        f"{name}.gained", "MUL", whole, emitter.constant(f"{name}.gamma", _row(layer.gamma))
    )
    return emitter.arithmetic(
        name, "ADD", gained, emitter.constant(f"{name}.beta", _row(layer.beta))
    )


def _reshaped(emitter: Emitter, name: str, source: Value, shape: tuple[int, ...]) -> Value:
    if source.shape == shape:
        return source
    return emitter.reshaped(name, source, shape, nhwc=True)


def _row(parameter: Any) -> NDArray[np.float32]:
    found: NDArray[np.float32] = parameter.detach().numpy().reshape(1, 1, 1, -1)
    return found


def _mean(emitter: Emitter, name: str, source: Value, axes: Sequence[int]) -> Value:
    options = schema.ReducerOptionsT()
    options.keepDims = True
    shape = [1 if axis in axes else size for axis, size in enumerate(source.shape)]
    value = emitter.tensor(name, shape, "float32", nhwc=False)
    return emitter.emit("MEAN", [source, emitter.integers(f"{name}.axes", axes)], value, options)

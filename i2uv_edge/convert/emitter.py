"""Tensors as the lowering sees them, and the operators every lowering is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from i2uv_edge.convert.flatbuffer import ModelWriter, Quantization
from i2uv_edge.quantizer.fake_quant import ActivationQuantizer

__all__ = ["BINARY", "FUSED_RELU", "NOT_FUSED", "Emitter", "Value"]

NOT_FUSED = schema.ActivationFunctionType.NONE
FUSED_RELU = schema.ActivationFunctionType.RELU

BINARY = {
    "ADD": schema.AddOptionsT,
    "SUB": schema.SubOptionsT,
    "MUL": schema.MulOptionsT,
    "MAXIMUM": schema.MaximumMinimumOptionsT,
    "MINIMUM": schema.MaximumMinimumOptionsT,
}

_DEQUANTIZED = "/float"  # ends the name of an integer tensor's float copy


@dataclass(frozen=True)
class Value:
    """A tensor in the file.

    `shape` is as stored; `nhwc` where torch sees the tensor as NCHW; `quantizer` has the scale and
    zero point of an int8 tensor.
    """

    index: int
    shape: tuple[int, ...]
    dtype: str
    nhwc: bool = True
    quantizer: ActivationQuantizer | None = None

    @property
    def is_integer(self) -> bool:
        """Whether it is int8."""
        return self.dtype == "int8"

    def viewed(self, *, nhwc: bool) -> Value:
        """The same tensor, seen by torch as NCHW or as it is stored."""
        return replace(self, nhwc=nhwc)


class Emitter:
    """Adds tensors and operators to a model writer."""

    def __init__(self) -> None:
        self.writer = ModelWriter()
        self._float_copies: dict[int, Value] = {}

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str,
        *,
        nhwc: bool = True,
        quantizer: ActivationQuantizer | None = None,
    ) -> Value:
        """A tensor that an operator will compute."""
        index = self.writer.tensor(name, shape, dtype, _grid(quantizer))
        return Value(index, tuple(shape), dtype, nhwc, quantizer)

    def like(self, name: str, source: Value, shape: Sequence[int]) -> Value:
        """A tensor of another shape, in the type, grid and view of a given one."""
        return self.tensor(name, shape, source.dtype, nhwc=source.nhwc, quantizer=source.quantizer)

    def constant(
        self, name: str, values: NDArray[Any], quantizer: ActivationQuantizer | None = None
    ) -> Value:
        """A tensor with fixed values, rounded to a quantizer's grid if there is one."""
        if quantizer is not None:
            scale, zero = quantizer.encoding
            steps = np.round(values.astype(np.float64) / scale) + zero
            values = np.clip(steps, quantizer.low, quantizer.high).astype(np.int8)
        index = self.writer.constant(name, values, _grid(quantizer))
        return Value(index, values.shape, str(values.dtype), quantizer=quantizer)

    def integers(self, name: str, values: Sequence[int]) -> Value:
        """An int32 constant: a shape, a size, offsets."""
        return self.constant(name, np.array(values, np.int32))

    def number(self, name: str, value: float) -> Value:
        """A float32 scalar."""
        return self.constant(name, np.array(value, np.float32))

    def emit(
        self,
        op: str,
        inputs: Sequence[Value],
        output: Value,
        options: Any = None,
        *,
        version: int | None = None,
    ) -> Value:
        """Append an operator; its version is that of int8 or float kernels where none is given."""
        if version is None:
            version = 2 if inputs[0].is_integer else 1
        indices = [value.index for value in inputs]
        self.writer.operator(op, indices, [output.index], options, version=version)
        return output

    def to_float(self, value: Value) -> Value:
        """The tensor itself, or one dequantized copy of it for all its float readers."""
        if not value.is_integer:
            return value
        copy = self._float_copies.get(value.index)
        if copy is None:
            name = self.writer.name(value.index) + _DEQUANTIZED
            copy = self.tensor(name, value.shape, "float32", nhwc=value.nhwc)
            self.emit("DEQUANTIZE", [value], copy, schema.DequantizeOptionsT())
            self._float_copies[value.index] = copy
        return copy

    def quantized(self, name: str, source: Value, quantizer: ActivationQuantizer) -> Value:
        """A tensor rounded, or rounded again, to a quantizer's grid."""
        value = self.tensor(name, source.shape, "int8", nhwc=source.nhwc, quantizer=quantizer)
        return self.emit("QUANTIZE", [source], value, schema.QuantizeOptionsT())

    def sliced(
        self, name: str, source: Value, begin: Sequence[int], extent: Sequence[int]
    ) -> Value:
        """A block of a tensor: `extent` elements along each dimension from `begin` on."""
        value = self.like(name, source, extent)
        first = self.integers(f"{name}.begin", begin)
        size = self.integers(f"{name}.extent", extent)
        return self.emit("SLICE", [source, first, size], value, schema.SliceOptionsT())

    def concatenated(self, name: str, values: Sequence[Value], axis: int) -> Value:
        """Tensors of one type and grid behind one another, `axis` as they are stored."""
        shape = list(values[0].shape)
        shape[axis] = sum(value.shape[axis] for value in values)
        options = schema.ConcatenationOptionsT()
        options.axis = axis
        options.fusedActivationFunction = NOT_FUSED
        result = self.like(name, values[0], shape)
        return self.emit("CONCATENATION", values, result, options)

    def reshaped(self, name: str, source: Value, shape: Sequence[int], *, nhwc: bool) -> Value:
        """The same elements in another shape."""
        value = self.like(name, source, shape).viewed(nhwc=nhwc)
        options = schema.ReshapeOptionsT()
        options.newShape = np.array(shape, np.int32)
        table = self.integers(f"{name}.shape", shape)
        return self.emit("RESHAPE", [source, table], value, options, version=1)

    def padded(
        self,
        name: str,
        source: Value,
        before: Sequence[int],
        after: Sequence[int],
        *,
        filler: float = 0.0,
    ) -> Value:
        """Rows and columns added before (top, left) and after (bottom, right)."""
        _, height, width, _ = source.shape
        size = (before[0] + height + after[0], before[1] + width + after[1])
        value = self.like(name, source, (source.shape[0], *size, source.shape[3]))
        pairs = [(0, 0), (before[0], after[0]), (before[1], after[1]), (0, 0)]
        amounts = self.constant(f"{name}.amounts", np.array(pairs, np.int32))
        if not filler:
            return self.emit("PAD", [source, amounts], value, schema.PadOptionsT())
        level = self.constant(f"{name}.filler", np.array([filler], np.float32), source.quantizer)
        return self.emit("PADV2", [source, amounts, level], value, schema.PadV2OptionsT())

    def arithmetic(
        self, name: str, op: str, a: Value | float, b: Value | float, *, relu: bool = False
    ) -> Value:
        """A float operation on two operands, one of which may be a number or be broadcast."""
        values = [
            item if isinstance(item, Value) else self.number(f"{name}.constant", item)
            for item in (a, b)
        ]
        full = max(values, key=lambda value: int(np.prod(value.shape)))
        options = BINARY[op]()
        if op not in ("MAXIMUM", "MINIMUM"):
            options.fusedActivationFunction = FUSED_RELU if relu else NOT_FUSED
        result = self.tensor(name, full.shape, "float32", nhwc=full.nhwc)
        return self.emit(op, values, result, options)


def _grid(quantizer: ActivationQuantizer | None) -> Quantization | None:
    if quantizer is None:
        return None
    scale, zero = quantizer.encoding
    return Quantization((scale,), (zero,))

"""A prepared or fake-quant graph -> TFLite operators, tensor by tensor.

Every operation is written with exactly the scales of the quantizers around it, so nothing is
inferred, merged or recalibrated on the way. Tensors are stored NHWC from the start: what torch
calls (N, C, H, W) never exists in the file, and there is nothing to transpose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from numpy.typing import NDArray
from torch import fx, nn

from i2uv_edge.convert.flatbuffer import ModelWriter, Quantization
from i2uv_edge.errors import ConversionError
from i2uv_edge.networks.layers import DepthToSpace, Upsample, Warp
from i2uv_edge.quantizer.fake_quant import ActivationQuantizer, QuantConv2d
from i2uv_edge.quantizer.graph import (
    constant_of,
    fuses_relu,
    kind_of,
    layer_of,
    module_of,
    shape_of,
)

__all__ = ["QUANTIZED", "lower"]

QUANTIZED = "/quantized"  # ends the name of a float tensor's integer copy
_DEQUANTIZED = "/float"

_NONE = schema.ActivationFunctionType.NONE
_RELU = schema.ActivationFunctionType.RELU
_BINARY = {
    "add": ("ADD", schema.AddOptionsT),
    "sub": ("SUB", schema.SubOptionsT),
    "mul": ("MUL", schema.MulOptionsT),
}


@dataclass(frozen=True)
class Value:
    """A tensor in the file: `shape` as stored; `nhwc` where torch sees it as NCHW."""

    index: int
    shape: tuple[int, ...]
    dtype: str
    nhwc: bool = True
    quantizer: ActivationQuantizer | None = None


def lower(
    graph: fx.GraphModule,
    *,
    input_name: str,
    output_name: str,
    int8_input: bool = False,
    int8_output: bool = False,
) -> bytes:
    """Return the TFLite file of a graph made by `prepare` or `quantize`.

    Parameters
    ----------
    int8_input, int8_output
        Make the file's input or output the integer tensor itself, instead of float32.

    Raises
    ------
    ConversionError
        A layer has no lowering, or lacks a quantizer; names layer and operation.
    """
    lowering = _Lowering(int8_input)
    for node in graph.graph.nodes:
        lowering.visit(node)
    result = lowering.result(int8_output)
    writer = lowering.writer
    writer.rename(lowering.inputs[0].index, input_name)
    writer.rename(result.index, output_name)
    return writer.to_bytes({input_name: lowering.inputs[0].index}, {output_name: result.index})


class _Lowering:
    """Walks the graph; `values` holds what has been computed so far."""

    def __init__(self, int8_input: bool) -> None:
        self.writer = ModelWriter()
        self.inputs: list[Value] = []
        self.values: dict[fx.Node, Any] = {}
        self._int8_input = int8_input
        self._float_copies: dict[int, Value] = {}
        self._outputs: list[fx.Node] = []
        self._constants: dict[fx.Node, NDArray[np.float32]] = {}  # NHWC

    def visit(self, node: fx.Node) -> None:
        if node in self.values:  # computed as part of the operation before it
            return
        kind = kind_of(node)
        method: Callable[[fx.Node], None] | None = getattr(self, f"_{kind}", None)
        if method is None:
            raise _unsupported(node, f"operation {kind} has no TFLite lowering")
        method(node)

    def result(self, int8: bool) -> Value:
        value = self._value(self._outputs[0])
        if not value.nhwc or len(value.shape) != 4:
            raise _unsupported(self._outputs[0], "the output is no NCHW tensor")
        if int8 and value.dtype != "int8":
            raise _unsupported(self._outputs[0], "the output is float, int8 was asked for")
        return value if int8 else self._as_float(value)

    # --- operations -----------------------------------------------------------------------------

    def _input(self, node: fx.Node) -> None:
        shape = _stored(shape_of(node))
        readers = list(node.users)
        if self._int8_input:
            quantizer = _quantizer(readers[0]) if len(readers) == 1 else None
            if quantizer is None:
                raise _unsupported(node, "an int8 input needs one quantizer that all readers share")
            value = self._new(node, shape, "int8", quantizer=quantizer)
            self.values[readers[0]] = value
        else:
            value = self._new(node, shape, "float32")
        self.values[node] = value
        self.inputs.append(value)

    def _output(self, node: fx.Node) -> None:
        self._outputs.append(node.all_input_nodes[0])

    def _constant(self, node: fx.Node) -> None:
        value = constant_of(node).detach().permute(0, 2, 3, 1).contiguous()
        self._constants[node] = value.numpy()

    def _quantizer(self, node: fx.Node) -> None:
        quantizer = cast(ActivationQuantizer, module_of(node))
        constant = self._constants.get(node.all_input_nodes[0])
        if constant is not None:
            self.values[node] = self._integer_constant(node, constant, quantizer)
            return
        source = self._value(node.all_input_nodes[0])
        name = layer_of(node) if source.dtype == "int8" else layer_of(node) + QUANTIZED
        value = self._new(name, source.shape, "int8", nhwc=source.nhwc, quantizer=quantizer)
        version = 2 if source.dtype == "int8" else 1
        self._emit("QUANTIZE", [source], value, schema.QuantizeOptionsT(), version=version)
        self.values[node] = value

    def _integer_constant(
        self, node: fx.Node, values: NDArray[np.float32], quantizer: ActivationQuantizer
    ) -> Value:
        scale, zero = quantizer.encoding
        steps = np.round(values.astype(np.float64) / scale) + zero
        stored = np.clip(steps, quantizer.low, quantizer.high).astype(np.int8)
        grid = Quantization((scale,), (zero,))
        index = self.writer.constant(layer_of(node), stored, grid)
        return Value(index, stored.shape, "int8", quantizer=quantizer)

    def _conv(self, node: fx.Node) -> None:
        module = module_of(node)
        source = self._value(node.all_input_nodes[0])
        tail = next(iter(node.users)) if fuses_relu(node) else node
        shape = _stored(shape_of(node))
        if isinstance(module, QuantConv2d):
            if source.quantizer is not module.source:
                raise _unsupported(node, "its input does not come from the quantizer it was given")
            end = _sole_quantizer(tail)
            if end is None:
                raise _unsupported(tail, "an integer convolution's result has no range")
            value = self._new(tail, shape, "int8", quantizer=_quantizer(end))
            self.values[end] = value
        else:
            source = self._as_float(source)
            value = self._new(tail, shape, "float32")
        self.values[node] = self.values[tail] = value
        self._emit_conv(node, module, source, value, _RELU if tail is not node else _NONE)

    def _emit_conv(
        self, node: fx.Node, module: nn.Module, source: Value, value: Value, activation: int
    ) -> None:
        conv = cast(QuantConv2d | nn.Conv2d, module)
        depthwise = conv.groups == conv.in_channels == conv.out_channels and conv.groups > 1
        if conv.groups > 1 and not depthwise:
            raise _unsupported(node, f"grouped convolution ({conv.groups} groups)")
        padding = cast(tuple[int, int], conv.padding)
        kernel, bias = self._weights(layer_of(node), conv, depthwise)
        source, same = self._pad_for(node, source, value, conv, padding)
        options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        if depthwise:
            options.depthMultiplier = 1
        options.padding = schema.Padding.SAME if same else schema.Padding.VALID
        options.strideH, options.strideW = conv.stride
        options.dilationHFactor, options.dilationWFactor = conv.dilation
        options.fusedActivationFunction = activation
        integer = isinstance(conv, QuantConv2d)
        self.writer.operator(
            "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
            [source.index, kernel, bias],
            [value.index],
            options,
            version=3 if integer else 1,
        )

    def _weights(
        self, layer: str, conv: QuantConv2d | nn.Conv2d, depthwise: bool
    ) -> tuple[int, int]:
        order = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)  # OIHW -> IHWO or OHWI
        if not isinstance(conv, QuantConv2d):
            weight = conv.weight.detach().numpy().transpose(order)
            bias = np.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach().numpy()
            return (
                self.writer.constant(f"{layer}.weight", np.ascontiguousarray(weight)),
                self.writer.constant(f"{layer}.bias", bias.astype(np.float32)),
            )
        scale = conv.scale.detach().numpy()
        stored = scale if conv.per_channel else scale[:1]
        step = conv.bias_step() if conv.per_channel else conv.bias_step()[:1]
        kernel = self.writer.constant(
            f"{layer}.weight",
            np.ascontiguousarray(conv.integer_weight().transpose(order)),
            Quantization(
                tuple(map(float, stored)),
                (0,) * len(stored),
                order.index(0) if len(stored) > 1 else 0,
            ),
        )
        bias_index = self.writer.constant(
            f"{layer}.bias",
            conv.integer_bias(),
            Quantization(tuple(map(float, step)), (0,) * len(step)),
        )
        return kernel, bias_index

    def _pad_for(
        self,
        node: fx.Node,
        source: Value,
        value: Value,
        conv: QuantConv2d | nn.Conv2d,
        padding: tuple[int, int],
    ) -> tuple[Value, bool]:
        """Padding as TFLite has it: (the input, padded if need be; whether to say SAME)."""
        if not any(padding):
            return source, False
        before, after, implied = [], [], []
        for axis in range(2):
            size, out = source.shape[1 + axis], value.shape[1 + axis]
            span = (conv.kernel_size[axis] - 1) * conv.dilation[axis] + 1
            needed = (out - 1) * conv.stride[axis] + span - size  # rows read beyond the input
            before.append(padding[axis])
            after.append(max(needed - padding[axis], 0))
            same = max(needed, 0)
            implied.append(-(-size // conv.stride[axis]) == out and same // 2 == padding[axis])
        if all(implied):
            return source, True
        return self._padded(f"{layer_of(node)}.pad", source, before, after), False

    def _padded(
        self,
        name: str,
        source: Value,
        before: Sequence[int],
        after: Sequence[int],
        *,
        filler: float = 0.0,
    ) -> Value:
        amounts = np.array([(0, 0), (before[0], after[0]), (before[1], after[1]), (0, 0)], np.int32)
        shape = tuple(
            int(size + low + high) for size, (low, high) in zip(source.shape, amounts, strict=True)
        )
        value = self._new(name, shape, source.dtype, quantizer=source.quantizer)
        table = self.writer.constant(f"{name}.amounts", amounts)
        version = 2 if source.dtype == "int8" else 1
        inputs, options = [source.index, table], (schema.PadOptionsT(), schema.PadV2OptionsT())
        if filler:
            inputs.append(self._filler(name, source, filler))
            self.writer.operator("PADV2", inputs, [value.index], options[1], version=version)
        else:
            self.writer.operator("PAD", inputs, [value.index], options[0], version=version)
        return value

    def _filler(self, name: str, source: Value, filler: float) -> int:
        if source.quantizer is None:
            return self.writer.constant(f"{name}.filler", np.array([filler], np.float32))
        scale, zero = source.quantizer.encoding
        level = round(filler / scale) + zero
        return self.writer.constant(
            f"{name}.filler", np.array([level], np.int8), Quantization((scale,), (zero,))
        )

    def _pad(self, node: fx.Node) -> None:
        pad = cast(nn.ConstantPad2d, module_of(node))
        left, right, top, bottom = pad.padding
        source = self._value(node.all_input_nodes[0])
        self.values[node] = self._padded(
            layer_of(node), source, (top, left), (bottom, right), filler=float(pad.value)
        )

    def _add(self, node: fx.Node) -> None:
        self._binary(node)

    def _sub(self, node: fx.Node) -> None:
        self._binary(node)

    def _mul(self, node: fx.Node) -> None:
        self._binary(node)

    def _binary(self, node: fx.Node) -> None:
        name, options_type = _BINARY[kind_of(node)]
        tail = next(iter(node.users)) if fuses_relu(node) else node
        end = _sole_quantizer(tail)
        values = [self._operand(node, argument) for argument in node.args[:2]]
        # Float in this network means float here: an add without a quantizer behind it stays so.
        integer = kind_of(node) == "add" and end is not None
        integer = integer and all(value.dtype == "int8" for value in values)
        if not integer:
            values = [self._as_float(value) for value in values]
        full = max(values, key=lambda value: int(np.prod(value.shape)))
        dtype = "int8" if integer else "float32"
        quantizer = _quantizer(end) if integer and end is not None else None
        result = self._new(tail, full.shape, dtype, nhwc=full.nhwc, quantizer=quantizer)
        options = options_type()
        options.fusedActivationFunction = _RELU if tail is not node else _NONE
        self._emit(name, values, result, options, version=2 if integer else 1)
        self.values[node] = self.values[tail] = result
        if integer and end is not None:
            self.values[end] = result

    def _operand(self, node: fx.Node, argument: Any) -> Value:
        if isinstance(argument, fx.Node):
            return cast(Value, self._value(argument))
        number = np.array(float(argument), np.float32)
        return Value(self.writer.constant(f"{layer_of(node)}.constant", number), (), "float32")

    def _relu(self, node: fx.Node) -> None:
        source = self._value(node.all_input_nodes[0])
        self.values[node] = self._like(node, source, source.shape)
        self._emit("RELU", [source], self.values[node], version=2 if source.quantizer else 1)

    def _sigmoid(self, node: fx.Node) -> None:
        source = self._as_float(self._value(node.all_input_nodes[0]))
        self.values[node] = self._like(node, source, source.shape)
        self._emit("LOGISTIC", [source], self.values[node])

    def _max_pool(self, node: fx.Node) -> None:
        pool = cast(nn.MaxPool2d, module_of(node))
        source = self._value(node.all_input_nodes[0])
        if pool.padding not in (0, (0, 0)) or pool.dilation not in (1, (1, 1)) or pool.ceil_mode:
            raise _unsupported(node, "max pooling with its own padding, dilation or ceiling")
        value = self._like(node, source, _stored(shape_of(node)))
        options = schema.Pool2DOptionsT()
        options.padding = schema.Padding.VALID
        options.filterHeight, options.filterWidth = _pair(pool.kernel_size)
        options.strideH, options.strideW = _pair(pool.stride)
        options.fusedActivationFunction = _NONE
        self._emit("MAX_POOL_2D", [source], value, options, version=2 if source.quantizer else 1)
        self.values[node] = value

    def _resize(self, node: fx.Node) -> None:
        layer = cast(Upsample, module_of(node))
        source = self._value(node.all_input_nodes[0])
        end = _sole_quantizer(node)
        integer = end is not None and source.quantizer is _quantizer(end)
        if not integer:
            source = self._as_float(source)
        shape = _stored(shape_of(node))
        value = self._like(node, source, shape)
        size = self.writer.constant(f"{layer_of(node)}.size", np.array(shape[1:3], np.int32))
        options = schema.ResizeBilinearOptionsT()
        options.alignCorners = layer.corners
        options.halfPixelCenters = not layer.corners
        self.writer.operator(
            "RESIZE_BILINEAR",
            [source.index, size],
            [value.index],
            options,
            version=3 if not layer.corners else 2 if integer else 1,
        )
        self.values[node] = value
        if integer and end is not None:
            self.values[end] = value

    def _concat(self, node: fx.Node) -> None:
        values = [self._value(source) for source in cast(Sequence[fx.Node], node.args[0])]
        axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        if axis not in (1, -3) or not all(value.nhwc for value in values):
            raise _unsupported(node, f"concatenation along dimension {axis} of an NCHW tensor")
        quantizers = {id(value.quantizer) for value in values}
        if values[0].quantizer is None or len(quantizers) > 1:
            values = [self._as_float(value) for value in values]
        shape = (*values[0].shape[:3], sum(value.shape[3] for value in values))
        result = self._like(node, values[0], shape)
        options = schema.ConcatenationOptionsT()
        options.axis = 3
        options.fusedActivationFunction = _NONE
        version = 2 if result.quantizer else 1
        self._emit("CONCATENATION", values, result, options, version=version)
        self.values[node] = result

    def _permute(self, node: fx.Node) -> None:
        source = self._value(node.all_input_nodes[0])
        order = tuple(cast(Sequence[int], node.args[1:]))
        if order == (0, 2, 3, 1) and source.nhwc:
            self.values[node] = _relabel(source, nhwc=False)
        elif order == (0, 3, 1, 2) and not source.nhwc and len(source.shape) == 4:
            self.values[node] = _relabel(source, nhwc=True)
        else:
            raise _unsupported(node, f"permute{order} would need a transpose")

    def _reshape(self, node: fx.Node) -> None:
        source = self._value(node.all_input_nodes[0])
        if source.nhwc and source.shape[1:3] != (1, 1):
            raise _unsupported(node, "reshaping an NCHW tensor would need a transpose")
        target = shape_of(node)
        nhwc = source.nhwc and len(target) == 4 and target[2:] == (1, 1)
        stored = _stored(target) if nhwc else target
        self.values[node] = self._reshaped(layer_of(node), source, stored, nhwc=nhwc)

    def _reshaped(self, name: str, source: Value, shape: Sequence[int], *, nhwc: bool) -> Value:
        value = self._new(name, shape, source.dtype, nhwc=nhwc, quantizer=source.quantizer)
        table = self.writer.constant(f"{name}.shape", np.array(shape, np.int32))
        options = schema.ReshapeOptionsT()
        options.newShape = np.array(shape, np.int32)
        self.writer.operator("RESHAPE", [source.index, table], [value.index], options)
        return value

    def _depth_to_space(self, node: fx.Node) -> None:
        source = self._value(node.all_input_nodes[0])
        value = self._like(node, source, _stored(shape_of(node)))
        options = schema.DepthToSpaceOptionsT()
        options.blockSize = cast(DepthToSpace, module_of(node)).block
        self._emit("DEPTH_TO_SPACE", [source], value, options, version=2 if source.quantizer else 1)
        self.values[node] = value

    # --- the warp -------------------------------------------------------------------------------

    def _warp(self, node: fx.Node) -> None:
        feature, uv = (self._as_float(self._value(cast(fx.Node, arg))) for arg in node.args)
        size = cast(Warp, module_of(node)).size
        if feature.shape[1:3] != (size, size):
            raise _unsupported(node, f"a feature of {feature.shape[1:3]}, the warp is for {size}")
        layer = layer_of(node)
        indices, weights = self._warp_coordinates(f"{layer}.coordinates", uv, float(size))
        self.values[node] = self._warp_sample(layer, feature, indices, weights)

    def _warp_coordinates(
        self, layer: str, uv: Value, size: float
    ) -> tuple[list[Value], list[Value]]:
        """`WarpCoordinates` operation by operation, on (1, m, m, 1) slices of the map."""
        x0, wx0, wx1 = self._axis(f"{layer}.x", uv, 0, size)
        y0, wy0, wy1 = self._axis(f"{layer}.y", uv, 1, size)
        row = self._float_op(f"{layer}.row", "MUL", y0, size)
        corner = self._float_op(f"{layer}.corner", "ADD", row, x0)
        flat = self._reshaped(f"{layer}.flat", corner, corner.shape[:3], nhwc=False)
        first = self._new(f"{layer}.index", flat.shape, "int32", nhwc=False)
        cast_options = schema.CastOptionsT()
        cast_options.inDataType = schema.TensorType.FLOAT32
        cast_options.outDataType = schema.TensorType.INT32
        self._emit("CAST", [flat], first, cast_options)
        indices = [first]
        for step in (1, int(size), int(size) + 1):
            index = self._new(f"{layer}.index", flat.shape, "int32", nhwc=False)
            offset = self.writer.constant(f"{layer}.step", np.array(step, np.int32))
            options = schema.AddOptionsT()
            self.writer.operator("ADD", [first.index, offset], [index.index], options)
            indices.append(index)
        weights = [
            self._float_op(f"{layer}.weight", "MUL", a, b) for b in (wy0, wy1) for a in (wx0, wx1)
        ]
        return indices, weights

    def _axis(self, name: str, uv: Value, channel: int, size: float) -> tuple[Value, Value, Value]:
        part = self._new(f"{name}.slice", (*uv.shape[:3], 1), "float32")
        begin = self.writer.constant(f"{name}.begin", np.array([0, 0, 0, channel], np.int32))
        extent = self.writer.constant(f"{name}.extent", np.array(part.shape, np.int32))
        self.writer.operator(
            "SLICE", [uv.index, begin, extent], [part.index], schema.SliceOptionsT()
        )
        scaled = self._float_op(f"{name}.scaled", "MUL", part, size)
        positive = self._float_op(f"{name}.positive", "SUB", scaled, 0.5, relu=True)
        position = self._float_op(f"{name}.position", "MINIMUM", positive, size - 1.001)
        floor = self._new(f"{name}.floor", part.shape, "float32")
        self._emit("FLOOR", [position], floor)
        fraction = self._float_op(f"{name}.fraction", "SUB", position, floor)
        rest = self._float_op(f"{name}.rest", "SUB", 1.0, fraction)
        return floor, rest, fraction

    def _float_op(
        self, name: str, op: str, a: Value | float, b: Value | float, *, relu: bool = False
    ) -> Value:
        values = [
            v
            if isinstance(v, Value)
            else Value(
                self.writer.constant(f"{name}.constant", np.array(v, np.float32)), (), "float32"
            )
            for v in (a, b)
        ]
        shape = max((v.shape for v in values), key=lambda s: int(np.prod(s)) if s else 0)
        result = self._new(name, shape, "float32")
        options: Any = schema.MaximumMinimumOptionsT() if op == "MINIMUM" else None
        if options is None:
            options = _BINARY[op.lower()][1]()
            options.fusedActivationFunction = _RELU if relu else _NONE
        self._emit(op, values, result, options)
        return result

    def _warp_sample(
        self, layer: str, feature: Value, indices: list[Value], weights: list[Value]
    ) -> Value:
        """`WarpSample`, four row gathers and their weighted sum: (1, s, s, C) -> (1, m, m, C)."""
        _, height, width, channels = feature.shape
        rows = self._reshaped(f"{layer}.rows", feature, (height * width, channels), nhwc=False)
        total: Value | None = None
        for index, weight in zip(indices, weights, strict=True):
            gathered = self._new(f"{layer}.tap", (*index.shape, channels), rows.dtype)
            options = schema.GatherOptionsT()
            options.axis = 0
            self._emit("GATHER", [rows, index], gathered, options)
            part = self._float_op(f"{layer}.weighted", "MUL", gathered, weight)
            last = index is indices[-1]
            name = layer if last else f"{layer}.sum"
            total = part if total is None else self._float_op(name, "ADD", total, part)
        assert total is not None
        return total

    # --- helpers --------------------------------------------------------------------------------

    def _value(self, node: fx.Node) -> Any:
        if node not in self.values and node in self._constants:
            constant = self._constants[node]
            index = self.writer.constant(layer_of(node), constant)
            self.values[node] = Value(index, constant.shape, "float32")
        return self.values[node]

    def _new(
        self,
        name: str | fx.Node,
        shape: Sequence[int],
        dtype: str,
        *,
        nhwc: bool = True,
        quantizer: ActivationQuantizer | None = None,
    ) -> Value:
        label = layer_of(name) if isinstance(name, fx.Node) else name
        quantization = None
        if quantizer is not None:
            scale, zero = quantizer.encoding
            quantization = Quantization((scale,), (zero,))
        index = self.writer.tensor(label, shape, dtype, quantization)
        return Value(index, tuple(shape), dtype, nhwc, quantizer)

    def _like(self, node: fx.Node, source: Value, shape: Sequence[int]) -> Value:
        return self._new(node, shape, source.dtype, nhwc=source.nhwc, quantizer=source.quantizer)

    def _as_float(self, value: Value) -> Value:
        if value.dtype != "int8":
            return value
        copy = self._float_copies.get(value.index)
        if copy is None:
            name = self.writer.name(value.index) + _DEQUANTIZED
            copy = self._new(name, value.shape, "float32", nhwc=value.nhwc)
            self._emit("DEQUANTIZE", [value], copy, schema.DequantizeOptionsT(), version=2)
            self._float_copies[value.index] = copy
        return copy

    def _emit(
        self,
        op: str,
        inputs: Sequence[Value],
        output: Value,
        options: Any = None,
        *,
        version: int = 1,
    ) -> None:
        self.writer.operator(
            op, [value.index for value in inputs], [output.index], options, version=version
        )


def _relabel(value: Value, *, nhwc: bool) -> Value:
    return Value(value.index, value.shape, value.dtype, nhwc, value.quantizer)


def _stored(shape: tuple[int, ...]) -> tuple[int, ...]:
    """NCHW -> NHWC."""
    batch, channels, height, width = shape
    return batch, height, width, channels


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _sole_quantizer(node: fx.Node) -> fx.Node | None:
    """The quantizer that is a node's only reader."""
    readers = list(node.users)
    return readers[0] if len(readers) == 1 and kind_of(readers[0]) == "quantizer" else None


def _quantizer(node: fx.Node) -> ActivationQuantizer:
    module = module_of(node)
    assert isinstance(module, ActivationQuantizer)
    return module


def _unsupported(node: fx.Node, why: str) -> ConversionError:
    return ConversionError(
        f"layer {layer_of(node)!r} ({kind_of(node)}): {why}",
        remedy="change the layer's deploy form, or leave it in float by an override of the recipe",
    )

"""A prepared or fake-quant graph -> TFLite operators, tensor by tensor.

Every operation is written with exactly the scales of the quantizers around it, so nothing is
inferred, merged or recalibrated on the way. Tensors are stored NHWC from the start: what torch
calls (N, C, H, W) never exists in the file, and there is nothing to transpose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from torch import fx, nn

from i2uv_edge.convert.convolution import emit_convolution, is_supported
from i2uv_edge.convert.emitter import BINARY, FUSED_RELU, NOT_FUSED, Emitter, Value
from i2uv_edge.convert.reading import (
    fused_tail,
    pads_of,
    pair,
    part_of_convolutions,
    quantizer_of,
    sole_quantizer,
    unsupported,
)
from i2uv_edge.convert.rows import lower_gathered, lower_row_norm
from i2uv_edge.convert.warp import lower_warp
from i2uv_edge.networks.layers import DepthToSpace, Gathered, RowNorm, Upsample, Warp
from i2uv_edge.quantizer.fake_quant import QuantConv2d
from i2uv_edge.quantizer.graph import (
    constant_of,
    kind_of,
    layer_of,
    module_of,
    shape_of,
)

__all__ = ["QUANTIZED", "lower"]

QUANTIZED = "/quantized"  # ends the name of a float tensor's integer copy


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
    (source,), result = lowering.inputs, lowering.result(int8_output)
    writer = lowering.emitter.writer
    writer.rename(source.index, input_name)
    writer.rename(result.index, output_name)
    return writer.to_bytes({input_name: source.index}, {output_name: result.index})


class _Lowering:
    """Walks the graph, one method for each kind of operation; `values` is what is computed."""

    def __init__(self, int8_input: bool) -> None:
        self.emitter = Emitter()
        self.inputs: list[Value] = []
        self.values: dict[fx.Node, Value] = {}
        self._int8_input = int8_input
        self._outputs: list[fx.Node] = []
        # NHWC. Written when first read: in the type, float or integer, that the reader needs.
        self._constants: dict[fx.Node, NDArray[np.float32]] = {}

    def visit(self, node: fx.Node) -> None:
        if node in self.values:  # computed as part of the operation before it
            return
        kind = kind_of(node)
        method: Callable[[fx.Node], None] | None = getattr(self, f"_do_{kind}", None)
        if method is None:
            raise unsupported(node, f"operation {kind} has no TFLite lowering")
        method(node)

    def result(self, int8: bool) -> Value:
        (node,) = self._outputs
        value = self._value(node)
        if not value.nhwc or len(value.shape) != 4:
            raise unsupported(node, "the output is no NCHW tensor")
        if int8 and not value.is_integer:
            raise unsupported(node, "the output is float, int8 was asked for")
        return value if int8 else self.emitter.to_float(value)

    # --- what holds values ----------------------------------------------------------------------

    def _do_input(self, node: fx.Node) -> None:
        shape = _stored(shape_of(node))
        if self._int8_input:
            end = sole_quantizer(node)
            if end is None:
                raise unsupported(node, "an int8 input needs one quantizer that all readers share")
            value = self.emitter.tensor(layer_of(node), shape, "int8", quantizer=quantizer_of(end))
            self.values[end] = value
        else:
            value = self.emitter.tensor(layer_of(node), shape, "float32")
        self.values[node] = value
        self.inputs.append(value)

    def _do_output(self, node: fx.Node) -> None:
        self._outputs.append(node.all_input_nodes[0])

    def _do_constant(self, node: fx.Node) -> None:
        value = constant_of(node).detach().permute(0, 2, 3, 1).contiguous()
        self._constants[node] = value.numpy()

    def _do_quantizer(self, node: fx.Node) -> None:
        quantizer = quantizer_of(node)
        constant = self._constants.get(node.all_input_nodes[0])
        if constant is not None:
            self.values[node] = self.emitter.constant(layer_of(node), constant, quantizer)
            return
        source = self._source(node)
        name = layer_of(node) if source.is_integer else layer_of(node) + QUANTIZED
        self.values[node] = self.emitter.quantized(name, source, quantizer)

    # --- what computes --------------------------------------------------------------------------

    def _do_conv(self, node: fx.Node) -> None:
        conv = cast(QuantConv2d | nn.Conv2d, module_of(node))
        if not is_supported(conv):
            raise unsupported(node, f"grouped convolution ({conv.groups} groups)")
        source = self._source(node)
        tail = fused_tail(node)
        shape = _stored(shape_of(node))
        if isinstance(conv, QuantConv2d):
            if source.quantizer is not conv.source:
                raise unsupported(node, "its input does not come from the quantizer it was given")
            end = sole_quantizer(tail)
            if end is None:
                raise unsupported(tail, "an integer convolution's result has no range")
            value = self.emitter.tensor(layer_of(tail), shape, "int8", quantizer=quantizer_of(end))
            self.values[end] = value
        else:
            source = self.emitter.to_float(source)
            value = self.emitter.tensor(layer_of(tail), shape, "float32")
        self.values[node] = self.values[tail] = value
        before, _ = pads_of(node)
        relu = tail is not node
        emit_convolution(
            self.emitter, layer_of(node), conv, source, value, before=before, relu=relu
        )

    def _do_add(self, node: fx.Node) -> None:
        self._do_pair(node, "ADD")

    def _do_mul(self, node: fx.Node) -> None:
        self._do_pair(node, "MUL")

    def _do_pair(self, node: fx.Node, op: str) -> None:
        tail = fused_tail(node)
        end = sole_quantizer(tail)
        values = [self._operand(node, argument) for argument in node.args[:2]]
        # Float in this network means float here: an add without a quantizer behind it stays so.
        if end is None or not all(value.is_integer for value in values):
            self._arithmetic(node, op, values)
            return
        full = max(values, key=lambda value: int(np.prod(value.shape)))
        result = self.emitter.tensor(
            layer_of(tail), full.shape, "int8", nhwc=full.nhwc, quantizer=quantizer_of(end)
        )
        options = BINARY[op]()
        options.fusedActivationFunction = FUSED_RELU if tail is not node else NOT_FUSED
        self.emitter.emit(op, values, result, options)
        self.values[node] = self.values[tail] = self.values[end] = result

    def _do_sub(self, node: fx.Node) -> None:
        self._arithmetic(node, "SUB", [self._operand(node, a) for a in node.args[:2]])

    def _arithmetic(self, node: fx.Node, op: str, values: list[Value]) -> None:
        tail = fused_tail(node)
        a, b = (self.emitter.to_float(value) for value in values)
        result = self.emitter.arithmetic(layer_of(tail), op, a, b, relu=tail is not node)
        self.values[node] = self.values[tail] = result

    def _operand(self, node: fx.Node, argument: Any) -> Value:
        if isinstance(argument, fx.Node):
            return self._value(argument)
        return self.emitter.number(f"{layer_of(node)}.constant", float(argument))

    def _do_relu(self, node: fx.Node) -> None:
        source = self._source(node)
        self._keep(node, "RELU", source, source.shape)

    def _do_sigmoid(self, node: fx.Node) -> None:
        source = self._source(node)
        end = sole_quantizer(node)
        if end is not None and source.is_integer:
            self._rounded(node, end, "LOGISTIC", [source], source.shape)
            return
        self._keep(node, "LOGISTIC", self.emitter.to_float(source), source.shape)

    def _do_leaky_relu(self, node: fx.Node) -> None:
        source = self.emitter.to_float(self._source(node))
        options = schema.LeakyReluOptionsT()
        options.alpha = float(cast(nn.LeakyReLU, module_of(node)).negative_slope)
        self._keep(node, "LEAKY_RELU", source, source.shape, options)

    def _do_mean(self, node: fx.Node) -> None:
        source = self._source(node)
        end = sole_quantizer(node)
        if shape_of(node)[2:] != (1, 1):
            raise unsupported(node, "a mean over parts of a picture")
        options = schema.ReducerOptionsT()
        options.keepDims = True
        shape = _stored(shape_of(node))
        axes = self.emitter.integers(f"{layer_of(node)}.axes", (1, 2))
        if end is not None and source.is_integer:
            self._rounded(node, end, "MEAN", [source, axes], shape, options)
            return
        source = self.emitter.to_float(source)
        value = self.emitter.like(layer_of(node), source, shape)
        self.values[node] = self.emitter.emit("MEAN", [source, axes], value, options)

    def _rounded(
        self,
        node: fx.Node,
        end: fx.Node,
        op: str,
        inputs: Sequence[Value],
        shape: Sequence[int],
        options: Any = None,
    ) -> None:
        """An operation on integers whose result has the grid of the quantizer behind it."""
        value = self.emitter.tensor(
            layer_of(node), shape, "int8", nhwc=inputs[0].nhwc, quantizer=quantizer_of(end)
        )
        self.values[node] = self.values[end] = self.emitter.emit(op, inputs, value, options)

    def _do_gathered(self, node: fx.Node) -> None:
        source = self.emitter.to_float(self._source(node))
        layer = cast(Gathered, module_of(node))
        self.values[node] = lower_gathered(self.emitter, layer_of(node), source, layer)

    def _do_row_norm(self, node: fx.Node) -> None:
        source = self.emitter.to_float(self._source(node))
        layer = cast(RowNorm, module_of(node))
        self.values[node] = lower_row_norm(self.emitter, layer_of(node), source, layer)

    def _do_max_pool(self, node: fx.Node) -> None:
        pool = cast(nn.MaxPool2d, module_of(node))
        if pool.padding not in (0, (0, 0)) or pool.dilation not in (1, (1, 1)) or pool.ceil_mode:
            raise unsupported(node, "max pooling with its own padding, dilation or ceiling")
        options = schema.Pool2DOptionsT()
        options.padding = schema.Padding.VALID
        options.filterHeight, options.filterWidth = pair(pool.kernel_size)
        options.strideH, options.strideW = pair(pool.stride)
        options.fusedActivationFunction = NOT_FUSED
        self._keep(node, "MAX_POOL_2D", self._source(node), _stored(shape_of(node)), options)

    def _do_depth_to_space(self, node: fx.Node) -> None:
        options = schema.DepthToSpaceOptionsT()
        options.blockSize = cast(DepthToSpace, module_of(node)).block
        self._keep(node, "DEPTH_TO_SPACE", self._source(node), _stored(shape_of(node)), options)

    def _do_channels(self, node: fx.Node) -> None:
        shape = _stored(shape_of(node))
        source = self._source(node)
        self.values[node] = self.emitter.sliced(layer_of(node), source, (0, 0, 0, 0), shape)

    def _keep(
        self, node: fx.Node, op: str, source: Value, shape: Sequence[int], options: Any = None
    ) -> None:
        """An operation whose result has the type and grid of what it reads."""
        value = self.emitter.like(layer_of(node), source, shape)
        self.values[node] = self.emitter.emit(op, [source], value, options)

    def _do_pad(self, node: fx.Node) -> None:
        if part_of_convolutions(node):
            self.values[node] = self._source(node)
            return
        pad = cast(nn.ConstantPad2d, module_of(node))
        left, right, top, bottom = pad.padding
        self.values[node] = self.emitter.padded(
            layer_of(node),
            self._source(node),
            (top, left),
            (bottom, right),
            filler=float(pad.value),
        )

    def _do_resize(self, node: fx.Node) -> None:
        layer = cast(Upsample, module_of(node))
        source = self._source(node)
        end = sole_quantizer(node)
        integer = end is not None and source.quantizer is quantizer_of(end)
        if not integer:
            source = self.emitter.to_float(source)
        shape = _stored(shape_of(node))
        value = self.emitter.like(layer_of(node), source, shape)
        size = self.emitter.integers(f"{layer_of(node)}.size", shape[1:3])
        options = schema.ResizeBilinearOptionsT()
        options.alignCorners = layer.corners
        options.halfPixelCenters = not layer.corners
        version = None if layer.corners else 3
        self.emitter.emit("RESIZE_BILINEAR", [source, size], value, options, version=version)
        self.values[node] = value
        if integer and end is not None:
            self.values[end] = value

    def _do_concat(self, node: fx.Node) -> None:
        values = [self._value(source) for source in cast(Sequence[fx.Node], node.args[0])]
        axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        if axis not in (1, -3) or not all(value.nhwc for value in values):
            raise unsupported(node, f"concatenation along dimension {axis} of an NCHW tensor")
        grids = {id(value.quantizer) for value in values}
        if values[0].quantizer is None or len(grids) > 1:
            values = [self.emitter.to_float(value) for value in values]
        self.values[node] = self.emitter.concatenated(layer_of(node), values, axis=3)

    def _do_permute(self, node: fx.Node) -> None:
        source = self._source(node)
        order = tuple(cast(Sequence[int], node.args[1:]))
        if order == (0, 2, 3, 1) and source.nhwc:
            self.values[node] = source.viewed(nhwc=False)
        elif order == (0, 3, 1, 2) and not source.nhwc and len(source.shape) == 4:
            self.values[node] = source.viewed(nhwc=True)
        else:
            raise unsupported(node, f"permute{order} would need a transpose")

    def _do_reshape(self, node: fx.Node) -> None:
        source = self._source(node)
        if source.nhwc and source.shape[1:3] != (1, 1):
            raise unsupported(node, "reshaping an NCHW tensor would need a transpose")
        target = shape_of(node)
        nhwc = source.nhwc and len(target) == 4 and target[2:] == (1, 1)
        stored = _stored(target) if nhwc else target
        self.values[node] = self.emitter.reshaped(layer_of(node), source, stored, nhwc=nhwc)

    def _do_warp(self, node: fx.Node) -> None:
        feature, uv = (self._operand(node, argument) for argument in node.args)
        warp = cast(Warp, module_of(node))
        if feature.shape[1:3] != (warp.size, warp.size):
            sizes = f"a feature of {feature.shape[1:3]}, the warp is for {warp.size}"
            raise unsupported(node, sizes)
        end = sole_quantizer(node)
        target = None if end is None else quantizer_of(end)
        uv = self.emitter.to_float(uv)
        result = lower_warp(self.emitter, layer_of(node), feature, uv, warp, target)
        self.values[node] = result
        if result.is_integer and end is not None:
            self.values[end] = result

    # --- helpers --------------------------------------------------------------------------------

    def _source(self, node: fx.Node) -> Value:
        """What a node reads first."""
        return self._value(node.all_input_nodes[0])

    def _value(self, node: fx.Node) -> Value:
        if node not in self.values and node in self._constants:
            self.values[node] = self.emitter.constant(layer_of(node), self._constants[node])
        return self.values[node]


def _stored(shape: tuple[int, ...]) -> tuple[int, ...]:
    """NCHW -> NHWC."""
    batch, channels, height, width = shape
    return batch, height, width, channels

"""A prepared or fake-quant graph -> ONNX nodes, tensor by tensor.

What is float is plain ONNX. What is integer is ONNX's Q/DQ form: each operation reads dequantized
integers and its result is quantized, with exactly the scales of the quantizers in the graph. That
is the form which ONNX Runtime and QNN turn into integer kernels of their own, operation by
operation; so every operation on integers has the pair around it, those that keep their input's grid
(pooling, concatenation, ...) too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from torch import fx, nn

from i2uv_edge.convert.onnx_graph import GraphBuilder, Value
from i2uv_edge.convert.reading import (
    fused_tail,
    pads_of,
    pair,
    part_of_convolutions,
    quantizer_of,
    sole_quantizer,
    unsupported,
)
from i2uv_edge.networks.layers import DepthToSpace, Gathered, RowNorm, Upsample, Warp
from i2uv_edge.quantizer.fake_quant import QuantConv2d
from i2uv_edge.quantizer.graph import (
    constant_of,
    kind_of,
    layer_of,
    module_of,
    shape_of,
)

__all__ = ["GRID", "lower"]

GRID = ".grid"  # ends the layer of what makes a warp's sampling grid


def lower(
    graph: fx.GraphModule,
    *,
    input_name: str,
    output_name: str,
    integer_input: bool = False,
    integer_output: bool = False,
) -> ModelProto:
    """Return the ONNX model of a graph made by `prepare` or `quantize`: NCHW, batch 1.

    Parameters
    ----------
    integer_input, integer_output
        Make the file's input or output the integer tensor itself, instead of float32.

    Raises
    ------
    ConversionError
        A layer has no lowering, or lacks a quantizer; names layer and operation.
    """
    lowering = _Lowering(integer_input)
    for node in graph.graph.nodes:
        lowering.visit(node)
    builder = lowering.builder
    (source,), result = lowering.inputs, lowering.result(integer_output)
    source = builder.rename(source, input_name)
    return builder.to_model(source, builder.rename(result, output_name))


class _Lowering:
    """Walks the graph, one method for each kind of operation; `values` is what is computed."""

    def __init__(self, integer_input: bool) -> None:
        self.builder = GraphBuilder()
        self.inputs: list[Value] = []
        self.values: dict[fx.Node, Value] = {}
        self._integer_input = integer_input
        self._outputs: list[fx.Node] = []
        # Written when first read: in the type, float or integer, that the reader needs.
        self._constants: dict[fx.Node, NDArray[np.float32]] = {}

    def visit(self, node: fx.Node) -> None:
        if node in self.values:  # computed as part of the operation before it
            return
        kind = kind_of(node)
        method: Callable[[fx.Node], None] | None = getattr(self, f"_do_{kind}", None)
        if method is None:
            raise unsupported(node, f"operation {kind} has no ONNX lowering")
        method(node)

    def result(self, int8: bool) -> Value:
        (node,) = self._outputs
        value = self._value(node)
        if len(value.shape) != 4:
            raise unsupported(node, "the output is no NCHW tensor")
        if int8 and not value.is_integer:
            raise unsupported(node, "the output is float, int8 was asked for")
        return value if int8 else self.builder.real(value)

    # --- what holds values ----------------------------------------------------------------------

    def _do_input(self, node: fx.Node) -> None:
        if self._integer_input:
            end = sole_quantizer(node)
            if end is None:
                raise unsupported(node, "an int8 input needs one quantizer that all readers share")
            value = self.builder.tensor(layer_of(node), shape_of(node), quantizer_of(end))
            self.values[end] = value
        else:
            value = self.builder.tensor(layer_of(node), shape_of(node))
        self.values[node] = value
        self.inputs.append(value)

    def _do_output(self, node: fx.Node) -> None:
        self._outputs.append(node.all_input_nodes[0])

    def _do_constant(self, node: fx.Node) -> None:
        self._constants[node] = constant_of(node).detach().numpy()

    def _do_quantizer(self, node: fx.Node) -> None:
        quantizer, name = quantizer_of(node), layer_of(node)
        constant = self._constants.get(node.all_input_nodes[0])
        if constant is not None:
            self.values[node] = self.builder.quantized_constant(name, constant, quantizer)
        else:
            self.values[node] = self.builder.quantized(self._source(node), quantizer, name)

    # --- what computes --------------------------------------------------------------------------

    def _do_conv(self, node: fx.Node) -> None:
        conv = cast(QuantConv2d | nn.Conv2d, module_of(node))
        source = self._source(node)
        if isinstance(conv.padding, str):
            raise unsupported(node, f"padding by the name {conv.padding!r}")
        integer = isinstance(conv, QuantConv2d)
        before, after = pads_of(node)
        if isinstance(conv, QuantConv2d) and source.quantizer is not conv.source:
            raise unsupported(node, "its input does not come from the quantizer it was given")
        result = self.builder.node(
            "Conv",
            layer_of(node),
            [source, *self._weights(layer_of(node), conv)],
            shape_of(node),
            dilations=conv.dilation,
            group=conv.groups,
            kernel_shape=conv.kernel_size,
            pads=(*before, *after),
            strides=conv.stride,
        )
        self._finish(node, result, integer=integer)

    def _weights(self, layer: str, conv: QuantConv2d | nn.Conv2d) -> tuple[str, ...]:
        """Names of the kernel and, if there is one, the bias: their real values."""
        add = self.builder
        if isinstance(conv, QuantConv2d):
            scale = conv.scale.detach().numpy()
            step = conv.bias_step()
            if not conv.per_channel:
                scale, step = scale[0], step[0]
            kernel = add.weight(f"{layer}.weight", conv.integer_weight(), np.asarray(scale))
            bias = add.weight(f"{layer}.bias", conv.integer_bias(), np.asarray(step, np.float32))
            return kernel, bias
        kernel = add.constant(f"{layer}.weight", conv.weight.detach().numpy())
        if conv.bias is None:
            return (kernel,)
        return kernel, add.constant(f"{layer}.bias", conv.bias.detach().numpy())

    def _do_add(self, node: fx.Node) -> None:
        self._do_pair(node, "Add")

    def _do_mul(self, node: fx.Node) -> None:
        self._do_pair(node, "Mul")

    def _do_pair(self, node: fx.Node, op: str) -> None:
        values = [self._operand(node, argument) for argument in node.args[:2]]
        # Float in this network means float here: an add without a quantizer behind it stays so.
        integer = all(v.is_integer for v in values) and sole_quantizer(fused_tail(node)) is not None
        result = self.builder.node(op, layer_of(node), values, shape_of(node))
        self._finish(node, result, integer=integer)

    def _do_sub(self, node: fx.Node) -> None:
        self._arithmetic(node, "Sub")

    def _arithmetic(self, node: fx.Node, op: str) -> None:
        values = [self._operand(node, argument) for argument in node.args[:2]]
        self.values[node] = self.builder.node(op, layer_of(node), values, shape_of(node))

    def _operand(self, node: fx.Node, argument: Any) -> Value:
        if isinstance(argument, fx.Node):
            return self._value(argument)
        return self.builder.floats(f"{layer_of(node)}.constant", np.array(argument, np.float32))

    def _finish(self, node: fx.Node, result: Value, *, integer: bool) -> None:
        """What is behind a convolution or an add: its ReLU and, where it is integer, rounding."""
        tail = fused_tail(node)
        relu = tail is not node
        if not integer:
            self.values[node] = self.values[tail] = self._relu(tail, result) if relu else result
            return
        end = sole_quantizer(tail)
        if end is None:
            raise unsupported(tail, "an integer result has no range")
        quantizer = quantizer_of(end)
        # On a grid that starts at zero the ReLU is in the rounding: ONNX Runtime drops it and fuses
        # the convolution. On any other it does neither; rounded first as well, both are integer.
        if relu and quantizer.encoding[1] != quantizer.low:
            result = self.builder.quantized(result, quantizer, layer_of(node))
        if relu:
            result = self._relu(tail, result)
        made = self.builder.quantized(result, quantizer, layer_of(end))
        self.values[node] = self.values[tail] = self.values[end] = made

    def _relu(self, node: fx.Node, source: Value) -> Value:
        return self.builder.node("Relu", layer_of(node), [source], shape_of(node))

    def _do_relu(self, node: fx.Node) -> None:
        self._keep(node, "Relu", [self._source(node)])

    def _do_sigmoid(self, node: fx.Node) -> None:
        self._do_rounded(node, "Sigmoid")

    def _do_mean(self, node: fx.Node) -> None:
        if shape_of(node)[2:] != (1, 1):
            raise unsupported(node, "a mean over parts of a picture")
        self._do_rounded(node, "GlobalAveragePool")

    def _do_rounded(self, node: fx.Node, op: str) -> None:
        """An operation with a grid of its own where a quantizer follows it, or in float."""
        source, end = self._source(node), sole_quantizer(node)
        result = self.builder.node(op, layer_of(node), [source], shape_of(node))
        if end is not None and source.is_integer:
            result = self.builder.quantized(result, quantizer_of(end), layer_of(end))
            self.values[end] = result
        self.values[node] = result

    def _do_leaky_relu(self, node: fx.Node) -> None:
        slope = float(cast(nn.LeakyReLU, module_of(node)).negative_slope)
        inputs = [self.builder.real(self._source(node))]
        self._keep(node, "LeakyRelu", inputs, alpha=slope)

    def _do_gathered(self, node: fx.Node) -> None:
        layer, name, add = cast(Gathered, module_of(node)), layer_of(node), self.builder
        _, channels, _, _ = shape_of(node)
        index = add.constant(f"{name}.index", layer.index.numpy())
        weight = add.floats(f"{name}.weight", layer.weight.detach().numpy())
        taken = (1, channels, 1, *layer.index.shape)
        source = add.real(self._source(node))
        taps = add.node("Gather", f"{name}.taps", [source, index], taken, axis=3)
        weighted = add.node("Mul", f"{name}.weighted", [taps, weight], taken)
        axis = add.constant(f"{name}.axis", np.array([-1], np.int64))
        self.values[node] = add.node(
            "ReduceSum", name, [weighted, axis], shape_of(node), keepdims=0
        )

    def _do_row_norm(self, node: fx.Node) -> None:
        layer, name, add = cast(RowNorm, module_of(node)), layer_of(node), self.builder
        _, channels, _, rows = shape = shape_of(node)
        grouped = (1, layer.groups, channels // layer.groups, rows)
        single = (1, layer.groups, 1, 1)
        axes = add.constant(f"{name}.axes", np.array([2, 3], np.int64))
        source = add.real(self._source(node))
        x = self._reshaped(f"{name}.grouped", source, grouped)
        mean = add.node("ReduceMean", f"{name}.mean", [x, axes], single)
        centred = add.node("Sub", f"{name}.centred", [x, mean], grouped)
        squared = add.node("Mul", f"{name}.squared", [centred, centred], grouped)
        variance = add.node("ReduceMean", f"{name}.variance", [squared, axes], single)
        epsilon = add.floats(f"{name}.epsilon", np.array(layer.epsilon, np.float32))
        raised = add.node("Add", f"{name}.raised", [variance, epsilon], single)
        root = add.node("Sqrt", f"{name}.root", [raised], single)
        normed = add.node("Div", f"{name}.normed", [centred, root], grouped)
        whole = self._reshaped(f"{name}.whole", normed, shape)
        gamma, beta = (
            add.floats(f"{name}.{key}", value.detach().numpy().reshape(1, -1, 1, 1))
            for key, value in (("gamma", layer.gamma), ("beta", layer.beta))
        )
        gained = add.node("Mul", f"{name}.gained", [whole, gamma], shape)
        self.values[node] = add.node("Add", name, [gained, beta], shape)

    def _reshaped(self, name: str, source: Value, shape: Sequence[int]) -> Value:
        if source.shape == tuple(shape):
            return source
        table = self.builder.constant(f"{name}.shape", np.array(shape, np.int64))
        return self.builder.node("Reshape", name, [source, table], shape)

    def _do_max_pool(self, node: fx.Node) -> None:
        pool = cast(nn.MaxPool2d, module_of(node))
        if pool.dilation not in (1, (1, 1)) or pool.ceil_mode:
            raise unsupported(node, "max pooling with dilation or ceiling")
        padding = pair(pool.padding)
        self._keep(
            node,
            "MaxPool",
            [self._source(node)],
            kernel_shape=pair(pool.kernel_size),
            pads=(*padding, *padding),
            strides=pair(pool.stride),
        )

    def _do_depth_to_space(self, node: fx.Node) -> None:
        block = cast(DepthToSpace, module_of(node)).block
        self._keep(node, "DepthToSpace", [self._source(node)], blocksize=block, mode="DCR")

    def _do_channels(self, node: fx.Node) -> None:
        source = self._source(node)
        result = self._first_channels(layer_of(node), source, shape_of(node)[1])
        self.values[node] = self._on_grid_of(source, result, node)

    def _first_channels(self, name: str, source: Value, count: int) -> Value:
        begin, end, axes = (
            self.builder.constant(f"{name}.{key}", np.array([number], np.int64))
            for key, number in (("begin", 0), ("end", count), ("axis", 1))
        )
        shape = (source.shape[0], count, *source.shape[2:])
        return self.builder.node("Slice", name, [source, begin, end, axes], shape)

    def _do_pad(self, node: fx.Node) -> None:
        if part_of_convolutions(node):
            self.values[node] = self._source(node)
            return
        pad = cast(nn.ConstantPad2d, module_of(node))
        left, right, top, bottom = pad.padding
        amounts = np.array((0, 0, top, left, 0, 0, bottom, right), np.int64)
        table = self.builder.constant(f"{layer_of(node)}.amounts", amounts)
        filler = self.builder.constant(f"{layer_of(node)}.filler", np.array(pad.value, np.float32))
        self._keep(node, "Pad", [self._source(node), table, filler], mode="constant")

    def _do_resize(self, node: fx.Node) -> None:
        layer = cast(Upsample, module_of(node))
        source = self._source(node)
        factors = np.array((1, 1, layer.factor, layer.factor), np.float32)
        table = self.builder.constant(f"{layer_of(node)}.factors", factors)
        result = self.builder.node(
            "Resize",
            layer_of(node),
            [source, "", table],
            shape_of(node),
            mode="linear",
            coordinate_transformation_mode="align_corners" if layer.corners else "half_pixel",
        )
        end = sole_quantizer(node)
        if end is not None and source.quantizer is quantizer_of(end):
            result = self.builder.quantized(result, quantizer_of(end), layer_of(end))
            self.values[end] = result
        self.values[node] = result

    def _do_concat(self, node: fx.Node) -> None:
        values = [self._value(source) for source in cast(Sequence[fx.Node], node.args[0])]
        axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        if axis not in (1, -3) or any(len(value.shape) != 4 for value in values):
            raise unsupported(node, f"concatenation along dimension {axis} of an NCHW tensor")
        if len({id(value.quantizer) for value in values}) > 1:
            values = [self.builder.real(value) for value in values]
        self._keep(node, "Concat", values, axis=1)

    def _do_permute(self, node: fx.Node) -> None:
        order = cast(Sequence[int], node.args[1:])
        if tuple(order) not in ((0, 2, 3, 1), (0, 3, 1, 2)):
            raise unsupported(node, f"permute{tuple(order)} has no place in a deployed network")
        self._keep(node, "Transpose", [self._source(node)], perm=order)

    def _do_reshape(self, node: fx.Node) -> None:
        shape = np.array(shape_of(node), np.int64)
        table = self.builder.constant(f"{layer_of(node)}.shape", shape)
        self._keep(node, "Reshape", [self._source(node), table])

    def _do_warp(self, node: fx.Node) -> None:
        feature, uv = (self.builder.real(self._operand(node, arg)) for arg in node.args)
        warp = cast(Warp, module_of(node))
        if feature.shape[2:] != (warp.size, warp.size):
            raise unsupported(
                node, f"a feature of {feature.shape[2:]}, the warp is for {warp.size}"
            )
        self.values[node] = self.builder.node(
            "GridSample",
            layer_of(node),
            [feature, self._sampling_grid(layer_of(node), uv, warp)],
            shape_of(node),
            mode="linear",
            padding_mode=warp.sampling.padding,
            align_corners=int(warp.sampling.align_corners),
        )

    def _sampling_grid(self, layer: str, uv: Value, warp: Warp) -> Value:
        """(1, C, m, m), x and y in 0..1 -> (1, m, m, 2), -1..1 from edge to edge."""
        add, name = self.builder, layer + GRID
        side = uv.shape[2:]
        xy = self._first_channels(f"{name}.xy", uv, 2)
        if warp.sampling.padding == "zeros":
            limits = [
                add.constant(f"{name}.{key}", np.array(value, np.float32))
                for key, value in (("least", 0.0), ("greatest", 1.0))
            ]
            xy = add.node("Clip", f"{name}.clamped", [xy, *limits], xy.shape)
        two = add.floats(f"{name}.two", np.array(2.0, np.float32))
        one = add.floats(f"{name}.one", np.array(1.0, np.float32))
        xy = add.node("Mul", f"{name}.scaled", [xy, two], xy.shape)
        xy = add.node("Sub", f"{name}.centred", [xy, one], xy.shape)
        return add.node("Transpose", name, [xy], (1, *side, 2), perm=(0, 2, 3, 1))

    # --- helpers --------------------------------------------------------------------------------

    def _keep(self, node: fx.Node, op: str, inputs: Sequence[Value | str], **options: Any) -> None:
        """An operation whose result has the type and grid of what it reads first."""
        result = self.builder.node(op, layer_of(node), inputs, shape_of(node), **options)
        first = inputs[0]
        assert isinstance(first, Value)
        self.values[node] = self._on_grid_of(first, result, node)

    def _on_grid_of(self, source: Value, result: Value, node: fx.Node) -> Value:
        """A result rounded to the grid it lies on already, where its source is integer."""
        if source.quantizer is None:
            return result
        return self.builder.quantized(result, source.quantizer, layer_of(node))

    def _source(self, node: fx.Node) -> Value:
        """What a node reads first."""
        return self._value(node.all_input_nodes[0])

    def _value(self, node: fx.Node) -> Value:
        if node not in self.values and node in self._constants:
            self.values[node] = self.builder.floats(layer_of(node), self._constants[node])
        return self.values[node]

"""Whether an ONNX file is what its encodings and its recipe say, operation by operation."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from i2uv_edge.convert.histogram import machine_path
from i2uv_edge.convert.onnx_graph import OFFSET, QUANTIZED
from i2uv_edge.errors import ConversionError
from i2uv_edge.quantizer.encodings import Encodings
from i2uv_edge.quantizer.plan import keeps_float
from i2uv_edge.spec import RecipeSpec

__all__ = ["check_model", "check_ranges"]

# What the lowering writes. No runtime on the device has to run anything else.
_OPERATIONS = {
    *("Add", "Clip", "Concat", "Conv", "DepthToSpace", "DequantizeLinear", "Div", "Gather"),
    *("GlobalAveragePool", "GridSample", "LeakyRelu", "MaxPool", "Mul", "Pad", "QuantizeLinear"),
    *("ReduceMean", "ReduceSum", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Sqrt", "Sub"),
    "Transpose",
}
# int64 is what ONNX wants shapes to be.
_TYPES = {
    *(TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32),
    TensorProto.INT64,
}
_Array = NDArray[Any]


@dataclass(frozen=True)
class _Range:
    """Type, scales and zero points of an integer tensor, as one of its readers or writers has."""

    dtype: str
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]


class _Graph:
    """A model's nodes by what they write and read, and its constants."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.writer = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.constants = {item.name: item for item in model.graph.initializer}
        self.inputs = [port.name for port in model.graph.input]
        self.outputs = [port.name for port in model.graph.output]

    def op(self, tensor: str) -> str:
        """The operation that writes a tensor, "" for inputs and constants."""
        return self.writer[tensor].op_type if tensor in self.writer else ""

    def values(self, tensor: str) -> _Array:
        return numpy_helper.to_array(self.constants[tensor])

    def origin(self, tensor: str) -> str:
        """The stored tensor behind a dequantized one, or the tensor itself."""
        if self.op(tensor) == "DequantizeLinear":
            return str(self.writer[tensor].input[0])
        return tensor

    def ranges(self) -> dict[str, list[_Range]]:
        """What each quantization and dequantization says of the integers it writes or reads."""
        found: dict[str, list[_Range]] = {}
        for node in self.nodes:
            if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
                integers = node.output[0] if node.op_type == "QuantizeLinear" else node.input[0]
                scale, zero = self.values(node.input[1]), self.values(node.input[2])
                found.setdefault(str(integers), []).append(
                    _Range(
                        str(zero.dtype),
                        tuple(float(value) for value in scale.reshape(-1)),
                        tuple(int(value) for value in zero.reshape(-1)),
                    )
                )
        return found


def check_model(
    model: ModelProto,
    recipe: RecipeSpec,
    *,
    network_role: str,
    name: str,
    transposed: Collection[str] = (),
) -> None:
    """Refuse a model that computes anything in another type than its recipe says.

    Parameters
    ----------
    name
        The file's, for the message.
    transposed
        Layers that may hold a Transpose: the network's own, and the warps' grids.

    Raises
    ------
    ConversionError
        Names each offending operation and layer: a convolution in float that no override names,
        one in integers that an override keeps float, one that no runtime can fuse, too many
        multiply-accumulates in float, an operation or type that has no place here.
    """
    graph = _Graph(model)
    faults = [*_foreign(graph), *_rounded_twice(graph)]
    faults += [
        f"Transpose at {node.name!r} is not the network's"
        for node in graph.nodes
        if node.op_type == "Transpose" and node.name not in transposed
    ]
    total = in_float = 0
    shapes = _shapes(model)
    for node in graph.nodes:
        if node.op_type != "Conv":
            continue
        layer = graph.origin(node.input[1]).removesuffix(".weight")
        wanted = recipe.is_float or keeps_float(recipe, network_role, layer)
        integer = graph.op(node.input[1]) == "DequantizeLinear"
        if wanted == integer:
            states = ("float", "integer") if wanted else ("integer", "float")
            faults.append(f"Conv of layer {layer!r} is {states[1]}, the recipe says {states[0]}")
        if integer:
            faults += _unfused(graph, node, layer)
        macs = int(np.prod(shapes[node.input[1]]) * np.prod(shapes[node.output[0]][2:]))
        total += macs
        in_float += 0 if integer else macs
    if total and in_float / total > recipe.max_float_macs:
        faults.append(
            f"{in_float / total:.2%} of the multiply-accumulates are float, "
            f"at most {recipe.max_float_macs:.2%} may be"
        )
    if faults:
        raise ConversionError(
            f"{name} is not what recipe {recipe.name!r} asks for:\n  " + "\n  ".join(faults),
            expected="every layer in the type its recipe says",
            remedy="add an override with its reason for a layer that is meant to stay float",
        )


def check_ranges(model: ModelProto, encodings: Encodings, *, name: str) -> None:
    """Refuse a model whose scales and zero points are not exactly those of the encodings.

    Raises
    ------
    ConversionError
        Names the first tensors that are missing, differ, or are integer without an encoding.
    """
    graph = _Graph(model)
    found = graph.ranges()
    faults = [
        f"{tensor!r} has two ranges, {ranges[0]} and {other}"
        for tensor, ranges in found.items()
        for other in ranges
        if other != ranges[0]
    ]
    first = {tensor: ranges[0] for tensor, ranges in found.items()}
    known: set[str] = set()
    for key, entry in encodings.activations.items():
        wanted = _Range("uint8", (entry.scale,), (entry.zero_point + OFFSET,))
        ends = [end for end in (*graph.inputs, *graph.outputs) if first.get(end) == wanted]
        tensor = next((item for item in (key + QUANTIZED, *ends) if item in first), None)
        if tensor is None:
            faults.append(f"activation {key!r} is not an integer tensor of the file")
            continue
        known.add(tensor)
        faults += _compare(key, first[tensor], wanted)
    for key, weight in encodings.weights.items():
        if key not in first:
            faults.append(f"weight {key!r} is not an integer tensor of the file")
            continue
        known.add(key)
        wanted = _Range("int8", weight.scale, (0,) * len(weight.scale))
        faults += _compare(key, first[key], wanted)
    biases = _biases(graph)
    for tensor in sorted(set(first) - known):
        if tensor in biases:
            faults += _compare(tensor, first[tensor], biases[tensor])
        elif first[tensor] not in (first.get(origin) for origin in _same_grid(graph, tensor)):
            faults.append(f"tensor {tensor!r} has a range that no encoding holds")
    if faults:
        more = f"\n  and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise ConversionError(
            f"{name} differs from its encodings:\n  " + "\n  ".join(faults[:5]) + more,
            expected="exactly the ranges that calibration found",
        )


def _compare(name: str, found: _Range, wanted: _Range) -> list[str]:
    if found == wanted:
        return []
    if (found.dtype, len(found.scale)) != (wanted.dtype, len(wanted.scale)):
        return [
            f"{name!r} is {found.dtype} with {len(found.scale)} scales, "
            f"its encoding {wanted.dtype} with {len(wanted.scale)}"
        ]
    pairs = zip(
        zip(found.scale, found.zero_point, strict=True),
        zip(wanted.scale, wanted.zero_point, strict=True),
        strict=True,
    )
    at, (ours, theirs) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
    return [
        f"{name!r} has scale {ours[0]!r} and zero point {ours[1]} at index {at}, "
        f"its encoding {theirs[0]!r} and {theirs[1]}"
    ]


def _biases(graph: _Graph) -> Mapping[str, _Range]:
    """The range of each integer bias: steps of input scale x weight scale."""
    found: dict[str, _Range] = {}
    for node in graph.nodes:
        if node.op_type != "Conv" or len(node.input) < 3:
            continue
        parts = [graph.writer.get(name) for name in node.input[:3]]
        if any(part is None or part.op_type != "DequantizeLinear" for part in parts):
            continue
        source, kernel, bias = (graph.values(part.input[1]) for part in parts if part is not None)
        step = source.astype(np.float64) * kernel.astype(np.float64)
        scale = tuple(float(value) for value in step.astype(np.float32).reshape(-1))
        found[graph.origin(node.input[2])] = _Range("int32", scale, (0,) * bias.size)
    return found


def _same_grid(graph: _Graph, tensor: str) -> list[str]:
    """The integer tensors whose grid one without an encoding has to have.

    They are those its operation reads; for a convolution or sum that is rounded before its ReLU,
    what is rounded behind it.
    """
    node = graph.writer.get(graph.writer[tensor].input[0]) if tensor in graph.writer else None
    if node is None:
        return []
    if node.op_type not in ("Conv", "Add"):
        return [graph.origin(name) for name in node.input if name]
    reals = (str(back.output[0]) for back in graph.readers.get(tensor, ()))
    relus = (node for real in reals for node in graph.readers.get(real, ()))
    results = (str(relu.output[0]) for relu in relus if relu.op_type == "Relu")
    return [str(node.output[0]) for name in results for node in graph.readers.get(name, ())]


def _foreign(graph: _Graph) -> list[str]:
    """What has no place in a deployed network, and what tells where a file was made."""
    model = graph.model
    faults = [
        f"{node.domain or 'operation'} {node.op_type} at {node.name!r} has no place here"
        for node in graph.nodes
        if node.op_type not in _OPERATIONS or node.domain
    ]
    kinds = {name: item.data_type for name, item in graph.constants.items()}
    for port in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        kinds[port.name] = port.type.tensor_type.elem_type
    faults += [
        f"tensor {name!r} is {TensorProto.DataType.Name(kind)}"
        for name, kind in kinds.items()
        if kind not in _TYPES
    ]
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        faults.append(f"it has inputs {graph.inputs} and outputs {graph.outputs}, not one of each")
    texts = [model.doc_string, model.graph.doc_string, *(n.doc_string for n in graph.nodes)]
    if any(texts) or len(model.metadata_props):
        faults.append("it holds texts beside the network")
    names = "\n".join([*kinds, *(node.name for node in graph.nodes)]).encode()
    if path := machine_path(names):
        faults.append(f"it holds the path {path!r}")
    return faults


def _rounded_twice(graph: _Graph) -> list[str]:
    """Quantizations of what was dequantized from the same grid."""
    ranges = graph.ranges()
    return [
        f"QuantizeLinear at {node.name!r} rounds what is on its grid already"
        for node in graph.nodes
        if node.op_type == "QuantizeLinear"
        and graph.op(node.input[0]) == "DequantizeLinear"
        and ranges[node.output[0]] == ranges[graph.origin(node.input[0])][:1]
    ]


def _unfused(graph: _Graph, node: NodeProto, layer: str) -> list[str]:
    """What keeps an integer convolution from becoming an integer kernel."""
    faults = [
        f"Conv of layer {layer!r} reads a {what} that is not dequantized"
        for what, name in zip(("input", "weight", "bias"), node.input, strict=False)
        if graph.op(name) != "DequantizeLinear"
    ]
    result = str(node.output[0])
    readers = graph.readers.get(result, [])
    if [reader.op_type for reader in readers] == ["Relu"]:
        readers = graph.readers.get(str(readers[0].output[0]), [])
    if [reader.op_type for reader in readers] != ["QuantizeLinear"]:
        faults.append(f"Conv of layer {layer!r} has a result that is not quantized")
    return faults


def _shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """Sizes of every tensor by name."""
    found = {item.name: tuple(item.dims) for item in model.graph.initializer}
    for port in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        sizes = port.type.tensor_type.shape.dim
        found[port.name] = tuple(size.dim_value for size in sizes)
    return found

"""What an ONNX file computes in which type, told as `histogram` tells it of a TFLite file.

In a Q/DQ file every operation is written in float; one whose numbers all come dequantized and whose
result is quantized is what a runtime may compute in integers, and is counted as such.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from i2uv_edge.onnx_runner import needed

if TYPE_CHECKING:
    from onnx import NodeProto

__all__ = ["onnx_histogram", "onnx_macs"]

_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
# What a runtime computes with the operation in front of it.
_FUSED = ("Relu", "Clip")
# The constants of any other operation are sizes, axes and fillers, not numbers it computes with.
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class _Types:
    """The type and shape of every tensor, and which tensors stand for integers."""

    def __init__(self, path: Path) -> None:
        onnx = needed("onnx")
        graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
        self.nodes = list(graph.node)
        self.names: dict[str, str] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for port in (*graph.input, *graph.output, *graph.value_info):
            kind = port.type.tensor_type
            self.names[port.name] = _type_name(kind.elem_type)
            self.shapes[port.name] = tuple(size.dim_value for size in kind.shape.dim)
        for item in graph.initializer:
            self.names[item.name] = _type_name(item.data_type)
            self.shapes[item.name] = tuple(item.dims)
        self._constants = {item.name for item in graph.initializer}
        self._writer = {name: node for node in self.nodes for name in node.output}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def of(self, node: NodeProto) -> tuple[str, str]:
        """What it reads first and what it writes first, in the integers that are meant."""
        read, written = self.names[node.input[0]], self.names[node.output[0]]
        if node.op_type in (_QUANTIZE, _DEQUANTIZE) or not self._is_integer(node):
            return read, written
        return self._meant(node.input[0]), self.names[self._end(node.output[0])]

    def _is_integer(self, node: NodeProto) -> bool:
        """Whether all its numbers come dequantized, and what it writes is quantized."""
        weighted = node.op_type in _WEIGHTED
        numbers = [n for n in node.input if n and (weighted or n not in self._constants)]
        read = all(self._meant(name) != self.names[name] for name in numbers)
        return bool(numbers) and read and bool(self._end(node.output[0]))

    def _meant(self, tensor: str) -> str:
        """The type of the integers that a tensor was made from, else its own."""
        writer = self._writer.get(tensor)
        if writer is not None and writer.op_type == _DEQUANTIZE:
            return self.names[writer.input[0]]
        if writer is not None and len(self._readers[tensor]) == 1:
            (reader,) = self._readers[tensor]
            if reader.op_type in _FUSED and self._is_integer(writer):
                return self._meant(writer.input[0])
        return self.names[tensor]

    def _end(self, tensor: str) -> str:
        """The integers that a tensor becomes, "" if it stays what it is for any reader."""
        readers = self._readers.get(tensor, [])
        if readers and all(node.op_type == _QUANTIZE for node in readers):
            return str(readers[0].output[0])
        if len(readers) == 1 and readers[0].op_type in _FUSED:
            return self._end(readers[0].output[0])
        return ""


def onnx_histogram(path: Path) -> dict[str, int]:
    """Count operators by name and types: {"Conv UINT8>UINT8": 33, ...}, most frequent first."""
    types = _Types(path)
    counts = Counter(f"{node.op_type} {'>'.join(types.of(node))}" for node in types.nodes)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def onnx_macs(path: Path) -> dict[str, int]:
    """Multiply-accumulates of the convolutions by the type they read."""
    types = _Types(path)
    total: Counter[str] = Counter()
    for node in types.nodes:
        if node.op_type == "Conv":
            taps = int(np.prod(types.shapes[node.input[1]]))
            positions = int(np.prod(types.shapes[node.output[0]][2:]))
            total[types.of(node)[0]] += taps * positions
    return dict(total)


def _type_name(number: int) -> str:
    """As TFLite calls it: ONNX's FLOAT is FLOAT32."""
    name = needed("onnx").TensorProto.DataType.Name(number)
    return "FLOAT32" if name == "FLOAT" else str(name)

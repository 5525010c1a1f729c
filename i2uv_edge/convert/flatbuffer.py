"""Writing a TFLite file: tensors, constants and operators in the order they run.

The bytes depend on nothing but what was added: no time, path or version goes in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

__all__ = ["ModelWriter", "Quantization", "read_model", "write_model"]

_SCHEMA_VERSION = 3
_IDENTIFIER = b"TFL3"
_SIGNATURE = "serving_default"
_ALIGNMENT = 16  # of constants, as the schema's force_align demands
_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int32": schema.TensorType.INT32,
    "int8": schema.TensorType.INT8,
}


@dataclass(frozen=True)
class Quantization:
    """real = scale * (q - zero_point): one pair for a tensor, or one for each index of `axis`."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int = 0


class _Buffer(schema.BufferT):  # type: ignore[misc]
    """A constant whose bytes start on the alignment the schema asks for."""

    def Pack(self, builder: Any) -> Any:  # noqa: N802  (the schema's name)
        data = bytes(self.data)
        builder.StartVector(1, len(data), _ALIGNMENT)
        builder.head = builder.head - len(data)
        builder.Bytes[builder.head : builder.head + len(data)] = data
        vector = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


class ModelWriter:
    """Collects one graph and serialises it."""

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]  # index 0 means "no data"
        self._operators: list[Any] = []
        self._codes: dict[tuple[int, int], int] = {}
        self._names: dict[str, int] = {}

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str,
        quantization: Quantization | None = None,
    ) -> int:
        """Add a tensor that an operator computes; returns its index. A taken name gets a number."""
        tensor = schema.TensorT()
        tensor.name = self._unique(name)
        tensor.shape = np.asarray(shape, np.int32)
        tensor.type = _TYPES[dtype]
        tensor.buffer = 0
        tensor.hasRank = True
        if quantization is not None:
            parameters = schema.QuantizationParametersT()
            parameters.scale = np.asarray(quantization.scale, np.float32)
            parameters.zeroPoint = np.asarray(quantization.zero_point, np.int64)
            parameters.quantizedDimension = quantization.axis
            tensor.quantization = parameters
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def constant(
        self, name: str, values: NDArray[Any], quantization: Quantization | None = None
    ) -> int:
        """Add a tensor with fixed values; returns its index."""
        index = self.tensor(name, values.shape, str(values.dtype), quantization)
        buffer = _Buffer()
        buffer.data = np.ascontiguousarray(values).tobytes()
        self._buffers.append(buffer)
        self._tensors[index].buffer = len(self._buffers) - 1
        return index

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Any = None,
        *,
        version: int = 1,
    ) -> None:
        """Append an operator by its schema name; `options` is the schema's options object."""
        code = getattr(schema.BuiltinOperator, name)
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.setdefault((code, version), len(self._codes))
        operator.inputs = np.asarray(inputs, np.int32)
        operator.outputs = np.asarray(outputs, np.int32)
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self._operators.append(operator)

    def name(self, index: int) -> str:
        """The name of a tensor."""
        return str(self._tensors[index].name)

    def rename(self, index: int, name: str) -> None:
        """Give a tensor a name that no other tensor may keep."""
        for other, tensor in enumerate(self._tensors):
            if tensor.name == name and other != index:
                tensor.name = self._unique(name)
        self._names.setdefault(name, 1)
        self._tensors[index].name = name

    def to_bytes(self, inputs: dict[str, int], outputs: dict[str, int]) -> bytes:
        """Serialise with the given inputs and outputs, which become the file's one signature."""
        graph = schema.SubGraphT()
        graph.name = "main"
        graph.tensors = self._tensors
        graph.operators = self._operators
        graph.inputs = np.asarray(list(inputs.values()), np.int32)
        graph.outputs = np.asarray(list(outputs.values()), np.int32)
        signature = schema.SignatureDefT()
        signature.signatureKey = _SIGNATURE
        signature.subgraphIndex = 0
        signature.inputs = [_tensor_map(name, index) for name, index in inputs.items()]
        signature.outputs = [_tensor_map(name, index) for name, index in outputs.items()]
        model = schema.ModelT()
        model.version = _SCHEMA_VERSION
        model.description = "i2uv-edge"
        model.operatorCodes = [_code(code, version) for code, version in self._codes]
        model.subgraphs = [graph]
        model.buffers = self._buffers
        model.signatureDefs = [signature]
        return _packed(model)

    def _unique(self, name: str) -> str:
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return self._unique(f"{name}_{count}") if count else name


def read_model(data: bytes) -> Any:
    """Unpack a TFLite file into the schema's objects, constants resolved."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    for buffer in model.buffers:
        # Some writers keep large constants behind the flatbuffer; re-saving would drop them.
        if buffer.offset and buffer.offset > 1:
            buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
    return model


def write_model(model: Any) -> bytes:
    """Pack what `read_model` gave, changed or not."""
    for number, buffer in enumerate(model.buffers):
        if buffer.data is not None and len(buffer.data):
            model.buffers[number] = _Buffer()
            model.buffers[number].data = np.asarray(buffer.data, np.uint8).tobytes()
    return _packed(model)


def _packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def _tensor_map(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name = name
    entry.tensorIndex = index
    return entry


def _code(code: int, version: int) -> Any:
    entry = schema.OperatorCodeT()
    entry.builtinCode = code
    entry.deprecatedBuiltinCode = min(code, 127)
    entry.version = version
    return entry

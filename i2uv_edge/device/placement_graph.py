"""The operators of a TFLite file as far as placement and cost depend on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2uv_edge.errors import InputError

__all__ = ["Operator", "Tensor", "read_network"]

_ITEM_BYTES = {"FLOAT32": 4, "INT32": 4, "UINT32": 4, "FLOAT16": 2, "INT16": 2, "INT64": 8}
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")


@dataclass(frozen=True)
class Tensor:
    """A tensor that is computed; the last dimension is channels."""

    name: str
    shape: tuple[int, ...]
    type: str

    def mb(self, lanes: int = 1) -> float:
        """Megabytes (10^6) in memory, with channels rounded up to whole lanes."""
        *rows, channels = self.shape or (1,)
        return math.prod(rows) * full(channels, lanes) * _ITEM_BYTES.get(self.type, 1) / 1e6


@dataclass(frozen=True)
class Operator:
    """One operator.

    `layer` is the name of what it computes; `inputs` are the tensors it reads that are no
    constants; `kernel` is (height, width), `channels` are those that one output of a convolution
    is summed over and those it gives, `positions` is how often the kernel is applied, and
    `zero_padding` is False where a padding fills in anything but the zero of the tensor's grid.
    """

    kind: str
    layer: str
    inputs: tuple[Tensor, ...]
    output: Tensor
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    multiplier: int = 1
    channels: tuple[int, int] = (0, 0)
    positions: int = 0
    zero_padding: bool = True

    @property
    def gmac(self) -> float:
        """Multiply-accumulates, 10^9."""
        return self.lane_gmac(1, 1)

    @property
    def is_float(self) -> bool:
        """Whether it computes in float."""
        return "FLOAT32" in (self.output.type, *(tensor.type for tensor in self.inputs))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What it reads and writes."""
        return (*self.inputs, self.output)

    def mb(self, lanes: int = 1) -> float:
        """Megabytes read and written, constants aside."""
        return sum(tensor.mb(lanes) for tensor in self.tensors)

    def lane_gmac(self, read: int, written: int) -> float:
        """Multiply-accumulates, 10^9, with channels rounded up to whole lanes."""
        summed, given = self.channels
        work = self.kernel[0] * self.kernel[1] * full(summed, read) * full(given, written)
        return work * self.positions / 1e9


def full(channels: int, lanes: int) -> int:
    """Channels rounded up to a multiple of the lanes."""
    return -(-channels // lanes) * lanes


def read_network(path: Path) -> tuple[Operator, ...]:
    """Read the operators of a TFLite file, in the order they run.

    Raises
    ------
    InputError
        There is no such file, or it is no TFLite file.
    """
    from i2uv_edge.convert.flatbuffer import read_model

    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    try:
        if data[4:8] != b"TFL3":
            raise ValueError("it does not start as one")
        model = read_model(data)
        graph = model.subgraphs[0]
        if not graph.operators:
            raise ValueError("it holds no operators")
        return tuple(_operator(model, graph, operator) for operator in graph.operators)
    except Exception as error:  # the reader raises whatever broken offsets lead it to
        raise InputError(f"{path} is no TFLite file: {error}", expected="a .tflite file") from error


def _operator(model: Any, graph: Any, operator: Any) -> Operator:
    kind = _kind(model.operatorCodes[operator.opcodeIndex])
    tensors = [graph.tensors[index] for index in operator.inputs if index >= 0]
    computed = tuple(_tensor(item) for item in tensors if not _is_constant(model, item))
    output = _tensor(graph.tensors[operator.outputs[0]])
    layer = output.name
    if kind in _CONVOLUTIONS:
        layer = _text(tensors[1].name).removesuffix(".weight")
    return Operator(
        kind, layer, computed, output, **_settings(model, kind, operator, tensors, output)
    )


def _settings(
    model: Any, kind: str, operator: Any, tensors: list[Any], output: Tensor
) -> dict[str, Any]:
    options = operator.builtinOptions
    if kind == "FULLY_CONNECTED":
        given, summed = (int(size) for size in tensors[1].shape)
        return {"channels": (summed, given), "positions": math.prod(output.shape[:-1])}
    if kind == "PADV2":
        return {"zero_padding": _pads_zero(model, tensors)}
    if kind in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
        kernel = (int(options.filterHeight), int(options.filterWidth))
        return {"kernel": kernel, "stride": max(int(options.strideH), int(options.strideW))}
    if kind not in _CONVOLUTIONS:
        return {}
    given, height, width, summed = (int(size) for size in tensors[1].shape)
    read = tensors[2] if kind == "TRANSPOSE_CONV" else tensors[0]
    applied = read.shape if kind == "TRANSPOSE_CONV" else output.shape
    settings: dict[str, Any] = {
        "kernel": (height, width),
        "stride": max(int(options.strideH), int(options.strideW)),
        "positions": int(applied[0]) * int(applied[1]) * int(applied[2]),
        "channels": (summed, given),
    }
    if kind == "TRANSPOSE_CONV":
        return settings
    settings["dilation"] = max(int(options.dilationHFactor), int(options.dilationWFactor))
    channels = int(tensors[0].shape[3])
    if kind == "DEPTHWISE_CONV_2D":
        # Each output sums over one channel: of what lanes are filled, those it writes.
        return {**settings, "channels": (1, summed), "multiplier": int(options.depthMultiplier)}
    return {**settings, "groups": max(1, channels // summed)}


def _pads_zero(model: Any, tensors: list[Any]) -> bool:
    import numpy as np

    filler = tensors[2]
    data = bytes(model.buffers[filler.buffer].data)
    dtype = {4: np.float32, 1: np.int8}[len(data)]
    quantization = tensors[0].quantization
    points = None if quantization is None else quantization.zeroPoint
    zero = 0 if points is None or not len(points) else int(points[0])
    return bool(np.frombuffer(data, dtype)[0] == zero)


def _kind(code: Any) -> str:
    from ai_edge_litert import schema_py_generated as schema

    if code.customCode:
        return f"CUSTOM {_text(code.customCode)}"
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return _names(schema.BuiltinOperator)[number]


def _tensor(item: Any) -> Tensor:
    from ai_edge_litert import schema_py_generated as schema

    shape = () if item.shape is None else tuple(int(size) for size in item.shape)
    return Tensor(_text(item.name), shape, _names(schema.TensorType)[item.type])


def _is_constant(model: Any, item: Any) -> bool:
    data = model.buffers[item.buffer].data
    return data is not None and len(data) > 0


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)

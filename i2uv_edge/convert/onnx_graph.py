"""Writing an ONNX file: tensors, constants and nodes in the order they run, each with its name.

Activations are stored as uint8, 128 above the int8 of the encodings: the same scale, the same grid.
It is what QNN computes in, and what ONNX Runtime has integer kernels for on every processor: on x86
it runs a network of int8 activations partly in float, or six times slower.

The bytes depend on nothing but what was added: no time, path, version or text goes in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from i2uv_edge.quantizer.fake_quant import ActivationQuantizer

__all__ = ["DEQUANTIZED", "OFFSET", "OPSET", "QUANTIZED", "GraphBuilder", "Value"]

# The first with GridSample's "linear", and what every runtime of the last years reads.
OPSET = 20
_IR_VERSION = 9  # of the release that brought the opset

OFFSET = 128  # of the integers and zero points in the file above those of the encodings

QUANTIZED = "/quantized"  # ends the name of a tensor's integers
DEQUANTIZED = "/dequantized"  # ends the name of the real values of those integers

_TYPES = {
    "float32": TensorProto.FLOAT,
    "int32": TensorProto.INT32,
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
}


@dataclass(frozen=True)
class Value:
    """A tensor in the file: float32, or uint8 on the grid of a quantizer.

    `shape` is as torch sees it: features are NCHW.
    """

    name: str
    shape: tuple[int, ...]
    quantizer: ActivationQuantizer | None = None

    @property
    def is_integer(self) -> bool:
        """Whether it is uint8."""
        return self.quantizer is not None

    @property
    def dtype(self) -> str:
        """Its type, by numpy's name."""
        return "uint8" if self.is_integer else "float32"


class GraphBuilder:
    """Collects one graph and serialises it."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self._shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._names: dict[str, int] = {}
        self._reals: dict[str, Value] = {}

    def tensor(
        self, name: str, shape: Sequence[int], quantizer: ActivationQuantizer | None = None
    ) -> Value:
        """A tensor that is fed or that a node will compute; a taken name gets a number."""
        value = Value(self._unique(name), tuple(shape), quantizer)
        self._shapes[value.name] = (value.dtype, value.shape)
        return value

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add a tensor with fixed values; returns its name."""
        name = self._unique(name)
        # ascontiguousarray makes a scalar a vector, and scales must stay scalars.
        self._constants[name] = numpy_helper.from_array(np.asarray(values, order="C"), name)
        return name

    def floats(self, name: str, values: NDArray[np.float32]) -> Value:
        """A float32 tensor with fixed values, for a node to read."""
        return Value(self.constant(name, values.astype(np.float32)), values.shape)

    def node(
        self,
        op: str,
        name: str,
        inputs: Sequence[Value | str],
        shape: Sequence[int],
        **options: Any,
    ) -> Value:
        """Append a node that computes a float32 tensor of its name from real values."""
        result = self.tensor(name, shape)
        names = [self.real(item).name if isinstance(item, Value) else item for item in inputs]
        self._append(op, names, result.name, **options)
        return result

    def quantized(self, source: Value, quantizer: ActivationQuantizer, name: str) -> Value:
        """The tensor's real values rounded to a quantizer's grid, named for `name`."""
        result = self.tensor(name + QUANTIZED, source.shape, quantizer)
        inputs = [self.real(source).name, *self._grid(result.name, quantizer)]
        self._append("QuantizeLinear", inputs, result.name)
        return result

    def quantized_constant(
        self, name: str, values: NDArray[np.float32], quantizer: ActivationQuantizer
    ) -> Value:
        """Fixed values on a quantizer's grid."""
        scale, zero = quantizer.encoding
        steps = np.round(values.astype(np.float64) / scale) + zero
        integers = (np.clip(steps, quantizer.low, quantizer.high) + OFFSET).astype(np.uint8)
        return Value(self.constant(name + QUANTIZED, integers), values.shape, quantizer)

    def real(self, value: Value) -> Value:
        """The tensor itself, or one dequantized copy of it for all its readers."""
        if value.quantizer is None:
            return value
        if value.name not in self._reals:
            result = self.tensor(_base(value.name) + DEQUANTIZED, value.shape)
            inputs = [value.name, *self._grid(value.name, value.quantizer)]
            self._append("DequantizeLinear", inputs, result.name)
            self._reals[value.name] = result
        return self._reals[value.name]

    def weight(self, name: str, integers: NDArray[Any], scale: NDArray[np.float32]) -> str:
        """Add fixed integers around zero; returns the name of their real values.

        `scale` is a scalar, or has one number for each index of axis 0.
        """
        stored = self.constant(name, integers)
        steps = self.constant(f"{name}/scale", scale.astype(np.float32))
        zeros = self.constant(f"{name}/zero_point", np.zeros(scale.shape, integers.dtype))
        result = self.tensor(name + DEQUANTIZED, integers.shape)
        axis = {"axis": 0} if scale.ndim else {}
        self._append("DequantizeLinear", [stored, steps, zeros], result.name, **axis)
        return result.name

    def rename(self, value: Value, name: str) -> Value:
        """Give a tensor a name that no other tensor may keep."""
        taken = {*self._shapes, *self._constants}
        if name != value.name and name in taken:
            self._replace(name, self._unique(name))
        self._names.setdefault(name, 1)
        self._replace(value.name, name)
        return Value(name, value.shape, value.quantizer)

    def to_model(self, source: Value, result: Value) -> ModelProto:
        """The model with the given input and output; every tensor's shape is written down."""
        inner = [
            helper.make_tensor_value_info(name, _TYPES[dtype], shape)
            for name, (dtype, shape) in self._shapes.items()
            if name not in (source.name, result.name)
        ]
        graph = helper.make_graph(
            self._nodes,
            "main",
            [_port(source)],
            [_port(result)],
            list(self._constants.values()),
            value_info=inner,
        )
        model = helper.make_model(
            graph,
            producer_name="i2uv-edge",
            ir_version=_IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        onnx.checker.check_model(model, full_check=True)
        return model

    def _append(self, op: str, inputs: Sequence[str], output: str, **options: Any) -> None:
        # One node computes one tensor, so that the tensor's name will do for both.
        self._nodes.append(helper.make_node(op, inputs, [output], name=output, **options))

    def _grid(self, name: str, quantizer: ActivationQuantizer) -> tuple[str, str]:
        """Names of the scale and zero point of an integer tensor, written once."""
        names = (f"{_base(name)}/scale", f"{_base(name)}/zero_point")
        if names[0] not in self._constants:
            scale, zero = quantizer.encoding
            self.constant(names[0], np.array(scale, np.float32))
            self.constant(names[1], np.array(zero + OFFSET, np.uint8))
        return names

    def _replace(self, old: str, new: str) -> None:
        for node in self._nodes:
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    if name == old:
                        names[index] = new
            if node.name == old:
                node.name = new
        if old in self._shapes:
            self._shapes = {new if k == old else k: v for k, v in self._shapes.items()}
        if old in self._constants:
            self._constants = {new if k == old else k: v for k, v in self._constants.items()}
            self._constants[new].name = new

    def _unique(self, name: str) -> str:
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return self._unique(f"{name}_{count}") if count else name


def _base(name: str) -> str:
    return name.removesuffix(QUANTIZED)


def _port(value: Value) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(value.name, _TYPES[value.dtype], value.shape)

"""An ONNX file computed literally: every node as the standard defines it, in float64.

Runtimes fuse, reorder and round in ways of their own. This does none of that, and it knows nothing
of the quantizer that the file was written from: it reads scales, zero points and weights out of the
file. So it says what the file means, and the fake-quant network in real arithmetic (see
`quantizer.fake_quant`) has to say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from i2uv_edge.errors import InputError
from i2uv_edge.onnx_runner import needed
from i2uv_edge.runners import Contract, checked_feed, checked_output
from i2uv_edge.scores import EMULATED

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

__all__ = ["EmulatedRunner", "Emulation"]

Array = NDArray[Any]
Float32 = NDArray[np.float32]

# Float64 leaves some 1e-14 of a step between two ways to compute one number: what is that close to
# a tie is one.
_TIE_GRID = 2.0**24


class Emulation:
    """Computes the one output of an ONNX file of one input.

    Integers are held as the float64 that they are.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    MissingDependencyError
        The package onnx is not installed.
    InputError
        It is no ONNX model, or holds an operation that this package does not write.
    """

    def __init__(self, path: Path | str) -> None:
        onnx = needed("onnx")
        try:
            self._graph: GraphProto = onnx.load_model_from_string(Path(path).read_bytes()).graph
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from error
        except Exception as error:  # protobuf's own, whose place differs between versions
            raise InputError(f"{path} is no ONNX model: {error}") from error
        unknown = sorted({node.op_type for node in self._graph.node} - set(_OPERATIONS))
        if unknown:
            raise InputError(
                f"{path} holds {', '.join(unknown)}, which is not emulated",
                expected=f"nothing but {', '.join(sorted(_OPERATIONS))}",
            )
        # Integers of more than 53 bits do not occur.
        self._types = {item.name: item.data_type for item in self._graph.initializer}
        self._constants = {
            item.name: torch.from_numpy(
                np.array(onnx.numpy_helper.to_array(item), np.float64, order="C")
            )
            for item in self._graph.initializer
        }
        self._limits = {
            int(kind): (float(limit.min), float(limit.max))
            for name, kind in onnx.TensorProto.DataType.items()
            if name in ("INT8", "UINT8", "INT16", "UINT16", "INT32")
            for limit in [np.iinfo(name.lower())]
        }
        self._last = _last_readers(self._graph)
        self._fold()

    @property
    def input(self) -> str:
        """The input's name."""
        return str(self._graph.input[0].name)

    @cached_property
    def grid(self) -> tuple[float, float] | None:
        """Scale and zero point of an input that is integer; None for a float one."""
        for node in self._graph.node:
            if node.op_type == "DequantizeLinear" and node.input[0] == self.input:
                scale, zero = (self._constants[name] for name in node.input[1:])
                return float(scale), float(zero)
        return None

    def __call__(self, feed: Tensor) -> Tensor:
        """(1, C, H, W) float64 real values -> the output's real values, float64 NCHW."""
        if self.grid is not None:
            scale, zero = self.grid
            feed = (_half_even(feed / scale) + zero).clamp(0, 255)
        values = {self.input: feed}
        result, real = self._graph.output[0].name, None
        for number, node in enumerate(self._graph.node):
            if node.output[0] in self._constants:
                continue
            values[node.output[0]] = self._computed(node, values)
            if node.output[0] == result and node.op_type == "QuantizeLinear":
                _, scales, zeros = (self._operand(name, values) for name in node.input)
                real = (values[result] - zeros) * scales
            for name in self._last.get(number, ()):
                values.pop(name, None)
        return values[result] if real is None else real

    def _fold(self) -> None:
        """Compute once what depends on no input: the real values of weights."""
        for node in self._graph.node:
            if all(name in self._constants for name in node.input if name):
                self._constants[node.output[0]] = self._computed(node, {})

    def _operand(self, name: str, values: Mapping[str, Tensor]) -> Tensor:
        return self._constants[name] if name in self._constants else values[name]

    def _computed(self, node: NodeProto, values: Mapping[str, Tensor]) -> Tensor:
        onnx = needed("onnx")
        operands = [self._operand(name, values) if name else None for name in node.input]
        options = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        if node.op_type == "QuantizeLinear":
            options["limits"] = self._limits[self._types[node.input[2]]]
        return _OPERATIONS[node.op_type](operands, options)


class EmulatedRunner:
    """Emulates a network's ONNX file as `i2uv_edge.runners` runs others, sample after sample."""

    def __init__(self, path: Path | str, contract: Contract, *, name: str = EMULATED) -> None:
        self.name = name
        self.input = contract.input
        self.output = contract.output
        self._emulation = Emulation(path)

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Float32]:
        """Compute the file once for each sample; see `Runner`."""
        samples = checked_feed(self, feeds)
        maps = []
        with torch.inference_mode():
            for sample in samples:
                feed = torch.from_numpy(sample.transpose(2, 0, 1)[None].copy()).double()
                made = self._emulation(feed).permute(0, 2, 3, 1)
                maps.append(made.to(torch.float32).contiguous().numpy())
        found = np.concatenate(maps)
        return {self.output.name: checked_output(self, found, len(samples))}


def _last_readers(graph: GraphProto) -> dict[int, list[str]]:
    """By the number of a node, the tensors that no later one reads."""
    last = {name: number for number, node in enumerate(graph.node) for name in node.input}
    kept = {port.name for port in graph.output}
    found: dict[int, list[str]] = {}
    for name, number in last.items():
        if name not in kept:
            found.setdefault(number, []).append(name)
    return found


# --- the operations: what they read, None where an optional input is left out, and their attributes

Operands = Sequence[Any]
Options = Mapping[str, Any]


def _half_even(steps: Tensor) -> Tensor:
    return torch.round(torch.round(steps * _TIE_GRID) / _TIE_GRID)


def _along(values: Tensor, like: Tensor, options: Options) -> Tensor:
    """A vector of numbers, one for each index of an axis, in shape for that."""
    if values.ndim == 0:
        return values
    shape = [1] * like.ndim
    shape[options.get("axis", 1)] = -1
    return values.reshape(shape)


def _quantize(operands: Operands, options: Options) -> Tensor:
    x, scale, zero = operands
    low, high = options["limits"]
    steps = _half_even(x / _along(scale, x, options)) + _along(zero, x, options)
    return steps.clamp(low, high)


def _dequantize(operands: Operands, options: Options) -> Tensor:
    x, scale, zero = operands
    return cast(Tensor, (x - _along(zero, x, options)) * _along(scale, x, options))


def _conv(operands: Operands, options: Options) -> Tensor:
    x, weight, *bias = operands
    top, left, bottom, right = options["pads"]
    return F.conv2d(
        F.pad(x, (left, right, top, bottom)),
        weight,
        bias[0] if bias else None,
        stride=tuple(options["strides"]),
        dilation=tuple(options["dilations"]),
        groups=options["group"],
    )


def _max_pool(operands: Operands, options: Options) -> Tensor:
    top, left, bottom, right = options["pads"]
    x = F.pad(operands[0], (left, right, top, bottom), value=-torch.inf)
    return F.max_pool2d(x, tuple(options["kernel_shape"]), tuple(options["strides"]))


def _resize(operands: Operands, options: Options) -> Tensor:
    x, _, factors = operands
    corners = options["coordinate_transformation_mode"] == b"align_corners"
    for axis in (2, 3):
        size, target = x.shape[axis], round(x.shape[axis] * float(factors[axis]))
        steps = torch.arange(target, dtype=torch.float64)
        if corners:
            place = steps * (size - 1) / max(target - 1, 1)
        else:
            place = (steps + 0.5) * size / target - 0.5
        place = place.clamp(0, size - 1)
        low = place.floor().long()
        shape = [1] * x.ndim
        shape[axis] = -1
        share = (place - low).reshape(shape)
        above = (low + 1).clamp(max=size - 1)
        x = x.index_select(axis, low) * (1 - share) + x.index_select(axis, above) * share
    return cast(Tensor, x)


def _grid_sample(operands: Operands, options: Options) -> Tensor:
    """Bilinear, one sample; what lies beyond the feature is its border or zero."""
    x, grid = operands
    height, width = x.shape[2:]
    taps, inside, places = [], [], []
    for size, where in ((width, grid[0, ..., 0]), (height, grid[0, ..., 1])):
        if options["align_corners"]:
            place = (where + 1) / 2 * (size - 1)
        else:
            place = ((where + 1) * size - 1) / 2
        if options["padding_mode"] == b"border":
            place = place.clamp(0, size - 1)
        low = place.floor()
        places.append(place - low)
        taps.append([(low + more).clamp(0, size - 1).long() for more in (0, 1)])
        inside.append([((low + more >= 0) & (low + more < size)).double() for more in (0, 1)])
    total = torch.zeros(1, x.shape[1], *grid.shape[1:3], dtype=x.dtype)
    for row in (0, 1):
        for column in (0, 1):
            weight = (places[0] if column else 1 - places[0]) * inside[0][column]
            weight = weight * (places[1] if row else 1 - places[1]) * inside[1][row]
            total = total + x[:, :, taps[1][row], taps[0][column]] * weight
    return total


def _depth_to_space(operands: Operands, options: Options) -> Tensor:
    (x,) = operands
    block = options["blocksize"]
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, block, block, channels // block**2, height, width)
    parts = parts.permute(0, 3, 4, 1, 5, 2)
    return cast(Tensor, parts.reshape(batch, -1, height * block, width * block))


def _slice(operands: Operands, options: Options) -> Tensor:
    x, begins, ends, axes = operands
    for begin, end, axis in zip(begins.long(), ends.long(), axes.long(), strict=True):
        x = x.narrow(int(axis), int(begin), int(end - begin))
    return cast(Tensor, x)


def _pad(operands: Operands, options: Options) -> Tensor:
    x, amounts, filler = operands
    before, after = amounts.long().reshape(2, -1).tolist()
    sides = [side for pair in zip(before[::-1], after[::-1], strict=True) for side in pair]
    return F.pad(x, sides, value=float(filler))


def _reduced(operation: Callable[..., Tensor]) -> Callable[[Operands, Options], Tensor]:
    """A sum or a mean over axes, which are the second operand."""

    def reduce(operands: Operands, options: Options) -> Tensor:
        axes = tuple(operands[1].long().tolist())
        return operation(operands[0], axes, keepdim=bool(options.get("keepdims", 1)))

    return reduce


def _gather(operands: Operands, options: Options) -> Tensor:
    x, index = operands
    axis = options["axis"]
    taken = x.index_select(axis, index.long().flatten())
    return cast(Tensor, taken.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


_OPERATIONS: Mapping[str, Callable[[Operands, Options], Tensor]] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "Conv": _conv,
    "Relu": lambda x, _: torch.relu(x[0]),
    "Sigmoid": lambda x, _: torch.sigmoid(x[0]),
    "LeakyRelu": lambda x, options: F.leaky_relu(x[0], options["alpha"]),
    "GlobalAveragePool": lambda x, _: x[0].mean((2, 3), keepdim=True),
    "Gather": _gather,
    "ReduceMean": _reduced(torch.mean),
    "ReduceSum": _reduced(torch.sum),
    "Sqrt": lambda x, _: torch.sqrt(x[0]),
    "Div": lambda x, _: x[0] / x[1],
    "Add": lambda x, _: x[0] + x[1],
    "Sub": lambda x, _: x[0] - x[1],
    "Mul": lambda x, _: x[0] * x[1],
    "Clip": lambda x, _: torch.clamp(x[0], x[1], x[2]),
    "Concat": lambda x, options: torch.cat(list(x), options["axis"]),
    "Transpose": lambda x, options: x[0].permute(options["perm"]),
    "Reshape": lambda x, _: x[0].reshape(x[1].long().tolist()),
    "MaxPool": _max_pool,
    "Resize": _resize,
    "GridSample": _grid_sample,
    "DepthToSpace": _depth_to_space,
    "Slice": _slice,
    "Pad": _pad,
}

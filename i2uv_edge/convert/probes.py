"""The integers inside a converted file, tensor by tensor, as its runtime computes them.

A runtime gives its outputs only: what XNNPACK or ONNX Runtime makes of a file is one fused piece.
TFLite interpreters have a switch for keeping all tensors, at which some versions leave XNNPACK out,
so that other kernels with another rounding are looked at. So the file is given more outputs, in
memory. The operations, their order and the kernels that run them stay the same, and so does what
they compute.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.convert.flatbuffer import read_model, write_model
from i2uv_edge.onnx_runner import needed, open_session
from i2uv_edge.runners import open_interpreter

__all__ = ["Integers", "OnnxProbe", "TfliteProbe"]

Float32 = NDArray[np.float32]
Integers = Mapping[str, NDArray[np.int32]]
"""Stored values by a tensor's name in the encodings: int8 counted from -128, NHWC, flat."""

# What the files put behind the name of a tensor's integers where another tensor has the name.
_ENDS = ("/quantized", "")
_OFFSET = 128  # of uint8 in ONNX files above the int8 of the encodings


class TfliteProbe:
    """Runs a .tflite file; `names` are those of the encodings that the file has a tensor for."""

    def __init__(self, path: Path, names: Iterable[str]) -> None:
        model = read_model(path.read_bytes())
        (graph,) = model.subgraphs
        tensors = {_text(tensor.name): number for number, tensor in enumerate(graph.tensors)}
        computed = {int(i) for op in graph.operators for i in op.outputs}
        integer = {n for n, tensor in enumerate(graph.tensors) if tensor.quantization is not None}
        found = {name: _first(name, tensors) for name in names}
        self._tensors = {
            name: number
            for name, own in found.items()
            if own is not None and (number := tensors[own]) in computed & integer
        }
        # What is an output already is none twice.
        more = dict.fromkeys([*map(int, graph.outputs), *self._tensors.values()])
        graph.outputs = np.array(list(more), np.int32)
        self._interpreter = open_interpreter(write_model(model))
        (self._input,) = self._interpreter.get_input_details()
        self._output = int(graph.outputs[0])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tensors that it gives."""
        return tuple(self._tensors)

    def __call__(self, feed: NDArray[Any]) -> tuple[NDArray[Any], dict[str, NDArray[np.int32]]]:
        """(1, H, W, C) as the file stores it -> its output as it stores that, and the integers."""
        self._interpreter.set_tensor(self._input["index"], feed)
        self._interpreter.invoke()
        get = self._interpreter.get_tensor
        inside = {name: get(n).astype(np.int32).ravel() for name, n in self._tensors.items()}
        return get(self._output), inside


class OnnxProbe:
    """Runs an .onnx file; `names` are those of the encodings that the file has a tensor for."""

    def __init__(self, path: Path, names: Iterable[str]) -> None:
        onnx = needed("onnx")
        model = onnx.load_model_from_string(path.read_bytes())
        graph = model.graph
        computed = {node.output[0]: node for node in graph.node}
        found = {name: _first(name, computed) for name in names}
        self._tensors = {
            name: own
            for name, own in found.items()
            if own is not None and computed[own].op_type == "QuantizeLinear"
        }
        taken = {port.name for port in graph.output}
        for own in dict.fromkeys(self._tensors.values()):
            if own not in taken:
                kind = onnx.TensorProto.UINT8
                graph.output.append(onnx.helper.make_tensor_value_info(own, kind, None))
        self._session = open_session(model.SerializeToString())
        self._input, self._output = graph.input[0].name, graph.output[0].name

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tensors that it gives."""
        return tuple(self._tensors)

    def __call__(self, feed: NDArray[Any]) -> tuple[NDArray[Any], dict[str, NDArray[np.int32]]]:
        """(1, C, H, W) as the file stores it -> its output as it stores that, and the integers."""
        asked = list(dict.fromkeys([self._output, *self._tensors.values()]))
        made = dict(zip(asked, self._session.run(asked, {self._input: feed}), strict=True))
        inside = {}
        for name, own in self._tensors.items():
            values = made[own].astype(np.int32) - _OFFSET
            inside[name] = (values.transpose(0, 2, 3, 1) if values.ndim == 4 else values).ravel()
        return made[self._output], inside


def _first(name: str, known: Mapping[str, Any]) -> str | None:
    return next((name + end for end in _ENDS if name + end in known), None)


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)

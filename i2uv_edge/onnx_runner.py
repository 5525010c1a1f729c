"""Runs a network's ONNX file in ONNX Runtime, as `i2uv_edge.runners` runs the others."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.errors import InputError, MissingDependencyError
from i2uv_edge.runners import Contract, Port, checked_feed, checked_output

__all__ = ["OnnxRunner", "needed", "open_session"]

Array = NDArray[Any]
Float32 = NDArray[np.float32]

_PACKAGES = "onnx, onnxruntime and onnxsim"
_TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}


def needed(package: str) -> Any:
    """Import one of the packages that ONNX files are made and run with.

    Raises
    ------
    MissingDependencyError
        It is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingDependencyError(
            f"the package {package} cannot be imported: {error}",
            expected=f"{_PACKAGES}, which ONNX files are made and run with",
            remedy="pip install onnx onnxruntime onnxsim",
        ) from error


def open_session(content: bytes, *, threads: int = 1) -> Any:
    """Open an ONNX model on the CPU; InputError where ONNX Runtime refuses it.

    All of its optimisations are on: it is these that make integer kernels of an operation and the
    Q/DQ pairs around it. One option is set, so that every machine computes the same: x86 processors
    without VNNI add pairs of products in 16 bits, which overflow; with `session.x64quantprecision`
    the weights go through kernels that do not.
    """
    runtime = needed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 4  # what goes wrong comes as an exception
    options.add_session_config_entry("session.x64quantprecision", "1")
    state = runtime.capi.onnxruntime_pybind11_state
    refused = (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NotImplemented,
        state.RuntimeException,
    )
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except refused as error:
        raise InputError(f"ONNX Runtime refuses the model: {_first_line(error)}") from error


class OnnxRunner:
    """Runs an .onnx file of one input and one output, NCHW, sample after sample.

    Integer inputs and outputs are quantized and dequantized with the scales in the file.

    Parameters
    ----------
    path
        The file.
    contract
        Its input and output as everyone else sees them, NHWC.

    Raises
    ------
    MissingDependencyError
        ONNX Runtime is not installed.
    InputError
        The file is missing or no ONNX model, or its tensors are not the contract's.
    """

    def __init__(
        self, path: Path | str, contract: Contract, *, name: str = "onnx", threads: int = 1
    ) -> None:
        self.name = name
        self.input = contract.input
        self.output = contract.output
        try:
            content = Path(path).read_bytes()
            self._session = open_session(content, threads=threads)
        except (OSError, InputError) as error:
            reason = error.strerror if isinstance(error, OSError) else error.what
            raise InputError(
                f"{path} cannot be run: {reason}",
                expected="an ONNX model with standard operators",
                remedy="convert the network again",
            ) from error
        self._takes = self._port(path, content, "input", self._session.get_inputs())
        self._gives = self._port(path, content, "output", self._session.get_outputs())

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Float32]:
        """Run the model once for each sample; see `Runner`."""
        samples = checked_feed(self, feeds)
        maps = []
        for sample in samples:
            stored = self._takes.stored(sample[None].transpose(0, 3, 1, 2))
            feed = {self._takes.name: np.ascontiguousarray(stored)}
            (made,) = self._session.run([self._gives.name], feed)
            maps.append(self._gives.real(made).transpose(0, 2, 3, 1))
        found = np.ascontiguousarray(np.concatenate(maps))
        return {self.output.name: checked_output(self, found, len(samples))}

    def tensors(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what the file says of its input and of its output, as it stores them (NCHW).

        "name", "shape", "dtype", "scale" and "zero_point"; the last two are 1.0 and 0 for floats.
        """
        return self._takes.fields(), self._gives.fields()

    def _port(self, path: Path | str, content: bytes, side: str, found: list[Any]) -> Port:
        spec = self.input if side == "input" else self.output
        _, height, width, channels = spec.shape
        wanted = (1, channels, height, width)
        shapes = [tuple(item.shape) for item in found]
        if shapes != [wanted] or found[0].type not in _TYPES:
            raise InputError(
                f"{path} has {side}s of shapes {shapes}, types {[item.type for item in found]}",
                expected=f"one {side} of shape {wanted} ({spec.name}, NCHW), float or 8 bits",
                remedy="convert the network again, or name the network that the file was made from",
            )
        dtype = np.dtype(_TYPES[found[0].type])
        if dtype.kind not in "iu":
            return Port(found[0].name, wanted, dtype)
        return Port(found[0].name, wanted, dtype, *_grid(path, content, found[0].name))


def _grid(path: Path | str, content: bytes, tensor: str) -> tuple[float, int]:
    """Scale and zero point of an integer input or output, which is where they are used."""
    onnx = needed("onnx")
    graph = onnx.load_model_from_string(content).graph
    constants = {item.name: item for item in graph.initializer}
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or len(node.input) != 3:
            continue
        if tensor in (node.input[0], node.output[0]) and {*node.input[1:]} <= set(constants):
            pair = [onnx.numpy_helper.to_array(constants[name]) for name in node.input[1:]]
            if all(values.size == 1 for values in pair):
                return float(pair[0].item()), int(pair[1].item())
    raise InputError(
        f"{path} holds no scale and zero point of {tensor!r}, which is integer",
        expected="one pair of constants, at the QuantizeLinear or DequantizeLinear behind it",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

"""The integer parts of a bundle on QNN's emulated HTP: a second opinion on their arithmetic.

The HTP is what later chips have in the place of the V66's vector unit, so this is not what an 865
computes. But it is Qualcomm's own reading of the same integers, and takes no part of ours.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.device import qnn
from i2uv_edge.device.segments import SegmentChain
from i2uv_edge.errors import InputError, MissingDependencyError, UsageError
from i2uv_edge.runners import TfliteRunner
from i2uv_edge.spec import NetworkSpec, Role

__all__ = ["emulated_runners"]

Fields = dict[str, Any]


def emulated_runners(
    folder: Path, specs: Mapping[Role, NetworkSpec], networks: Mapping[str, Any], *, name: str
) -> dict[Role, TfliteRunner]:
    """What runs a bundle's networks with QNN in the place of TFLite wherever they are integer.

    Parameters
    ----------
    folder
        The bundle.
    networks
        What its manifest says of them.
    name
        How tables call it.

    Raises
    ------
    MissingDependencyError
        onnxruntime-qnn is not installed, or cannot be loaded.
    UsageError
        A network has no part that is all integer.
    InputError
        QNN refuses a part.
    """
    segments = {role: _segments(role, networks[role]) for role in specs}
    for role, found in segments.items():
        if not any("onnx" in fields for fields in found):
            raise UsageError(
                f"the bundle {folder} cannot provide {name!r}: nothing of its {role} is a part "
                "for QNN",
                expected="a bundle that was exported with --split",
            )
    if not qnn.available():
        raise MissingDependencyError(
            f"{qnn.PACKAGE} is not installed, so nothing can be emulated",
            remedy="pip install 'i2uv-edge[qnn]'",
        )
    runners = {}
    for role, spec in specs.items():
        parts = [fields for fields in segments[role] if "onnx" in fields]
        process = _Process(folder, parts)
        emulated = {
            fields["file"]: _Part(process, number, fields) for number, fields in enumerate(parts)
        }
        files = {str(fields["file"]): folder / fields["file"] for fields in segments[role]}
        chain = SegmentChain(files, opened=emulated)
        first = next(iter(files.values()))
        runners[role] = TfliteRunner(first, spec, name=name, interpreter=chain)
    return runners


def _segments(role: Role, entry: Mapping[str, Any]) -> list[Fields]:
    """A network's segments; one that is all integer is its own, and its ONNX file is known."""
    found = [dict(fields) for fields in entry.get("segments", ())]
    if "dlc" in entry:
        whole = {"file": f"{role}.onnx", **{k: entry["dlc"][k] for k in ("inputs", "outputs")}}
        ends = {"inputs": entry["inputs"], "outputs": entry["outputs"]}
        found = [{"file": f"{role}.tflite", "unit": "DSP", "onnx": whole, **ends}]
    return found


class _Process:
    """The guest with all parts of a network; ended with this object."""

    def __init__(self, folder: Path, parts: Sequence[Fields]) -> None:
        told = [
            {**fields["onnx"], "file": str(folder / fields["onnx"]["file"])} for fields in parts
        ]
        self._running = subprocess.Popen(
            [sys.executable, "-m", "i2uv_edge.device.qnn_emulator_guest", json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        weakref.finalize(self, _end, self._running)
        assert self._running.stdin is not None
        assert self._running.stdout is not None
        self._feeds, self._answers = self._running.stdin, self._running.stdout
        line = self._answers.readline()
        if not line:
            raise MissingDependencyError(
                f"{qnn.PACKAGE} cannot be used: its process ended with {self._running.wait()}",
                remedy="install the versions that constraints.txt names",
            )
        if error := json.loads(line).get("error"):
            raise InputError(f"QNN refuses a part: {str(error).splitlines()[0]}")

    def ask(self, number: int, content: bytes, size: int) -> bytes:
        """What a part makes of its inputs."""
        try:
            self._feeds.write(number.to_bytes(4, "little") + content)
            self._feeds.flush()
            answer = self._answers.read(size)
        except BrokenPipeError:
            answer = b""
        if len(answer) != size:
            raise InputError(f"QNN's emulator ended with {self._running.wait()} while it ran")
        return answer


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


class _Part:
    """A segment in that process; answers as LiteRT's interpreter does, in int8 and NHWC."""

    def __init__(self, process: _Process, number: int, fields: Fields) -> None:
        self._process = process
        self._number = number
        self._fields = fields
        self._values: dict[str, NDArray[np.int8]] = {}

    def get_input_details(self) -> list[Fields]:
        """What it takes."""
        return [_detail(port) for port in self._fields["inputs"]]

    def get_output_details(self) -> list[Fields]:
        """What it gives."""
        return [_detail(port) for port in self._fields["outputs"]]

    def set_tensor(self, index: str, value: NDArray[np.int8]) -> None:
        """Set one input."""
        self._values[index] = value

    def invoke(self) -> None:
        """Run it on what was set."""
        fed = [self._values[port["name"]] for port in self._fields["inputs"]]
        levels = [(values.astype(np.int16) + 128).astype(np.uint8) for values in fed]
        content = b"".join(
            np.ascontiguousarray(array.transpose(0, 3, 1, 2)).tobytes() for array in levels
        )
        stored = self._fields["onnx"]["outputs"]
        sizes = [math.prod(port["shape"]) for port in stored]
        answer = np.frombuffer(self._process.ask(self._number, content, sum(sizes)), np.uint8)
        pieces = np.split(answer, np.cumsum(sizes)[:-1])
        for port, own, piece in zip(self._fields["outputs"], stored, pieces, strict=True):
            steps = (piece.reshape(own["shape"]).astype(np.int16) - 128).astype(np.int8)
            self._values[port["name"]] = np.ascontiguousarray(steps.transpose(0, 2, 3, 1))

    def get_tensor(self, index: str) -> NDArray[np.int8]:
        """An output of the last run."""
        return self._values[index]


def _detail(port: Fields) -> Fields:
    return {
        "name": port["name"],
        "index": port["name"],
        "shape": np.array(port["shape"], np.int32),
        "dtype": np.dtype(port["dtype"]).type,
        "quantization": (port["scale"], port["zero_point"]),
        "quantization_parameters": {
            "scales": np.array([port["scale"]], np.float32),
            "zero_points": np.array([port["zero_point"]], np.int32),
            "quantized_dimension": 0,
        },
    }

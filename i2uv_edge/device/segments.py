"""The segments of a bundle's network: written beside it, and chained to do what it does.

`i2uv_edge.convert.segments` says where a network is cut. On the phone each segment is a model of
its own: a DSP runtime opens those of the DSP, TFLite those of the CPU, and what is between them are
plain arrays. Here TFLite runs all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.errors import ConversionError, DamagedError, InputError
from i2uv_edge.runners import TfliteRunner, open_interpreter
from i2uv_edge.spec import NetworkSpec

if TYPE_CHECKING:
    from i2uv_edge.convert.segments import Segment

__all__ = [
    "FOLDER",
    "SegmentChain",
    "described",
    "segment_runner",
    "whole_segment",
    "write_segments",
]

FOLDER = "segments"

Fields = dict[str, Any]

_SAMPLES = 2  # compared with the whole network


def write_segments(folder: Path, spec: NetworkSpec) -> list[Fields]:
    """Cut a network's TFLite file into segments, write them and hold them to the whole.

    A network that is one segment is that already, and nothing is written.

    Parameters
    ----------
    folder
        The bundle, in which the network's file lies.

    Returns
    -------
    list
        What the manifest says of each, in running order: "file", "unit" ("DSP" or "CPU"), "inputs"
        and "outputs" as the files store them (a tensor has the same name on both sides of a cut),
        "macs", "float_macs", "layers".

    Raises
    ------
    ConversionError
        It cannot be cut, or the segments compute something else than the whole.
    """
    from i2uv_edge.convert.segments import cut

    whole = folder / f"{spec.role}.tflite"
    segments = cut(whole.read_bytes())
    if len(segments) == 1:
        return [_fields(segments[0], whole.name)]
    (folder / FOLDER).mkdir(exist_ok=True)
    found = []
    for number, segment in enumerate(segments):
        # Two digits, so that the names sort as the segments run.
        name = f"{FOLDER}/{spec.role}.{number:02}.{segment.unit.lower()}.tflite"
        (folder / name).write_bytes(segment.data)
        found.append(_fields(segment, name))
    _check_same(folder, spec, found)
    return found


def whole_segment(folder: Path, spec: NetworkSpec) -> list[Fields]:
    """What the manifest would say of a network that is one segment for the DSP; else nothing."""
    from i2uv_edge.convert.segments import cut

    whole = folder / f"{spec.role}.tflite"
    segments = cut(whole.read_bytes())
    return [_fields(s, whole.name) for s in segments if s.unit == "DSP" and len(segments) == 1]


def segment_runner(folder: Path, spec: NetworkSpec, segments: Sequence[Fields]) -> TfliteRunner:
    """What runs the segments of a bundle's network as if they were one file.

    Parameters
    ----------
    segments
        What the manifest says of them.
    """
    files = {str(fields["file"]): folder / fields["file"] for fields in segments}
    chain = SegmentChain(files)
    return TfliteRunner(next(iter(files.values())), spec, name="split", interpreter=chain)


def described(role: str, segments: Sequence[Fields]) -> str:
    """Say in a line what a network's segments leave to the CPU."""
    of_cpu = [fields for fields in segments if fields["unit"] == "CPU"]
    if not of_cpu:
        return f"{role}: whole for the DSP"
    total = max(1, sum(fields["macs"] for fields in segments))
    left = sum(fields["macs"] for fields in of_cpu)
    work = f"{left / total:.2%} of the multiply-adds" if left else "no multiply-add"
    # One of each kind: what differs in nothing but a number is the same at another stage.
    layers = (re.sub(r"\d+", "*", layer) for fields in of_cpu for layer in fields["layers"])
    names = ", ".join(dict.fromkeys(layers)) or "changes of type"
    dsp = len(segments) - len(of_cpu)
    counted = f"{dsp} segment{'s' if dsp != 1 else ''}"
    return f"{role}: {counted} for the DSP, {len(of_cpu)} for the CPU with {work}: {names}"


class SegmentChain:
    """TFLite files that hand tensors to one another by name; answers as LiteRT's interpreter does.

    Parameters
    ----------
    files
        What they are called, for messages, with where they lie, in running order. What the first
        reads is the input, what the last writes the output.
    opened
        What runs some of them in the place of TFLite, by what they are called.

    Raises
    ------
    InputError
        A file is missing, or no TFLite model.
    DamagedError
        A file reads a tensor that none before it writes in that shape and type.
    """

    def __init__(
        self, files: Mapping[str, Path], *, opened: Mapping[str, Any] | None = None
    ) -> None:
        known = opened or {}
        try:
            self._parts = [
                known[name] if name in known else open_interpreter(path.read_bytes())
                for name, path in files.items()
            ]
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"a segment cannot be run: {error}") from error
        (self._input,) = self._parts[0].get_input_details()
        (self._output,) = self._parts[-1].get_output_details()
        self._values: dict[str, NDArray[Any]] = {}
        self._check(list(files))

    def get_input_details(self) -> list[Fields]:
        """The one input."""
        return [{**self._input, "index": self._input["name"]}]

    def get_output_details(self) -> list[Fields]:
        """The one output."""
        return [{**self._output, "index": self._output["name"]}]

    def set_tensor(self, index: str, value: NDArray[Any]) -> None:
        """Set the input."""
        self._values = {index: value}

    def invoke(self) -> None:
        """Run one segment after the other."""
        for part in self._parts:
            for detail in part.get_input_details():
                part.set_tensor(detail["index"], self._values[detail["name"]])
            part.invoke()
            for detail in part.get_output_details():
                self._values[detail["name"]] = part.get_tensor(detail["index"])

    def get_tensor(self, index: str) -> NDArray[Any]:
        """The tensor of that name: the output, or what is between two segments."""
        return self._values[index]

    def _check(self, names: Sequence[str]) -> None:
        written = {self._input["name"]: _kind(self._input)}
        for name, part in zip(names, self._parts, strict=True):
            for detail in part.get_input_details():
                if written.get(detail["name"]) != _kind(detail):
                    raise DamagedError(
                        f"the segment {name} reads {detail['name']!r}, which no segment before it "
                        "writes in that form",
                        expected="the segments of one network, in the manifest's order",
                        remedy="export the bundle again",
                    )
            written |= {detail["name"]: _kind(detail) for detail in part.get_output_details()}


def _kind(detail: Fields) -> tuple[Any, ...]:
    return tuple(map(int, detail["shape"])), np.dtype(detail["dtype"]), detail["quantization"]


def _fields(segment: Segment, name: str) -> Fields:
    return {
        "file": name,
        "unit": segment.unit,
        "inputs": [port.fields() for port in segment.inputs],
        "outputs": [port.fields() for port in segment.outputs],
        "macs": segment.macs,
        "float_macs": segment.float_macs,
        "layers": list(segment.layers),
    }


def _check_same(folder: Path, spec: NetworkSpec, segments: Sequence[Fields]) -> None:
    """Hold the chain to the whole file on noise, to the last bit: the same kernels run in both."""
    whole = open_interpreter((folder / f"{spec.role}.tflite").read_bytes())
    chain = SegmentChain({str(fields["file"]): folder / fields["file"] for fields in segments})
    rng = np.random.default_rng(0)
    for _ in range(_SAMPLES):
        (detail,) = whole.get_input_details()
        shape = tuple(detail["shape"])
        if np.dtype(detail["dtype"]).kind == "f":
            low, high = spec.input.range
            feed = (low + (high - low) * rng.random(shape, np.float32)).astype(np.float32)
        else:
            feed = rng.integers(-128, 128, shape, np.int8)
        wanted, made = (_answer(interpreter, feed) for interpreter in (whole, chain))
        if differ := int((wanted != made).sum()):
            raise ConversionError(
                f"the segments of {spec.role} differ from the whole network in {differ} of "
                f"{wanted.size} values",
                expected="the same values to the last bit",
                remedy="leave out --split",
            )


def _answer(interpreter: Any, feed: NDArray[Any]) -> NDArray[Any]:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], feed)
    interpreter.invoke()
    found: NDArray[Any] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return found

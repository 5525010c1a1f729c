"""Milliseconds of each operator as LiteRT's own profiler tells them.

The Python package hands the profiler to nobody; the library in it does, in C. That interface may
change with any version, and a call that is no longer right may end the process: so it is called in
a process of its own, and a version other than the ones it was tried with is not asked at all.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["TRIED", "Event", "operator_times"]

TRIED = ("2.3.0",)
"""Versions of ai-edge-litert whose interface this is."""

PATIENCE = 600.0  # seconds for all runs of one file

# How the library numbers what it measures: operators of its own, and those inside a delegate.
_OPERATOR, _INSIDE_DELEGATE = 1 << 1, 1 << 3
_CPU = 1 << 0
_OPTIONS = b"runtime_options_string", b"enable_profiling = true\n"

_PROGRAM = """
import json, os, sys
from pathlib import Path
from i2uv_edge.device import litert_profiler
out = os.dup(1)
os.dup2(2, 1)
runs = litert_profiler.profiled(Path(sys.argv[1]), int(sys.argv[2]))
with open(out, "w") as stream:
    json.dump(runs, stream)
"""


@dataclass(frozen=True)
class Event:
    """An operator by the name of what computes it, and the median of its milliseconds.

    The profiler counts whole microseconds; what is shorter takes 0. `node` is the operator's place
    in the file where no delegate computes it; a delegate does not say.
    """

    name: str
    ms: float
    node: int | None = None


def operator_times(path: Path, runs: int = 50) -> tuple[tuple[Event, ...], str]:
    """Run a TFLite file one thread, and return its operators in running order.

    Returns
    -------
    tuple
        The operators, and "" or why there are none.
    """
    installed = version("ai-edge-litert")
    if installed not in TRIED:
        return (), f"ai-edge-litert {installed} is not asked for operators: tried is {TRIED[-1]}"
    command = [sys.executable, "-c", _PROGRAM, str(path), str(runs)]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=PATIENCE
        )
        found = json.loads(ended.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        return (), f"LiteRT's profiler gave no operators: {_last_line(error)}"
    return _medians(found)


def _medians(runs: Sequence[Sequence[tuple[str, int, float]]]) -> tuple[tuple[Event, ...], str]:
    named = [tuple((name, node) for name, node, _ in run) for run in runs]
    if not named or not named[0] or len(set(named)) != 1:
        return (), "LiteRT's profiler names other operators in each run"
    times = zip(*([ms for *_, ms in run] for run in runs), strict=True)
    return tuple(
        Event(name, statistics.median(own), None if node < 0 else node)
        for (name, node), own in zip(named[0], times, strict=True)
    ), ""


def _last_line(error: Exception) -> str:
    said = getattr(error, "stderr", None) or str(error)
    lines = str(said).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


class _Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("total", "in_use", "private")]


class _Event(ctypes.Structure):
    _fields_ = [
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory_before", _Memory),
        ("memory_after", _Memory),
        ("operator", ctypes.c_uint64),
        ("subgraph", ctypes.c_uint64),
        ("source", ctypes.c_int),
    ]


def profiled(path: Path, runs: int) -> list[list[tuple[str, int, float]]]:
    """Return name, node (-1: not known) and milliseconds of every operator in each run.

    For a process of its own.

    Raises
    ------
    OSError
        There is no such library.
    RuntimeError
        It refuses a call.
    """
    call = _Library()
    environment = call.made("LiteRtCreateEnvironment", 0, None)
    model = call.made("LiteRtCreateModelFromFile", environment, str(path).encode())
    compiled = call.made("LiteRtCreateCompiledModel", environment, model, _profiling_on(call))
    graph = call.made("LiteRtGetModelSubgraph", model, ctypes.c_size_t(0))
    ends = [_buffer(call, environment, compiled, graph, side) for side in ("Input", "Output")]
    feed, answer = ((ctypes.c_void_p * 1)(end) for end in ends)
    profiler = call.made("LiteRtCompiledModelGetProfiler", compiled)
    one, first = ctypes.c_size_t(1), ctypes.c_size_t(0)
    found = []
    for _ in range(runs + 1):
        call("LiteRtStartProfiler", profiler)
        call("LiteRtRunCompiledModel", compiled, first, one, feed, one, answer)
        call("LiteRtStopProfiler", profiler)
        found.append(_operators(call, profiler))
        call("LiteRtResetProfiler", profiler)
    return found[1:]  # the first run also prepares


class _Library:
    """LiteRT's C interface: a status that is not 0 is an exception."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec("ai_edge_litert")
        if spec is None or spec.origin is None:
            raise OSError("ai-edge-litert is not installed")
        self._library = ctypes.CDLL(str(Path(spec.origin).parent / "libLiteRt.so"))

    def __call__(self, name: str, *arguments: Any) -> None:
        if status := getattr(self._library, name)(*arguments):
            raise RuntimeError(f"{name} failed with {status}")

    def made(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """What a call writes to where its last argument points."""
        handle = ctypes.c_void_p()
        self(name, *arguments, ctypes.byref(handle))
        return handle


_KEPT: list[Any] = []  # what the library reads later than the call that it is given in


def _profiling_on(call: _Library) -> ctypes.c_void_p:
    options = call.made("LiteRtCreateOptions")
    call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
    identifier, text = _OPTIONS
    payload = ctypes.create_string_buffer(text)
    leave = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda payload: None)
    _KEPT.extend((payload, leave))
    more = call.made("LiteRtCreateOpaqueOptions", identifier, payload, leave)
    call("LiteRtAddOpaqueOptions", options, more)
    return options


def _buffer(call: _Library, environment: Any, compiled: Any, graph: Any, side: str) -> Any:
    """Memory for the one input or output; what is in it is of no matter to the time."""
    first = ctypes.c_size_t(0)
    tensor = call.made(f"LiteRtGetSubgraph{side}", graph, first)
    kind = (ctypes.c_uint8 * 512)()  # a struct that only the library looks into
    call("LiteRtGetRankedTensorType", tensor, kind)
    needs = call.made(f"LiteRtGetCompiledModel{side}BufferRequirements", compiled, first, first)
    return call.made("LiteRtCreateManagedTensorBufferFromRequirements", environment, kind, needs)


def _operators(call: _Library, profiler: Any) -> list[tuple[str, int, float]]:
    count = ctypes.c_int()
    call("LiteRtGetNumProfilerEvents", profiler, ctypes.byref(count))
    events = (_Event * max(count.value, 1))()
    call("LiteRtGetProfilerEvents", profiler, count, events)
    return [
        (
            event.tag.decode(),
            event.operator if event.type == _OPERATOR else -1,
            event.elapsed_us / 1000,
        )
        for event in events[: count.value]
        if event.type in (_OPERATOR, _INSIDE_DELEGATE) and b"Delegate" not in event.tag
    ]

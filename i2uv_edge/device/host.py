"""A bundle's networks measured on this machine: time by operator, threads, memory, cold start.

Milliseconds of one machine say nothing of a phone's; what may be taken along are the shares of the
operators and the ratios to PyTorch and ONNX Runtime, which ran in turns with the files.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from i2uv_edge.bundle import sha256_of
from i2uv_edge.convert.histogram import macs_by_dtype
from i2uv_edge.device.layers import named_layers
from i2uv_edge.device.litert_profiler import operator_times
from i2uv_edge.device.profiles import Against, Device, Latency, NetworkProfile, Profile
from i2uv_edge.device.stages import Contents
from i2uv_edge.device.timing import Contender, Times, interleaved, started
from i2uv_edge.networks.checkpoint import load_checkpoint
from i2uv_edge.networks.registry import build
from i2uv_edge.onnx_runner import open_session
from i2uv_edge.requests import Notify
from i2uv_edge.runners import one_torch_thread, open_interpreter
from i2uv_edge.spec import NetworkSpec, Role

__all__ = ["cores", "processor", "profile_on_host", "thread_counts"]

ROUNDS = 25
SLOW_GMAC = 2.0  # a network beyond takes a round for less
FEWEST_ROUNDS = 7
PROFILED_RUNS = 50
TOOLS = ("ai-edge-litert", "onnxruntime", "torch", "numpy")

EAGER, ONNX = "PyTorch eager (float)", "ONNX Runtime (the bundle's .onnx)"


def profile_on_host(contents: Contents, notify: Notify) -> Profile:
    """Measure the networks of a bundle here and now."""
    counts = thread_counts(cores())
    networks: list[NetworkProfile] = []
    notes = [
        "Times are this machine's, as busy as it was; what is compared ran in turns.",
        "A cold start is a new process with the file in the system's cache.",
    ]
    for number, (role, spec) in enumerate(contents.specs.items()):
        notify(f"timing {role}", number, len(contents.specs))
        path = contents.bundle.file(f"{role}.tflite")
        events, why = operator_times(path, PROFILED_RUNS)
        if why:
            notes.append(f"{role}: {why}")
        first, *others = _measured(contents, role, spec, counts)
        networks += [replace(first, layers=named_layers(path, events)), *others]
    notes.append(
        "Operators are LiteRT's own profile of one thread, the median of "
        f"{PROFILED_RUNS} runs in whole microseconds; convolutions are named by layer where their "
        "order fits the file."
    )
    return Profile(
        source="host",
        bundle=contents.bundle.sha256,
        device=Device(processor(), platform.machine()),
        tools={"python": platform.python_version(), **{name: version(name) for name in TOOLS}},
        networks=tuple(networks),
        notes=tuple(notes),
    )


def thread_counts(available: int) -> tuple[int, ...]:
    """1, 2, 4, ... and all cores."""
    doubled = [1 << k for k in range(available.bit_length()) if 1 << k <= available]
    return tuple(dict.fromkeys([*doubled, available]))


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The name of this machine's processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def _measured(
    contents: Contents, role: Role, spec: NetworkSpec, counts: Sequence[int]
) -> list[NetworkProfile]:
    """A row for each number of threads; one thread is held against the others' one thread."""
    path = contents.bundle.file(f"{role}.tflite")
    feed = np.random.default_rng(0).random(spec.input.shape, np.float32)
    litert = {threads: _litert(path, threads) for threads in counts}
    others = [_eager(contents, role, spec, feed)]
    if any(item.path == f"{role}.onnx" for item in contents.bundle.artifacts):
        others.append(_onnx(contents.bundle.file(f"{role}.onnx"), feed))
    gmac = sum(macs_by_dtype(path).values()) / 1e9
    rounds = max(FEWEST_ROUNDS, min(ROUNDS, int(ROUNDS * SLOW_GMAC / max(gmac, 1e-9))))
    with one_torch_thread():
        times = interleaved([*litert.values(), *others], rounds=rounds)
    found = []
    for threads, contender in litert.items():
        own = times[contender.name]
        beside = [other.name for other in others] if threads == 1 else [litert[1].name]
        start = started(path, threads=threads)
        found.append(
            NetworkProfile(
                role=role,
                file=path.name,
                sha256=sha256_of(path),
                runtime="xnnpack",
                threads=threads,
                latency_ms=_latency(own),
                first_ms=start.first_ms,
                memory_mb=start.memory_mb if np.isfinite(start.memory_mb) else None,
                against=tuple(
                    Against(name, times[name].ms, own.median / times[name].median)
                    for name in beside
                ),
            )
        )
    return found


def _latency(times: Times) -> Latency:
    return Latency(
        median=times.ms,
        least=times.quantile_ms(0.0),
        p90=max(times.ms, times.quantile_ms(0.9)),
        runs=len(times.seconds),
    )


def _litert(path: Path, threads: int) -> Contender:
    interpreter = open_interpreter(path.read_bytes(), threads=threads)
    for detail in interpreter.get_input_details():
        noise = np.random.default_rng(0).random(tuple(detail["shape"]), np.float32)
        if np.issubdtype(detail["dtype"], np.integer):
            noise = noise * 255 + np.iinfo(detail["dtype"]).min
        interpreter.set_tensor(detail["index"], noise.astype(detail["dtype"]))
    return Contender(f"LiteRT, {threads} thread{'s'[: threads > 1]}", interpreter.invoke)


def _eager(contents: Contents, role: Role, spec: NetworkSpec, feed: Any) -> Contender:
    module = build(spec)
    load_checkpoint(module, contents.bundle.file(f"float/{role}.safetensors"))
    module.eval()
    given = torch.from_numpy(feed).permute(0, 3, 1, 2).contiguous()

    def run() -> None:
        with torch.inference_mode():
            module(given)

    return Contender(EAGER, run)


def _onnx(path: Path, feed: Any) -> Contender:
    session = open_session(path.read_bytes())
    (port,) = session.get_inputs()
    given = np.ascontiguousarray(feed.transpose(0, 3, 1, 2))
    if port.type != "tensor(float)":
        given = np.asarray(given * 255, np.uint8 if port.type == "tensor(uint8)" else np.int8)
    return Contender(ONNX, lambda: session.run(None, {port.name: given}))

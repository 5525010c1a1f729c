"""What Qualcomm AI Hub says of a finished job, as a network's profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.device.profiles import Latency, Layer, Unit
from i2uv_edge.errors import HubError
from i2uv_edge.runners import Port

__all__ = ["Figures", "Takes", "answers", "figures"]

Array = NDArray[Any]
Float32 = NDArray[np.float32]

_LAYOUTS = {"NHWC": (0, 1, 2, 3), "NCHW": (0, 3, 1, 2)}  # from NHWC, which everyone else speaks


@dataclass(frozen=True)
class Takes:
    """The input and the output of a file on the device; `layout` is of both."""

    input: Port
    output: Port
    layout: str = "NHWC"

    def entries(self, feed: Float32) -> dict[str, list[Array]]:
        """(N, H, W, C) real values -> what the client uploads as a data set."""
        order = _LAYOUTS[self.layout]
        batches = (self.input.stored(sample[None]).transpose(order) for sample in feed)
        return {self.input.name: [np.ascontiguousarray(batch) for batch in batches]}


@dataclass(frozen=True)
class Figures:
    """A job's figures in our units, and what has to be said of them."""

    latency_ms: Latency
    first_ms: float | None
    memory_mb: float | None
    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = ()


def figures(profile: Mapping[str, Any], *, job: str) -> Figures:
    """Read what `download_profile` gives: times in microseconds, memory in bytes.

    Raises
    ------
    HubError
        There is no time in it, or it cannot be read.
    """
    try:
        summary, detail = profile["execution_summary"], profile["execution_detail"]
        times = [float(time) / 1e3 for time in summary.get("all_inference_times") or ()]
        latency, notes = _latency(times, summary["estimated_inference_time"])
        first = None
        if times and summary.get("first_load_time"):
            first = float(summary["first_load_time"]) / 1e3 + times[0]
        memory, of_memory = _memory(summary)
        layers, of_layers = _layers(detail)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise HubError(
            f"the profile of job {job} cannot be read: {error!r}",
            expected="the times of a finished profiling job",
            remedy="look at the job's page; another version of qai-hub may read it",
        ) from error
    return Figures(latency, first, memory, layers, (*notes, *of_memory, *of_layers))


def answers(entries: Mapping[str, Sequence[Array]], takes: Takes, count: int, *, job: str) -> Array:
    """The one output of a job for each of `count` samples, (N, H, W, C) float32 real values.

    Raises
    ------
    HubError
        Outputs are missing, or they are of another shape or type.
    """
    port, order = takes.output, _LAYOUTS[takes.layout]
    shape = tuple(port.shape[axis] for axis in order)
    found = [np.asarray(array) for arrays in entries.values() for array in arrays]
    wrong = {(item.shape, item.dtype.name) for item in found if item.shape != shape}
    types = {item.dtype for item in found} - {port.dtype, np.dtype(np.float32)}
    if len(entries) != 1 or len(found) != count or wrong or types:
        described = sorted({f"{item.dtype} {item.shape}" for item in found})
        raise HubError(
            f"job {job} gave {len(entries)} outputs with {len(found)} samples: "
            f"{', '.join(described) or 'nothing'}",
            expected=f"one output with {count} samples of {port.dtype} {shape}",
            remedy="look at the job's page",
        )
    back = np.argsort(order)
    made = [
        (port.real(item) if item.dtype == port.dtype else item).transpose(back) for item in found
    ]
    return np.concatenate(made).astype(np.float32)


def _latency(times: Sequence[float], estimate: float) -> tuple[Latency, tuple[str, ...]]:
    if times:
        p90 = float(np.percentile(times, 90))
        return Latency(float(np.median(times)), min(times), p90, len(times)), ()
    if not estimate:
        raise ValueError("no inference time")
    one = float(estimate) / 1e3
    note = "AI Hub gave one estimate of the time and not the times of the runs"
    return Latency(one, one, one, 1), (note,)


def _memory(summary: Mapping[str, Any]) -> tuple[float | None, tuple[str, ...]]:
    grown = summary.get("inference_memory_increase_range")
    if grown is not None:
        return float(grown[1]) / 1e6, ()
    peak = summary.get("estimated_inference_peak_memory")
    if not peak:
        return None, ()
    return float(peak) / 1e6, ("memory is the peak of the process, not what it grew by",)


def _layers(detail: Sequence[Mapping[str, Any]]) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
    known = [item for item in detail if item["compute_unit"] in get_args(Unit)]
    total = sum(item.get("execution_time", 0) for item in known)
    layers = []
    for item in known:
        time = item.get("execution_time")
        layers.append(
            Layer(
                name=str(item["name"]),
                type=str(item["type"]),
                unit=cast(Unit, item["compute_unit"]),
                ms=None if time is None else float(time) / 1e3,
                share=None if time is None or not total else float(time) / total,
            )
        )
    left_out = len(detail) - len(known)
    note = f"{left_out} of {len(detail)} layers are left out: AI Hub names no compute unit for them"
    return tuple(layers), (note,) if left_out else ()

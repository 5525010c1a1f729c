"""How long each stage of a frame takes."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.chain import VertexReader
from i2uv_edge.runners import Runner
from i2uv_edge.spec import TensorSpec

__all__ = ["BETWEEN", "NETWORKS", "OUTSIDE", "Stages", "TimedReader", "TimedRunner", "shares"]

Float32 = NDArray[np.float32]

NETWORKS = ("affinenet", "srnet")
BETWEEN = "between"
PRE_POST = ("crop", "gather", "overlay")
OUTSIDE = ("read", "write", "compare")
"""Not of a frame's own time: where pictures come from and where they go to, and a second opinion.
"""

REMEMBERED = 4096
"""Frames that a median is taken of, the last ones: what is kept must not grow with a video."""


class Stages:
    """A clock with a name on each lap; laps of one name within a frame are added up."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._frame: dict[str, float] = {}
        self._open: list[float] = []
        self._kept: dict[str, deque[float]] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time a block; a stage inside it is not counted twice."""
        self._open.append(0.0)
        start = self._clock()
        try:
            yield
        finally:
            whole = self._clock() - start
            inside = self._open.pop()
            self._frame[name] = self._frame.get(name, 0.0) + whole - inside
            if self._open:
                self._open[-1] += whole

    def end_frame(self) -> dict[str, float]:
        """Close a frame and return its milliseconds by stage, in the order they were begun."""
        frame, self._frame = self._frame, {}
        for name, seconds in frame.items():
            self._kept.setdefault(name, deque(maxlen=REMEMBERED)).append(seconds)
        return {name: 1000.0 * seconds for name, seconds in frame.items()}

    def medians(self) -> dict[str, float]:
        """Milliseconds by stage, over the last frames."""
        return {name: 1000.0 * statistics.median(kept) for name, kept in self._kept.items()}


def shares(medians: Mapping[str, float]) -> dict[str, float]:
    """What of a frame's own time is not the networks', by `Stages.medians`.

    "frame_ms": all that is not reading and writing; "networks_ms"; "pre_post_share": what crop,
    gather and overlay take of what they and the networks take, 0..1, which is what an app has to
    do; "around_share": all that is not the networks, of all.
    """
    frame = sum(ms for name, ms in medians.items() if name not in OUTSIDE)
    networks = sum(medians.get(name, 0.0) for name in NETWORKS)
    pre_post = sum(medians.get(name, 0.0) for name in PRE_POST)
    app = pre_post + networks + medians.get(BETWEEN, 0.0)
    return {
        "frame_ms": frame,
        "networks_ms": networks,
        "pre_post_share": pre_post / app if app else 0.0,
        "around_share": (frame - networks) / frame if frame else 0.0,
    }


class TimedRunner:
    """A runner whose time goes to a stage."""

    def __init__(self, runner: Runner, stages: Stages, stage: str) -> None:
        self.name = runner.name
        self._runner, self._stages, self._stage = runner, stages, stage

    @property
    def input(self) -> TensorSpec:
        return self._runner.input

    @property
    def output(self) -> TensorSpec:
        return self._runner.output

    def __call__(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, Float32]:
        with self._stages(self._stage):
            return self._runner(feeds)


class TimedReader:
    """What reads vertices, its time going to a stage."""

    def __init__(self, reader: VertexReader, stages: Stages, stage: str) -> None:
        self._reader, self._stages, self._stage = reader, stages, stage

    def read_vertices(self, uv_map: Float32, /) -> Float32:
        """See `VertexReader`."""
        with self._stages(self._stage):
            return self._reader.read_vertices(uv_map)

"""What the benchmarks time: files on noise, and libraries that talk kept off standard output."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from i2uv_edge.device.timing import Contender

__all__ = ["quiet_output", "tflite"]


def tflite(name: str, *paths: Path) -> Contender:
    """One LiteRT inference of each file, one thread, on fixed noise."""
    from ai_edge_litert.interpreter import Interpreter

    interpreters = [Interpreter(model_path=str(path), num_threads=1) for path in paths]
    for interpreter in interpreters:
        interpreter.allocate_tensors()
        _feed(interpreter)

    def run() -> None:
        for interpreter in interpreters:
            interpreter.invoke()

    return Contender(name, run)


def _feed(interpreter: Any) -> None:
    rng = np.random.default_rng(0)
    for detail in interpreter.get_input_details():
        noise = rng.random(tuple(detail["shape"]), np.float32)
        if np.issubdtype(detail["dtype"], np.integer):
            noise = noise * 255 + np.iinfo(detail["dtype"]).min
        interpreter.set_tensor(detail["index"], noise.astype(detail["dtype"]))


@contextlib.contextmanager
def quiet_output() -> Iterator[None]:
    """Send what libraries write to standard output, also past Python, to standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)

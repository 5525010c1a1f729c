"""Timing side by side: what is compared runs in turns, so that a busy machine slows all alike."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Contender", "Times", "anonymous_memory", "interleaved", "quiet_output", "tflite"]

SLOT = 0.02  # seconds a turn lasts at least: what is short is repeated, or the clock is measured


@dataclass(frozen=True)
class Contender:
    """Something to time, by a name."""

    name: str
    run: Callable[[], object]


@dataclass(frozen=True)
class Times:
    """Seconds of one run, a number for each round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    @property
    def ms(self) -> float:
        """The median in milliseconds."""
        return 1000.0 * self.median


def interleaved(
    contenders: Sequence[Contender],
    *,
    rounds: int,
    slot: float = SLOT,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Times]:
    """Time all contenders in turns, each round starting with another one.

    Parameters
    ----------
    contenders
        Their names must differ.
    rounds
        Turns of each.
    slot
        Seconds of a turn at least; a run that is shorter is repeated and the turn divided.
    clock
        Gives seconds.
    """
    if rounds < 1 or not contenders:
        raise ValueError("there is nothing to time: it takes a round and a contender")
    if len({contender.name for contender in contenders}) != len(contenders):
        raise ValueError(f"two contenders have one name: {[c.name for c in contenders]}")
    repeats = {contender.name: _repeats(contender, slot, clock) for contender in contenders}
    found: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for number in range(rounds):
            first = number % len(contenders)
            for contender in (*contenders[first:], *contenders[:first]):
                count = repeats[contender.name]
                start = clock()
                for _ in range(count):
                    contender.run()
                found[contender.name].append((clock() - start) / count)
    finally:
        if collecting:
            gc.enable()
    return {name: Times(tuple(seconds)) for name, seconds in found.items()}


def _repeats(contender: Contender, slot: float, clock: Callable[[], float]) -> int:
    """How often a turn runs it; the first run, which also allocates, is not counted."""
    contender.run()
    start = clock()
    contender.run()
    return max(1, math.ceil(slot / max(clock() - start, 1e-9)))


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


_MEMORY_PROGRAM = """
import sys
import numpy
from ai_edge_litert.interpreter import Interpreter

def anonymous():
    with open("/proc/self/smaps_rollup") as file:
        (line,) = (line for line in file if line.startswith("Anonymous:"))
    return int(line.split()[1]) * 1024 / 1e6

before = anonymous()
interpreters = [Interpreter(model_path=path, num_threads=1) for path in sys.argv[1:]]
for interpreter in interpreters:
    interpreter.allocate_tensors()
    interpreter.invoke()
print(anonymous() - before)
"""


def anonymous_memory(*paths: Path) -> float:
    """MB that a process holds to itself for running these files, above Python with LiteRT loaded.

    In a process of its own, after one inference. The files themselves are mapped and not counted:
    the system may drop those pages. Linux only; NaN elsewhere.
    """
    if not Path("/proc/self/smaps_rollup").is_file():
        return math.nan
    command = [sys.executable, "-c", _MEMORY_PROGRAM, *map(str, paths)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(ended.stdout.split()[-1])


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

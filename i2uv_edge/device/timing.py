"""Timing side by side: what is compared runs in turns, so that a busy machine slows all alike."""

from __future__ import annotations

import gc
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Contender", "Started", "Times", "interleaved", "started"]

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

    def quantile_ms(self, share: float) -> float:
        """The least number of milliseconds that `share` (0..1) of the rounds kept within."""
        rank = max(1, math.ceil(share * len(self.seconds)))
        return 1000.0 * sorted(self.seconds)[rank - 1]


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


@dataclass(frozen=True)
class Started:
    """What a fresh process takes for some files.

    `memory_mb` is what it holds to itself afterwards above Python with LiteRT loaded, NaN where the
    system does not say; `first_ms` is opening the files and the first inference of each.
    """

    memory_mb: float
    first_ms: float


_PROGRAM = """
import os
import sys
import time
import numpy
from ai_edge_litert.interpreter import Interpreter

def anonymous():
    if not os.path.isfile("/proc/self/smaps_rollup"):
        return float("nan")
    with open("/proc/self/smaps_rollup") as file:
        (line,) = (line for line in file if line.startswith("Anonymous:"))
    return int(line.split()[1]) * 1024 / 1e6

before, start = anonymous(), time.perf_counter()
interpreters = []
for path in sys.argv[2:]:
    interpreter = Interpreter(model_path=path, num_threads=int(sys.argv[1]))
    interpreter.allocate_tensors()
    interpreter.invoke()
    interpreters.append(interpreter)
seconds = time.perf_counter() - start
print(anonymous() - before, 1000 * seconds)
"""


def started(*paths: Path, threads: int = 1) -> Started:
    """Open TFLite files in a process of its own and run each once.

    The files themselves are mapped and not counted: the system may drop those pages. They are in
    its cache, since somebody wrote or read them before: a phone just started reads them anew.
    """
    command = [sys.executable, "-c", _PROGRAM, str(threads), *map(str, paths)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    memory, first = ended.stdout.split()[-2:]
    return Started(float(memory), float(first))

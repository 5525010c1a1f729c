"""Instructions of an inference, counted in what the emulator writes down while it runs.

qemu's log ``in_asm,exec,nochain`` holds each block of machine code once, when it is translated, and
a line for every time it is run. The numbers are of the program and its input alone: the same on any
machine, and nothing of caches, pipelines or clocks is in them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from i2uv_edge.device.arm64_guest import MARK
from i2uv_edge.device.profiles import Instructions

__all__ = ["LOG", "count", "is_sdot"]

LOG = "in_asm,exec,nochain"

# Arm Architecture Reference Manual, SDOT (vector) and SDOT (by element): the bits that are fixed.
_SDOT = ((0xBFE0FC00, 0x0E809400), (0xBFC0F400, 0x0F80E000))


def is_sdot(opcode: int) -> bool:
    """Whether a 32-bit instruction is a signed dot product of bytes: 4 lanes times 4 products."""
    return any(opcode & mask == bits for mask, bits in _SDOT)


def count(lines: Iterable[bytes]) -> list[Instructions]:
    """Count what runs between each two marks.

    Parameters
    ----------
    lines
        Of the log, in order; other lines are left alone.
    """
    found: list[Instructions] = []
    sizes: dict[bytes, list[int]] = {}  # address -> instructions and dot products of its block
    block: list[int] | None = None
    runs: Counter[bytes] = Counter()
    inside = False
    for line in lines:
        if line.startswith(b"Trace "):
            if inside:
                runs[line] += 1
        elif line.startswith(b"0x") and block is not None:
            address, _, rest = line.partition(b":")
            if not block[0]:
                sizes[address[2:].rjust(16, b"0")] = block
            block[0] += 1
            block[1] += is_sdot(int(rest.split(None, 1)[0], 16))
        elif line.startswith(b"IN:"):
            block = [0, 0]
        elif line == MARK:
            if inside:
                found.append(_sum(runs, sizes))
                runs.clear()
            inside = not inside
    return found


def _sum(runs: Counter[bytes], sizes: dict[bytes, list[int]]) -> Instructions:
    total = sdot = 0
    for line, times in runs.items():
        # "Trace 0: 0x7f.. [cs_base/address/flags/cflags] symbol"
        own = sizes[line.split(b"/", 2)[1]]
        total += times * own[0]
        sdot += times * own[1]
    return Instructions(total, sdot)

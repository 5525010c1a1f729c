"""Counting in the emulator's log, on a log written by hand."""

from __future__ import annotations

import pytest

from i2uv_edge.device.arm64_guest import MARK
from i2uv_edge.device.instructions import count, is_sdot
from i2uv_edge.device.profiles import Instructions

# Two blocks as qemu 7.2 writes them: three instructions with one dot product, and two without.
FIRST = b"""----------------
IN:
0x5505000000:  3cc105a0  ldr      q0, [x13], #0x10
0x5505000004:  4f80e090  .byte    0x90, 0xe0, 0x80, 0x4f
0x5505000008:  54fff642  b.hs     #0x5505000000

"""
SECOND = b"""----------------
IN: XnnSomething
0x550500000c:  a8c17bfd  ldp      x29, x30, [sp], #0x10
0x5505000010:  d65f03c0  ret

"""
RUN_FIRST = b"Trace 0: 0x7fb777fa6fc0 [0000000000001001/0000005505000000/00000001/00080200] \n"
RUN_SECOND = b"Trace 0: 0x7fb7a [0000000000001001/000000550500000c/00000001/00080200] Xnn\n"


def counted(*parts: bytes) -> list[Instructions]:
    return count(b"".join(parts).splitlines(keepends=True))


@pytest.mark.parametrize("opcode", [0x4F80E090, 0x4FA3E8FF, 0x0E829420, 0x4E829420])
def test_signed_dot_products_of_bytes_are_known(opcode: int) -> None:
    assert is_sdot(opcode)


@pytest.mark.parametrize(
    "opcode",
    [
        pytest.param(0x6F80E090, id="udot by element"),
        pytest.param(0x6E829420, id="udot"),
        pytest.param(0x4E21DA10, id="scvtf"),
        pytest.param(0x3CC105A0, id="ldr"),
    ],
)
def test_other_instructions_are_none(opcode: int) -> None:
    assert not is_sdot(opcode)


def test_each_run_of_a_block_counts_its_instructions() -> None:
    log = (MARK, FIRST, RUN_FIRST, RUN_FIRST, RUN_FIRST, SECOND, RUN_SECOND, MARK)
    assert counted(*log) == [Instructions(3 * 3 + 2, 3)]


def test_what_runs_outside_of_inferences_does_not_count() -> None:
    log = (FIRST, RUN_FIRST, SECOND, RUN_SECOND, MARK, RUN_SECOND, MARK, RUN_FIRST)
    assert counted(*log) == [Instructions(2, 0)]


def test_each_inference_is_counted_by_itself() -> None:
    log = (FIRST, SECOND, MARK, RUN_FIRST, MARK, MARK, RUN_FIRST, RUN_SECOND, MARK)
    assert counted(*log) == [Instructions(3, 1), Instructions(5, 1)]


def test_a_block_translated_again_is_counted_as_it_is_now() -> None:
    shorter = FIRST.replace(b"0x5505000008:  54fff642  b.hs     #0x5505000000\n", b"")
    assert counted(FIRST, shorter, MARK, RUN_FIRST, MARK) == [Instructions(2, 1)]


def test_an_inference_that_never_ended_is_none() -> None:
    assert counted(FIRST, MARK, RUN_FIRST) == []

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from i2uv_edge.plans import Alternative, Check, Checks, Plan, Segment

DSP = Segment("affinenet", "DSP", 31, 0.5, 3.0, 10.0, 8.0, 12.0, "taken by qnn")
CPU = Segment("affinenet", "CPU", 4, 0.0, 1.0, 2.0, 1.0, 5.0, "CONV_2D is FLOAT32", "head")
PLAN = Plan("sd865", "qnn", "DSP", "a delegate", (DSP, CPU), crossings=1, pre_post_ms=8.0)


def test_a_frame_is_the_networks_and_what_is_around_them() -> None:
    assert (PLAN.ms, PLAN.ms_low, PLAN.ms_high) == (12.0, 9.0, 17.0)
    assert PLAN.fps == pytest.approx(50.0)
    assert PLAN.fps_low == pytest.approx(40.0)


@pytest.mark.parametrize(
    ("gates", "words"),
    [
        ({}, None),
        ({"max_crossings": 1, "min_fps": 40.0}, None),
        ({"max_crossings": 0}, "1 crossings, at most 0 may be"),
        ({"min_fps": 40.1}, "40.0 fps on the pessimistic end, 40.1 are asked"),
        ({"fail_on_fallback": True}, "4 operators are left to the CPU, first head: CONV_2D is"),
    ],
)
def test_gates_judge_the_pessimistic_end(gates: dict[str, Any], words: str | None) -> None:
    failures = PLAN.failures(**gates)
    assert failures == [] if words is None else words in failures[0]


def test_every_gate_that_fails_is_named_at_once() -> None:
    assert len(PLAN.failures(fail_on_fallback=True, max_crossings=0, min_fps=100.0)) == 3


def test_a_frame_rate_that_is_no_number_fails() -> None:
    broken = replace(PLAN, segments=(replace(DSP, ms_high=float("nan")),))
    assert broken.failures(min_fps=1.0)


def test_what_was_to_run_on_the_cpu_is_no_fallback() -> None:
    assert replace(PLAN, unit="CPU").failures(fail_on_fallback=True) == []


def test_the_document_has_what_the_contract_names() -> None:
    fields = PLAN.fields()
    assert {"target", "runtime", "segments", "crossings", "ms", "fps", "fps_low"} <= fields.keys()
    segment = {"unit", "ops", "gmac", "ms", "ms_low", "ms_high", "reason"}
    assert all(segment <= one.keys() for one in fields["segments"])


def test_the_text_says_where_what_runs_and_why() -> None:
    other = Alternative("gpu", 5.0, 4.0, 9.0, 3, True)
    lines = replace(PLAN, asked=False, alternatives=(other,), note="mind this").text().splitlines()
    assert lines[0] == "sd865, qnn, the best of those below: a delegate"
    cells = "affinenet CPU 4 0.000 1.0 2.00 1.00..5.00 head: CONV_2D is FLOAT32"
    assert lines[4].split() == cells.split()
    assert "frame      50 fps, pessimistic 40, with 8 ms before and after the networks" in lines
    assert lines[-2:] == ["note       mind this", "others     gpu: 5.0 ms (4.0..9.0), 3 crossings"]


def test_checks_sum_up_what_ran_whole_and_in_part_apart() -> None:
    rows = (
        Check("a", True, 10.0, 11.0),
        Check("b", True, 10.0, 7.0),
        Check("c", True, 10.0, 10.0),
        Check("d", False, 10.0, 6.0, "2 of 3 operators on the DSP"),
    )
    checks = Checks("sd865", "qnn", "others", {"call": 3.2}, 4.0, rows, {"e": "no layers"})
    assert checks.median_error == pytest.approx(0.1)
    assert checks.worst_fallback == pytest.approx(10 / 6)
    text = checks.text()
    assert "median error  10.0%" in text
    assert "run in part   within a factor of 1.67" in text
    assert "not used      e: no layers" in text
    assert checks.fields()["rows"][1]["ratio"] == pytest.approx(0.7)
    whole = replace(checks, rows=rows[:3])
    assert whole.worst_fallback is None
    assert "run in part" not in whole.text()

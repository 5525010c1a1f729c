"""What is timed of a training run, and the table; one run on the smallest network."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import training_costs
from benchmarks.training_costs import QUICK, Cost, EnoughError, Plan, Speed, Steady, document, table
from i2uv_edge.training.log import Progress

ROOT = Path(__file__).parents[1]
PLAN = Plan(seconds=10.0, steps=3, warmup=2)


class Clock:
    """As many seconds after each look."""

    def __init__(self, *steps: float) -> None:
        self.steps = list(steps)
        self.now = 100.0

    def __call__(self) -> float:
        self.now += self.steps.pop(0)
        return self.now


def progress(step: int) -> Progress:
    return Progress(step, 1000, 1.0, 5.0, None, 1e-3, 100.0 + step)


def steps_until_enough(steady: Steady) -> int:
    for step in range(1, 1000):
        try:
            steady(progress(step))
        except EnoughError:
            return step
    raise AssertionError("a run that never ends")


def test_only_steps_after_the_warm_up_are_timed() -> None:
    steady = Steady(PLAN, clock=Clock(50.0, 4.0, 4.0, 4.0))
    assert steps_until_enough(steady) == 5
    assert (steady.steps, steady.seconds, steady.memory_mb) == (3, 12.0, 105.0)


def test_it_goes_on_until_both_seconds_and_steps_are_enough() -> None:
    assert steps_until_enough(Steady(PLAN, clock=Clock(0.0, *[1.0] * 20))) == 2 + 10
    assert steps_until_enough(Steady(PLAN, clock=Clock(0.0, *[60.0] * 20))) == 2 + 3


def test_a_plan_replaces_what_costs_and_keeps_the_recipe() -> None:
    config = replace(PLAN, batch=6, micro_batch=3, device="cpu").config("affinenet-r50")
    assert (config.batch, config.micro_batch, config.device) == (6, 3, "cpu")
    assert config.betas == (0.9, 0.999)
    assert min(config.steps, config.checkpoint_every, config.evaluate_every) > 1_000_000


COSTS = [Cost("affinenet-edge", 12.34, 567.8, 9), Cost("affinenet-r152", failed="killed")]
SPEEDS = [Speed(256, 91.4, 500)]


def test_the_table_has_a_line_for_each_network_and_size_of_picture() -> None:
    lines = table(PLAN, COSTS, SPEEDS).splitlines()
    assert lines[0].startswith("Batch 16, 8 at once")
    assert "| affinenet-edge | 12.3 | 568 | 9 |" in lines
    assert "| affinenet-r152 | killed | | |" in lines
    assert "| 256 | 91 | 500 |" in lines


def test_what_was_not_measured_is_null_in_json() -> None:
    text = json.dumps(document(PLAN, COSTS, SPEEDS), allow_nan=False)
    found = json.loads(text)
    assert [cost["samples_per_second"] for cost in found["costs"]] == [12.34, None]
    assert found["plan"]["batch"] == 16


def test_pictures_are_counted_until_the_time_is_over() -> None:
    found = training_costs.rendering(32, 1.0, clock=Clock(*[0.25] * 20))
    assert (found.side, found.pictures) == (32, 4)
    assert found.pictures_per_second == pytest.approx(4 / 1.25)


def test_a_network_that_cannot_be_trained_says_why_and_ends_no_other() -> None:
    found = training_costs.in_own_process("affinenet-tiny", replace(QUICK, device="nowhere"))
    assert found.failed.startswith("training_costs: ")
    assert "nowhere" in found.failed
    assert math.isnan(found.samples_per_second)


@pytest.mark.slow
def test_it_runs() -> None:
    command = [sys.executable, "benchmarks/training_costs.py", "affinenet-tiny", "--quick"]
    ended = subprocess.run(
        [*command, "--json"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = json.loads(ended.stdout)
    (cost,) = found["costs"]
    assert (cost["network"], cost["steps"], cost["failed"]) == ("affinenet-tiny", 2, "")
    assert cost["samples_per_second"] > 0
    assert 50 < cost["memory_mb"] < 20_000
    assert [speed["side"] for speed in found["speeds"]] == [256, 128]

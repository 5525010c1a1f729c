"""The table of what each method of post-training quantization brings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.peers import Outcome, compare
from benchmarks.post_training import ALL, METHODS, PLAIN, table, variants, way
from benchmarks.subjects import at_side
from benchmarks.ways import Task
from i2uv_edge.data.evaluation import bundled_samples
from i2uv_edge.networks.checkpoint import save_checkpoint
from i2uv_edge.networks.registry import build
from i2uv_edge.spec import load_recipe


def test_every_method_stands_alone_once_and_what_the_recipe_has_is_left_out_once() -> None:
    made = variants()
    assert len(made) == len(set(made.values()))
    assert set(METHODS) < set(made)
    for name in METHODS:
        changed = [k for k in vars(PLAIN) if getattr(made[name], k) != getattr(PLAIN, k)]
        assert changed
        assert all(getattr(made[name], k) == METHODS[name][k] for k in changed)
    left_out = [name for name in made if name.startswith("all but ")]
    assert len(left_out) == 4


def test_all_of_them_are_what_the_bundled_recipe_does() -> None:
    recipe = load_recipe("w8a8")
    assert ALL.recipe(recipe) == recipe
    assert PLAIN.recipe(recipe).weights.rounding == "nearest"
    assert PLAIN.options().equalize is None


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    torch.manual_seed(0)
    spec = at_side("affinenet-tiny", 64)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_checkpoint(build(spec), path, {"network": "affinenet-tiny"}, dtype=torch.float32)
    samples = [next(bundled_samples(64))]
    return Task(spec, path, [sample.picture[None] for sample in samples], samples)


def test_lines_are_measured_and_a_failure_says_why(task: Task) -> None:
    chosen = {"plain": way(PLAIN), "none": way(replace(PLAIN, percentile=0.0))}
    _, plain, failed = compare(task, chosen, rounds=1)
    assert 0.0 < plain.mean_mm < plain.p95_mm
    assert failed.reason
    text = table([plain, failed, Outcome("other", 0.1234, 0.5)])
    assert f"{plain.mean_mm:.3f}" in text
    assert failed.reason in text
    assert "0.123   0.50" in text


def test_files_are_not_written(task: Task, tmp_path: Path) -> None:
    assert way(PLAIN)(task, tmp_path / "made.tflite").path is None
    assert not list(tmp_path.iterdir())

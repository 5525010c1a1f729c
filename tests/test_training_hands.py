"""What networks that answer with hands learn from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from i2uv_edge.errors import UsageError
from i2uv_edge.hand.model import HandModel
from i2uv_edge.networks.checkpoint import save_checkpoint
from i2uv_edge.networks.registry import build
from i2uv_edge.spec import NetworkSpec, load_network
from i2uv_edge.training.config import TrainingConfig
from i2uv_edge.training.hands import (
    HandDistillation,
    KeypointsToHand,
    PictureToHand,
    apart,
    score,
)
from i2uv_edge.training.task import Batch, Task
from i2uv_edge.training.tasks import make_task

CONFIG = TrainingConfig(steps=2, batch=2, learning_rate=1e-3, first_edition=1.0)


def small(name: str, side: int = 32) -> NetworkSpec:
    spec = load_network(name)
    return replace(spec, input=replace(spec.input, shape=(1, side, side, 3)))


def batch(task: Task, count: int = 2) -> Batch:
    samples = [task.sample(0, index) for index in range(count)]
    return {key: torch.from_numpy(np.stack([s[key] for s in samples])) for key in samples[0]}


def test_tasks_are_chosen_by_what_a_network_takes() -> None:
    assert isinstance(make_task(small("s2hand"), CONFIG), PictureToHand)
    assert isinstance(make_task(small("hifihr"), CONFIG), PictureToHand)
    assert isinstance(make_task(load_network("fmhr-gcn"), CONFIG), KeypointsToHand)


@pytest.mark.parametrize("name", ["s2hand", "hifihr"])
def test_a_step_against_the_gradient_makes_the_loss_smaller(name: str) -> None:
    task = make_task(small(name), CONFIG)
    torch.manual_seed(0)
    network, shown = build(small(name)).train(), batch(task)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = task.loss(network, shown, 0.0, 0.0)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_vertices_are_learned_in_metres_from_the_middle_of_the_crop() -> None:
    sample = make_task(small("s2hand"), CONFIG).sample(3, 0)
    assert sample["unit_mm"] == pytest.approx(1000.0)
    assert np.abs(sample["target"]).max() < 0.2
    assert 0.1 < np.ptp(sample["target"], axis=0).max() < 0.4


def test_keypoints_and_parameters_are_of_one_hand() -> None:
    task = make_task(load_network("fmhr-gcn"), CONFIG)
    sample = task.sample(0, 1)
    points = sample["feed"].reshape(21, 3)
    regressed = HandModel.load().coarse.joint_regressor @ sample["target"]
    off_mm = np.linalg.norm(points - regressed, axis=1) * float(sample["unit_mm"])
    assert 0.5 < off_mm.mean() < 8  # the noise, and joints that are not the regressed ones
    assert sample["pose"].shape == (45,)
    assert sample["shape"].shape == (10,)


def test_a_hand_where_it_should_be_scores_nothing() -> None:
    shown = batch(make_task(load_network("fmhr-gcn"), CONFIG))
    assert score(shown["target"], shown).max() < 1e-3
    assert apart(shown["target"], shown) == 0
    moved = shown["target"] + 0.1
    assert score(moved, shown).max() < 1e-3  # aligned, it is the same hand
    assert apart(moved, shown) > 0.1


def test_keypoints_come_from_no_data_set() -> None:
    other = replace(CONFIG, dataset=replace(CONFIG.dataset, kind="freihand", path="x"))
    with pytest.raises(UsageError, match="keypoints of the built-in hand"):
        make_task(load_network("fmhr-gcn"), other)


def test_the_phone_learns_from_the_published_form(tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    save_checkpoint(build(load_network("s2hand")), path, {"network": "s2hand"})
    task = make_task(load_network("s2hand-phone"), replace(CONFIG, teacher=str(path)))
    assert isinstance(task, HandDistillation)
    with pytest.raises(UsageError, match="does not answer as hifihr does"):
        make_task(load_network("hifihr"), replace(CONFIG, teacher=str(path)))

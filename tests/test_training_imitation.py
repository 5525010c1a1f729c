"""A quantized network learns to answer as its float network, or as the truth has it too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from network_toys import AFFINENET, SRNET, fitted, smooth_map
from torch import Tensor, nn
from training_toys import CONFIG, SHARP, Says, batch_of

from i2uv_edge.errors import UsageError
from i2uv_edge.networks.registry import build
from i2uv_edge.training.imitation import Imitation
from i2uv_edge.training.task import EVALUATION_SEED, pictures


def fit(module: nn.Module) -> nn.Module:
    return fitted(module, 64, steps=3)


@pytest.fixture(scope="module")
def task() -> Imitation:
    torch.manual_seed(0)
    return Imitation(Says(smooth_map(64).expand(2, -1, -1, -1)), SHARP, CONFIG)


def moved(by: float) -> Says:
    """The teacher's answer, all of it moved along x."""
    shift = torch.tensor([by, 0.0, 0.0])[:, None, None]
    return Says(smooth_map(64).expand(2, -1, -1, -1) + shift)


def test_samples_need_no_annotations_but_for_labels(task: Imitation) -> None:
    assert set(task.sample(1, 5)) == {"picture"}
    labelled = Imitation(build(AFFINENET), AFFINENET, replace(CONFIG, labels=0.5))
    assert {"picture", "coarse", "scale_mm"} == set(labelled.sample(1, 5))
    assert {"coarse", "scale_mm"} < set(task.sample(EVALUATION_SEED, 0))


def test_who_answers_as_the_float_network_has_nothing_to_learn(task: Imitation) -> None:
    batch = batch_of(task)
    assert float(task.loss(moved(0.0), batch, 0.5, 0.5)) == 0.0
    assert float(task.loss(moved(0.01), batch, 0.5, 0.5)) > 0.002


def test_score_is_the_mean_distance_of_the_vertices_in_millimetres(task: Imitation) -> None:
    batch = batch_of(task, seed=EVALUATION_SEED)
    found = task.score(moved(0.01), batch)
    np.testing.assert_allclose(found, 0.01 * batch["scale_mm"].numpy(), rtol=1e-4)


def test_labels_pull_towards_the_truth() -> None:
    teacher = Says(smooth_map(64).expand(2, -1, -1, -1))
    labelled = Imitation(teacher, SHARP, replace(CONFIG, labels=1.0))
    batch = batch_of(labelled)
    truth = labelled.truth.surface.rasterise(batch["coarse"])

    def loss(answer: Tensor) -> float:
        return float(labelled.loss(Says(answer), batch, 0.5, 0.5))

    assert loss(truth) == pytest.approx(loss(smooth_map(64).expand(2, -1, -1, -1)), rel=1e-3)
    assert loss(truth) > 0.01


def test_gradients_reach_the_student_and_not_the_teacher() -> None:
    teacher, student = fit(build(AFFINENET)), build(AFFINENET)
    teacher.zero_grad(set_to_none=True)
    task = Imitation(teacher, AFFINENET, CONFIG)
    batch = batch_of(task)
    task.loss(student, batch, 0.0, 0.0).backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    head = dict(student.named_parameters())["decoder.2.head.weight"]
    assert head.grad is not None
    with torch.no_grad():
        same = task.loss(teacher, batch, 0.0, 0.0)
    assert float(same) == 0.0
    assert pictures(batch["picture"]).shape == (2, 3, 64, 64)


def test_labels_of_a_bare_folder_are_refused() -> None:
    config = replace(CONFIG, labels=0.5, images="photos")
    with pytest.raises(UsageError, match="no labels to weigh"):
        Imitation(build(AFFINENET), AFFINENET, config)


def test_an_srnet_is_not_trained() -> None:
    with pytest.raises(UsageError, match="no AffineNet"):
        Imitation(build(SRNET), SRNET, CONFIG)

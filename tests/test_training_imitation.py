"""A quantized network learns to answer as its float network, or as the truth has it too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from network_toys import AFFINENET, SRNET, fitted, smooth_map
from quantizer_toys import pictures as shades
from quantizer_toys import recipe, tiny_affinenet
from torch import Tensor, nn
from training_toys import CONFIG, SHARP, Says, batch_of

from i2uv_edge.errors import UsageError
from i2uv_edge.networks.registry import build
from i2uv_edge.quantizer.network import float_twin, quantize
from i2uv_edge.quantizer.trainable import trainable
from i2uv_edge.training.config import KeypointWeights
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


KEYPOINTS = KeypointWeights(distance=1e-3, direction=0.1, length=0.1)


def test_keypoints_of_rendered_hands_are_their_joints() -> None:
    maps = smooth_map(64).expand(2, -1, -1, -1)
    task = Imitation(Says(maps), SHARP, replace(CONFIG, keypoints=KEYPOINTS))
    batch = batch_of(task)
    assert batch["keypoints"].shape == (2, 21, 3)
    truth = task.truth.surface.rasterise(batch["coarse"])
    assert task.keypoints is not None
    read = task.truth.surface.read_vertices
    # A regressor is a mean over vertices, and joints of bent fingers are a millimetre beside it.
    near, far = (float(task.keypoints(read(m), batch["keypoints"])) for m in (truth, maps))
    assert 0.0 < near < 0.02 * far
    with_them = float(task.loss(Says(maps), batch, 0.5, 0.5))
    assert with_them == pytest.approx(far, rel=1e-4)  # its map is the teacher's


def test_gradients_of_keypoints_are_finite_and_reach_the_map() -> None:
    maps = smooth_map(64).repeat(2, 1, 1, 1).requires_grad_()
    task = Imitation(Says(maps.detach()), SHARP, replace(CONFIG, keypoints=KEYPOINTS))
    task.loss(Says(maps), batch_of(task), 0.5, 0.5).backward()
    assert maps.grad is not None
    assert torch.isfinite(maps.grad).all()
    assert maps.grad[:, :2].abs().sum() > 0.0


def test_features_of_the_float_network_are_learned_with_its_map() -> None:
    module = tiny_affinenet()
    spec = replace(SHARP, output=AFFINENET.output, parts={"heads": "*.head"})
    calibration = [shades(4, 64)]
    before = quantize(module, recipe("*.head", "*.warp"), calibration, network_role="affinenet")
    twin, student = float_twin(module, before), trainable(before.graph)
    losses = []
    for features in (0.0, 1.0, 2.0):
        task = Imitation(twin, spec, replace(CONFIG, features=features))
        batch = batch_of(task)
        assert set(batch) == {"picture"}
        losses.append(task.loss(student, batch, 0.5, 0.5))
    plain, one, two = (float(loss.detach()) for loss in losses)
    assert plain < one
    assert two - plain == pytest.approx(2 * (one - plain), rel=1e-3)
    losses[1].backward()
    assert all(parameter.grad is None for parameter in twin.parameters())
    assert student.get_parameter("network.encoder.stem.0.0.weight").grad is not None


def test_features_of_a_network_without_named_heads_are_refused() -> None:
    with pytest.raises(UsageError, match="names no part 'heads'"):
        Imitation(build(AFFINENET), AFFINENET, replace(CONFIG, features=1.0))


@pytest.mark.parametrize("wanted", ["labels", "keypoints"])
def test_labels_and_keypoints_of_a_bare_folder_are_refused(wanted: str) -> None:
    config = replace(CONFIG, images="photos")
    config = replace(
        config, **({"labels": 0.5} if wanted == "labels" else {"keypoints": KEYPOINTS})
    )
    with pytest.raises(UsageError, match=f"no {wanted} to weigh"):
        Imitation(build(AFFINENET), AFFINENET, config)


def test_an_srnet_is_not_trained() -> None:
    with pytest.raises(UsageError, match="no AffineNet"):
        Imitation(build(SRNET), SRNET, CONFIG)

"""S2HAND's terms on 2D keypoints: zero at the truth, and blind to what is another term's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from i2uv_edge.hand.model import HandModel
from i2uv_edge.training.config import KeypointWeights
from i2uv_edge.training.keypoints import (
    BONES,
    SIDE,
    KeypointLoss,
    direction_term,
    distance_term,
    in_picture,
    length_term,
)

Term = Callable[[Tensor, Tensor, Tensor], Tensor]
TERMS: tuple[Term, ...] = (distance_term, direction_term, length_term)
SEEN = torch.ones(2, 21)


def hands() -> Tensor:
    """Joints of two hands, (2, 21, 2) sides of the crop."""
    joints = HandModel.load().joints[:, :2]
    placed = torch.from_numpy((joints - joints.mean(0)) / 0.3 + 0.5)
    return torch.stack([placed, placed.flip(-1)])


def walked(vectors: Callable[[int, Tensor], Tensor]) -> Tensor:
    """The hands with each bone changed, joint behind joint from the wrist on."""
    truth = hands()
    made = [truth[:, 0]]
    for start, end in BONES:
        made.append(made[start] + vectors(end, truth[:, end] - truth[:, start]))
    return torch.stack(made, 1)


def stretched() -> Tensor:
    return walked(lambda end, bone: bone * (0.5 + 0.1 * end))


def turned() -> Tensor:
    return walked(lambda end, bone: bone.flip(-1) * torch.tensor([1.0, -1.0]))


def test_bones_are_a_tree_of_all_joints_from_the_wrist() -> None:
    parents = HandModel.load().parents
    assert tuple((int(parents[joint]), joint) for joint in range(1, 21)) == BONES


@pytest.mark.parametrize("term", TERMS)
def test_each_is_zero_at_the_truth_with_a_finite_gradient(term: Term) -> None:
    found = hands().requires_grad_()
    loss = term(found, hands(), SEEN)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert found.grad is not None
    assert torch.isfinite(found.grad).all()


@pytest.mark.parametrize("term", TERMS)
def test_following_the_gradient_lowers_each(term: Term) -> None:
    generator = torch.Generator().manual_seed(0)
    found = (hands() + 0.05 * torch.randn(2, 21, 2, generator=generator)).requires_grad_()
    loss = term(found, hands(), SEEN)
    loss.backward()
    assert found.grad is not None
    step = 1e-4 * found.grad / found.grad.abs().max()
    assert 0.0 < float(term(found.detach() - step, hands(), SEEN)) < float(loss.detach())


def test_directions_are_blind_to_lengths_and_lengths_to_directions() -> None:
    assert float(direction_term(stretched(), hands(), SEEN)) < 1e-9
    assert float(length_term(stretched(), hands(), SEEN)) > 0.01
    # A quarter turn is 2 (1 - cos 90), whatever the bone's length.
    assert float(direction_term(turned(), hands(), SEEN)) == pytest.approx(2.0, abs=1e-3)
    assert float(length_term(turned(), hands(), SEEN)) < 1e-6


@pytest.mark.parametrize("term", [direction_term, length_term])
def test_bones_do_not_say_where_the_hand_is(term: Term) -> None:
    assert float(term(hands() + 0.1, hands(), SEEN)) < 1e-6


def test_distance_is_quadratic_at_first_and_linear_from_five_pixels_on() -> None:
    def at(away: float) -> float:
        moved = hands() + torch.tensor([away / SIDE, 0.0])
        return float(distance_term(moved, hands(), SEEN))

    assert at(2.0) == pytest.approx(0.4, rel=1e-3)
    assert at(5.0) == pytest.approx(2.5, rel=1e-3)
    assert at(20.0) == pytest.approx(17.5, rel=1e-3)


def test_wrist_and_tips_weigh_more_in_distances() -> None:
    def at(joint: int) -> float:
        moved = hands()
        moved[:, joint] += 10.0 / SIDE
        return float(distance_term(moved, hands(), SEEN))

    assert at(0) == pytest.approx(4.0 * at(9), rel=1e-3)
    assert at(12) == pytest.approx(2.25 * at(9), rel=1e-3)


@pytest.mark.parametrize("term", TERMS)
def test_what_is_not_seen_weighs_nothing(term: Term) -> None:
    found, trust = hands(), SEEN.clone()
    found[:, 8] += 0.3
    assert float(term(found, hands(), trust)) > 0.0
    trust[:, 8] = 0.0
    assert float(term(found, hands(), trust)) == 0.0
    nothing = term(found, hands(), torch.zeros(2, 21))
    assert float(nothing) == 0.0


def test_joints_beyond_the_picture_or_unknown_are_not_seen() -> None:
    points = np.full((21, 2), 0.5)
    points[1], points[2], points[3] = (-0.01, 0.5), (0.5, 1.01), (np.nan, 0.5)
    given = in_picture(points)
    assert given.shape == (21, 3)
    assert given.dtype == np.float32
    assert np.flatnonzero(given[:, 2] == 0.0).tolist() == [1, 2, 3]
    assert np.isfinite(given).all()


def test_the_loss_is_the_weighted_sum_on_the_joints_of_the_mesh() -> None:
    mesh = HandModel.load().coarse
    vertices = torch.from_numpy(mesh.vertices / 0.3 + 0.5)[None]
    weights = KeypointWeights(distance=0.5, direction=2.0, length=3.0)
    loss = KeypointLoss(mesh.joint_regressor, weights)
    found = torch.from_numpy(mesh.joint_regressor) @ vertices[..., :2]
    truth = torch.cat([found, torch.ones(1, 21, 1)], -1)
    assert float(loss(vertices, truth)) < 1e-6
    moved = vertices * torch.tensor([1.1, 0.9, 3.0])
    seen = torch.ones(1, 21)
    joints = torch.from_numpy(mesh.joint_regressor) @ moved[..., :2]
    parts = [float(term(joints, found, seen)) for term in TERMS]
    expected = sum(weight * part for weight, part in zip((0.5, 2.0, 3.0), parts, strict=True))
    assert min(parts) > 0.0
    assert float(loss(moved, truth)) == pytest.approx(expected, rel=1e-4)

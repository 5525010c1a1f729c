"""Random hands: every pose in reach, no finger inside another, seen from all round."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from i2uv_edge.data.rendered.poses import YIELD, sample_parameters
from i2uv_edge.data.rendered.sample import SceneSettings
from i2uv_edge.hand.capsules import deepest_cut, hand_capsules
from i2uv_edge.hand.model import JOINTS, HandModel, HandParameters

SMALL = SceneSettings()
MODEL = HandModel.load()


def parameters(count: int) -> list[HandParameters]:
    return [sample_parameters(np.random.default_rng((1, index)), SMALL) for index in range(count)]


def test_angles_stay_within_the_joint_limits_and_use_them() -> None:
    angles = np.stack([hand.angles for hand in parameters(400)])
    low, high = MODEL.joint_limits[..., 0], MODEL.joint_limits[..., 1]
    assert (angles >= low - 1e-4).all()
    assert (angles <= high + 1e-4).all()
    free = high > low
    assert free.sum() > 20
    assert (np.ptp(angles, axis=0)[free] > 0.55 * (high - low)[free]).all()


def test_fingers_bend_together_and_apart() -> None:
    flexion = np.stack([hand.angles[[5, 9, 13, 17], 0] for hand in parameters(400)])
    spread = np.ptp(flexion, axis=1)
    assert (spread < 30).mean() > 0.1
    assert (spread > 60).mean() > 0.1


def test_every_view_is_a_rotation() -> None:
    rotations = np.stack([hand.rotation for hand in parameters(50)])
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (50, 3, 3)), atol=1e-5
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0, atol=1e-5)


def test_views_lie_all_round_the_hand() -> None:
    towards = np.stack([hand.rotation[2] for hand in parameters(800)])  # away, in the hand's axes
    octant = (towards > 0) @ (1, 2, 4)
    assert np.bincount(octant, minlength=8).min() > 0.08 * 800  # uniform: 0.125
    assert np.abs(towards.mean(0)).max() < 0.1


def test_fingers_point_up_more_often_than_down_and_to_either_side() -> None:
    fingers = np.stack([hand.rotation[:2, 1] for hand in parameters(800)])
    assert 0.15 < (fingers[:, 1] > 0).mean() < 0.4  # y points down
    assert (fingers[:, 0] > 0.5).mean() > 0.1
    assert (fingers[:, 0] < -0.5).mean() > 0.1


def test_bones_vary_around_the_mean_hand() -> None:
    scales = np.stack([hand.scales for hand in parameters(400)])
    np.testing.assert_allclose(scales.mean(0), np.ones((JOINTS, 3)), atol=0.02)
    assert 0.7 < scales.min() < 0.92
    assert 1.1 < scales.max() < 1.5


def test_relief_varies_around_the_mean_hand() -> None:
    relief = np.stack([hand.relief for hand in parameters(400)])
    assert relief.shape[1] == len(MODEL.relief)
    assert relief.mean() == pytest.approx(1.0, abs=0.02)
    assert relief.std() > 0.2


def cuts(settings: SceneSettings, grip: float | None = None) -> NDArray[np.float64]:
    hands = [
        sample_parameters(np.random.default_rng((2, index)), settings, grip=grip)
        for index in range(150)
    ]
    return np.array([deepest_cut(hand_capsules(MODEL.place_joints(hand), hand)) for hand in hands])


@pytest.mark.parametrize("grip", [None, 0.5])
def test_fingers_do_not_cut_into_each_other(grip: float | None) -> None:
    assert (cuts(SMALL, grip) > YIELD).mean() <= 0.01


def test_without_drawing_again_many_would() -> None:
    assert (cuts(replace(SMALL, separate_fingers=False)) > YIELD).mean() > 0.2


def test_fingers_still_touch() -> None:
    assert (cuts(SMALL) > -0.002).mean() > 0.3


def test_closed_fists_do_not_become_rare() -> None:
    flexion = np.stack([hand.angles[[6, 10, 14, 18], 0] for hand in parameters(300)])
    assert ((flexion > 60).all(1)).mean() > 0.05


def test_thumb_goes_over_its_whole_range() -> None:
    angles = np.stack([hand.angles for hand in parameters(400)])
    for joint, axis in ((1, 0), (1, 1), (1, 2), (2, 1)):
        low, high = MODEL.joint_limits[joint, axis]
        share = np.histogram(angles[:, joint, axis], 4, (low, high))[0] / len(angles)
        assert share.min() > 0.1


def test_subjects_differ_in_relief_as_a_whole() -> None:
    means = [hand.relief.mean() for hand in parameters(200)]
    assert np.std(means) > 0.15

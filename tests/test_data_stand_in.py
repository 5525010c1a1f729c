"""The built-in hand as a MANO model."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from i2uv_edge.data.stand_in import stand_in, stand_in_parameters, stand_in_tips
from i2uv_edge.data.synthetic import SceneSettings, sample_parameters
from i2uv_edge.hand.mano import Mano
from i2uv_edge.hand.model import HandModel


def test_its_fields_are_manos(tmp_path: Path) -> None:
    hand = stand_in()
    published = {
        "v_template": hand.template,
        "shapedirs": hand.shape_directions,
        "posedirs": hand.pose_directions,
        "weights": hand.weights,
        "J_regressor": hand.regressor,
        "f": hand.faces,
        "kintree_table": np.stack([np.maximum(hand.parents, 0), np.arange(16)]),
        "hands_components": hand.components,
        "hands_mean": hand.mean,
    }
    path = tmp_path / "HAND.pkl"
    path.write_bytes(pickle.dumps(published, protocol=2))
    loaded = Mano.load(path)
    np.testing.assert_array_equal(loaded.parents, hand.parents)
    np.testing.assert_array_equal(loaded.pose_directions, hand.pose_directions)
    assert hand.shape_directions.shape[2] == 10
    assert np.abs(hand.pose_directions).max() > 0


@pytest.mark.parametrize("seed", range(4))
def test_it_poses_as_the_built_in_hand_does(seed: int) -> None:
    parameters = sample_parameters(np.random.default_rng(seed), SceneSettings())
    found = stand_in().pose(*stand_in_parameters(parameters), fingertips=stand_in_tips()).vertices
    wanted = HandModel.load().pose(parameters).coarse
    apart = (found - found.mean(0)) - (wanted - wanted.mean(0))
    assert np.linalg.norm(apart, axis=1).mean() * 1000 < 1.2


def test_poses_are_told_by_few_coefficients() -> None:
    hand = stand_in()
    np.testing.assert_allclose(hand.components @ hand.components.T, np.eye(45), atol=1e-9)
    parameters = sample_parameters(np.random.default_rng(3), SceneSettings())
    fingers = stand_in_parameters(parameters)[0][3:] - hand.mean
    told = (fingers @ hand.components[:30].T) @ hand.components[:30]
    assert np.abs(told - fingers).max() < 0.35


def test_fingertips_are_five_vertices_of_five_fingers() -> None:
    hand = HandModel.load()
    fingers = hand.finger_of_vertex(hand.coarse)[list(stand_in_tips())]
    assert fingers.tolist() == [1, 2, 3, 4, 5]

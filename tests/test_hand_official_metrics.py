from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.distance import cdist

from i2uv_edge.hand import metrics
from i2uv_edge.hand.official_metrics import Hand, align_root, align_scale_shift, score

Points = NDArray[np.float64]


def hands(seed: int, count: int = 60) -> tuple[Hand, Hand]:
    """A prediction and its truth, mm: turned, scaled, moved and a little wrong."""
    rng = np.random.default_rng(seed)
    vertices, joints = rng.normal(0, 40, (count, 3)), rng.normal(0, 40, (21, 3))
    turn = np.linalg.qr(rng.normal(0, 1, (3, 3)))[0]
    turn[:, 0] *= np.linalg.det(turn)
    moved = [
        1.2 * points @ turn + (5, -8, 30) + rng.normal(0, 3, points.shape)
        for points in (vertices, joints)
    ]
    return Hand(*moved), Hand(vertices, joints)


# What the published evaluation does, step by step, in metres.


def aligned(truth: Points, predicted: Points) -> Points:
    first, second = truth.mean(0), predicted.mean(0)
    size_truth = np.linalg.norm(truth - first) + 1e-8
    size_predicted = np.linalg.norm(predicted - second) + 1e-8
    turn, size = orthogonal_procrustes(
        (truth - first) / size_truth, (predicted - second) / size_predicted
    )
    return np.asarray((predicted - second) / size_predicted @ turn.T * size * size_truth + first)


def f_score(truth: Points, predicted: Points, limit: float) -> float:
    gaps = cdist(truth, predicted)
    precision, recall = (gaps.min(1) < limit).mean(), (gaps.min(0) < limit).mean()
    total = precision + recall
    return float(2 * precision * recall / total) if total else 0.0


@pytest.mark.parametrize("seed", range(4))
def test_distances_and_f_scores_are_those_of_the_published_code(seed: int) -> None:
    predicted, truth = hands(seed)
    found = score(predicted, truth)
    for kind, ours, theirs in (
        ("mpvpe", predicted.vertices, truth.vertices),
        ("mpjpe", predicted.joints, truth.joints),
    ):
        assert ours is not None
        assert theirs is not None
        raw = np.linalg.norm(ours - theirs, axis=1)
        assert np.allclose(found.distances[kind], raw)
        near = np.linalg.norm(1000 * aligned(theirs / 1000, ours / 1000) - theirs, axis=1)
        assert np.allclose(found.distances[f"pa_{kind}"], near, atol=1e-3)
    points, target = np.asarray(predicted.vertices), np.asarray(truth.vertices)
    moved = 1000 * aligned(target / 1000, points / 1000)
    for limit in (5, 15):
        assert found.f_scores[f"f{limit}"] == pytest.approx(f_score(target, points, limit))
        assert found.f_scores[f"pa_f{limit}"] == pytest.approx(f_score(target, moved, limit))


def test_a_mirrored_hand_counts_as_aligned_as_it_does_there() -> None:
    _, truth = hands(0)
    assert truth.vertices is not None
    assert truth.joints is not None
    mirrored = Hand(truth.vertices * (-1, 1, 1), truth.joints * (-1, 1, 1))
    assert score(mirrored, truth).distances["pa_mpvpe"].max() < 1e-9
    assert metrics.pa_mpvpe(mirrored.vertices, truth.vertices) > 10


def test_ho3d_s_alignment_keeps_the_wrist_and_the_length_to_the_middle_knuckle() -> None:
    predicted, truth = (np.asarray(hand.joints) for hand in hands(1))
    moved = align_scale_shift(predicted, truth)
    assert np.allclose(moved[0], truth[0])
    assert np.linalg.norm(moved[9] - moved[0]) == pytest.approx(np.linalg.norm(truth[9] - truth[0]))
    # No rotation: directions stay.
    before, after = predicted[12] - predicted[0], moved[12] - moved[0]
    assert np.allclose(np.cross(before, after), 0, atol=1e-6)
    assert np.allclose(align_scale_shift(truth * 3 + 7, truth), truth)


def test_a_hand_without_a_size_is_all_wrist_after_ho3d_s_alignment() -> None:
    truth = np.asarray(hands(0)[1].joints)
    assert np.allclose(align_scale_shift(np.zeros((21, 3)), truth), truth[0])


def test_wrists_together_is_a_shift() -> None:
    predicted, truth = hands(2)
    found = score(predicted, truth)
    assert predicted.vertices is not None
    assert predicted.joints is not None
    assert truth.joints is not None
    moved = align_root(predicted.vertices, predicted.joints, truth.joints)
    assert np.allclose(moved - predicted.vertices, truth.joints[0] - predicted.joints[0])
    assert found.distances["root_mpjpe"][0] == pytest.approx(0)
    expected = np.linalg.norm(moved - truth.vertices, axis=1)
    assert np.allclose(found.distances["root_mpvpe"], expected)


def test_vertices_of_another_mesh_are_moved_by_the_alignment_of_the_joints() -> None:
    predicted, truth = hands(3)
    assert truth.vertices is not None
    assert predicted.vertices is not None
    fewer = Hand(predicted.vertices[::2], predicted.joints)
    found = score(fewer, truth)
    assert not any(name.endswith("mpvpe") for name in found.distances)
    moves = metrics.procrustes(predicted.joints, truth.joints, reflection=True)
    moved = moves.apply(fewer.vertices)
    assert found.f_scores["pa_f15"] == pytest.approx(f_score(truth.vertices, moved, 15))


def test_what_is_unknown_is_not_scored() -> None:
    predicted, truth = hands(0)
    alone = score(Hand(predicted.vertices, None), truth)
    assert set(alone.distances) == {"mpvpe", "pa_mpvpe"}
    joints = score(predicted, Hand(None, truth.joints))
    assert set(joints.distances) == {"mpjpe", "pa_mpjpe", "st_mpjpe", "root_mpjpe"}
    assert joints.f_scores == {}
    assert score(Hand(None, None), truth).distances == {}


def test_what_is_no_number_scores_no_number() -> None:
    predicted, truth = hands(0)
    assert predicted.vertices is not None
    assert predicted.joints is not None
    vertices, joints = predicted.vertices.copy(), predicted.joints.copy()
    vertices[3, 1], joints[7, 0] = np.nan, np.inf
    found = score(Hand(vertices, joints), truth)
    assert all(np.isnan(values).any() for values in found.distances.values())
    assert all(np.isnan(value) for value in found.f_scores.values())

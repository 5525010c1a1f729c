from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes

from i2uv_edge.hand import metrics

Array = NDArray[Any]
CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
CUBE_FACES = np.array(
    [
        *((0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1)),
        *((2, 3, 7), (2, 7, 6), (0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3)),
    ]
)


def cloud(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 30, (*shape, 3))


def turn(axis: tuple[float, float, float], degrees: float) -> Array:
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


# --- alignment ------------------------------------------------------------------------------------


def test_procrustes_finds_the_similarity_that_made_the_target() -> None:
    source = cloud(4, 50)
    rotation = np.stack([turn((1, 2, 3), 40 * k) for k in range(4)])
    scale = np.array([0.5, 1.0, 2.0, 7.0])
    shift = cloud(4)
    target = scale[:, None, None] * source @ np.swapaxes(rotation, 1, 2) + shift[:, None]
    found = metrics.procrustes(source, target)
    assert found.scale == pytest.approx(scale)
    assert np.allclose(found.rotation, rotation)
    assert np.allclose(found.apply(source), target)


@pytest.mark.parametrize("mirrored", [False, True])
def test_procrustes_with_reflections_is_what_freihand_computes(mirrored: bool) -> None:
    source, target = cloud(30), cloud(30, seed=1) + 5
    target = target + (source * (-1, 1, 1) if mirrored else source)
    theirs_source, theirs_target = source - source.mean(0), target - target.mean(0)
    size = np.linalg.norm(theirs_target)
    theirs_source, theirs_target = (
        theirs_source / np.linalg.norm(theirs_source),
        theirs_target / size,
    )
    rotation, scale = orthogonal_procrustes(theirs_target, theirs_source)
    expected = theirs_source @ rotation.T * scale * size + target.mean(0)
    found = metrics.procrustes(source, target, reflection=True)
    assert np.allclose(found.apply(source), expected)


def test_a_mirrored_hand_is_aligned_only_if_reflections_are_allowed() -> None:
    hand = cloud(60)
    mirrored = hand * (-1, 1, 1)
    assert metrics.pa_mpvpe(mirrored, hand, reflection=True) == pytest.approx(0, abs=1e-9)
    assert metrics.pa_mpvpe(mirrored, hand) > 10
    assert np.linalg.det(metrics.procrustes(mirrored, hand).rotation) == pytest.approx(1)


def test_procrustes_is_the_best_similarity() -> None:
    source, target = cloud(20), cloud(20, seed=1)
    best = metrics.procrustes(source, target)
    error = np.square(best.apply(source) - target).sum()
    for axis in np.eye(3):
        nudged = metrics.Similarity(
            best.scale, turn(tuple(axis), 1) @ best.rotation, best.translation
        )
        assert np.square(nudged.apply(source) - target).sum() > error
    for factor in (0.99, 1.01):
        nudged = metrics.Similarity(best.scale * factor, best.rotation, best.translation)
        assert np.square(nudged.apply(source) - target).sum() > error


def test_a_prediction_that_is_one_point_lands_on_the_centroid() -> None:
    truth = cloud(40)
    found = metrics.procrustes(np.ones((40, 3)), truth)
    assert found.scale == 0
    assert np.allclose(found.apply(np.ones((40, 3))), truth.mean(0))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_member_that_is_not_finite_is_nan_and_spoils_no_other(bad: float) -> None:
    predicted, truth = cloud(3, 10), cloud(3, 10, seed=1)
    expected = metrics.pa_mpvpe(predicted, truth)
    predicted[1, 4, 2] = bad
    found = metrics.pa_mpvpe(predicted, truth)
    assert np.isnan(found[1])
    assert found[[0, 2]] == pytest.approx(expected[[0, 2]])


def test_similarity_scale_is_the_millimetres_of_one_unit() -> None:
    template = cloud(50) / 1000
    in_map = np.stack([template * 1000 / s @ turn((1, 1, 0), 70) + 0.4 for s in (180.0, 250.0)])
    assert metrics.similarity_scale(template, in_map) == pytest.approx([180.0, 250.0])


def test_similarity_scale_of_no_hand_is_nan() -> None:
    template = cloud(50) / 1000
    broken = np.stack([np.full((50, 3), 0.3), np.full((50, 3), np.nan)])
    assert np.isnan(metrics.similarity_scale(template, broken)).all()


# --- errors ---------------------------------------------------------------------------------------


def test_mean_errors_are_mean_distances() -> None:
    truth = cloud(2, 10)
    predicted = truth + np.array([[[3.0, 4.0, 0.0]], [[0.0, 0.0, -2.0]]])
    assert metrics.mpvpe(predicted, truth) == pytest.approx([5, 2])
    assert metrics.mpjpe(predicted, truth) == pytest.approx([5, 2])


def test_aligned_errors_do_not_see_a_similarity() -> None:
    truth = cloud(2, 10)
    predicted = 1.7 * truth @ turn((3, 1, 1), 100) + 25
    assert metrics.pa_mpvpe(predicted, truth) == pytest.approx([0, 0], abs=1e-9)
    assert metrics.pa_mpjpe(predicted, truth) == pytest.approx([0, 0], abs=1e-9)


def test_arrays_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        metrics.distances(cloud(2, 10), cloud(1, 10))


@pytest.mark.parametrize(
    ("error", "expected"), [(0.0, 1.0), (25.0, 0.5), (60.0, 0.0), (50.0, 0.5 / 99)]
)
def test_auc_is_the_share_of_thresholds_above_the_error(error: float, expected: float) -> None:
    assert metrics.auc(np.full(7, error)) == pytest.approx(expected, abs=0.5 / 99)


def test_auc_is_freihands_integral() -> None:
    errors = np.abs(cloud(40, 21))[..., 0]
    thresholds = np.linspace(0, 50, 100)
    per_point = []
    for point in range(21):
        share = [(errors[:, point] <= t).mean() for t in thresholds]
        per_point.append(np.trapezoid(share, thresholds) / np.trapezoid(np.ones(100), thresholds))
    assert metrics.auc(errors) == pytest.approx(np.mean(per_point))


@pytest.mark.parametrize("errors", [np.zeros(0), np.array([1.0, np.nan]), np.array([1.0, np.inf])])
def test_auc_of_nothing_or_of_no_number_is_nan(errors: Array) -> None:
    assert np.isnan(metrics.auc(errors))


def test_f_score_is_the_harmonic_mean_of_precision_and_recall() -> None:
    truth = np.array([[0.0, 0, 0], [100, 0, 0], [200, 0, 0], [300, 0, 0]])
    predicted = np.array([[1.0, 0, 0], [2, 0, 0], [103, 0, 0], [500, 0, 0]])
    # precision 3/4, recall 2/4
    assert metrics.f_scores(predicted, truth, (5.0,)) == pytest.approx([0.6])


@pytest.mark.parametrize(("distance", "expected"), [(4.999, 1.0), (5.0, 0.0), (6.0, 0.0)])
def test_f_score_counts_what_is_nearer_than_the_threshold(distance: float, expected: float) -> None:
    truth = CUBE * 1000
    assert metrics.f_scores(truth + np.array([distance, 0, 0]), truth, (5.0,)) == pytest.approx(
        [expected]
    )


def test_f_score_matches_nearest_vertices_not_corresponding_ones() -> None:
    truth = cloud(3, 30)
    shuffled = truth[:, ::-1]
    assert np.array_equal(metrics.f_scores(shuffled, truth, (5.0, 15.0)), np.ones((3, 2)))


def test_f_score_of_nan_or_of_no_points_is_nan() -> None:
    truth = cloud(2, 10)
    predicted = truth.copy()
    predicted[1, 0, 0] = np.nan
    found = metrics.f_scores(predicted, truth, (5.0,))
    assert found[0] == 1
    assert np.isnan(found[1])
    assert np.isnan(metrics.f_scores(np.zeros((1, 0, 3)), truth[:1], (5.0,))).all()


def test_deviation_is_over_all_distances() -> None:
    values = np.arange(1001.0).reshape(7, 143)
    found = metrics.deviation(values)
    assert (found.mean, found.p95, found.p99, found.maximum) == pytest.approx((500, 950, 990, 1000))


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf, 1.0]])
def test_deviation_of_nothing_or_of_no_number_is_nan(values: list[float]) -> None:
    found = metrics.deviation(np.array(values))
    assert np.isnan([found.mean, found.p95, found.p99, found.maximum]).all()


def test_psnr_looks_at_the_masked_texels_alone() -> None:
    mask = np.zeros((8, 8), bool)
    mask[2:6, 2:6] = True
    truth = np.random.default_rng(0).random((3, 8, 8, 3))
    predicted = truth + np.where(mask[..., None], 0.01, 5.0)
    assert metrics.masked_psnr_db(predicted, truth, mask) == pytest.approx([40, 40, 40])
    assert metrics.masked_psnr_db(predicted, truth, mask, peak=10.0) == pytest.approx([60, 60, 60])


def test_psnr_of_identical_maps_is_the_ceiling() -> None:
    maps = np.ones((2, 4, 4, 3))
    found = metrics.masked_psnr_db(maps, maps, np.ones((4, 4), bool))
    assert found == pytest.approx([metrics.PSNR_CEILING_DB] * 2)


def test_psnr_of_an_empty_mask_or_of_nan_is_nan() -> None:
    maps = np.ones((1, 4, 4, 3))
    assert np.isnan(metrics.masked_psnr_db(maps, maps, np.zeros((4, 4), bool))).all()
    assert np.isnan(metrics.masked_psnr_db(maps * np.nan, maps, np.ones((4, 4), bool))).all()


# --- surface --------------------------------------------------------------------------------------


def test_normals_of_a_cube_point_out_of_its_corners() -> None:
    normals = metrics.vertex_normals(CUBE[None] * 3, CUBE_FACES)
    assert np.allclose(np.linalg.norm(normals, axis=-1), 1)
    assert (np.sign(normals[0]) == np.sign(CUBE - 0.5)).all()


@pytest.mark.parametrize("degrees", [0.0, 0.001, 30.0, 90.0, 179.0])
def test_the_angle_of_normals_is_the_angle_of_a_rigid_turn(degrees: float) -> None:
    # A flat sheet in the xy plane turned about x: every normal turns by the angle itself.
    sheet = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    faces = np.array([[0, 1, 3], [0, 3, 2]])
    found = metrics.normal_angles_deg(sheet @ turn((1, 0, 0), degrees).T, sheet, faces)
    assert found == pytest.approx([degrees] * 4, abs=1e-6)


def test_a_surface_that_collapsed_counts_as_a_right_angle() -> None:
    found = metrics.normal_angles_deg(np.zeros_like(CUBE), CUBE, CUBE_FACES)
    assert found == pytest.approx([90.0] * 8)


def test_vertices_that_no_face_uses_have_no_normal_to_compare() -> None:
    extra = np.concatenate([CUBE, [[9.0, 9, 9]]])
    assert metrics.normal_angles_deg(extra, extra, CUBE_FACES).shape == (8,)


def test_normals_of_nan_are_nan() -> None:
    broken = CUBE.copy()
    broken[3, 1] = np.nan
    assert np.isnan(metrics.normal_angles_deg(broken, CUBE, CUBE_FACES)).any()


# --- sets of samples ------------------------------------------------------------------------------


def test_flicker_is_the_deviation_in_space_of_each_vertex() -> None:
    still = cloud(10)
    step = np.array([3.0, 4.0, 0.0])
    copies = np.stack([still - step, still + step])
    assert metrics.flicker_mm(copies) == pytest.approx(5.0)
    assert metrics.flicker_mm(np.stack([still] * 8)) == pytest.approx(0.0, abs=1e-9)
    assert metrics.flicker_mm(np.stack([copies, copies * 2])) == pytest.approx([5.0, 10.0])


def test_flicker_of_one_copy_is_nan() -> None:
    assert np.isnan(metrics.flicker_mm(cloud(1, 10)))


def test_spread_ratio_of_the_truth_is_one_and_of_a_constant_zero() -> None:
    truth = cloud(30, 20)
    assert metrics.spread_ratio(truth, truth) == pytest.approx(1)
    assert metrics.spread_ratio(np.stack([truth[0]] * 30), truth) == pytest.approx(0)


def test_spread_ratio_is_a_ratio_of_variances() -> None:
    truth = cloud(30, 20)
    mean = truth.mean(0)
    assert metrics.spread_ratio(mean + 0.5 * (truth - mean), truth) == pytest.approx(0.25)
    ours = truth * 2 - truth.mean(1, keepdims=True)
    centred, theirs = (v - v.mean(1, keepdims=True) for v in (ours, truth))
    expected = centred.var(0).sum() / theirs.var(0).sum()
    assert metrics.spread_ratio(ours, truth) == pytest.approx(expected)


def test_a_network_that_only_localises_has_no_spread() -> None:
    truth = cloud(30, 20) + cloud(30)[:, None] * 5
    mean_hand = (truth - truth.mean(1, keepdims=True)).mean(0)
    localised = mean_hand + truth.mean(1, keepdims=True)
    assert metrics.spread_ratio(localised, truth) == pytest.approx(0, abs=1e-9)


def test_spread_far_from_the_origin_keeps_its_digits() -> None:
    truth = cloud(30, 20)
    found = metrics.spread_ratio(0.5 * truth + 1e6, truth)
    assert found == pytest.approx(0.25, rel=1e-6)


def test_spread_of_too_little_is_nan() -> None:
    one = cloud(1, 20)
    assert np.isnan(metrics.Spread().ratio())
    assert np.isnan(metrics.spread_ratio(one, one))
    assert np.isnan(metrics.spread_ratio(cloud(2, 5), np.ones((2, 5, 3))))
    assert np.isnan(metrics.spread_ratio(np.full((3, 5, 3), np.nan), cloud(3, 5)))


def test_sets_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="longer"):
        metrics.spread_ratio(cloud(2, 5), cloud(3, 5))


# --- fingers --------------------------------------------------------------------------------------


def flat_hand() -> Array:
    """Five straight fingers side by side along y, the thumb apart."""
    joints = np.zeros((21, 3))
    for finger in range(5):
        for bone in range(4):
            joints[1 + 4 * finger + bone] = (finger * 20 - 40, 60 + bone * 25, 0)
    joints[1:5] = [[-50, 20 + 15 * bone, 0] for bone in range(4)]
    return joints


def test_vertices_belong_to_the_finger_of_the_nearest_bone() -> None:
    joints = flat_hand()
    tips = joints[[4, 8, 12, 16, 20]] + np.array([0, 3, 2])
    labels = metrics.finger_labels(np.concatenate([tips, [[5.0, 25, 4]]]), joints)
    assert labels.tolist() == [1, 2, 3, 4, 5, 0]


def test_finger_groups_are_indices_by_name() -> None:
    groups = metrics.finger_groups(np.array([2, 0, 2, 1], np.int8))
    assert {finger: indices.tolist() for finger, indices in groups.items()} == {
        "palm": [1],
        "thumb": [3],
        "index": [0, 2],
    }


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metric",
    [
        metrics.distances,
        metrics.mpvpe,
        metrics.pa_mpvpe,
        metrics.pa_mpjpe,
        lambda a, b: metrics.f_scores(a, b, (5.0,)),
        lambda a, b: metrics.normal_angles_deg(a, b, CUBE_FACES),
        lambda a, b: metrics.flicker_mm(np.stack([a, b])),
    ],
)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_scores_nan_without_a_warning(
    metric: Callable[[Array, Array], Array], bad: float
) -> None:
    broken = np.full_like(CUBE, bad)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(metric(broken, CUBE)).all()
        assert np.isnan(metric(broken, broken)).all()

"""Rendered samples: repeatable, all round, and with a truth that lies on the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from i2uv_edge.data import synthetic
from i2uv_edge.data.synthetic import SceneSettings, render_sample, sample_parameters
from i2uv_edge.hand.model import JOINTS, HandModel, HandParameters

SMALL = SceneSettings(size=64, supersampling=1)
MODEL = HandModel.load()
MAGENTA = np.array([255, 0, 255])


def parameters(count: int) -> list[HandParameters]:
    return [sample_parameters(np.random.default_rng((1, index)), SMALL) for index in range(count)]


@pytest.fixture
def on_magenta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a wall of a colour that no hand has, the hand in a picture can be told from it."""

    def wall(rng: object, size: int) -> NDArray[np.float32]:
        del rng
        return np.broadcast_to(MAGENTA / 255, (size, size, 3)).astype(np.float32)

    monkeypatch.setattr(synthetic, "_background", wall)


def hand_pixels(sample: synthetic.Sample) -> NDArray[np.bool_]:
    """The exposure scales all channels, but leaves the wall's green at nothing."""
    return np.asarray(sample.picture[..., 1] > 8)


# --- repeatable -----------------------------------------------------------------------------------


def test_seed_and_index_make_the_sample() -> None:
    first, _, again = (render_sample(7, index, SMALL) for index in (3, 4, 3))
    np.testing.assert_array_equal(first.picture, again.picture)
    np.testing.assert_array_equal(first.fine, again.fine)
    np.testing.assert_array_equal(first.frame.origin, again.frame.origin)


@pytest.mark.parametrize(("seed", "index"), [(7, 4), (8, 3), (3, 7)])
def test_another_seed_or_index_makes_another_sample(seed: int, index: int) -> None:
    one, other = render_sample(7, 3, SMALL), render_sample(seed, index, SMALL)
    assert np.abs(one.picture.astype(int) - other.picture).mean() > 10
    assert np.abs(one.parameters.angles - other.parameters.angles).mean() > 1
    assert np.abs(one.parameters.rotation - other.parameters.rotation).max() > 0.1


def test_size_of_the_picture_leaves_the_truth_alone() -> None:
    small, large = render_sample(7, 3, SMALL), render_sample(7, 3, replace(SMALL, size=96))
    assert (small.picture.shape, large.picture.shape) == ((64, 64, 3), (96, 96, 3))
    np.testing.assert_array_equal(small.fine, large.fine)


def test_picture_is_8_bit_and_uses_the_range() -> None:
    sample = render_sample(7, 3, SMALL)
    assert sample.picture.dtype == np.uint8
    assert np.ptp(sample.picture) > 60


# --- the truth lies on the picture ----------------------------------------------------------------

CLEAR = replace(SMALL, supersampling=2, occluder=0.0, sleeve=0.0, blur=0.0, noise=0.0)


@pytest.mark.usefixtures("on_magenta")
@pytest.mark.parametrize("mesh", ["coarse", "fine", "joints"])
@pytest.mark.parametrize("index", range(5))
def test_truth_lies_on_the_hand_in_the_picture(mesh: str, index: int) -> None:
    sample = render_sample(2, index, CLEAR)
    hand = binary_dilation(hand_pixels(sample))  # half a pixel of rounding, half of smoothing
    column, row = (np.floor(getattr(sample, mesh)[:, :2] * 64)).astype(int).T
    assert hand[row, column].all()
    assert not hand[row, 63 - column].all()  # nor would a mirrored truth pass


@pytest.mark.usefixtures("on_magenta")
def test_hand_in_the_picture_is_as_large_as_its_truth() -> None:
    for index in range(5):
        sample = render_sample(2, index, CLEAR)
        rows, columns = np.nonzero(hand_pixels(sample))
        low, high = sample.fine[:, :2].min(0) * 64, sample.fine[:, :2].max(0) * 64
        # The forearm goes on beyond the hand, on one side or two.
        gaps = np.array([columns.min() - low[0], rows.min() - low[1]])
        gaps = np.concatenate([gaps, [high[0] - columns.max() - 1, high[1] - rows.max() - 1]])
        assert gaps.max() < 1.5
        assert (np.abs(gaps) < 1.5).sum() >= 2


def test_whole_hand_is_in_the_picture_and_its_mean_depth_at_one_half() -> None:
    for index in range(25):
        sample = render_sample(4, index, SMALL)
        assert sample.fine[:, :2].min() >= 0.0
        assert sample.fine[:, :2].max() <= 1.0
        assert sample.coarse[:, 2].mean() == pytest.approx(0.5, abs=1e-4)


def test_depth_grows_away_from_the_camera() -> None:
    sample = render_sample(4, 0, SMALL)
    hand = MODEL.pose(sample.parameters)
    assert np.corrcoef(sample.fine[:, 2], hand.fine[:, 2])[0, 1] > 0.9999


def test_scale_turns_map_units_into_the_millimetres_of_the_hand() -> None:
    sample = render_sample(4, 1, SMALL)
    hand = MODEL.pose(sample.parameters)
    expected = (hand.fine - hand.joints[0]) * 1000
    made = (sample.fine - sample.joints[0]) * sample.frame.scale_mm
    np.testing.assert_allclose(made, expected, atol=0.01)


def test_hand_fills_much_of_the_crop() -> None:
    extents = [np.ptp(render_sample(4, index, SMALL).fine[:, :2], 0).max() for index in range(15)]
    assert max(extents) < 1 / SMALL.margin[0] + 1e-6
    assert np.median(extents) > 1 / SMALL.margin[1]


# --- the scene ------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["occluder", "sleeve", "blur", "second_light"])
def test_probability_of_a_scene_element_is_obeyed(what: str) -> None:
    never, always = (replace(CLEAR, **{what: chance}) for chance in (0.0, 1.0))
    pictures = [render_sample(5, 0, settings).picture for settings in (never, always)]
    assert (pictures[0] != pictures[1]).any()


def test_noise_is_noise_of_each_pixel() -> None:
    clear, noisy = (render_sample(5, 0, replace(CLEAR, noise=noise)) for noise in (0.0, 0.2))
    error = noisy.picture.astype(float) - clear.picture
    assert 0.5 < error.std() < 60
    neighbours = np.corrcoef(error[:, 1:].ravel(), error[:, :-1].ravel())[0, 1]
    assert abs(neighbours) < 0.2


def test_supersampling_smooths_the_edges() -> None:
    def edges(supersampling: int) -> float:
        sample = render_sample(2, 1, replace(CLEAR, supersampling=supersampling))
        return float(np.abs(np.diff(sample.picture.astype(int), axis=1)).max())

    assert edges(2) < edges(1)


def test_coarse_edges_is_drawing_without_supersampling() -> None:
    always = render_sample(2, 1, replace(CLEAR, coarse_edges=1.0))
    plain = render_sample(2, 1, replace(CLEAR, supersampling=1))
    np.testing.assert_array_equal(always.picture, plain.picture)


# --- the range of hands ---------------------------------------------------------------------------


def test_angles_stay_within_the_joint_limits_and_use_them() -> None:
    angles = np.stack([hand.angles for hand in parameters(400)])
    low, high = MODEL.joint_limits[..., 0], MODEL.joint_limits[..., 1]
    assert (angles >= low - 1e-4).all()
    assert (angles <= high + 1e-4).all()
    free = high > low
    assert free.sum() > 20
    free[2, 1] = False  # six degrees either way at the thumb's middle joint, which are left out
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
    assert 0.02 < (fingers[:, 1] > 0).mean() < 0.3  # y points down
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

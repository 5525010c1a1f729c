from __future__ import annotations

import numpy as np
import pytest

from i2uv_edge.tracking.one_euro import Jitter, OneEuro, OneEuroSettings

RNG = np.random.default_rng(0)
STILL = RNG.uniform(0, 100, (50, 3)).astype(np.float32)


def noisy(path: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, sigma, (len(path), 50, 3))
    return (STILL + path[:, None, None] + noise).astype(np.float32)


def filtered(frames: np.ndarray, settings: OneEuroSettings | None = None) -> np.ndarray:
    steady = OneEuro(settings)
    return np.stack([steady(frame, number / 30, 100.0) for number, frame in enumerate(frames)])


def jitter(frames: np.ndarray) -> float:
    found = Jitter()
    for frame in frames:
        found.add(frame)
    return found.value


def test_a_hand_at_rest_trembles_less() -> None:
    frames = noisy(np.zeros(90), 1.0)
    assert jitter(filtered(frames)) < 0.35 * jitter(frames)


def test_a_hand_that_moves_is_followed_closer_than_by_a_plain_low_pass() -> None:
    path = 60.0 * np.clip(np.arange(90) / 30 - 1, 0, None)  # pixels, at rest for a second
    frames = noisy(path, 0.0)

    def late(settings: OneEuroSettings) -> float:
        return float(np.abs(filtered(frames, settings)[60:] - frames[60:]).mean())

    assert late(OneEuroSettings()) < 0.5 * late(OneEuroSettings(beta=0.0))


def test_speed_is_in_widths_of_the_hand() -> None:
    path = 60.0 * np.arange(40) / 30
    frames = noisy(path, 0.0)
    near, far = OneEuro(), OneEuro()
    for number, frame in enumerate(frames):
        large = near(frame * 4, number / 30, 400.0)
        small = far(frame, number / 30, 100.0)
    np.testing.assert_allclose(large, small * 4, rtol=1e-4)


def test_the_first_frame_and_one_behind_a_restart_pass_as_they_are() -> None:
    steady = OneEuro()
    assert steady(STILL, 0.0, 100.0) is STILL
    steady(STILL + 1, 0.1, 100.0)
    steady.restart()
    np.testing.assert_array_equal(steady(STILL + 9, 0.2, 100.0), STILL + 9)


def test_a_time_that_goes_back_starts_again() -> None:
    steady = OneEuro()
    steady(STILL, 1.0, 100.0)
    np.testing.assert_array_equal(steady(STILL + 9, 0.5, 100.0), STILL + 9)


@pytest.mark.parametrize("path", [np.zeros(300), 3.0 * np.arange(300)])
def test_jitter_is_the_noise_s_whatever_smooth_motion_there_is(path: np.ndarray) -> None:
    assert jitter(noisy(path, 0.5)) == pytest.approx(0.5 * np.sqrt(3), rel=0.05)


def test_jitter_takes_three_frames_in_a_row() -> None:
    found = Jitter()
    found.add(STILL)
    found.add(STILL)
    found.restart()
    found.add(STILL)
    assert np.isnan(found.value)

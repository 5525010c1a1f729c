from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from i2uv_edge.hand.camera import (
    CONVENTIONS,
    Convention,
    bounding_square,
    from_map_units,
    project,
    to_map_units,
)

CAMERA = np.array([[480.0, 0.0, 110.0], [0.0, 490.0, 115.0], [0.0, 0.0, 1.0]])


def hand(seed: int, away: float = 0.6) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return rng.normal((0.05, -0.03, away), (0.04, 0.05, 0.03), (60, 3))


def test_a_point_is_seen_where_the_intrinsics_say() -> None:
    assert project(np.array([[0.1, -0.2, 0.5]]), CAMERA).tolist() == [[206.0, -81.0]]


def test_a_point_behind_the_camera_is_seen_nowhere() -> None:
    with pytest.raises(ValueError, match="not in front of the camera"):
        project(np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]), CAMERA)


def test_the_square_is_centred_on_what_it_holds() -> None:
    assert bounding_square(np.array([[10.0, 20.0], [30.0, 24.0]]), 1.5) == (5.0, 7.0, 30.0)


@pytest.mark.parametrize("seed", range(3))
def test_projected_maps_hold_what_the_crop_shows(seed: int) -> None:
    points, crop = hand(seed), (20.0, 30.0, 128.0)
    mapped, unit = to_map_units(points, CAMERA, crop)
    seen = mapped[:, :2] * 128 + (20, 30)
    assert np.allclose(seen, project(points, CAMERA), atol=1e-3)
    assert np.allclose(mapped[:, 2].mean(), 0.5, atol=1e-5)
    assert np.allclose(np.diff(mapped[:, 2]) * unit, np.diff(points[:, 2]) * 1000, atol=1e-3)
    # A plane through the mean depth is seen at the size that the unit says.
    flat = points * (1, 1, 0) + (0, 0, points[:, 2].mean())
    plane, again = to_map_units(flat, CAMERA * (1, 480 / 490, 1), crop)
    assert np.allclose(np.ptp(plane[:, 0]) * again, np.ptp(flat[:, 0]) * 1000, rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_published_maps_are_the_hand_scaled_alike_on_all_axes(seed: int) -> None:
    points, crop = hand(seed), (20.0, 30.0, 128.0)
    mapped, unit = to_map_units(points, CAMERA, crop, convention="published")
    extent = np.ptp(points, axis=0) * 1000
    assert np.allclose(np.ptp(mapped, axis=0) * unit, extent, rtol=1e-4)
    seen = project(points, CAMERA)
    assert np.allclose(mapped[:, :2].min(0) * 128 + (20, 30), seen.min(0), atol=1e-3)
    assert np.isclose(mapped[:, 0].max() * 128 + 20, seen[:, 0].max(), atol=1e-3)
    assert mapped[:, 2].min() == 0


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("away", [0.35, 1.0, 60.0])
def test_a_hand_comes_back_from_its_map(convention: Convention, away: float) -> None:
    points = hand(0, away)
    crop = bounding_square(project(points, CAMERA), 1.3)
    mapped, unit = to_map_units(points, CAMERA, crop, convention=convention)
    deeper = mapped + np.float32([0, 0, 3])  # where z starts is not part of the answer
    for given in (mapped, deeper):
        found = from_map_units(given, unit, CAMERA, crop, convention=convention)
        assert np.abs(found - points).max() < 1e-5 * away


def test_the_conventions_differ_where_there_is_perspective_and_agree_without() -> None:
    def apart(away: float) -> float:
        points = hand(0, away)
        crop = bounding_square(project(points, CAMERA), 1.3)
        first, second = (to_map_units(points, CAMERA, crop, convention=c)[0] for c in CONVENTIONS)
        return float(np.abs(first - second)[:, 0].max())

    assert apart(0.35) > 0.02
    assert apart(600.0) < 1e-4


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_what_fits_nowhere_before_the_camera_is_no_number(convention: Convention) -> None:
    crop = (0.0, 0.0, 100.0)
    mapped = np.random.default_rng(0).random((9, 3))
    assert np.isfinite(from_map_units(mapped, 200.0, CAMERA, crop, convention=convention)).all()
    behind = mapped * (1, 1, 50)
    for points, unit in ((behind, 200.0), (mapped * np.nan, 200.0), (mapped, np.nan), (mapped, -1)):
        found = from_map_units(points, unit, CAMERA, crop, convention=convention)
        assert np.isnan(found).all()


@pytest.mark.parametrize("convention", ["published"])
def test_a_hand_without_width_has_no_map(convention: Convention) -> None:
    points = np.ones((4, 3))
    with pytest.raises(ValueError, match="one place"):
        to_map_units(points, CAMERA, (0.0, 0.0, 9.0), convention=convention)

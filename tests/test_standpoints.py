"""Samples as networks that answer with hands take and tell them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from network_toys import AFFINENET

from i2uv_edge.atlases import ModelAtlases
from i2uv_edge.errors import InputError
from i2uv_edge.parity import Sample, Truth
from i2uv_edge.spec import load_network
from i2uv_edge.standpoints import as_taken, picture_size, seen_from, standpoint


def sample(*, joints: bool = True) -> Sample:
    rng = np.random.default_rng(0)
    points = rng.uniform(0.2, 0.8, (50, 3)).astype(np.float32)
    truth = Truth(points, 200.0, joints=points[:21] if joints else None)
    return Sample("a", np.zeros((4, 4, 3), np.float32), truth)


@pytest.mark.parametrize("origin", ["crop", "root", "keypoints"])
def test_distances_are_the_same_millimetres_from_everywhere(origin: Any) -> None:
    before = sample()
    after = seen_from(origin, before)
    assert before.truth is not None
    assert after.truth is not None
    for own in (before.truth, after.truth):
        apart = np.linalg.norm(own.coarse[0] - own.coarse[30]) * own.scale_mm
        assert apart == pytest.approx(
            np.linalg.norm(before.truth.coarse[0] - before.truth.coarse[30]) * 200.0, rel=1e-5
        )


def test_metres_are_from_the_middle_of_the_crop() -> None:
    stand = standpoint("crop", np.zeros((21, 3)), 250.0)
    np.testing.assert_allclose(stand.tell(np.array([1.0, 0.5, 0.5])), [0.125, 0, 0], atol=1e-7)


def test_the_root_is_where_it_was_put() -> None:
    after = seen_from("root", sample())
    assert after.truth is not None
    assert after.truth.joints is not None
    np.testing.assert_allclose(after.truth.joints[9], 0, atol=1e-7)


def test_keypoints_are_about_their_mean_with_a_first_bone_of_one_half() -> None:
    feed = seen_from("keypoints", sample()).feed
    assert feed is not None
    assert feed.shape == (1, 1, 63)
    points = feed.reshape(21, 3)
    np.testing.assert_allclose(points.mean(0), 0, atol=1e-6)
    assert np.linalg.norm(points[1] - points[0]) == pytest.approx(0.5, abs=1e-6)


def test_keypoints_are_off_by_the_same_noise_every_time() -> None:
    first, again = (seen_from("keypoints", sample()).feed for _ in range(2))
    other = seen_from("keypoints", replace(sample(), id="b")).feed
    assert first is not None
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_what_has_no_truth_is_taken_as_a_picture_or_refused() -> None:
    bare = sample(joints=False)
    assert seen_from("crop", bare) is bare
    with pytest.raises(InputError, match="sample a has no keypoints"):
        seen_from("keypoints", bare)


def test_maps_are_told_as_they_were() -> None:
    atlases = ModelAtlases.of_networks({"affinenet": AFFINENET})
    given = sample()
    assert next(as_taken([given], {"affinenet": AFFINENET}, atlases)) is given


def test_pictures_have_the_size_that_the_first_network_takes() -> None:
    assert picture_size({"hand": load_network("s2hand")}) == 224
    assert picture_size({}) == 256

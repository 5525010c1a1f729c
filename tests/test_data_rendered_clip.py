from __future__ import annotations

from itertools import islice

import numpy as np
from tracking_toys import CLIP, clip

from i2uv_edge.data.rendered_clip import ClipSettings, render_clip


def test_a_clip_depends_on_its_seed_and_number_alone() -> None:
    again = list(islice(render_clip(1, 4, CLIP), 2))
    np.testing.assert_array_equal(again[1].picture, clip()[1].picture)
    np.testing.assert_array_equal(again[1].fine, clip()[1].fine)
    other = next(render_clip(2, 1, CLIP))
    assert (other.picture != clip()[0].picture).any()


def test_the_hand_rests_and_then_moves_smoothly() -> None:
    settings = ClipSettings(size=48, period=0.6, rest=0.5)
    fine = np.stack([sample.fine for sample in render_clip(1, 18, settings)])
    step = np.abs(np.diff(fine, axis=0)).max((1, 2))
    assert (step[:8] < 1e-5).all()
    assert step[12] > 0.01
    assert step.max() < 0.3


def test_light_and_background_stay_as_they_are() -> None:
    first, last = clip()[0], clip()[-1]
    beside = ~first.mask & ~last.mask
    np.testing.assert_array_equal(first.picture[:8][beside[:8]], last.picture[:8][beside[:8]])


def test_the_truth_lies_where_the_hand_is_seen() -> None:
    sample = clip()[0]
    low, high = sample.fine[:, :2].min(0) * 96, sample.fine[:, :2].max(0) * 96
    rows, columns = np.nonzero(sample.mask)
    assert abs(columns.min() - low[0]) < 3
    assert abs(columns.max() + 1 - high[0]) < 3
    assert abs(rows.min() - low[1]) < 3
    assert abs(rows.max() + 1 - high[1]) < 3


def test_noise_is_new_in_each_frame() -> None:
    settings = ClipSettings(size=48, noise=2.0)
    first, second = (s.picture.astype(int) for s in render_clip(1, 2, settings))
    assert 1.5 < (first - second).std() < 4

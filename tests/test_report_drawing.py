"""Pixels, meshes and scales."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest
from report_toys import atlas, hand

from i2uv_edge.hand import metrics
from i2uv_edge.report.counts import Counts
from i2uv_edge.report.distribution import histogram
from i2uv_edge.report.meshes import hand_sides, mesh_over
from i2uv_edge.report.pixels import colours, heat_png, jpeg, nice_ceiling, png, ramp
from i2uv_edge.report.scale import colour_scale, ticks


def decoded(uri: str) -> np.ndarray:
    head, _, text = uri.partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    content = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    found = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    assert found is not None
    return found[..., (2, 1, 0, 3)] if found.shape[-1] == 4 else found[..., ::-1]


# --- pixels ---------------------------------------------------------------------------------------


def test_a_heat_map_has_a_pixel_for_each_value_in_the_colour_of_the_scale() -> None:
    values = np.array([[0.0, 1.0, 2.0], [np.nan, 0.5, 9.0]])
    found = decoded(heat_png(values, 2.0))
    assert found[1, 0, 3] == 0
    assert (found[..., 3] == np.where(np.isnan(values), 0, 255)).all()
    for place, level in (((0, 0), 0), ((0, 1), 127), ((0, 2), 254), ((1, 2), 254)):
        assert (found[place][:3] == ramp()[level]).all(), place


def test_the_scale_grows_lighter_all_the_way() -> None:
    linear = (ramp() / 255.0) ** 2.2
    assert (np.diff(linear @ [0.2126, 0.7152, 0.0722]) > -1e-3).all()
    assert colour_scale(1.0).swatches[0] == "#" + bytes(ramp()[0].tolist()).hex()


def test_pictures_come_back_as_they_were() -> None:
    image = np.zeros((40, 40, 4), np.uint8)
    image[:20] = (250, 120, 10, 255)
    np.testing.assert_array_equal(decoded(png(image)), image)
    back = decoded(jpeg(image[..., :3])).astype(int)
    assert np.abs(back - image[..., :3]).mean() < 4


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(0.97, 1), (1.0, 1), (1.13, 1.2), (7.2, 8), (0.0123, 0.015), (0.0, 1), (np.nan, 1)],
)
def test_scales_end_at_round_numbers(value: float, wanted: float) -> None:
    assert nice_ceiling(value) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("top", "wanted"),
    [
        (1.5, ["0.00", "0.25", "0.50", "0.75", "1.00", "1.25", "1.50"]),
        (4.0, ["0", "1", "2", "3", "4"]),
        (0.012, ["0.000", "0.002", "0.004", "0.006", "0.008", "0.010", "0.012"]),
        (120.0, ["0", "20", "40", "60", "80", "100", "120"]),
    ],
)
def test_ticks_are_round_and_few(top: float, wanted: list[str]) -> None:
    found = ticks(top)
    assert [tick.text for tick in found] == wanted
    assert [tick.place * top for tick in found] == pytest.approx([float(text) for text in wanted])


# --- meshes ---------------------------------------------------------------------------------------


def test_a_mesh_covers_what_lies_under_it_and_nothing_else() -> None:
    picture = np.full((64, 64, 3), (10, 200, 30), np.uint8)
    found = mesh_over(picture, hand(), atlas().faces)
    assert found is not None
    changed = np.abs(found.astype(int) - picture).sum(-1) > 20
    x, y = (hand()[:, axis] * 64 for axis in (0, 1))
    assert changed[int(y.mean()), int(x.mean())]
    assert not changed[: int(y.min()) - 1].any()
    assert not changed[:, : int(x.min()) - 1].any()


def test_colours_of_vertices_show_on_the_mesh() -> None:
    picture = np.full((64, 64, 3), 128, np.uint8)
    red = np.tile([[1.0, 0.0, 0.0]], (len(hand()), 1))
    found = mesh_over(picture, hand(), atlas().faces, red)
    assert found is not None
    middle = found[tuple(int(v) for v in hand()[:, (1, 0)].mean(0) * 64)].astype(int)
    assert middle[0] > 120
    assert middle[1:].max() < 20


def test_what_is_not_finite_is_not_drawn() -> None:
    vertices = hand().copy()
    vertices[5, 1] = np.inf
    assert mesh_over(np.zeros((16, 16, 3), np.uint8), vertices, atlas().faces) is None
    assert hand_sides(atlas(), np.full((len(hand()), 3), np.nan), 32) == {}


def test_far_away_meshes_leave_the_picture_alone() -> None:
    picture = np.full((16, 16, 3), 77, np.uint8)
    found = mesh_over(picture, hand() + np.float32(1e30), atlas().faces)
    np.testing.assert_array_equal(found, picture)


def test_the_palm_of_a_right_hand_has_its_thumb_on_the_right_and_fingers_up() -> None:
    joints = atlas().joint_regressor @ atlas().template
    labels = metrics.finger_labels(atlas().template, joints)
    thumb, middle = metrics.FINGERS.index("thumb"), metrics.FINGERS.index("middle")
    own = np.zeros((len(labels), 3))
    own[:, 2] = 1
    own[labels == thumb] = (1, 0, 0)
    own[labels == middle] = (0, 1, 0)
    sides = hand_sides(atlas(), own, 128)
    for name, on_the_right in (("palm", True), ("back", False)):
        seen = sides[name].astype(int)
        solid = seen[..., 3] > 200
        reds = solid & (seen[..., 0] > 150) & (seen[..., 2] < 60)
        greens = solid & (seen[..., 1] > 150) & (seen[..., 2] < 60)
        assert (np.nonzero(reds)[1].mean() > 64) == on_the_right, name
        assert np.nonzero(greens)[0].mean() < 50
    assert sides["palm"][0, 0, 3] == 0


def test_colours_follow_the_scale() -> None:
    found = colours(np.array([0.0, 3.0, 99.0]), 3.0)
    np.testing.assert_allclose(found[1] * 255, ramp()[-1], atol=1e-3)
    np.testing.assert_allclose(found[2], found[1])


# --- the histogram --------------------------------------------------------------------------------


def test_bars_hold_the_shares_of_the_vertices() -> None:
    values = np.random.default_rng(0).gamma(2.0, 0.3, 50_000)
    bounds = np.concatenate([[0.0], np.geomspace(1e-6, 1e4, 2401)])
    found = histogram(
        Counts(bounds, np.histogram(values, bounds)[0]), [("mean", float(values.mean()))]
    )
    edges = np.linspace(0, found.top, 61)
    wanted = np.histogram(values, edges)[0] / values.size
    heights = np.zeros(60)
    for bar in found.bars:
        heights[round(bar.start * 60)] = bar.height
    np.testing.assert_allclose(heights / heights.sum(), wanted / wanted.sum(), atol=2e-3)
    assert found.total == values.size
    assert found.markers[0].place == pytest.approx(values.mean() / found.top)
    assert 0 <= found.beyond < 0.002


def test_a_histogram_of_nothing_but_zeros_can_be_drawn() -> None:
    bounds = np.array([0.0, 1e-6, 1e-5])
    found = histogram(Counts(bounds, np.array([7, 0])), [("mean", 0.0)])
    assert found.total == 7
    assert len(found.bars) >= 1

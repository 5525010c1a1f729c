"""What rendered pictures are made of: skin, light, arms and things, backgrounds, the sensor."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from i2uv_edge.data.rendered import backgrounds, sensor
from i2uv_edge.data.rendered.colours import linear, linear_table, skin_albedo
from i2uv_edge.data.rendered.lighting import lit, sample_lighting
from i2uv_edge.data.rendered.poses import sample_parameters
from i2uv_edge.data.rendered.sample import SceneSettings
from i2uv_edge.data.rendered.solids import Solid, forearm, held_thing, thing_in_the_way
from i2uv_edge.hand.capsules import hand_capsules
from i2uv_edge.hand.model import HandModel

MODEL = HandModel.load()
FLAT = MODEL.mean()
PALM, BACK = MODEL.albedo["palm"] > 0.7, MODEL.albedo["palm"] < 0.1
SETTINGS = SceneSettings(size=64)
PLAIN = replace(SETTINGS, blur=0.0, jpeg=0.0, upscaled=0.0, noise=0.0)


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng((21, seed))


# --- skin -----------------------------------------------------------------------------------------


def test_linear_is_the_srgb_curve() -> None:
    np.testing.assert_allclose(
        linear(np.array([0.0, 0.04, 0.5, 1.0])), [0, 0.0031, 0.2140, 1], atol=1e-4
    )
    assert linear_table()[128] == pytest.approx(0.2158, abs=1e-3)


def test_skin_is_the_colour_of_skin_from_light_to_dark() -> None:
    means = np.stack([skin_albedo(generator(k), FLAT)[0][BACK].mean(0) for k in range(60)])
    assert (means[:, 0] > means[:, 1]).all()
    assert (means[:, 1] > 0.9 * means[:, 2]).all()
    assert means[:, 0].min() < 0.15
    assert means[:, 0].max() > 0.6


def test_palms_are_paler_most_of_all_those_of_dark_hands() -> None:
    colours = [skin_albedo(generator(k), FLAT)[0][:, 1] for k in range(60)]
    back = np.array([np.median(colour[BACK]) for colour in colours])
    ratio = np.array([np.median(colour[PALM]) for colour in colours]) / back
    assert (ratio > 1).mean() > 0.9
    assert ratio[back < 0.1].min() > 1.3 > np.median(ratio[back > 0.3])


def test_furrows_are_darker() -> None:
    relief = MODEL.relief_of(FLAT)
    furrow, level = PALM & (relief < -0.0006), PALM & (np.abs(relief) < 0.0002)
    for k in range(10):
        colour = skin_albedo(generator(k), FLAT)[0][:, 1]
        assert np.median(colour[furrow]) < np.median(colour[level])


# --- light ----------------------------------------------------------------------------------------


def test_occluded_and_shadowed_points_are_darker_and_redder() -> None:
    light = replace(sample_lighting(generator(0), SETTINGS, np.full(3, 0.3)), occlusion=1.0)
    normals = np.tile(np.float32([0, 0, -1]), (3, 1))
    albedo = np.tile(np.float32([0.6, 0.4, 0.3]), (3, 1))
    ones = np.ones(3, np.float32)
    openness, reached = np.float32([1, 0.4, 1]), np.float32([1, 1, 0])
    open_, hollow, shadow = lit(light, normals, albedo, ones, ones, openness, reached)
    assert (hollow < open_).all()
    assert (shadow < open_).all()
    assert hollow[0] / hollow[2] > open_[0] / open_[2]


def test_light_comes_from_the_camera_s_side() -> None:
    towards = np.stack([sample_lighting(generator(k), SETTINGS, np.ones(3)).key for k in range(50)])
    assert (towards[:, 2] <= 0.25).all()
    np.testing.assert_allclose(np.linalg.norm(towards, axis=1), 1, atol=1e-5)
    assert np.ptp(towards[:, 0]) > 1


# --- the arm and things ---------------------------------------------------------------------------


def directed(faces: NDArray[np.int32]) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for f in faces for a, b in zip(f, np.roll(f, -1), strict=True)]


def arm(seed: int, sleeve: float) -> Solid:
    parameters = sample_parameters(generator(seed), SETTINGS)
    skin = np.full((len(MODEL.fine.vertices), 3), 0.5, np.float32)
    base = np.full(3, 0.5, np.float32)
    hand = MODEL.pose(parameters)
    return forearm(generator(seed), hand, parameters, skin, base, sleeve)


def test_forearm_closes_the_hand() -> None:
    edges = directed(np.concatenate([MODEL.fine.faces, arm(0, 0.0).faces]))
    assert len(set(edges)) == len(edges)
    assert {(b, a) for a, b in edges} == set(edges)


@pytest.mark.parametrize("seed", range(8))
def test_forearm_is_long_and_never_comes_straight_at_the_camera(seed: int) -> None:
    vertices = arm(seed, 1.0).vertices
    axis = vertices[-1] - vertices[0]
    assert 0.2 < np.linalg.norm(axis) < 0.35
    assert axis[2] / np.linalg.norm(axis) > -0.75


def test_sleeve_has_another_colour_and_stands_off() -> None:
    bare, sleeved = arm(3, 0.0), arm(3, 1.0)
    assert np.abs(sleeved.albedo[-1] - bare.albedo[-1]).max() > 0.02
    around = [np.linalg.norm(np.ptp(solid.vertices[-35:-1], axis=0)) for solid in (bare, sleeved)]
    assert around[1] > around[0] + 0.004


@pytest.mark.parametrize("seed", range(10))
def test_things_are_closed_and_face_outwards(seed: int) -> None:
    parameters = sample_parameters(generator(seed), SETTINGS, grip=0.5)
    hand = MODEL.pose(parameters)
    capsules = hand_capsules(hand.joints, parameters)
    for thing in (
        held_thing(generator(seed), hand.joints, parameters, capsules),
        thing_in_the_way(generator(seed), hand.joints, 0.2),
    ):
        a, b, c = (thing.vertices[thing.faces[:, k]].astype(float) for k in range(3))
        middle = thing.vertices.mean(0)
        volume = np.einsum("fk,fk->f", a - middle, np.cross(b - middle, c - middle)).sum()
        assert volume > 0
        edges = directed(thing.faces)
        open_ = set(edges) - {(b, a) for a, b in edges}
        rims = thing.vertices[np.unique(list(open_))].astype(float) if open_ else np.zeros((0, 3))
        for rim in (rims[: len(rims) // 2], rims[len(rims) // 2 :]):
            assert len(rim) == 0 or np.ptp(rim, axis=0).max() < 0.002  # closes in a point


def test_held_thing_lies_in_the_hand_and_one_in_the_way_before_it() -> None:
    for seed in range(8):
        parameters = sample_parameters(generator(seed), SETTINGS, grip=0.5)
        hand = MODEL.pose(parameters)
        capsules = hand_capsules(hand.joints, parameters)
        held = held_thing(generator(seed), hand.joints, parameters, capsules)
        away = held.vertices[:, None] - hand.joints[None, [5, 9, 13, 17]]
        assert np.linalg.norm(away, axis=-1).min() < 0.06
        front = thing_in_the_way(generator(seed), hand.joints, 0.2)
        assert front.vertices[:, 2].mean() < hand.joints[:, 2].min()


# --- backgrounds ----------------------------------------------------------------------------------


def saturation(image: NDArray[np.float32]) -> float:
    return float(((image.max(-1) - image.min(-1)) / (image.max(-1) + 1e-3)).mean())


def test_most_backgrounds_are_natural_and_some_are_loud() -> None:
    quiet, loud = (
        np.mean(
            [
                saturation(backgrounds.background(generator(k), replace(SETTINGS, garish=garish)))
                for k in range(12)
            ]
        )
        for garish in (0.0, 1.0)
    )
    assert quiet < 0.5 * loud + 0.1
    assert quiet < 0.45


def test_spectra_of_backgrounds_fall_as_photographs_do() -> None:
    slopes = []
    for number in range(12):
        grey = backgrounds._banked(number, False).mean(-1)
        power = np.abs(np.fft.fft2(grey - grey.mean())) ** 2
        frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(320), np.fft.fftfreq(320)))
        bands = np.geomspace(0.01, 0.3, 8)
        means = [
            power[(frequency >= low) & (frequency < high)].mean()
            for low, high in itertools.pairwise(bands)
        ]
        slopes.append(np.polyfit(np.log(bands[:-1]), np.log(means), 1)[0])
    assert -4.5 < np.median(slopes) < -1.3  # of photographs: about -2


def test_backgrounds_differ_and_are_repeatable() -> None:
    one, again, other = (backgrounds.background(generator(k), SETTINGS) for k in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert one.shape == (64, 64, 3)
    assert np.abs(one - other).mean() > 0.02


# --- the sensor -----------------------------------------------------------------------------------


def grey(value: float) -> NDArray[np.float32]:
    return np.full((64, 64, 3), value, np.float32)


def test_noise_grows_with_light_as_photons_are_counted() -> None:
    # A dark and a bright half under one and the same noise; in sRGB the curve flattens it again.
    image = np.concatenate([grey(0.02)[:, :32], grey(0.4)[:, :32]], axis=1)
    ratios = []
    for k in range(20):
        picture = sensor.expose(generator(k), image, replace(PLAIN, noise=0.1)) / 255.0
        dark, bright = (linear(half).std() for half in (picture[:, :30], picture[:, 34:]))
        if dark > 0.002 and picture.max() < 0.9:
            ratios.append(bright / dark)
    assert len(ratios) > 5
    assert 1.5 < np.median(ratios) < 5  # the square root of 20 without read noise


def test_without_noise_an_even_picture_is_even() -> None:
    assert sensor.expose(generator(0), grey(0.2), PLAIN).reshape(-1, 3).std(0).max() < 1


def test_neighbouring_pixels_have_noise_of_their_own() -> None:
    picture = sensor.expose(generator(3), grey(0.3), replace(PLAIN, noise=0.2)).astype(float)
    error = picture[..., 1] - picture[..., 1].mean()
    assert error.std() > 0.5
    assert abs(np.corrcoef(error[:, 1:].ravel(), error[:, :-1].ravel())[0, 1]) < 0.2


def test_motion_blurs_along_a_line_and_leaves_the_middle_where_it_is() -> None:
    layer = np.zeros((64, 64, 4), np.float32)
    layer[28:36, 28:36] = 1
    rows, columns = np.mgrid[0:64, 0:64]
    for k in range(5):
        moved = sensor.move(generator(k), layer, SETTINGS)[..., 3]
        assert moved.sum() == pytest.approx(64, rel=1e-3)
        assert (rows * moved).sum() / moved.sum() == pytest.approx(31.5, abs=0.02)
        assert (columns * moved).sum() / moved.sum() == pytest.approx(31.5, abs=0.02)
        assert (moved > 1e-3).sum() > 64

"""A rendered hand that moves before a still camera, with its ground truth.

What following a hand is measured on: how steady, how late, how fast. Subject, light, sleeve and
background stay the same; the hand goes from pose to pose and place to place, with rests between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.data.rendered import backgrounds
from i2uv_edge.data.rendered.poses import sample_angles, sample_parameters
from i2uv_edge.data.rendered.sample import Frame, Generator, Sample, SceneSettings
from i2uv_edge.data.synthetic import compose, draw_scene, extent
from i2uv_edge.hand.model import FloatArray, HandModel, HandParameters

__all__ = ["ClipSettings", "render_clip"]


@dataclass(frozen=True)
class ClipSettings:
    """How the hand moves.

    Attributes
    ----------
    size : side of the picture, pixels
    fps : frames a second
    period : seconds from one pose to the next
    rest : part of that in which the hand is still
    share : (least, most) of the picture's side that a flat hand's length takes
    reach : furthest that its middle goes from the picture's, in sides of the picture
    turn_degrees : how far, about, it turns from its first view
    noise : of the sensor, standard deviation in levels of 255
    """

    size: int = 640
    fps: float = 30.0
    period: float = 1.5
    rest: float = 0.35
    share: tuple[float, float] = (0.35, 0.5)
    reach: float = 0.2
    turn_degrees: float = 35.0
    noise: float = 2.0


@dataclass(frozen=True)
class _Key:
    """A pose, where in the picture, sides of it from its middle, and the picture's side, metres."""

    parameters: HandParameters
    place: FloatArray
    side: float


LENGTH = 0.19  # of a flat hand, metres
FOCAL = 1.2  # sides of the picture
FLAT, SINGLE = 0.75, 0.5  # kinds of poses, see `sample_angles`


def render_clip(seed: int, count: int, settings: ClipSettings | None = None) -> Iterator[Sample]:
    """The first frames of clip ``seed``; map units are sides of the picture.

    Frames depend on seed, number and settings alone.
    """
    settings = settings or ClipSettings()
    scene = SceneSettings(size=settings.size, occluder=0.0, held=0.0, garish=0.0)
    rng = np.random.default_rng((seed, 0))
    behind = backgrounds.background(rng, scene)
    first = _first_key(rng, settings, scene)
    keys = [first]
    for number in range(count):
        step, within = divmod(number / settings.fps, settings.period)
        while len(keys) < int(step) + 2:
            keys.append(_next_key(rng, first, settings))
        share = np.clip((within / settings.period - settings.rest) / (1 - settings.rest), 0, 1)
        key = _between(keys[int(step)], keys[int(step) + 1], float(share**2 * (3 - 2 * share)))
        yield _rendered(seed, number, key, behind, settings, scene)


def _first_key(rng: Generator, settings: ClipSettings, scene: SceneSettings) -> _Key:
    parameters = sample_parameters(rng, replace(scene, roll_degrees=20.0, any_roll=0.0))
    return _Key(parameters, np.zeros(2, np.float32), LENGTH / float(np.mean(settings.share)))


def _next_key(rng: Generator, first: _Key, settings: ClipSettings) -> _Key:
    from scipy.spatial.transform import Rotation

    limits = HandModel.load().joint_limits
    kind, closed = rng.choice([0.2, SINGLE, FLAT]), rng.uniform(0, 0.8)
    turn = Rotation.from_rotvec(np.radians(settings.turn_degrees) * rng.normal(0, 0.6, 3))
    parameters = replace(
        first.parameters,
        angles=sample_angles(rng, limits, float(kind), float(closed)),
        rotation=(turn.as_matrix() @ first.parameters.rotation).astype(np.float32),
    )
    place = rng.uniform(-settings.reach, settings.reach, 2).astype(np.float32)
    return _Key(parameters, place, LENGTH / float(rng.uniform(*settings.share)))


def _between(first: _Key, second: _Key, share: float) -> _Key:
    from scipy.spatial.transform import Rotation, Slerp

    ends = Rotation.from_matrix(
        np.stack([first.parameters.rotation, second.parameters.rotation]).astype(np.float64)
    )
    low, high = first.parameters.angles, second.parameters.angles
    parameters = replace(
        first.parameters,
        angles=(low + np.float32(share) * (high - low)).astype(np.float32),
        rotation=Slerp([0, 1], ends)(share).as_matrix().astype(np.float32),
    )
    place = first.place + np.float32(share) * (second.place - first.place)
    return _Key(parameters, place, first.side + share * (second.side - first.side))


def _rendered(
    seed: int,
    number: int,
    key: _Key,
    behind: FloatArray,
    settings: ClipSettings,
    scene: SceneSettings,
) -> Sample:
    hand = HandModel.load().pose(key.parameters)
    depth = float(hand.coarse[:, 2].mean())
    low, high = extent(hand.fine)
    centre = (low + high) / 2 - key.place * key.side
    corner = centre - key.side / 2
    frame = Frame(
        np.array([*corner, depth - 0.5 * key.side], np.float32),
        key.side,
        np.array([*centre, depth - FOCAL * key.side], np.float32),
    )
    # The same numbers for each frame: light, skin and sleeve are those of the clip.
    look = np.random.default_rng((seed, 1))
    layer, share = draw_scene(look, hand, key.parameters, frame, scene, False, behind)
    picture = _seen(
        compose(look, layer, behind), np.random.default_rng((seed, 2, number)), settings
    )
    return Sample(
        picture=picture,
        coarse=frame.to_map(hand.coarse),
        fine=frame.to_map(hand.fine),
        joints=frame.to_map(hand.joints),
        parameters=key.parameters,
        frame=frame,
        mask=share > 0.5,
    )


def _seen(image: FloatArray, rng: Generator, settings: ClipSettings) -> NDArray[np.uint8]:
    """(S, S, 3) linear RGB -> sRGB bytes with a sensor's noise."""
    light = np.clip(image, 0, 1)
    value = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    noisy = value * 255 + rng.standard_normal(value.shape, np.float32) * settings.noise
    return np.asarray(np.rint(np.clip(noisy, 0, 255)), np.uint8)

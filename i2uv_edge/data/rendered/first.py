"""The first edition of rendered pictures, of which the frozen sets are.

Kept as it was so that the bundled calibration and evaluation pictures can be made again; new
pictures come from `i2uv_edge.data.synthetic`. Of the settings it knows those that its sets list.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from i2uv_edge.data.rendered.sample import Frame, Generator, Sample, SceneSettings
from i2uv_edge.hand.model import (
    JOINTS,
    MODEL_TO_CAMERA,
    FloatArray,
    HandModel,
    HandParameters,
    IntArray,
)
from i2uv_edge.hand.renderer import Lights, draw

BACKGROUNDS = 256  # made once a process; each picture cuts, mirrors and stretches one
BACKGROUND_SIZE = 320
# Light to dark skin, RGB albedo; a hand's tone is interpolated along the list.
SKIN_TONES: FloatArray = np.array(
    [
        [0.66, 0.75, 0.90],
        [0.54, 0.66, 0.85],
        [0.42, 0.55, 0.76],
        [0.30, 0.42, 0.62],
        [0.20, 0.29, 0.45],
        [0.14, 0.19, 0.30],
    ],
    np.float32,
)[:, ::-1]


def render_sample(seed: int, index: int, settings: SceneSettings) -> Sample:
    """Picture ``index`` of the set ``seed``."""
    rng = np.random.default_rng((seed, index))
    return _picture(rng, sample_parameters(rng, settings), settings)


def sample_parameters(rng: Generator, settings: SceneSettings) -> HandParameters:
    """A random hand in a random pose, seen from a random side."""
    model = HandModel.load()
    return HandParameters(
        angles=_sample_angles(rng, model.joint_limits),
        scales=_sample_scales(rng),
        relief=np.clip(rng.normal(1.0, 0.35, len(model.relief)), 0.2, 1.9).astype(np.float32),
        rotation=(_view(rng, settings) @ MODEL_TO_CAMERA).astype(np.float32),
    )


def _sample_angles(rng: Generator, limits: FloatArray) -> FloatArray:
    """Poses people make and, a fifth of the time, anything within the joint limits.

    Fingers curl together, singly (as in counting and pointing), or lie flat.
    """
    angles = np.zeros((JOINTS, 3))
    kind, together = rng.random(), rng.random()
    spread = rng.uniform(-0.15, 0.8)
    for finger, base in enumerate((5, 9, 13, 17)):
        if kind < 0.45:
            curl = np.clip(together + rng.normal(0, 0.16) + 0.05 * (finger - 1.5), 0, 1)
        elif kind < 0.72:
            curl = np.clip((rng.random() < 0.5) * 0.85 + rng.normal(0, 0.1), 0, 1)
        elif kind < 0.8:
            curl = np.clip(rng.normal(0, 0.08), -0.1, 0.3)
        else:
            curl = rng.random()
        # Fingers that curl come together; side by side and curled they would cut into each other.
        apart = np.clip(max(spread, 0.8 * curl) + rng.normal(0, 0.08), -0.3, 0.95)
        angles[base] = (
            -12 + 92 * curl + rng.normal(0, 12),
            (-9, 0, 8, 17)[finger] * apart + rng.normal(0, 2.5),
            rng.normal(0, 2),
        )
        middle = -2 + 105 * np.clip(curl + rng.normal(0, 0.15), 0, 1)
        if kind >= 0.8:
            angles[base, 0] = rng.uniform(*limits[base, 0])
            middle = rng.uniform(*limits[base + 1, 0])
        angles[base + 1, 0] = middle
        angles[base + 2, 0] = 0.62 * middle + rng.normal(0, 7)  # one tendon bends both
    bent = rng.random() > 0.5
    angles[1] = (rng.uniform(-12, 32), rng.uniform(-30, 14), rng.uniform(-15, 18))
    angles[2, 0] = rng.normal(15 + 20 * bent, 12)
    angles[3, 0] = rng.normal(10 + 30 * bent, 15)
    return np.clip(angles, limits[..., 0], limits[..., 1]).astype(np.float32)


def _sample_scales(rng: Generator) -> FloatArray:
    scales = np.ones((JOINTS, 3))
    size = rng.normal(1, 0.04)
    fingers = rng.normal(1, 0.05)
    thickness = np.clip(rng.normal(1, 0.07), 0.82, 1.2)
    scales[0] = (np.clip(rng.normal(1, 0.05), 0.88, 1.12) * thickness**0.6, 1.0, thickness)
    for base in (1, 5, 9, 13, 17):
        length = fingers * rng.normal(1, 0.03)
        for bone in range(base, base + 4):
            along = length * rng.normal(1, 0.02) if bone != 1 else 1.0
            across, through = thickness * rng.normal(1, 0.015, 2)
            scales[bone] = (across, along, through)
    return (scales * size).astype(np.float32)


def _view(rng: Generator, settings: SceneSettings) -> NDArray[np.float64]:
    """Yaw all round, pitch so that views are uniform on the sphere, roll near upright."""
    yaw = rng.uniform(0, 2 * np.pi)
    pitch = np.arcsin(rng.uniform(-0.95, 0.95))
    roll = rng.normal(0, np.radians(settings.roll_degrees))
    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll),
    )  # fmt: skip
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    result: NDArray[np.float64] = about_z @ about_x @ about_y
    return result


def _picture(rng: Generator, parameters: HandParameters, settings: SceneSettings) -> Sample:
    model = HandModel.load()
    hand = model.pose(parameters)
    low, high = hand.fine[:, :2].min(0), hand.fine[:, :2].max(0)
    side = float(max((high - low).max(), 0.11) * rng.uniform(*settings.margin))
    corner = (low + high) / 2 + rng.uniform(-settings.shift, settings.shift, 2) * side - side / 2
    # The published maps have their depth from the nearest vertex on; the mean depth does not jump
    # when another finger comes nearest, and networks learn it in a fraction of the pictures.
    depth = hand.coarse[:, 2].mean() - 0.5 * side
    frame = Frame(np.array([corner[0], corner[1], depth], np.float32), side)
    supersampling = 1 if rng.random() < settings.coarse_edges else settings.supersampling
    pixels = settings.size * supersampling
    drawn = frame.to_map(np.concatenate([hand.fine, hand.forearm])) * np.float32(pixels)
    image = _background(rng, pixels)
    draw(image, drawn, _drawn_faces(), _albedo(rng, settings), _lights(rng, settings))
    if rng.random() < settings.occluder:
        _occlude(rng, image)
    if supersampling > 1:
        kept = (settings.size, settings.size)
        image = _float32(cv2.resize(image, kept, interpolation=cv2.INTER_AREA))
    return Sample(
        picture=_sensor(rng, image, settings),
        coarse=frame.to_map(hand.coarse),
        fine=frame.to_map(hand.fine),
        joints=frame.to_map(hand.joints),
        parameters=parameters,
        frame=frame,
    )


@cache
def _drawn_faces() -> IntArray:
    model = HandModel.load()
    return np.ascontiguousarray(np.concatenate([model.fine.faces, model.forearm_faces]))


def _albedo(rng: Generator, settings: SceneSettings) -> FloatArray:
    """(Vf + Vr, 3) RGB: skin with paler palms, nails, redder knuckles, blotches; maybe a sleeve."""
    model = HandModel.load()
    count, extra = len(model.fine.vertices), len(model.forearm_vertices)
    tone = rng.uniform(0, len(SKIN_TONES) - 1)
    below = min(int(tone), len(SKIN_TONES) - 2)
    mix = tone - below
    skin = (SKIN_TONES[below] * (1 - mix) + SKIN_TONES[below + 1] * mix) * rng.normal(1, 0.05, 3)
    colours = np.tile(skin.astype(np.float32), (count + extra, 1))
    for name, tint, strength in (
        ("palm", (0.10, 0.03, 0.06), rng.uniform(0.3, 2.5 + tone * 0.5)),
        ("nail", (0.12, 0.05, 0.10), rng.uniform(0, 3)),
        ("knuckle", (-0.04, -0.14, -0.14), rng.uniform(0, 1.3)),
    ):
        tinted = model.albedo[name][:, None] * np.asarray(tint, np.float32) * np.float32(strength)
        colours[:count] *= 1 + tinted
    colours *= rng.normal(1, 0.025, (count + extra, 1)).astype(np.float32)
    if rng.random() < settings.sleeve:
        colours[count:] = rng.random(3).astype(np.float32) * np.float32(0.9)
    return colours


def _lights(rng: Generator, settings: SceneSettings) -> Lights:
    count = 1 + int(rng.random() < settings.second_light)
    directions = rng.normal(0, 1, (count, 3))
    directions[:, 2] = -np.abs(directions[:, 2]) - 0.2  # from the camera's side
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    strength = rng.uniform(0.45, 0.95, (count, 1)) / count**0.7
    return Lights(
        directions=directions.astype(np.float32),
        colours=(strength * (1 + rng.normal(0, 0.08, (count, 3)))).astype(np.float32),
        ambient=float(rng.uniform(0.2, 0.5)),
        gloss=float(rng.uniform(0, 0.16)),
        shininess=float(rng.uniform(8, 30)),
    )


def _occlude(rng: Generator, image: FloatArray) -> None:
    size = image.shape[0]
    cv2.ellipse(
        image,
        tuple(int(value) for value in rng.uniform(0.1, 0.9, 2) * size),
        (int(rng.uniform(0.06, 0.2) * size), int(rng.uniform(0.04, 0.12) * size)),
        float(rng.uniform(0, 180)), 0, 360, tuple(float(value) for value in rng.random(3)), -1,
    )  # fmt: skip


def _sensor(rng: Generator, image: FloatArray, settings: SceneSettings) -> NDArray[np.uint8]:
    """Focus, exposure, white balance, noise, eight bits."""
    if rng.random() < settings.blur:
        sigma = rng.uniform(0.4, 1.1) * settings.size / 128
        image = _float32(cv2.GaussianBlur(image, (0, 0), sigma))
    image = image * (rng.uniform(0.75, 1.2) * (1 + rng.normal(0, 0.04, 3))).astype(np.float32)
    noise = rng.standard_normal(image.shape[:2], np.float32)[..., None]
    image = image + noise * np.float32(rng.uniform(0, settings.noise))
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _background(rng: Generator, size: int) -> FloatArray:
    bank = _backgrounds()
    whole = bank[rng.integers(len(bank))]
    side = int(rng.integers(140, 300))
    top, left = rng.integers(0, BACKGROUND_SIZE + 1 - side, 2)
    part = whole[top : top + side, left : left + side]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    resized = cv2.resize(np.ascontiguousarray(part), (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized.astype(np.float32) / np.float32(255))


@cache
def _backgrounds() -> tuple[NDArray[np.uint8], ...]:
    return tuple(_make_background(np.random.default_rng(seed)) for seed in range(BACKGROUNDS))


def _make_background(rng: Generator) -> NDArray[np.uint8]:
    """Soft colours, texture and clutter, some of it the colour of skin."""
    size = BACKGROUND_SIZE
    coarse = rng.random((*rng.integers(2, 7, 2), 3)).astype(np.float32)
    image = _float32(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC))
    grey = image.mean(-1, keepdims=True)
    image = grey + (image - grey) * np.float32(rng.uniform(0.1, 1.0))  # rooms are rarely garish
    for cells in (16, 64):
        texture = rng.normal(0, rng.uniform(0, 0.12), (cells, cells)).astype(np.float32)
        texture = _float32(cv2.resize(texture, (size, size), interpolation=cv2.INTER_LINEAR))
        image += texture[..., None] * rng.uniform(0.5, 1.0, 3).astype(np.float32)
    for _ in range(int(rng.integers(0, 14))):
        skin = np.array([0.82, 0.62, 0.5]) * rng.uniform(0.4, 1.2)
        colour = tuple(np.clip(rng.random(3) if rng.random() < 0.6 else skin, 0, 1).tolist())
        points = rng.integers(0, size, (3, 2))
        first, second = (tuple(int(value) for value in point) for point in points[:2])
        shape = rng.integers(0, 4)
        if shape == 0:
            cv2.rectangle(image, first, second, colour, -1)
        elif shape == 1:
            axes = (int(rng.integers(5, 90)), int(rng.integers(5, 60)))
            cv2.ellipse(image, first, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)
        elif shape == 2:
            cv2.line(image, first, second, colour, int(rng.integers(1, 26)))
        else:
            cv2.fillConvexPoly(image, points.astype(np.int32), colour)
    if rng.random() < 0.6:
        image = _float32(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 5)))
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def _float32(image: NDArray[Any]) -> FloatArray:
    return np.asarray(image, np.float32)  # what it is already; OpenCV's types do not say so

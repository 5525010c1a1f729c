"""Random hands: joint angles, proportions, relief and the side they are seen from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.data.rendered.sample import Generator, SceneSettings
from i2uv_edge.hand.capsules import deepest_cut, hand_capsules
from i2uv_edge.hand.model import (
    JOINTS,
    MODEL_TO_CAMERA,
    FloatArray,
    HandModel,
    HandParameters,
)

KNUCKLES = np.array([5, 9, 13, 17])
# Flesh gives way: fingers that press on each other overlap by this much as capsules, metres.
YIELD = 0.0025
TRIES = 24  # poses drawn until one has no finger inside another


def sample_parameters(
    rng: Generator, settings: SceneSettings, *, grip: float | None = None
) -> HandParameters:
    """A random hand in a random pose, seen from a random side.

    Poses whose fingers cut into each other are drawn again, up to `TRIES` times; of those that all
    cut, the one that cuts least is taken.

    Parameters
    ----------
    grip
        How far the fingers close around something they hold, 0..1; none: any pose.
    """
    model = HandModel.load()
    hand = HandParameters(
        angles=np.zeros((JOINTS, 3), np.float32),
        scales=_sample_scales(rng),
        relief=_sample_relief(rng, len(model.relief)),
        rotation=(sample_view(rng, settings) @ MODEL_TO_CAMERA).astype(np.float32),
    )
    # Drawn once: kinds of poses that often cut, fists above all, must not become rare.
    kind, closed = rng.random(2)
    least = np.inf
    best = hand
    for attempt in range(TRIES if settings.separate_fingers else 1):
        # A fist that cannot close all the way closes a little less.
        pose = closed * (1 - 0.02 * attempt)
        posed = replace(hand, angles=sample_angles(rng, model.joint_limits, kind, pose, grip))
        if not settings.separate_fingers:
            return posed
        cut = deepest_cut(hand_capsules(model.place_joints(posed), posed))
        if cut < least:
            least, best = cut, posed
        if cut < YIELD:
            break
    return best


def sample_angles(
    rng: Generator, limits: FloatArray, kind: float, closed: float, grip: float | None = None
) -> FloatArray:
    """Poses people make and, a fifth of the time, anything within the joint limits.

    Fingers curl together, singly (as in counting and pointing), or lie flat; ``kind``, 0..1, says
    which, and ``closed``, 0..1, how far they curl together.
    """
    angles = np.zeros((JOINTS, 3))
    normal = rng.normal(0, 1, (6, 4))
    low, high = limits[KNUCKLES, 0].T
    order = np.arange(4) - 1.5
    if grip is not None:
        curl = np.clip(grip + 0.05 * normal[0] + 0.04 * order, 0, 1)
    elif kind < 0.45:
        curl = np.clip(closed + 0.16 * normal[0] + 0.05 * order, 0, 1)
    elif kind < 0.72:
        curl = np.clip((rng.random(4) < 0.5) * 0.85 + 0.1 * normal[0], 0, 1)
    elif kind < 0.8:
        curl = np.clip(0.08 * normal[0], -0.1, 0.3)
    else:
        curl = rng.random(4)
    # Fingers that curl come together; side by side and curled they would cut into each other.
    apart = np.clip(np.maximum(rng.uniform(-0.15, 0.8), 0.8 * curl) + 0.08 * normal[1], -0.3, 0.95)
    angles[KNUCKLES, 0] = -12 + 92 * curl + (12 if grip is None else 5) * normal[2]
    angles[KNUCKLES, 1] = np.array([-9, 0, 8, 17]) * apart + 2.5 * normal[3]
    angles[KNUCKLES, 2] = rng.normal(0, 2, 4)
    middle = -2 + 105 * np.clip(curl + (0.15 if grip is None else 0.05) * normal[4], 0, 1)
    if kind >= 0.8 and grip is None:
        angles[KNUCKLES, 0] = rng.uniform(low, high)
        middle = rng.uniform(*limits[KNUCKLES + 1, 0].T)
    angles[KNUCKLES + 1, 0] = middle
    angles[KNUCKLES + 2, 0] = 0.62 * middle + 7 * normal[5]  # one tendon bends both
    # The thumb's saddle joint goes anywhere within its limits, on its own.
    angles[1] = rng.uniform(limits[1, :, 0], limits[1, :, 1])
    angles[2, 1] = rng.uniform(*limits[2, 1])
    bent = rng.random() > 0.5
    if grip is not None:  # opposed: across the palm, in front of the fingers
        angles[1] = (rng.uniform(10, 32), rng.uniform(-28, -10), rng.uniform(-5, 18))
        bent = bool(grip > 0.5)
    angles[2, 0] = rng.normal(15 + 20 * bent, 12)
    angles[3, 0] = rng.normal(10 + 30 * bent, 15)
    return np.clip(angles, limits[..., 0], limits[..., 1]).astype(np.float32)


def _sample_scales(rng: Generator) -> FloatArray:
    scales = np.ones((JOINTS, 3))
    size = rng.normal(1, 0.04)
    fingers = rng.normal(1, 0.05)
    thickness = np.clip(rng.normal(1, 0.07), 0.82, 1.2)
    scales[0] = (np.clip(rng.normal(1, 0.05), 0.88, 1.12) * thickness**0.6, 1.0, thickness)
    length = fingers * rng.normal(1, 0.03, (5, 1)) * rng.normal(1, 0.02, (5, 4))
    length[0, 0] = 1.0  # the thumb's metacarpal belongs to the palm
    scales[1:, 1] = length.ravel()
    scales[1:, ::2] = thickness * rng.normal(1, 0.015, (JOINTS - 1, 2))
    return (scales * size).astype(np.float32)


def _sample_relief(rng: Generator, count: int) -> FloatArray:
    """Amplitudes: some subjects' skin is smooth all over, some is lined all over."""
    subject = rng.normal(1.0, 0.28)
    return np.clip(subject + rng.normal(0, 0.25, count), 0.1, 2.2).astype(np.float32)


def sample_view(rng: Generator, settings: SceneSettings) -> NDArray[np.float64]:
    """Yaw all round, pitch so that views are uniform on the sphere; roll near upright or any."""
    yaw = rng.uniform(0, 2 * np.pi)
    pitch = np.arcsin(rng.uniform(-0.95, 0.95))
    roll = rng.normal(0, np.radians(settings.roll_degrees))
    if rng.random() < settings.any_roll:
        roll = rng.uniform(0, 2 * np.pi)
    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll),
    )  # fmt: skip
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    result: NDArray[np.float64] = about_z @ about_x @ about_y
    return result

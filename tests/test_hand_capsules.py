"""Capsules of the hand: where they lie, when they meet, what they shade."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from i2uv_edge.hand.capsules import (
    BONES,
    FINGER_BONES,
    Capsules,
    bone_of_vertex,
    deepest_cut,
    hand_capsules,
    shade,
)
from i2uv_edge.hand.model import HandModel, HandParameters

MODEL = HandModel.load()
FLAT = MODEL.mean()
PALM = len(FINGER_BONES)


def capsules(parameters: HandParameters) -> Capsules:
    return hand_capsules(MODEL.place_joints(parameters), parameters)


def posed(**angles: tuple[int, int, float]) -> HandParameters:
    changed = FLAT.angles.copy()
    for joint, axis, degrees in angles.values():
        changed[joint, axis] = degrees
    return replace(FLAT, angles=changed)


def test_joints_alone_are_those_of_the_posed_hand() -> None:
    hand = posed(a=(5, 0, 60), b=(1, 1, -20))
    np.testing.assert_array_equal(MODEL.place_joints(hand), MODEL.pose(hand).joints)


def test_skin_lies_on_the_capsules() -> None:
    found = capsules(FLAT)
    vertices = MODEL.pose(FLAT).coarse
    owner = bone_of_vertex(MODEL.coarse.weights, MODEL.skin_joints)
    for bone in range(PALM):
        axis = found.ends[bone] - found.starts[bone]
        along = (vertices - found.starts[bone]) @ axis / (axis @ axis)
        own = (owner == bone) & (along > 0.1) & (along < 0.9)
        away = vertices[own] - found.starts[bone] - along[own, None] * axis
        radius = found.radii[bone] @ np.stack([1 - along[own], along[own]])
        assert np.abs(np.median(np.linalg.norm(away, axis=1) - radius)) < 0.0015


def test_capsules_thicken_with_their_bones() -> None:
    scales = FLAT.scales.copy()
    scales[6] = (1.5, 1.0, 1.5)
    ratio = capsules(replace(FLAT, scales=scales)).radii / capsules(FLAT).radii
    bone = BONES.index((6, 7))
    np.testing.assert_allclose(ratio[bone], 1.5, rtol=1e-5)
    np.testing.assert_allclose(np.delete(ratio, bone, axis=0), 1.0, rtol=1e-5)


def test_flat_hand_cuts_nothing() -> None:
    assert deepest_cut(capsules(FLAT)) < 0


@pytest.mark.parametrize(
    "crossed",
    [
        pytest.param({"a": (5, 1, -12.0), "b": (9, 1, 10.0)}, id="side by side"),
        pytest.param({"a": (9, 0, 90.0), "b": (10, 0, 108.0), "c": (11, 0, 40.0)}, id="palm"),
    ],
)
def test_finger_through_its_neighbour_or_the_palm_is_told(
    crossed: dict[str, tuple[int, int, float]],
) -> None:
    assert deepest_cut(capsules(posed(**crossed))) > 0.002


def test_depth_of_a_cut_is_in_metres() -> None:
    flat = capsules(FLAT)
    tip, other = BONES.index((7, 8)), BONES.index((11, 12))
    starts, ends = flat.starts.copy(), flat.ends.copy()
    starts[tip] = starts[other] + np.float32([-0.010, 0, 0])  # side by side, 10 mm apart
    ends[tip] = ends[other] + np.float32([-0.010, 0, 0])
    expected = flat.radii[tip] + flat.radii[other] - 0.010
    cut = deepest_cut(Capsules(starts, ends, flat.radii))
    assert cut == pytest.approx(float(expected.max()), abs=2e-3)


# --- shade ----------------------------------------------------------------------------------------

UP = np.array([0, 0, -1], np.float32)
FAR_OFF = np.array([[5, 5, 5]], np.float32)


def shaded(
    point: tuple[float, float, float], start: NDArray[np.float32], end: NDArray[np.float32],
    owner: int = -1, towards: NDArray[np.float32] = UP, softness: float = 0.05,
) -> tuple[float, float]:  # fmt: skip
    """Openness and light at a point that faces the camera, beside one capsule of 10 mm."""
    openness, light = shade(
        np.array([point], np.float32), UP[None], np.array([owner], np.int32), start, end,
        np.full((1, 2), 0.01, np.float32), 5, towards, softness,
    )  # fmt: skip
    return float(openness[0]), float(light[0])


def bar(depth: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    ends = np.array([[-0.05, 0, depth], [0.05, 0, depth]], np.float32)
    return ends[:1], ends[1:]


def test_nothing_near_shades_nothing() -> None:
    assert shaded((0, 0, 0), FAR_OFF, FAR_OFF + np.float32(1)) == (1.0, 1.0)


def test_capsule_before_the_light_takes_it_and_part_of_the_sky() -> None:
    openness, light = shaded((0, 0, 0), *bar(-0.03))
    assert light < 0.02
    assert 0.3 < openness < 0.95


def test_nearer_capsule_hides_more_of_the_sky() -> None:
    assert shaded((0, 0, 0), *bar(-0.02))[0] < shaded((0, 0, 0), *bar(-0.04))[0] - 0.05


def test_capsule_behind_shades_nothing_of_a_light_in_front() -> None:
    assert shaded((0, 0, 0), *bar(0.03))[1] == 1.0


def test_own_capsule_does_not_shade() -> None:
    assert shaded((0, 0, 0), *bar(-0.011), owner=0) == (1.0, 1.0)


def test_larger_light_has_a_softer_shadow() -> None:
    beside = (0.0, 0.014, 0.0)  # outside the sharp shadow
    sharp, soft = (shaded(beside, *bar(-0.05), softness=size)[1] for size in (0.01, 0.4))
    assert sharp > 0.95
    assert 0.2 < soft < 0.9

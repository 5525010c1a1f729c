"""Solids that pictures show beside the hand: its forearm with a sleeve, things held or in the way.

Each is a closed surface of rings around a line, with a colour a vertex.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from i2uv_edge.data.rendered.colours import cloth_colour, thing_colour
from i2uv_edge.data.rendered.sample import Generator
from i2uv_edge.hand.capsules import Capsules
from i2uv_edge.hand.model import FloatArray, HandModel, HandParameters, IntArray, PosedHand

AROUND = 20  # vertices of a ring
ARM_RINGS = 13
ARM_LENGTH = 0.27  # metres beyond the wrist
BEND = 0.035  # the wrist bends over this length, metres


@dataclass(frozen=True)
class Solid:
    """Vertices (V, 3) metres in camera axes, faces (F, 3), albedo (V, 3) linear, shade (K) of it.

    Faces of an arm count the vertices of the fine mesh first, those of a thing only its own.
    """

    vertices: FloatArray
    faces: IntArray
    albedo: FloatArray
    gloss: float
    casts: Capsules


def forearm(
    rng: Generator,
    hand: PosedHand,
    parameters: HandParameters,
    skin: FloatArray,
    base: FloatArray,
    sleeve: float,
) -> Solid:
    """The forearm: bent at the wrist, long enough to leave most pictures, bare or in a sleeve.

    Parameters
    ----------
    skin, base
        (Vf, 3) linear albedo of the hand and (3,) of the forearm.
    sleeve
        Probability of a sleeve.
    """
    rim, faces = arm_topology()
    ring0 = hand.fine[rim]
    centre = ring0.mean(0)
    across = parameters.rotation @ np.array([1.0, 0, 0])
    along = parameters.rotation @ np.array([0, -1.0, 0])  # from the wrist to the elbow
    bent = _bend(rng, across, along)
    scale = parameters.scales[0, 0]
    steps = np.concatenate([[0.0], np.geomspace(0.008, ARM_LENGTH, ARM_RINGS - 1)])
    widening = 1.02 + 0.5 * np.clip(steps / 0.24, 0, 1) ** 1.2
    # Thin in front of the wrist, rounder and thicker towards the elbow.
    cuff = rng.uniform(0.008, 0.09) if rng.random() < sleeve else np.inf
    # The colour of the wrist's skin fades into the forearm's.
    albedo = np.repeat(skin[None, rim], ARM_RINGS, axis=0)
    tan = np.float32(rng.uniform(0.82, 1.0))
    share = np.clip(steps / 0.07, 0, 1).astype(np.float32)[:, None, None]
    albedo += share * (base * tan - albedo)
    first_of_sleeve = int(np.searchsorted(steps, cuff))
    thick = np.zeros((ARM_RINGS, len(rim)))
    if first_of_sleeve < ARM_RINGS - 1:
        first_of_sleeve = max(first_of_sleeve, 1)
        steps[first_of_sleeve] = steps[first_of_sleeve - 1] + 0.0015  # the cuff's edge is steep
        thick[first_of_sleeve:] = _folds(rng, steps[first_of_sleeve:], len(rim))
        albedo[first_of_sleeve:] = _cloth(rng, steps[first_of_sleeve:], len(rim))
    relative = ring0 - centre
    radius = np.sqrt((relative * relative).sum(1, keepdims=True))
    directions = along + np.minimum(steps / BEND, 1.0)[:, None] * (bent - along)
    directions /= np.sqrt((directions * directions).sum(1, keepdims=True))
    places = centre + np.cumsum(directions * np.diff(steps, prepend=0.0)[:, None], axis=0)
    outlines = relative * widening[:, None, None]
    outlines = outlines + relative / radius * (scale * thick)[..., None]
    rings = outlines @ _turns(along, directions).transpose(0, 2, 1) + places[:, None]
    end = places[-1] + directions[-1] * 0.012
    vertices = np.concatenate([rings.reshape(-1, 3), end[None]]).astype(np.float32)
    colours = np.concatenate([albedo.reshape(-1, 3), albedo[-1, :1]])
    thickness = float(radius.mean())
    casts = Capsules(
        np.array([centre + bent * 0.03], np.float32),
        places[-1:].astype(np.float32),
        np.array([[thickness, thickness * 1.3]], np.float32),
    )
    return Solid(vertices, faces, colours, 0.03, casts)


@cache
def arm_topology() -> tuple[IntArray, IntArray]:
    """(R,) the rim of the fine mesh in order, and the faces between rings and to the end."""
    model = HandModel.load()
    count = len(model.fine.vertices)
    first = model.forearm_faces.astype(np.int64)
    # Every other face of the first ring is (following, rim, ring's): the rim in order.
    ring = first[first.max(1) < count + len(first)]
    pairs = [
        (int(b), int(a)) for a, b, c in ring if a < count and b < count and c >= count
    ]  # following <- rim
    following = dict(pairs)
    order = [pairs[0][0]]
    while following[order[-1]] != order[0]:
        order.append(following[order[-1]])
    rim = np.array(order, np.int32)
    size = len(rim)
    faces = []
    previous = rim.astype(np.int64)
    for number in range(ARM_RINGS):
        current = count + number * size + np.arange(size)
        after, behind = np.roll(current, -1), np.roll(previous, -1)
        faces.append(np.stack([behind, previous, current], axis=1))
        faces.append(np.stack([behind, current, after], axis=1))
        previous = current
    end = np.full(size, count + ARM_RINGS * size)
    faces.append(np.stack([np.roll(previous, -1), previous, end], axis=1))
    return rim, np.concatenate(faces).astype(np.int32)


def _bend(rng: Generator, across: FloatArray, along: FloatArray) -> FloatArray:
    """Where the forearm goes: wrists flex more than they deviate, and arms come from the sides.

    One that would come straight at the camera would hide the hand; it bends aside.
    """
    through = _cross(across, along)
    flexion, deviation = np.radians(rng.normal(0, 22)), np.radians(rng.normal(0, 9))
    bent = along + np.tan(np.clip(flexion, -1.1, 1.1)) * through + np.tan(deviation) * across
    bent = bent / np.linalg.norm(bent)
    if bent[2] < -0.45:
        flat = bent[:2] / (np.linalg.norm(bent[:2]) + 1e-6)
        bent = np.array([*(0.9 * flat), -0.45])
        bent = bent / np.linalg.norm(bent)
    result: FloatArray = bent
    return result


def _turns(first: FloatArray, others: FloatArray) -> FloatArray:
    """(N, 3, 3) the smallest rotations of one unit vector to others (N, 3)."""
    x, y, z = _cross(first, others).T
    skew = np.zeros((len(others), 3, 3))
    skew[:, 0, 1], skew[:, 0, 2], skew[:, 1, 2] = -z, y, -x
    skew[:, 1, 0], skew[:, 2, 0], skew[:, 2, 1] = z, -y, x
    cosine = (others @ first)[:, None, None]
    return np.asarray(np.eye(3) + skew + skew @ skew / (1 + cosine + 1e-9), np.float32)


def _cross(first: FloatArray, second: FloatArray) -> FloatArray:
    """Cross product along the last axis; np.cross takes ten times as long for a few vectors."""
    x, y, z = first[..., 0], first[..., 1], first[..., 2]
    u, v, w = second[..., 0], second[..., 1], second[..., 2]
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=-1)


def _folds(rng: Generator, along: FloatArray, around: int) -> FloatArray:
    """(R, A) metres by which cloth stands off: slanting folds, looser away from the cuff."""
    angle = np.linspace(0, 2 * np.pi, around, endpoint=False)
    loose = rng.uniform(0.002, 0.012) * np.clip((along - along[0]) / 0.06 + 0.4, 0, 1.4)[:, None]
    folds = np.zeros((len(along), around))
    for _ in range(3):
        turns = rng.integers(1, 5)
        folds += np.sin(turns * angle + rng.uniform(-120, 120) * along[:, None] + rng.uniform(0, 6))
    return np.asarray(0.0025 + loose * (0.6 + 0.28 * folds).clip(0.1))


def _cloth(rng: Generator, along: FloatArray, around: int) -> FloatArray:
    colour = cloth_colour(rng)
    albedo = np.tile(colour, (len(along), around, 1))
    if rng.random() < 0.3:  # striped
        stripes = np.sin(along[:, None] * rng.uniform(150, 500)) > rng.uniform(-0.5, 0.7)
        albedo = np.where(stripes[..., None], cloth_colour(rng), albedo)
    if rng.random() < 0.4:
        albedo[:2] *= rng.uniform(0.6, 1.3)  # the cuff
    return np.asarray(np.clip(albedo, 0, 0.95), np.float32)


def held_thing(
    rng: Generator, joints: FloatArray, parameters: HandParameters, capsules: Capsules
) -> Solid:
    """A thing in the grip: along the knuckles, against the palm, as thick as the fingers leave."""
    across = joints[5] - joints[17]
    across = across / np.linalg.norm(across)
    fingers = joints[9] - joints[0]
    fingers = fingers - across * (fingers @ across)
    fingers = fingers / np.linalg.norm(fingers)
    palmar = parameters.rotation @ np.array([0, 0, -1.0])
    palmar = palmar - across * (palmar @ across)
    palmar = palmar / np.linalg.norm(palmar)
    radius = rng.uniform(0.006, 0.04)
    knuckles = joints[[5, 9, 13, 17]].mean(0)
    place = knuckles + palmar * (0.011 + radius) + fingers * rng.uniform(-0.03, 0.012)
    # The fingers decide what fits: as thick as leaves no bone more than skin deep inside.
    for _ in range(3):
        nearest = _gap(place, across, capsules)
        radius = float(np.clip(min(radius, nearest + 0.004), 0.004, 0.04))
        place = knuckles + palmar * (0.011 + radius) + fingers * rng.uniform(-0.03, 0.012)
    tilt = across + 0.25 * rng.normal(0, 1, 3)
    long = rng.uniform(0.05, 0.14) if radius < 0.02 else rng.uniform(0.04, 0.09)
    return _thing(rng, place + across * rng.normal(0, 0.02), tilt, radius, long)


def thing_in_the_way(rng: Generator, joints: FloatArray, side: float) -> Solid:
    """A thing nearer to the camera than the hand, before a part of it."""
    centre = joints.mean(0)
    low, high = joints[:, :2].min(0), joints[:, :2].max(0)
    angle = rng.uniform(0, 2 * np.pi)
    place = centre.copy()
    reach = (high - low) * rng.uniform(0.3, 0.75)
    place[:2] = (low + high) / 2 + reach * np.array([np.cos(angle), np.sin(angle)])
    place[2] = joints[:, 2].min() - rng.uniform(0.02, 0.05)
    axis = rng.normal(0, (1, 1, 0.4)).astype(np.float32)
    radius = side * rng.uniform(0.03, 0.11)
    return _thing(rng, place, axis, radius, side * rng.uniform(0.06, 0.3))


def _gap(place: FloatArray, axis: FloatArray, capsules: Capsules) -> float:
    """Room between a line and the capsules of the hand, metres."""
    middle = (capsules.starts + capsules.ends) / 2 - place
    ends = np.concatenate([capsules.starts - place, capsules.ends - place, middle])
    radii = np.concatenate([capsules.radii[:, 0], capsules.radii[:, 1], capsules.radii.mean(1)])
    away = ends - (ends @ axis)[:, None] * axis
    return float((np.linalg.norm(away, axis=1) - radii).min())


def _thing(
    rng: Generator, place: FloatArray, axis: FloatArray, radius: float, half: float
) -> Solid:
    """A solid of revolution or a box with rounded edges: bottle, pen, cup, ball, phone, block."""
    kind = rng.integers(0, 5)
    rings = 12
    t = np.linspace(-1, 1, rings)
    angle = np.linspace(0, 2 * np.pi, AROUND, endpoint=False)
    if kind == 0:  # ball or egg
        half = radius * rng.uniform(1.0, 1.4)
        profile = np.sqrt(np.clip(1 - t**2, 0, 1))
    elif kind == 1:  # bottle: a neck on shoulders
        profile = np.where(t < 0.45, 1.0, np.interp(t, [0.45, 0.7, 1], [1, 0.42, 0.4]))
    else:  # cylinder, cone, box: even, with rounded ends
        profile = 1 - rng.uniform(0, 0.25) * (t + 1) / 2
    ends = np.clip((1 - np.abs(t)) * half / (0.25 * radius), 0, 1)
    profile = profile * (np.sqrt(1 - (1 - ends) ** 2) if kind else 1.0)
    squareness = rng.uniform(5, 10) if kind == 4 else 2.0
    cosine, sine = np.cos(angle), np.sin(angle)
    section = (np.abs(cosine) ** squareness + np.abs(sine) ** squareness) ** (-1 / squareness)
    flat = rng.uniform(0.3, 1.0) if kind == 4 else 1.0
    axis = axis / np.linalg.norm(axis)
    side = _cross(axis, rng.normal(0, 1, 3).astype(np.float32))
    side = side / np.linalg.norm(side)
    other = _cross(axis, side)
    outline = radius * section[:, None] * (cosine[:, None] * side + flat * sine[:, None] * other)
    rings_of = profile[:, None, None] * outline[None] + (half * t)[:, None, None] * axis + place
    vertices = rings_of.reshape(-1, 3).astype(np.float32)
    number = np.arange(rings * AROUND).reshape(rings, AROUND)
    one, two = number[:-1], number[1:]
    after, beyond = np.roll(one, -1, 1), np.roll(two, -1, 1)
    faces = np.concatenate(
        [
            np.stack([one, after, two], -1).reshape(-1, 3),
            np.stack([after, beyond, two], -1).reshape(-1, 3),
        ]
    )
    albedo = np.tile(thing_colour(rng), (rings, AROUND, 1))
    if rng.random() < 0.5:  # a label, a cap
        low, high = np.sort(rng.uniform(-1, 1.3, 2))
        albedo[(t > low) & (t < high)] = thing_colour(rng)
    if rng.random() < 0.25:
        albedo[:, : int(rng.integers(2, 8))] = thing_colour(rng)
    casts = Capsules(
        (place - axis * half * 0.9)[None].astype(np.float32),
        (place + axis * half * 0.9)[None].astype(np.float32),
        np.full((1, 2), radius * (1 + flat) / 2, np.float32),
    )
    return Solid(
        vertices,
        faces.astype(np.int32),
        albedo.reshape(-1, 3).astype(np.float32),
        float(rng.uniform(0, 0.35)),
        casts,
    )

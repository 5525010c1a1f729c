"""Fine detail as displacement fields: what the coarse mesh lacks, and what varies with the subject.

Each field is a displacement along the normal of the smooth fine surface for amplitude 1. The
amplitude of a field is ``subject * max(0, base + gain * flexion / 90)``, flexion in degrees.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from i2uv_edge.hand.build.skeleton import (
    FINGER_BASES,
    SKIN_JOINTS,
    TIP_DEPTH,
    Bools,
    Floats,
    Ints,
    Skeleton,
)
from i2uv_edge.hand.build.weights import segment_distance

_PALM_LINES = (
    # joint whose flexion deepens the line, depth, points (x, y) in the palm: heart, head, life line
    (13, 1.1, ((-24.0, 76.0), (-12.0, 66.0), (8.0, 63.0), (24.0, 60.0), (38.0, 60.0))),
    (9, 0.9, ((-33.0, 67.0), (-14.0, 57.0), (12.0, 48.0), (30.0, 38.0))),
    (1, 1.3, ((-31.0, 69.0), (-14.0, 55.0), (-6.0, 36.0), (-9.0, 14.0))),
)


@dataclass(frozen=True)
class Field:
    """One displacement field: what it is, the joint that drives it (-1: none), (V,) mm."""

    kind: str
    joint: int
    base: float
    gain: float
    offsets: Floats


@dataclass(frozen=True)
class _Surface:
    skeleton: Skeleton
    vertices: Floats
    normals: Floats
    fingers: Ints

    def around(self, joint: int) -> tuple[Floats, Floats, Floats]:
        """Positions and normals in the bone frame of `joint`, and how much each vertex is its own.

        The frame at a bent joint is that of the bone that starts there.
        """
        local = self.skeleton.local(joint, self.vertices)
        normals = self.normals @ self.skeleton.frames[joint]
        own = np.where(self.fingers == (joint - 1) // 4, 1.0, 0.0)
        reach = np.exp(-((local[:, 0] / (0.95 * self.skeleton.radii[joint])) ** 2))
        return local, normals, own * reach


def detail_fields(
    skeleton: Skeleton, vertices: Floats, normals: Floats, weights: Floats
) -> list[Field]:
    """All fields of the hand, for vertices (V, 3) mm with unit normals and skin weights (V, 16)."""
    surface = _Surface(skeleton, vertices, normals, _finger_of(skeleton, vertices, weights))
    fields = []
    for base in FINGER_BASES:
        knuckles = (base + 1, base + 2) if base == 1 else (base, base + 1, base + 2)
        for joint in knuckles:
            fields += _joint_fields(surface, joint, is_knuckle=joint == base)
        for joint in range(base + (base == 1), base + 3):
            fields.append(_bulge(surface, joint))
    fields.append(_nails(surface))
    for joint, depth, line in _PALM_LINES:
        fields.append(_palm_line(surface, joint, depth, np.array(line)))
    for base in FINGER_BASES[1:]:
        fields.append(_tendon(surface, base))
    return fields


def _finger_of(skeleton: Skeleton, vertices: Floats, weights: Floats) -> Ints:
    """(V,) 0..4: finger whose bones (or whose knuckle, in the palm) are nearest."""
    distances = []
    for base in FINGER_BASES:
        bones = [(j, j + 1) for j in range(base, base + 3)]
        near = [
            segment_distance(vertices, skeleton.joints[a], skeleton.joints[b]) for a, b in bones
        ]
        distances.append(np.min(near, axis=0))
    nearest = np.argmin(distances, axis=0)
    # where a finger's skin clearly moves with one finger's bones, that decides
    share = np.stack(
        [
            weights[:, [i for i, j in enumerate(SKIN_JOINTS) if b <= j <= b + 2]].sum(axis=1)
            for b in FINGER_BASES
        ]
    )
    finger: Ints = np.where(share.max(axis=0) > 0.5, share.argmax(axis=0), nearest)
    return finger


def _joint_fields(surface: _Surface, joint: int, *, is_knuckle: bool) -> list[Field]:
    local, normals, near = surface.around(joint)
    y, radius = local[:, 1], float(surface.skeleton.radii[joint])
    dorsal = np.clip(normals[:, 2], 0, 1) * near
    palmar = np.clip(-normals[:, 2], 0, 1) * near
    bump = np.exp(-((y / (0.75 * radius)) ** 2))
    if is_knuckle:
        # the heads of the metacarpals stand out in a fist, the skin in front of them folds
        crease_at = -0.55 * radius - 9.0
        return [
            Field("knuckle", joint, 0.5, 1.3, 1.5 * dorsal * bump),
            Field("palmar_crease", joint, 0.6, 0.8, _groove(palmar, y - 17.0, 1.0)),
            Field("dorsal_crease", joint, 0.25, -0.4, _groove(dorsal, y - crease_at, 0.8)),
        ]
    folds = np.cos(2 * np.pi * y / 5.2) * np.exp(-((y / (0.62 * radius)) ** 2))
    return [
        Field("knuckle", joint, 1.0, 0.35, 0.9 * dorsal * bump),
        Field("dorsal_crease", joint, 1.0, -1.4, -0.75 * dorsal * folds),
        Field("palmar_crease", joint, 0.65, 0.8, _groove(palmar, y, 1.25)),
    ]


def _groove(side: Floats, y: Floats, depth: float) -> Floats:
    return -depth * side**0.5 * np.exp(-((y / 2.1) ** 2))


def _bulge(surface: _Surface, joint: int) -> Field:
    """Swell the pad between two creases when the joint behind it bends."""
    local, normals, near = surface.around(joint)
    skeleton = surface.skeleton
    length = float(np.linalg.norm(skeleton.joints[joint + 1] - skeleton.joints[joint]))
    along = (local[:, 1] - 0.52 * length) / (0.30 * length)
    palmar = np.clip(-normals[:, 2], 0, 1) * near
    return Field("bulge", joint, 0.15, 1.1, 1.2 * palmar * np.exp(-(along**2)))


def _nails(surface: _Surface) -> Field:
    """Flat plates with a rim below the surrounding skin."""
    offsets = np.zeros(len(surface.vertices))
    for base in FINGER_BASES:
        edge, on = nail_coordinates(surface.skeleton, surface.vertices, surface.normals, base)
        own = surface.fingers == (base - 1) // 4
        rim = -0.65 * np.exp(-(((edge - 1.05) / 0.22) ** 2))
        plate = 0.4 * np.clip((0.95 - edge) / 0.25, 0, 1)
        offsets += np.where(on & own, rim + plate, 0.0)
    return Field("nail", -1, 1.0, 0.0, offsets)


def nail_coordinates(
    skeleton: Skeleton, vertices: Floats, normals: Floats, base: int
) -> tuple[Floats, Bools]:
    """(V,) 0 at the centre of a finger's nail and 1 at its edge, and whether on the nail's side."""
    tip = base + 3
    frame = skeleton.frames[tip - 1]
    local = (vertices - skeleton.joints[tip]) @ frame
    radius = skeleton.radii[tip]
    across = np.abs(local[:, 0]) / (0.80 * radius)
    along = np.abs(local[:, 1] + 1.05 * radius - TIP_DEPTH) / (0.92 * radius)
    edge = (across**4 + along**4) ** 0.25
    return edge, (local[:, 2] > 0) & ((normals @ frame)[:, 2] > 0.15)


def _palm_line(surface: _Surface, joint: int, depth: float, line: Floats) -> Field:
    flat = surface.vertices[:, :2]
    distance = np.min([segment_distance(flat, a, b) for a, b in itertools.pairwise(line)], axis=0)
    facing = np.clip((-surface.normals[:, 2] - 0.1) / 0.4, 0, 1)
    offsets = -depth * facing * np.exp(-((distance / 2.4) ** 2))
    return Field("palm_line", joint, 0.6, 0.9, offsets)


def _tendon(surface: _Surface, base: int) -> Field:
    """Raise a ridge from the wrist to the knuckle, seen while the finger is straight."""
    start, end = np.array([-2.0, 22.0]), surface.skeleton.joints[base, :2]
    flat = surface.vertices[:, :2]
    axis = end - start
    along = np.clip((flat - start) @ axis / (axis @ axis), 0, 1)
    distance = segment_distance(flat, start, end)
    facing = np.clip((surface.normals[:, 2] - 0.3) / 0.3, 0, 1)
    ridge = np.exp(-((distance / 3.0) ** 2)) * np.sqrt(along)
    return Field("tendon", base, 0.8, -1.2, 1.0 * facing * ridge)


def albedo_fields(
    skeleton: Skeleton, vertices: Floats, normals: Floats, weights: Floats
) -> dict[str, Floats]:
    """(V,) fields 0..1 of what colours skin: `palm`, `nail` and `knuckle`."""
    dorsal = weights @ skeleton.frames[list(SKIN_JOINTS)][:, :, 2]
    facing = np.einsum("ij,ij->i", normals, dorsal)
    palm = np.sqrt(np.clip(-facing, 0, 1))
    nail = np.zeros(len(vertices))
    knuckle = np.zeros(len(vertices))
    for base in FINGER_BASES:
        edge, on = nail_coordinates(skeleton, vertices, normals, base)
        nail = np.maximum(nail, np.where(on, np.clip((1.15 - edge) / 0.25, 0, 1), 0))
        for joint in range(base, base + 4):
            distance = np.linalg.norm(vertices - skeleton.joints[joint], axis=1)
            near = np.exp(-((distance / (1.5 * skeleton.radii[joint])) ** 2))
            knuckle = np.maximum(knuckle, near)
    return {"palm": palm, "nail": nail, "knuckle": knuckle}

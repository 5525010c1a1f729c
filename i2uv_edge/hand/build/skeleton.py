"""The skeleton of the built-in hand: joints, frames, limits, and posing by linear blend skinning.

Everything in ``hand.build`` works in millimetres, right hand in its rest pose: x towards the little
finger, y along the fingers, z dorsal (out of the back of the hand), the wrist at the origin. Joints
are in FreiHAND order: wrist, then four per finger (thumb, index, middle, ring, little), tip last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

FINGER_BASES = (1, 5, 9, 13, 17)
"""First joint of thumb, index, middle, ring and little finger."""

SKIN_JOINTS = (0, 1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19)
"""Joints at which a skinning bone starts; the five tips start none."""

_THUMB = ((-20.0, 22.0, -9.0), (-45.0, 52.0, -18.0), (-63.0, 79.0, -22.0), (-75.0, 101.2, -24.8))
# knuckle position, direction in the palm plane (degrees from y towards x), phalanx lengths
_FINGERS = (
    ((-25.0, 92.0, 1.0), -11.0, (44.0, 26.0, 21.0)),
    ((-4.0, 95.0, 4.0), -1.0, (48.0, 30.0, 22.0)),
    ((16.0, 89.0, 2.0), 9.0, (45.0, 28.0, 22.0)),
    ((34.0, 78.0, -2.0), 20.0, (35.0, 20.0, 19.0)),
)
TIP_DEPTH = 2.0
"""A tip joint lies this far (mm) below the end of its finger, so that vertices surround it."""

_RADII = (
    *(22.0,),
    *(13.0, 11.0, 9.6, 7.4),
    *(10.5, 9.0, 8.0, 6.6),
    *(10.8, 9.2, 8.2, 6.7),
    *(10.2, 8.7, 7.7, 6.4),
    *(9.2, 7.6, 6.8, 5.6),
)
_THUMB_DORSAL = (-0.78, -0.18, 0.60)

# degrees: flexion, abduction (positive = towards the thumb), twist
_KNUCKLE_ABDUCTION = ((-12.0, 14.0), (-10.0, 10.0), (-11.0, 12.0), (-16.0, 20.0))


@dataclass(frozen=True)
class Skeleton:
    """Rest pose of the 21 joints.

    Attributes
    ----------
    joints: (21, 3) mm.
    parents: (21,) index of the parent joint, -1 for the wrist.
    frames: (21, 3, 3) rotation whose columns are flexion axis, along the bone, dorsal.
    radii: (21,) half thickness of the finger at the joint, mm.
    limits: (21, 3, 2) degrees, (flexion, abduction, twist) x (low, high); zeros where rigid. The
        wrist's are zero: its rotation is the orientation of the whole hand, which is free.
    """

    joints: Floats
    parents: Ints
    frames: Floats
    radii: Floats
    limits: Floats

    def local(self, joint: int, points: Floats) -> Floats:
        """Points (N, 3) mm in the frame of the bone that starts at `joint`."""
        local: Floats = (points - self.joints[joint]) @ self.frames[joint]
        return local


def build_skeleton() -> Skeleton:
    """Make the skeleton of the built-in hand, which is 197 mm long."""
    joints = np.zeros((21, 3))
    joints[1:5] = _THUMB
    for finger, (knuckle, degrees, lengths) in enumerate(_FINGERS):
        base = FINGER_BASES[finger + 1]
        angle = np.radians(degrees)
        direction = np.array([np.sin(angle), np.cos(angle), -0.06])
        direction /= np.linalg.norm(direction)
        joints[base] = knuckle
        for k, length in enumerate(lengths):
            joints[base + k + 1] = joints[base + k] + direction * length
    parents = np.array([-1] + [0 if j % 4 == 1 else j - 1 for j in range(1, 21)])
    frames = np.stack([_frame(joints, j) for j in range(21)])
    return Skeleton(joints, parents, frames, np.array(_RADII), _limits())


def _frame(joints: Floats, joint: int) -> Floats:
    """Rotation of the bone that starts at `joint`; a tip keeps the direction of the last bone."""
    if joint == 0:
        along = joints[9] - joints[0]
    elif joint % 4 == 0:
        along = joints[joint] - joints[joint - 1]
    else:
        along = joints[joint + 1] - joints[joint]
    along = along / np.linalg.norm(along)
    dorsal = np.array(_THUMB_DORSAL if 1 <= joint <= 4 else (0.0, 0.0, 1.0))
    dorsal = dorsal - along * (dorsal @ along)
    dorsal /= np.linalg.norm(dorsal)
    return np.stack([np.cross(along, dorsal), along, dorsal], axis=1)


def _limits() -> Floats:
    limits = np.zeros((21, 3, 2))
    limits[1] = ((-12.0, 32.0), (-28.0, 14.0), (-15.0, 18.0))
    limits[2] = ((-10.0, 55.0), (-6.0, 6.0), (0.0, 0.0))
    limits[3, 0] = (-15.0, 75.0)
    for base, abduction in zip(FINGER_BASES[1:], _KNUCKLE_ABDUCTION, strict=True):
        limits[base] = ((-20.0, 90.0), abduction, (-4.0, 4.0))
        limits[base + 1, 0] = (-4.0, 108.0)
        limits[base + 2, 0] = (-8.0, 78.0)
    return limits


def axis_rotation(axis: int, degrees: float) -> Floats:
    """Rotation (3, 3) about coordinate axis 0, 1 or 2, right-handed."""
    angle = np.radians(degrees)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    rotation = np.eye(3)
    rotation[i, i] = rotation[j, j] = np.cos(angle)
    rotation[j, i] = np.sin(angle)
    rotation[i, j] = -np.sin(angle)
    return rotation


def bone_transforms(
    skeleton: Skeleton, angles: Floats, scales: Floats | None = None
) -> tuple[Floats, Floats]:
    """Forward kinematics.

    Parameters
    ----------
    angles: (21, 3) degrees of flexion, abduction and twist: in the bone's own frame the rotation is
        Rz(abduction) Rx(-flexion) Ry(twist).
    scales: (21, 3) thickness, length and height factors of each bone in its own frame, 1 if absent.

    Returns
    -------
    (16, 3, 4) affine maps from rest to posed points, one per skinning bone, and (21, 3) joints, mm.
    """
    count = len(skeleton.joints)
    factors = np.ones((count, 3)) if scales is None else scales
    rotations = np.zeros((count, 3, 3))
    linear = np.zeros((count, 3, 3))
    joints = np.zeros((count, 3))
    for j in range(count):
        frame = skeleton.frames[j]
        flexion, abduction, twist = angles[j]
        turn = axis_rotation(2, abduction) @ axis_rotation(0, -flexion) @ axis_rotation(1, twist)
        turn = frame @ turn @ frame.T
        parent = int(skeleton.parents[j])
        if parent < 0:
            rotations[j] = turn
            joints[j] = skeleton.joints[j]
        else:
            rotations[j] = rotations[parent] @ turn
            step = skeleton.joints[j] - skeleton.joints[parent]
            joints[j] = joints[parent] + linear[parent] @ step
        linear[j] = rotations[j] @ (frame * factors[j]) @ frame.T
    bones = list(SKIN_JOINTS)
    offset = joints[bones] - np.einsum("jab,jb->ja", linear[bones], skeleton.joints[bones])
    return np.concatenate([linear[bones], offset[:, :, None]], axis=2), joints


def skin(vertices: Floats, weights: Floats, transforms: Floats) -> Floats:
    """Linear blend skinning: (V, 3) rest vertices, (V, 16) weights, (16, 3, 4) maps -> (V, 3)."""
    blended = np.tensordot(weights, transforms, axes=1)
    posed: Floats = np.einsum("vab,vb->va", blended[:, :, :3], vertices) + blended[:, :, 3]
    return posed


def random_angles(skeleton: Skeleton, generator: np.random.Generator) -> Floats:
    """Angles (21, 3) in degrees, uniform within the joints' limits."""
    low, high = skeleton.limits[..., 0], skeleton.limits[..., 1]
    return generator.uniform(low, high)


def random_scales(generator: np.random.Generator) -> Floats:
    """Bone factors (21, 3) of a random subject: thickness and length vary by some 5 %."""
    scales = np.ones((21, 3))
    thick = float(np.clip(generator.normal(1.0, 0.07), 0.82, 1.2))
    scales[0] = (float(np.clip(generator.normal(1.0, 0.05), 0.88, 1.12)) * thick**0.6, 1.0, thick)
    scales[1:, 0::2] = thick * generator.normal(1.0, 0.015, (20, 2))
    scales[1:, 1] = generator.normal(1.0, 0.05) * generator.normal(1.0, 0.03, 20)
    return scales

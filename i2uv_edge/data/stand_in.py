"""The built-in hand as a MANO model: same arrays, own geometry, nobody's licence.

Whatever takes MANO takes it: fifteen joints behind the wrist in MANO's order, ten shape parameters,
pose-dependent corrections, a space of poses. With it every path of the networks that answer in
MANO's parameters is trained and tested where MANO itself is not at hand.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.data.rendered.poses import sample_angles
from i2uv_edge.hand.mano import Mano
from i2uv_edge.hand.model import HandModel, HandParameters, joint_rotations

__all__ = ["SHAPES", "stand_in", "stand_in_parameters", "stand_in_tips"]

Float64 = NDArray[np.float64]

BONES = (0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3)
"""Which of the 21 joints each of MANO's sixteen is: wrist, index, middle, little, ring, thumb."""

_TIPS = (4, 8, 12, 16, 20)
_SPREAD = 0.04  # what one unit of a shape parameter changes a proportion by
# Which joints' scales (across, along, through) each shape parameter changes, and how much.
_FINGERS = tuple(range(1, 21))
SHAPES: tuple[tuple[tuple[int, ...], tuple[float, float, float]], ...] = (
    (tuple(range(21)), (1.0, 1.0, 1.0)),  # size
    (tuple(range(21)), (1.0, 0.0, 1.0)),  # thickness
    (tuple(range(5, 21)), (0.0, 1.0, 0.0)),  # length of the fingers
    ((0,), (1.0, 0.0, 0.0)),  # breadth of the palm
    ((0,), (0.0, 0.0, 1.0)),  # depth of the palm
    *(((first, first + 1, first + 2, first + 3), (0.0, 1.0, 0.0)) for first in (1, 5, 9, 13, 17)),
)
_POSES, _CORRECTED, _SEED = 2000, 256, 20201
_RIDGE = 1.0  # keeps the corrections small where the poses say little


@cache
def stand_in() -> Mano:
    """The model; its vertices and faces are those of the built-in hand's coarse mesh."""
    hand = HandModel.load()
    mesh = hand.coarse
    rest = mesh.vertices.astype(np.float64)
    columns = [int(np.flatnonzero(hand.skin_joints == joint)[0]) for joint in BONES]
    parents = [BONES.index(int(hand.parents[joint])) if joint else -1 for joint in BONES]
    angles = _angles()
    poses = _axis_angles(hand, angles)[:, 1:].reshape(len(angles), 45)
    mean = poses.mean(0)
    _, _, components = np.linalg.svd(poses - mean, full_matrices=True)
    plain = Mano(
        template=rest,
        shape_directions=_shape_directions(hand),
        pose_directions=np.zeros((len(rest), 3, 135)),
        weights=mesh.weights[:, columns].astype(np.float64),
        regressor=mesh.joint_regressor[list(BONES)].astype(np.float64),
        faces=mesh.faces,
        parents=np.array(parents, np.int32),
        components=components * np.sign(components.sum(1, keepdims=True)),
        mean=mean,
    )
    return replace(plain, pose_directions=_corrections(hand, plain, angles[:_CORRECTED]))


@cache
def stand_in_tips() -> tuple[int, int, int, int, int]:
    """The vertices nearest to the fingertips, thumb to little finger."""
    hand = HandModel.load()
    apart = np.linalg.norm(hand.coarse.vertices[:, None] - hand.joints[list(_TIPS)], axis=-1)
    first, second, third, fourth, fifth = (int(row) for row in apart.argmin(0))
    return first, second, third, fourth, fifth


def stand_in_parameters(parameters: HandParameters) -> tuple[Float64, Float64]:
    """(48,) axis-angle, the wrist's first, and (10,) shape of a posed built-in hand.

    The rotations are exact; of the proportions, what ten numbers can tell.
    """
    hand = HandModel.load()
    turns = _axis_angles(hand, parameters.angles[None])[0]
    turns[0] = _axis_angle(np.asarray(parameters.rotation, np.float64)[None])[0]
    wanted = np.log(np.asarray(parameters.scales, np.float64)).ravel()
    basis = np.stack([_SPREAD * _scaling(*shape).ravel() for shape in SHAPES], axis=1)
    shape: Float64 = np.linalg.lstsq(basis, wanted, rcond=None)[0].astype(np.float64)
    return turns.ravel(), shape


def _angles() -> NDArray[np.float32]:
    rng = np.random.default_rng(_SEED)
    limits = HandModel.load().joint_limits
    return np.stack([sample_angles(rng, limits, *rng.random(2)) for _ in range(_POSES)])


def _axis_angles(hand: HandModel, angles: NDArray[Any]) -> Float64:
    """(N, 21, 3) degrees -> (N, 16, 3) rotations of MANO's joints, model axes; the wrist's is 0."""
    radians = np.radians(angles.astype(np.float64))
    local = joint_rotations(np.sin(radians).reshape(-1, 3), np.cos(radians).reshape(-1, 3)).reshape(
        *angles.shape[:2], 3, 3
    )
    frames = hand.frames.astype(np.float64)
    turns = (frames @ local @ frames.transpose(0, 2, 1))[:, list(BONES)]
    turned = _axis_angle(turns.reshape(-1, 3, 3)).reshape(len(angles), 16, 3)
    turned[:, 0] = 0.0
    return turned


def _axis_angle(turns: Float64) -> Float64:
    """(N, 3, 3) rotations -> (N, 3)."""
    from scipy.spatial.transform import Rotation

    found: Float64 = Rotation.from_matrix(turns).as_rotvec()
    return found


def _scaling(joints: tuple[int, ...], axes: tuple[float, float, float]) -> Float64:
    """(21, 3) which scales a shape parameter changes."""
    made = np.zeros((21, 3))
    made[list(joints)] = axes
    return made


def _shape_directions(hand: HandModel) -> Float64:
    """(V, 3, 10) metres a unit, at the mean hand."""
    mean = hand.mean()
    flat = replace(mean, rotation=np.eye(3, dtype=np.float32))
    found = []
    for shape in SHAPES:
        step = _SPREAD * _scaling(*shape)
        ends = [
            hand.pose(replace(flat, scales=np.exp(sign * step).astype(np.float32))).coarse
            for sign in (1.0, -1.0)
        ]
        found.append((ends[0].astype(np.float64) - ends[1]) / 2)
    return np.stack(found, axis=-1)


def _corrections(hand: HandModel, plain: Mano, angles: NDArray[np.float32]) -> Float64:
    """(V, 3, 135) what the built-in hand does in a pose and skinning alone does not.

    Both skin linearly; what is left is how the built-in one's joints lie off the regressed ones.
    """
    flat = replace(hand.mean(), rotation=np.eye(3, dtype=np.float32))
    turns = _axis_angles(hand, angles)
    features, residuals = [], []
    for own, rotations in zip(angles, turns, strict=True):
        wanted = hand.pose(replace(flat, angles=own)).coarse.astype(np.float64)
        feature, blended, moved = plain.skinning(rotations.ravel())
        back = np.linalg.inv(blended)
        features.append(feature)
        residuals.append(np.einsum("vab,vb->va", back, wanted - moved) - plain.template)
    seen = np.stack(features)
    gram = seen.T @ seen + _RIDGE * np.eye(seen.shape[1])
    fitted = np.linalg.solve(gram, seen.T @ np.stack(residuals).reshape(len(seen), -1))
    return fitted.T.reshape(*plain.template.shape, -1)

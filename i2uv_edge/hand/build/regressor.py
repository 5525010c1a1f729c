"""Joints as sparse convex combinations of vertices near them, fitted over random poses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from i2uv_edge.hand.build.skeleton import (
    Floats,
    Skeleton,
    bone_transforms,
    random_angles,
    random_scales,
    skin,
)


@dataclass(frozen=True)
class Poses:
    """Random poses: (P, V, 3) posed vertices and (P, 21, 3) their joints, mm."""

    vertices: Floats
    joints: Floats


def random_poses(
    skeleton: Skeleton, vertices: Floats, weights: Floats, count: int, seed: int
) -> Poses:
    """`count` poses within the limits, of subjects of random proportions."""
    generator = np.random.default_rng(seed)
    posed, joints = [], []
    for _ in range(count):
        transforms, where = bone_transforms(
            skeleton, random_angles(skeleton, generator), random_scales(generator)
        )
        posed.append(skin(vertices, weights, transforms))
        joints.append(where)
    return Poses(np.stack(posed), np.stack(joints))


def fit_regressor(
    skeleton: Skeleton, vertices: Floats, poses: Poses, *, reach: float = 1.9, ridge: float = 20.0
) -> Floats:
    """Regressor (21, V): non-negative, rows sum to 1, only vertices near each joint.

    Parameters
    ----------
    reach: how far a vertex may be from the joint, in units of the joint's radius.
    ridge: mm; weight of the penalty that spreads a row over many vertices.
    """
    count = len(vertices)
    regressor = np.zeros((21, count))
    for joint in range(21):
        distance = np.linalg.norm(vertices - skeleton.joints[joint], axis=1)
        radius = skeleton.radii[joint]
        near = np.flatnonzero(distance < reach * radius)
        if len(near) < 12:
            near = np.argsort(distance)[:12]
        # relative to the joint, so that the sum-to-one row does not compete with large coordinates
        relative = poses.vertices[:, near] - poses.joints[:, joint, None]
        matrix = relative.transpose(0, 2, 1).reshape(-1, len(near)) / np.sqrt(len(relative))
        rows = np.concatenate(
            [matrix, ridge * np.eye(len(near)) / np.sqrt(len(near)), np.full((1, len(near)), 1e3)]
        )
        target = np.zeros(len(rows))
        target[-1] = 1e3
        weights, _ = nnls(rows, target)
        weights[weights < 1e-4] = 0.0
        regressor[joint, near] = weights / weights.sum()
    return regressor


def regression_error(regressor: Floats, poses: Poses) -> Floats:
    """(21,) mean distance in mm between regressed and true joints."""
    found = np.einsum("jv,pvc->pjc", regressor, poses.vertices)
    error: Floats = np.linalg.norm(found - poses.joints, axis=2).mean(axis=0)
    return error

"""S2HAND's terms on 2D keypoints (Chen et al., CVPR 2021): distances, bone directions and lengths.

Its formulae are those of its code: the distance is quadratic up to `TURN` pixels and linear beyond,
wrist and fingertips weigh more, and a bone counts as far as both its ends are trusted. Its own term
on lengths holds one bone in 3D to 28.2 mm; here every bone's length in the picture is known.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from i2uv_edge.hand.metrics import Array
from i2uv_edge.hand.model import JOINTS, FloatArray
from i2uv_edge.training.config import KeypointWeights

__all__ = [
    "BONES",
    "KeypointLoss",
    "direction_term",
    "distance_term",
    "in_picture",
    "length_term",
]

SIDE = 224.0  # pixels of the pictures that S2HAND's constants are about
TURN = 5.0  # pixels from which on a distance counts linearly
LEAST = 1e-4  # pixels, added to a bone's length before it divides

# From the wrist to each finger's first joint, then along the fingers: FreiHAND's order of joints.
BONES = tuple((0 if joint % 4 == 1 else joint - 1, joint) for joint in range(1, JOINTS))
_STARTS, _ENDS = (list(ends) for ends in zip(*BONES, strict=True))
_IMPORTANCE = [2.0 if joint == 0 else 1.5 if joint % 4 == 0 else 1.0 for joint in range(JOINTS)]


def in_picture(points: Array) -> FloatArray:
    """(21, 2) joints in sides of the crop -> (21, 3): x, y, and 1 if it lies in the picture, or 0.

    A joint that is not finite, which is how one says that it is not known, is none in the picture.
    """
    known = np.asarray(np.isfinite(points).all(-1))
    inside = known & (points >= 0.0).all(-1) & (points <= 1.0).all(-1)
    placed = np.where(known[:, None], points, 0.0)
    return np.column_stack([placed, inside]).astype(np.float32)


class KeypointLoss(nn.Module):
    """The weighted sum of the terms on what a mesh's joints look like.

    Parameters
    ----------
    regressor
        (21, V) joints from vertices.
    weights
        Of the terms.
    """

    regressor: Tensor

    def __init__(self, regressor: FloatArray, weights: KeypointWeights) -> None:
        super().__init__()
        self.weights = weights
        self.register_buffer("regressor", torch.from_numpy(regressor), persistent=False)

    def forward(self, vertices: Tensor, given: Tensor) -> Tensor:
        """Vertices (N, V, 3) in map units against keypoints (N, 21, 3), see `in_picture`."""
        found = self.regressor @ vertices[..., :2]
        points, trust = given[..., :2], given[..., 2]
        total = found.new_zeros(())
        for weight, term in (
            (self.weights.distance, distance_term),
            (self.weights.direction, direction_term),
            (self.weights.length, length_term),
        ):
            if weight:
                total = total + weight * term(found, points, trust)
        return total


def distance_term(found: Tensor, given: Tensor, trust: Tensor) -> Tensor:
    """Mean of the robust distances of joints, weighted by squared importance and trust.

    Joints are (N, 21, 2) in sides of the crop, ``trust`` is (N, 21), 0..1.
    """
    away = SIDE * (found - given).norm(dim=-1)
    robust = torch.where(away < TURN, away.square() / (2 * TURN), away - TURN / 2)
    weight = (trust * trust.new_tensor(_IMPORTANCE)).square()
    result: Tensor = (weight * robust).sum() / weight.sum().clamp(min=LEAST)
    return result


def direction_term(found: Tensor, given: Tensor, trust: Tensor) -> Tensor:
    """Mean over bones of the squared difference of their unit vectors, which is 2 (1 - cosine)."""
    apart = _unit(_bones(found)) - _unit(_bones(given))
    return _over_bones(apart.square().sum(-1), trust)


def length_term(found: Tensor, given: Tensor, trust: Tensor) -> Tensor:
    """Mean over bones of the difference of their lengths, in sides of the crop."""
    longer = _bones(found).norm(dim=-1) - _bones(given).norm(dim=-1)
    return _over_bones(longer.abs(), trust)


def _bones(joints: Tensor) -> Tensor:
    return joints[:, _ENDS] - joints[:, _STARTS]


def _unit(bones: Tensor) -> Tensor:
    lengths: Tensor = bones.norm(dim=-1, keepdim=True)
    return bones / (lengths + LEAST / SIDE)


def _over_bones(errors: Tensor, trust: Tensor) -> Tensor:
    result: Tensor = (trust[:, _STARTS] * trust[:, _ENDS] * errors).mean()
    return result

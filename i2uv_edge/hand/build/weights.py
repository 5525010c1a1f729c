"""Skin weights by heat diffusion over the surface, each vertex heated by its nearest bone."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
import scipy.sparse.linalg as sparse_linalg

from i2uv_edge.hand.build.skeleton import FINGER_BASES, SKIN_JOINTS, Floats, Ints, Skeleton

_HEAT = 1.6
"""Larger keeps weights closer to their bone; 1.6 gives clean fists."""


def skin_weights(skeleton: Skeleton, vertices: Floats, faces: Ints, most: int = 4) -> Floats:
    """Weights (V, 16): at most `most` bones a vertex, non-negative, rows sum to 1."""
    import igl

    distance = np.full((len(vertices), len(SKIN_JOINTS)), np.inf)
    for base in FINGER_BASES[1:]:
        start = np.array([skeleton.joints[base, 0] * 0.4, 0.0, 0.0])
        ray = segment_distance(vertices, start, skeleton.joints[base]) - 12.0
        distance[:, 0] = np.minimum(distance[:, 0], ray)
    for i, j in enumerate(SKIN_JOINTS[1:], start=1):
        thickness = 0.9 * (skeleton.radii[j] + skeleton.radii[j + 1]) / 2
        bone = segment_distance(vertices, skeleton.joints[j], skeleton.joints[j + 1])
        distance[:, i] = bone - thickness
    nearest = np.eye(len(SKIN_JOINTS))[distance.argmin(axis=1)]
    depth = np.maximum(distance.min(axis=1) + 9.0, 5.0)
    laplacian = -igl.cotmatrix(vertices, faces)
    mass = igl.massmatrix(vertices, faces, igl.MASSMATRIX_TYPE_VORONOI).diagonal()
    heat = sparse.diags(mass * _HEAT / depth**2)
    weights = np.asarray(sparse_linalg.spsolve((laplacian + heat).tocsc(), heat @ nearest))
    return limit_influences(weights, most)


def limit_influences(weights: Floats, most: int) -> Floats:
    """Subtract each row's (most+1)-th largest weight, so that what is dropped fades to zero."""
    weights = np.clip(weights, 0.0, None)
    floor = np.sort(weights, axis=1)[:, -most - 1][:, None]
    weights = np.clip(weights - floor, 0.0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def segment_distance(points: Floats, start: Floats, end: Floats) -> Floats:
    """(N,) distance of points (N, D) to the segment from `start` to `end` (D,)."""
    axis = end - start
    along = np.clip((points - start) @ axis / (axis @ axis), 0.0, 1.0)
    distance: Floats = np.linalg.norm(points - start - along[:, None] * axis, axis=1)
    return distance

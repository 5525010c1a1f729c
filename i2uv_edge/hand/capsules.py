"""The hand as tapered capsules: who cuts into whom, what lies in whose shade.

Nineteen capsules, one a bone, measured on the built-in hand. They answer in microseconds what the
meshes would answer in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numba
import numpy as np
from numpy.typing import NDArray

from i2uv_edge.hand.model import FloatArray, HandModel, HandParameters, IntArray

# Joints that each bone runs between: the phalanges (with the thumb's metacarpal), then the palm.
FINGER_BONES = tuple((j, j + 1) for base in (1, 5, 9, 13, 17) for j in range(base, base + 3))
PALM_BONES = ((0, 5), (0, 9), (0, 13), (0, 17))
BONES = FINGER_BONES + PALM_BONES
TIP_DEPTH = 0.002  # a tip joint lies this far below the end of its finger, metres
# Skin between two fingers reaches this far along their first bones: there they have to meet.
WEB = 0.55


@dataclass(frozen=True)
class Capsules:
    """Tapered capsules, metres.

    Attributes
    ----------
    starts, ends : (K, 3) of the axes
    radii : (K, 2) at either end
    """

    starts: FloatArray
    ends: FloatArray
    radii: FloatArray

    def with_more(self, other: Capsules) -> Capsules:
        """These and others, in this order."""
        return Capsules(
            np.concatenate([self.starts, other.starts]),
            np.concatenate([self.ends, other.ends]),
            np.concatenate([self.radii, other.radii]),
        )


def hand_capsules(joints: FloatArray, parameters: HandParameters) -> Capsules:
    """The capsules of a posed hand, in the order of `BONES`.

    Parameters
    ----------
    joints
        (21, 3) metres, any axes.
    parameters
        Of the hand; its bone scales thicken the capsules.
    """
    first, last = np.array(BONES).T
    starts, ends = joints[first].copy(), joints[last].copy()
    palm = len(FINGER_BONES)
    starts[palm:] += 0.2 * (ends[palm:] - starts[palm:])
    thickness = parameters.scales[first][:, ::2].mean(1, keepdims=True)
    radii = (_radii() * thickness).astype(np.float32)
    tips = np.arange(2, palm, 3)
    along = ends[tips] - starts[tips]
    length = np.linalg.norm(along, axis=1, keepdims=True)
    ends[tips] -= along / length * (radii[tips, 1:] - TIP_DEPTH)
    return Capsules(starts, ends, radii)


def bone_of_vertex(weights: FloatArray, skin_joints: IntArray) -> IntArray:
    """(V,) the capsule that each vertex lies on; those of the palm are told to lie on all of it."""
    palm = len(FINGER_BONES)
    number = {first: index for index, (first, _) in enumerate(FINGER_BONES)}
    bones = np.array([number.get(int(joint), palm) for joint in skin_joints], np.int32)
    return np.asarray(bones[weights.argmax(1)], np.int32)


def deepest_cut(capsules: Capsules) -> float:
    """How deep, in metres, fingers cut into each other or the palm; negative: how far apart.

    Neighbours meet where the skin between them is; bones of one finger are no pair.
    """
    return float(_deepest(capsules.starts, capsules.ends, capsules.radii, *_pairs()))


@cache
def _radii() -> FloatArray:
    """(K, 2) distance of the skin from each bone of the mean hand, near either end."""
    model = HandModel.load()
    vertices = model.fine.vertices
    owner = bone_of_vertex(model.fine.weights, model.skin_joints)
    radii = np.zeros((len(BONES), 2), np.float32)
    distances = []
    for first, last in BONES:
        axis = model.joints[last] - model.joints[first]
        along = np.clip((vertices - model.joints[first]) @ axis / (axis @ axis), 0, 1)
        away = np.linalg.norm(vertices - model.joints[first] - along[:, None] * axis, axis=1)
        distances.append((along, away))
    nearest = np.argmin([away for _, away in distances[len(FINGER_BONES) :]], axis=0)
    for bone, (along, away) in enumerate(distances):
        if bone < len(FINGER_BONES):
            own = owner == bone
        else:
            own = (owner == len(FINGER_BONES)) & (nearest == bone - len(FINGER_BONES))
        middle = np.median(along[own & (along > 0.02) & (along < 0.98)])
        for end, half in enumerate((along < middle, along >= middle)):
            inside = own & half & (along > 0.02) & (along < 0.98)
            radii[bone, end] = np.median(away[inside])
    return radii


@cache
def _pairs() -> tuple[IntArray, FloatArray]:
    """(P, 2) bones that must not meet and (P, 2) from which part of each on."""
    pairs, begins = [], []
    palm = len(FINGER_BONES)
    for one in range(palm):
        for other in range(one + 1, palm):
            fingers = one // 3, other // 3
            if fingers[0] == fingers[1]:
                continue
            begin = [0.0, 0.0]
            for side, bone in enumerate((one, other)):
                if bone % 3 == 0:
                    begin[side] = WEB
            # The thumb's metacarpal is part of the palm.
            if one == 0 and other % 3 == 0:
                continue
            pairs.append((one, other))
            begins.append(begin)
        if one % 3 > 0 and one != 1:
            for metacarpal in range(palm, len(BONES)):
                pairs.append((one, metacarpal))
                begins.append([0.3, 0.0])
    return np.array(pairs, np.int32), np.array(begins, np.float32)


@numba.njit(cache=True, fastmath=True)
def _closest(
    a: NDArray[np.float32], b: NDArray[np.float32], c: NDArray[np.float32], d: NDArray[np.float32]
) -> tuple[float, float, float]:
    """Squared distance of two segments and where on each (Ericson, Real-Time Collision, 5.1.9)."""
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = d[0] - c[0], d[1] - c[1], d[2] - c[2]
    rx, ry, rz = a[0] - c[0], a[1] - c[1], a[2] - c[2]
    uu, vv = ux * ux + uy * uy + uz * uz, vx * vx + vy * vy + vz * vz
    uv, ur, vr = (
        ux * vx + uy * vy + uz * vz,
        ux * rx + uy * ry + uz * rz,
        vx * rx + vy * ry + vz * rz,
    )
    apart = uu * vv - uv * uv
    s = min(max((uv * vr - ur * vv) / apart, 0.0), 1.0) if apart > 1e-14 else 0.0
    t = (uv * s + vr) / vv
    if t < 0.0:
        t = 0.0
        s = min(max(-ur / uu, 0.0), 1.0)
    elif t > 1.0:
        t = 1.0
        s = min(max((uv - ur) / uu, 0.0), 1.0)
    x, y, z = rx + s * ux - t * vx, ry + s * uy - t * vy, rz + s * uz - t * vz
    return x * x + y * y + z * z, s, t


@numba.njit(cache=True, fastmath=True)
def _deepest(
    starts: FloatArray, ends: FloatArray, radii: FloatArray, pairs: IntArray, begins: FloatArray
) -> float:
    worst = -1.0
    for pair in range(len(pairs)):
        one, other = pairs[pair]
        from_one = starts[one] + begins[pair, 0] * (ends[one] - starts[one])
        from_other = starts[other] + begins[pair, 1] * (ends[other] - starts[other])
        squared, s, t = _closest(from_one, ends[one], from_other, ends[other])
        s = begins[pair, 0] + s * (1 - begins[pair, 0])
        t = begins[pair, 1] + t * (1 - begins[pair, 1])
        thick = radii[one, 0] + s * (radii[one, 1] - radii[one, 0])
        thick += radii[other, 0] + t * (radii[other, 1] - radii[other, 0])
        worst = max(worst, thick - np.sqrt(squared))
    return worst


@numba.njit(cache=True, fastmath=True)
def shade(
    points: FloatArray,
    normals: FloatArray,
    owners: IntArray,
    starts: FloatArray,
    ends: FloatArray,
    radii: FloatArray,
    palm: int,
    towards: FloatArray,
    softness: float,
) -> tuple[FloatArray, FloatArray]:
    """How open each point is to the sky, and how much of a light reaches it past the capsules.

    Points turned away from the camera (normal z > 0.35) are not computed: nobody sees them.

    Parameters
    ----------
    points, normals
        (V, 3) metres and unit vectors, camera axes.
    owners
        (V,) the capsule a point lies on, which does not shade it; ``palm``: capsules from ``palm``
        on to the last but those beyond 19; -1: none.
    starts, ends, radii
        The capsules.
    palm
        First capsule of the palm.
    towards
        (3,) unit vector to the light.
    softness
        Radius of the light over its distance.

    Returns
    -------
    tuple of FloatArray
        (V,) openness 0..1 and (V,) light 0..1.
    """
    count = len(points)
    openness, light = np.ones(count, np.float32), np.ones(count, np.float32)
    lx, ly, lz = towards[0], towards[1], towards[2]
    for v in range(count):
        nx, ny, nz = normals[v, 0], normals[v, 1], normals[v, 2]
        if nz > 0.35:
            continue
        px, py, pz = points[v, 0], points[v, 1], points[v, 2]
        # Rays start a little off the surface, which the capsules meet only roughly.
        ox, oy, oz = px + 0.003 * nx, py + 0.003 * ny, pz + 0.003 * nz
        lit = nx * lx + ny * ly + nz * lz > -0.3
        opened, reached = 1.0, 1.0
        owner = owners[v]
        for k in range(len(starts)):
            if k == owner or (owner == palm and palm <= k < palm + 4):
                continue
            ax, ay, az = starts[k, 0] - px, starts[k, 1] - py, starts[k, 2] - pz
            ux, uy, uz = (
                ends[k, 0] - starts[k, 0],
                ends[k, 1] - starts[k, 1],
                ends[k, 2] - starts[k, 2],
            )
            uu = ux * ux + uy * uy + uz * uz + 1e-12
            t = min(max(-(ax * ux + ay * uy + az * uz) / uu, 0.0), 1.0)
            radius = radii[k, 0] + t * (radii[k, 1] - radii[k, 0])
            dx, dy, dz = ax + t * ux, ay + t * uy, az + t * uz
            squared = dx * dx + dy * dy + dz * dz + 1e-9
            away = np.sqrt(squared)
            if away < 6.0 * radius:
                cosine = (nx * dx + ny * dy + nz * dz) / away
                # A sphere's share of the sky (Quilez, sphere ambient occlusion), horizon softened.
                share = radius * radius / max(squared, radius * radius)
                opened *= 1.0 - 0.85 * share * min(max(0.25 + 0.75 * cosine, 0.0), 1.0)
            if not lit or reached < 0.01:
                continue
            # Nearest approach of the ray to the capsule's axis.
            ax, ay, az = starts[k, 0] - ox, starts[k, 1] - oy, starts[k, 2] - oz
            ul = ux * lx + uy * ly + uz * lz
            al = ax * lx + ay * ly + az * lz
            au = ax * ux + ay * uy + az * uz
            apart = uu - ul * ul
            t = min(max((al * ul - au) / apart, 0.0), 1.0) if apart > 1e-9 else 0.5
            distance = al + t * ul  # along the ray
            if distance <= 0.0:
                continue
            dx = ax + t * ux - distance * lx
            dy = ay + t * uy - distance * ly
            dz = az + t * uz - distance * lz
            radius = radii[k, 0] + t * (radii[k, 1] - radii[k, 0])
            gap = np.sqrt(dx * dx + dy * dy + dz * dz) - radius
            width = 0.0015 + softness * distance
            part = min(max(0.5 + 0.5 * gap / width, 0.0), 1.0)
            reached *= part * part * (3.0 - 2.0 * part)
        openness[v], light[v] = opened, reached
    return openness, light

"""The hand's smooth surface: a signed distance field of blended capsules, meshed and simplified."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from i2uv_edge.hand.build.skeleton import FINGER_BASES, TIP_DEPTH, Floats, Ints, Skeleton

WRIST_Y = -14.0
"""The surface is open where it meets this plane (mm)."""

Field = Callable[[Floats], Floats]

_UP = np.array([0.0, 0.0, 1.0])


def distance_field(skeleton: Skeleton) -> Field:
    """Signed distance (approximate, mm, negative inside) of points (..., 3) to the hand's skin."""

    def field(points: Floats) -> Floats:
        palm = _palm(skeleton, points)
        body = _union(_union(palm, _thumb(skeleton, points), 11.0), _thumb_web(points), 12.0)
        for base in FINGER_BASES[1:]:
            # fingers meet each other with a crease, but flow into the palm
            body = np.minimum(body, _union(palm, _finger(skeleton, base, points), 7.0))
        return body

    return field


def _cone(
    points: Floats,
    start: Floats,
    end: Floats,
    radii: tuple[float, float],
    flatten: tuple[Floats, float] | None = None,
) -> Floats:
    """Distance to a capsule whose radius changes linearly; `flatten` = (axis, factor < 1)."""
    axis = end - start
    along = np.clip(((points - start) @ axis) / (axis @ axis), 0.0, 1.0)
    offset = points - start - along[..., None] * axis
    if flatten is not None:
        direction, factor = flatten
        offset = offset + (offset @ direction)[..., None] * direction * (1.0 / factor - 1.0)
    distance: Floats = np.linalg.norm(offset, axis=-1) - (radii[0] + (radii[1] - radii[0]) * along)
    return distance


def _union(a: Floats, b: Floats, blend: float) -> Floats:
    """Minimum of two distances, rounded over `blend` mm."""
    mix = np.clip(0.5 + 0.5 * (b - a) / blend, 0.0, 1.0)
    return b + (a - b) * mix - blend * mix * (1.0 - mix)


def _at(*coordinates: float) -> Floats:
    return np.array(coordinates)


def _palm(skeleton: Skeleton, points: Floats) -> Floats:
    palm = _cone(points, _at(-6, -60, 0), _at(-4, 2, -1), (25, 25), (_UP, 0.66))
    rays = (
        (5, -12.0, 15.0, 12.3),
        (9, -4.0, 15.5, 13.0),
        (13, 5.0, 15.5, 12.4),
        (17, 12.0, 15.0, 11.0),
    )
    for base, x, near, far in rays:
        knuckle = skeleton.joints[base] + _at(0, -4, -1.5)
        palm = _union(palm, _cone(points, _at(x, 10, -1), knuckle, (near, far), (_UP, 0.85)), 13.0)
    hypothenar = _cone(points, _at(24, 20, -7), _at(34, 58, -8), (13, 10.5))
    thenar = _cone(points, _at(-14, 20, -9), _at(-33, 48, -17), (15, 11))
    palm = _union(_union(palm, hypothenar, 10.0), thenar, 12.0)
    for first, second in ((5, 9), (9, 13), (13, 17)):
        # the skin between two fingers reaches a third of the way up the first phalanx
        ends = [skeleton.joints[b] + 12.0 * skeleton.frames[b][:, 1] for b in (first, second)]
        middle = (ends[0] + ends[1]) / 2
        web = _cone(points, middle * 0.8 + ends[0] * 0.2, middle * 0.8 + ends[1] * 0.2, (5.0, 5.0))
        palm = _union(palm, web, 9.0)
    return palm


def _thumb(skeleton: Skeleton, points: Floats) -> Floats:
    _, cmc, mcp, ip, tip = skeleton.joints[:5]
    dorsal = skeleton.frames[3][:, 2]
    end = tip - (6.5 - TIP_DEPTH) * skeleton.frames[3][:, 1]
    distal = _union(
        _cone(points, mcp, ip, (11, 9.8)), _cone(points, ip, end, (9.6, 7.6), (dorsal, 0.9)), 3.0
    )
    pad = ip + 0.62 * (tip - ip) - 1.6 * dorsal
    distal = _union(distal, _cone(points, pad, pad + 0.15 * (tip - ip), (7.6, 7.0)), 4.0)
    return _union(_cone(points, cmc, mcp, (13, 11.2)), distal, 4.0)


def _thumb_web(points: Floats) -> Floats:
    return _cone(points, _at(-24, 40, -8), _at(-32, 64, -9), (10, 6.5), (_UP, 0.8))


def _finger(skeleton: Skeleton, base: int, points: Floats) -> Floats:
    joints, radii = skeleton.joints, skeleton.radii
    dorsal = skeleton.frames[base + 2][:, 2]
    end = joints[base + 3] - (radii[base + 3] - TIP_DEPTH) * skeleton.frames[base + 2][:, 1]
    finger = _cone(points, joints[base], joints[base + 1], (radii[base], radii[base + 1]))
    middle = _cone(points, joints[base + 1], joints[base + 2], (radii[base + 1], radii[base + 2]))
    # the nail bed makes the end of a finger lower than wide
    distal = _cone(
        points, joints[base + 2], end, (radii[base + 2], radii[base + 3]), (dorsal, 0.88)
    )
    finger = _union(_union(finger, middle, 2.5), distal, 2.5)
    for k, (centre, thickness) in enumerate(((0.5, 0.93), (0.5, 0.9), (0.55, 0.92))):
        bone = joints[base + k + 1] - joints[base + k]
        middle_of_pad = joints[base + k] + bone * centre + _at(0, 0, -1.8)
        radius = (
            (radii[base + k] + radii[base + k + 1]) / 2 * thickness
            if k < 2
            else radii[base + 3] * 1.02
        )
        reach = bone * 0.2
        front = middle_of_pad + reach * (0.6 if k == 2 else 1.0)
        finger = _union(finger, _cone(points, middle_of_pad - reach, front, (radius, radius)), 4.0)
    return finger


def gradient(field: Field, points: Floats, step: float = 0.4) -> Floats:
    """Give the unit outward direction of the field at points (..., 3)."""
    parts = [field(points + step * e) - field(points - step * e) for e in np.eye(3)]
    slope = np.stack(parts, axis=-1)
    slope /= np.linalg.norm(slope, axis=-1, keepdims=True)
    return slope


def project(field: Field, vertices: Floats, wrist: Ints, steps: int = 6) -> Floats:
    """Move vertices (V, 3) onto the zero level; those listed in `wrist` stay in the wrist plane."""
    moved = vertices.copy()
    for _ in range(steps):
        moved = moved - gradient(field, moved) * field(moved)[:, None]
        moved[wrist, 1] = WRIST_Y
    return moved


def coarse_mesh(field: Field, count: int, spacing: float = 1.6) -> tuple[Floats, Ints]:
    """Mesh the surface evenly with about `count` vertices, open at the wrist.

    Returns
    -------
    (V, 3) vertices in mm on the surface, and (F, 3) outward-oriented faces.
    """
    import igl
    import pyacvd
    import pyvista
    from skimage.measure import marching_cubes

    low, high = np.array([-98.0, -30.0, -48.0]), np.array([80.0, 206.0, 32.0])
    axes = [np.arange(a, b, spacing) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    points, triangles, _, _ = marching_cubes(field(grid), 0.0, spacing=(spacing,) * 3)
    points = points.astype(np.float64) + low
    cells = np.concatenate([np.full((len(triangles), 1), 3), triangles], axis=1)
    surface = pyvista.PolyData(points, cells.ravel())
    surface = surface.clip("y", origin=(0.0, WRIST_Y, 0.0), invert=False).triangulate().clean()
    # plain clustering: weighted clustering makes non-manifold edges
    clustering = pyacvd.Clustering(surface)
    clustering.cluster(count)
    simple = clustering.create_mesh().triangulate().clean()
    vertices = np.asarray(simple.points, dtype=np.float64)
    faces = np.asarray(simple.faces, dtype=np.int64).reshape(-1, 4)[:, 1:]
    vertices = project(field, vertices, np.asarray(igl.boundary_loop(faces), dtype=np.int64))
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    if np.einsum("ij,ij->i", normals, gradient(field, corners.mean(axis=1))).mean() < 0:
        faces = np.ascontiguousarray(faces[:, ::-1])
    return vertices, faces

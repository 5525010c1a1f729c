"""What is good and bad about a built asset, in figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import dijkstra

from i2uv_edge.hand.build.raster import rasterise
from i2uv_edge.hand.build.regressor import random_poses, regression_error
from i2uv_edge.hand.build.skeleton import (
    Floats,
    Ints,
    bone_transforms,
    build_skeleton,
    random_angles,
    skin,
)
from i2uv_edge.hand.build.topology import (
    signed_areas,
    unique_edges,
    vertex_normals,
    with_midpoints,
)

Arrays = dict[str, NDArray[Any]]


def describe(arrays: Arrays) -> str:
    """Put an asset into a few lines of figures."""
    lines = []
    for mesh in ("coarse", "fine"):
        uv, faces = arrays[f"{mesh}_uv"].astype(float), arrays[f"{mesh}_uv_faces"].astype(np.int64)
        lines.append(
            f"{mesh}: {len(arrays[f'{mesh}_vertices'])} vertices, {len(faces)} faces, "
            f"{len(uv)} uv vertices, {int((signed_areas(uv, faces) <= 0).sum())} flipped"
        )
        for size in (64, 128, 256):
            count, owner, _ = rasterise(uv, faces, size)
            lines.append(
                f"  {size}: coverage {(owner >= 0).mean():.4f}, "
                f"{int((count > 1).sum())} texels overlap"
            )
        error = joint_error(arrays, mesh)
        lines.append(
            f"  joint regressor: mean {error.mean():.2f} mm, worst joint {error.max():.2f} mm"
        )
    for reach, (distance, pairs) in neighbour_distances(arrays, 64).items():
        lines.append(
            f"texels {reach} apart at 64: at most {distance:.1f} mm apart on the surface, "
            f"{pairs} pairs over 30 mm"
        )
    density = texels_per_vertex(arrays, 64)
    lines.append(
        f"texels within 1.5 of a coarse vertex at 64: least {density.min()}, "
        f"median {np.median(density):.0f}"
    )
    gap = detail_distance(arrays)
    lines.append(
        f"fine with detail against linear upsampling: mean {gap.mean():.3f} mm, "
        f"p95 {np.percentile(gap, 95):.2f} mm, max {gap.max():.2f} mm"
    )
    return "\n".join(lines)


def joint_error(arrays: Arrays, mesh: str) -> Floats:
    """(21,) mean error in mm of a mesh's joint regressor over poses it was not fitted to."""
    skeleton = build_skeleton()
    vertices = arrays[f"{mesh}_vertices"].astype(float) * 1e3
    poses = random_poses(skeleton, vertices, arrays[f"{mesh}_weights"].astype(float), 60, seed=99)
    return regression_error(arrays[f"{mesh}_joint_regressor"].astype(float), poses)


def neighbour_distances(arrays: Arrays, size: int) -> dict[int, tuple[float, int]]:
    """Largest surface distance (mm) of covered texels up to 1, 2, 3 columns or rows apart."""
    vertices = arrays["coarse_vertices"].astype(float) * 1e3
    faces = arrays["coarse_faces"].astype(np.int64)
    edges, _ = unique_edges(faces)
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    graph = sparse.csr_matrix((length, edges.T), shape=(len(vertices),) * 2)
    between = dijkstra(graph, directed=False)
    nearest = _nearest_vertices(arrays, size)
    found = {}
    for reach in (1, 2, 3):
        distances = []
        padded = np.pad(nearest, reach, constant_values=-1)
        for down in range(2 * reach + 1):
            for right in range(2 * reach + 1):
                other = padded[down : down + size, right : right + size]
                both = (nearest >= 0) & (other >= 0)
                distances.append(between[nearest[both], other[both]])
        joined = np.concatenate(distances)
        found[reach] = (float(joined.max()), int((joined > 30).sum()))
    return found


def _nearest_vertices(arrays: Arrays, size: int) -> Ints:
    """(M, M) coarse vertex nearest to each covered texel, -1 elsewhere."""
    _, owner, barycentric = rasterise(
        arrays["coarse_uv"].astype(float), arrays["coarse_uv_faces"].astype(np.int64), size
    )
    faces = arrays["coarse_faces"].astype(np.int64)
    corner = barycentric.argmax(axis=-1)
    return np.where(owner >= 0, faces[owner, corner], -1)


def texels_per_vertex(arrays: Arrays, size: int, reach: float = 1.5) -> Ints:
    """(V,) number of covered texels within `reach` of each coarse vertex, at its best UV copy."""
    uv, uv_faces = arrays["coarse_uv"].astype(float), arrays["coarse_uv_faces"].astype(np.int64)
    _, owner, _ = rasterise(uv, uv_faces, size)
    rows, columns = np.nonzero(owner >= 0)
    texels = np.stack([uv[:, 0], 1.0 - uv[:, 1]], axis=1) * (size - 1)
    distance = np.hypot(texels[:, :1] - columns, texels[:, 1:] - rows)
    near = (distance < reach).sum(axis=1)
    vertex = np.zeros(len(uv), np.int64)
    vertex[uv_faces.ravel()] = arrays["coarse_faces"].ravel()
    best = np.zeros(len(arrays["coarse_vertices"]), np.int64)
    np.maximum.at(best, vertex, near)
    return best


def detail_distance(arrays: Arrays, count: int = 40) -> Floats:
    """(P, Vf) mm between the detailed fine mesh and the linearly upsampled coarse one, posed."""
    skeleton = build_skeleton()
    generator = np.random.default_rng(0)
    fine = arrays["fine_vertices"].astype(float) * 1e3
    normals = vertex_normals(fine, arrays["fine_faces"].astype(np.int64))
    coarse = arrays["coarse_vertices"].astype(float) * 1e3
    joint = arrays["detail_joint"]
    distances = []
    for _ in range(count):
        angles = random_angles(skeleton, generator)
        transforms, _ = bone_transforms(skeleton, angles)
        flexion = np.where(joint >= 0, angles[joint, 0], 0.0)
        amplitude = np.maximum(0.0, arrays["detail_base"] + arrays["detail_gain"] * flexion / 90)
        shape = fine + normals * (amplitude @ arrays["detail"])[:, None] * 1e3
        posed = skin(shape, arrays["fine_weights"].astype(float), transforms)
        plain = skin(coarse, arrays["coarse_weights"].astype(float), transforms)
        distances.append(
            np.linalg.norm(posed - with_midpoints(plain, arrays["fine_parents"]), axis=1)
        )
    return np.stack(distances)

"""The hand asset: everything the other modules make, put together and written reproducibly."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.hand.build.charts import chart_labels, seam_edges
from i2uv_edge.hand.build.detail import albedo_fields, detail_fields
from i2uv_edge.hand.build.flatten import flatten
from i2uv_edge.hand.build.forearm import forearm
from i2uv_edge.hand.build.pack import Layout, pack
from i2uv_edge.hand.build.regressor import fit_regressor, random_poses
from i2uv_edge.hand.build.shape import coarse_mesh, distance_field, project
from i2uv_edge.hand.build.skeleton import SKIN_JOINTS, Floats, Ints, Skeleton, build_skeleton
from i2uv_edge.hand.build.topology import (
    boundary_loop,
    cut_mesh,
    subdivide,
    vertex_normals,
    with_midpoints,
)
from i2uv_edge.hand.build.weights import skin_weights

COARSE_VERTICES = 900
FINGER_SCALE = 1.05
"""Finger charts are a little larger than true: their borders are long for their area."""
_MILLIMETRE = 1e-3
_POSES = 160

# found by random search over orders and angles; `pack` recomputes the places
_LAYOUT = Layout(
    order=(0, 2, 4, 3, 1, 5),
    angles=((275.5,), (207.3,), (184.0,), (92.1,), (130.0,), (251.9,)),
)
_SCALE = 0.2183


@dataclass(frozen=True)
class Unwrapped:
    """UV layout: (T, 2) coordinates 0..1 with v up, (F, 3) faces into them."""

    uv: Floats
    faces: Ints


def build_asset() -> dict[str, NDArray[Any]]:
    """All arrays of ``hand.npz`` by name, float32, int32 or text, lengths in metres."""
    skeleton = build_skeleton()
    field = distance_field(skeleton)
    vertices, faces = coarse_mesh(field, COARSE_VERTICES)
    weights = skin_weights(skeleton, vertices, faces)
    unwrapped = unwrap(skeleton, vertices, faces)

    edges, fine_faces = subdivide(len(vertices), faces)
    fine_uv_edges, fine_uv_faces = subdivide(len(unwrapped.uv), unwrapped.faces)
    fine = project(field, with_midpoints(vertices, edges), boundary_loop(fine_faces))
    fine_weights = with_midpoints(weights, edges)
    normals = vertex_normals(fine, fine_faces)
    details = detail_fields(skeleton, fine, normals, fine_weights)
    offsets = np.stack([d.offsets for d in details])
    offsets[:, boundary_loop(fine_faces)] = 0.0  # the forearm continues the smooth rim
    albedo = albedo_fields(skeleton, fine, normals, fine_weights)
    stub, stub_faces = forearm(fine, fine_faces)

    arrays: dict[str, NDArray[Any]] = {
        "joints": skeleton.joints * _MILLIMETRE,
        "parents": skeleton.parents,
        "frames": skeleton.frames,
        "radii": skeleton.radii * _MILLIMETRE,
        "skin_joints": np.array(SKIN_JOINTS),
        "joint_limits": skeleton.limits,
        "coarse_vertices": vertices * _MILLIMETRE,
        "coarse_faces": faces,
        "coarse_weights": weights,
        "coarse_uv": unwrapped.uv,
        "coarse_uv_faces": unwrapped.faces,
        "fine_vertices": fine * _MILLIMETRE,
        "fine_faces": fine_faces,
        "fine_weights": fine_weights,
        "fine_uv": with_midpoints(unwrapped.uv, fine_uv_edges),
        "fine_uv_faces": fine_uv_faces,
        "fine_parents": edges,
        "detail": offsets * _MILLIMETRE,
        "detail_joint": np.array([d.joint for d in details]),
        "detail_base": np.array([d.base for d in details]),
        "detail_gain": np.array([d.gain for d in details]),
        "detail_kind": np.array([d.kind for d in details]),
        "forearm_vertices": stub * _MILLIMETRE,
        "forearm_faces": stub_faces,
    }
    arrays |= {f"albedo_{name}": values for name, values in albedo.items()}
    for name, mesh, skin in (("coarse", vertices, weights), ("fine", fine, fine_weights)):
        poses = random_poses(skeleton, mesh, skin, _POSES, seed=1)
        arrays[f"{name}_joint_regressor"] = fit_regressor(skeleton, mesh, poses)
    return {name: _stored(values) for name, values in arrays.items()}


def unwrap(skeleton: Skeleton, vertices: Floats, faces: Ints) -> Unwrapped:
    """Cut, flatten and pack the coarse mesh."""
    labels = chart_labels(skeleton, vertices, faces)
    origin, uv_faces = cut_mesh(faces, seam_edges(skeleton, vertices, faces, labels))
    members, charts, chart_faces = [], [], []
    for label in range(6):
        used, inverse = np.unique(uv_faces[labels == label], return_inverse=True)
        local = inverse.reshape(-1, 3)
        scale = FINGER_SCALE if label else 1.0
        members.append(used)
        charts.append(flatten(vertices[origin[used]], local) * scale)
        chart_faces.append(local)
    uv = np.empty((len(origin), 2))
    uv[np.concatenate(members)] = pack(charts, chart_faces, _LAYOUT, _SCALE)
    return Unwrapped(uv, uv_faces)


def _stored(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    return values.astype(np.int32) if values.dtype.kind in "iu" else values


def write_npz(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write a compressed npz whose bytes depend on the arrays only, not on the time."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(arrays):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(arrays[name]))
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, buffer.getvalue())

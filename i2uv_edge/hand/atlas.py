"""What a UV position map means: which texel holds which point of the mesh, and how to read it back.

A UV position map (M, M, 3) stores in each texel the position of the surface point that the texture
atlas maps there (I2UV-HandNet, section 3.1). `Atlas` goes both ways: `rasterise` fills the map from
vertices, `read_vertices` reads vertices from the map. The texel of a texture coordinate (u, v) is
column u * (M - 1), row (1 - v) * (M - 1), at every size M.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.errors import InputError
from i2uv_edge.hand import readout
from i2uv_edge.hand.model import FloatArray, IntArray, Mesh

# A ring texel is the linear continuation of the triangle it borders; further than this many edge
# lengths the continuation says nothing about the surface and the border's own value is used.
MAX_EXTRAPOLATION = 2.0
UV_SLACK = 1e-3  # how far a user's texture coordinates may leave 0..1 (rounding of the exporter)


@dataclass(frozen=True)
class Atlas:
    """Correspondence between a mesh and the texels of its map.

    Attributes
    ----------
    size : M
    faces : (F, 3) int32 rows of the vertices
    uv : (T, 2) float32 texture coordinates, 0..1, v up
    uv_faces : (F, 3) int32 rows of ``uv``
    template : (V, 3) float32 rest vertices, metres
    joint_regressor : (21, V) float32, rows sum to 1; (0, V) where the mesh came without one
    texels : (P,) int32 row-major texel indices that hold surface: raster, then the ring
    texel_vertices, texel_barycentrics : (P, 3) what each of them holds
    covered : number of texels in the raster proper, the first of ``texels``
    texel_index, texel_weight : (V, K) how to read each vertex; weights of a row sum to 1
    seams : (S, 2) int32 texel pairs that hold the same vertex on two charts
    """

    size: int
    faces: IntArray
    uv: FloatArray
    uv_faces: IntArray
    template: FloatArray
    joint_regressor: FloatArray
    texels: IntArray
    texel_vertices: IntArray
    texel_barycentrics: FloatArray
    covered: int
    texel_index: IntArray
    texel_weight: FloatArray
    seams: IntArray

    @staticmethod
    def of_mesh(mesh: Mesh, size: int) -> Atlas:
        """The atlas of a mesh of the built-in hand for maps of side ``size``."""
        return Atlas.of_arrays(
            mesh.vertices, mesh.faces, mesh.uv, mesh.uv_faces, size, mesh.joint_regressor
        )

    @staticmethod
    def from_obj(path: Path, size: int, joint_regressor: FloatArray | None = None) -> Atlas:
        """The atlas of a user's textured mesh (``HandRightUV.obj`` or any v/vt/f file).

        Raises
        ------
        InputError
            The file is missing or unreadable, has no texture coordinates or some outside 0..1, a
            number that is none, a face that is not a triangle, an index out of range, or charts so
            small that no texel of a map of side ``size`` lies in them.
        """
        vertices, faces, uv, uv_faces = _read_obj(path)
        try:
            return Atlas.of_arrays(vertices, faces, uv, uv_faces, size, joint_regressor)
        except ValueError as error:
            raise _refuse(path, str(error)) from error

    @staticmethod
    def of_arrays(
        vertices: FloatArray,
        faces: IntArray,
        uv: FloatArray,
        uv_faces: IntArray,
        size: int,
        joint_regressor: FloatArray | None = None,
    ) -> Atlas:
        """Build from arrays shaped as the attributes say.

        Raises
        ------
        ValueError
            No texel lies in a triangle.
        """
        points = texel_positions(uv, size)
        face, barycentrics = _rasterise_faces(points, uv_faces, size)
        if (face < 0).all():
            raise ValueError(f"no texel of a map of side {size} lies in a triangle of the atlas")
        face, barycentrics, ring = _dilate(points, uv_faces, face, barycentrics)
        rows = np.flatnonzero((face.ravel() >= 0) & ~ring.ravel())
        ring_rows = np.flatnonzero(ring.ravel())
        texels = np.concatenate([rows, ring_rows]).astype(np.int32)
        texel_vertices = faces[face.ravel()[texels]].astype(np.int32)
        texel_barycentrics = barycentrics.reshape(-1, 3)[texels].astype(np.float32)
        chosen, weight = readout.fit(vertices, faces, texel_vertices, texel_barycentrics)
        if joint_regressor is None:
            joint_regressor = np.zeros((0, len(vertices)), np.float32)
        return Atlas(
            size=size,
            faces=faces.astype(np.int32),
            uv=uv.astype(np.float32),
            uv_faces=uv_faces.astype(np.int32),
            template=vertices.astype(np.float32),
            joint_regressor=joint_regressor.astype(np.float32),
            texels=texels,
            texel_vertices=texel_vertices,
            texel_barycentrics=texel_barycentrics,
            covered=len(rows),
            texel_index=texels[chosen],
            texel_weight=weight,
            seams=_seams(points, faces, uv_faces, texels, size),
        )

    @staticmethod
    def of_vertices(vertices: FloatArray, faces: IntArray, joint_regressor: FloatArray) -> Atlas:
        """That of a list of vertices told as a map: one vertex a texel, row after row.

        So what answers in vertices is measured and shown like what answers in maps.
        """
        count = len(vertices)
        size = math.isqrt(count - 1) + 1
        rows = np.arange(count, dtype=np.int32)
        spread = size - 1 or 1
        uv = np.stack([rows % size, size - 1 - rows // size], axis=1) / spread
        return Atlas(
            size=size,
            faces=faces.astype(np.int32),
            uv=uv.astype(np.float32),
            uv_faces=faces.astype(np.int32),
            template=vertices.astype(np.float32),
            joint_regressor=joint_regressor.astype(np.float32),
            texels=rows,
            texel_vertices=np.repeat(rows[:, None], 3, 1),
            texel_barycentrics=np.tile(np.array([[1, 0, 0]], np.float32), (count, 1)),
            covered=count,
            texel_index=rows[:, None],
            texel_weight=np.ones((count, 1), np.float32),
            seams=np.zeros((0, 2), np.int32),
        )

    def arrays(self, prefix: str = "") -> dict[str, NDArray[Any]]:
        """Everything, ready for ``np.savez``; the names (after ``prefix``) are the attributes'."""
        arrays = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
        arrays["mask"] = self.mask
        return {prefix + name: array for name, array in arrays.items()}

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]], prefix: str = "") -> Atlas:
        """The inverse of `arrays`.

        Raises
        ------
        InputError
            An array is missing.
        """
        values: dict[str, Any] = {}
        for field in fields(Atlas):
            name = prefix + field.name
            if name not in arrays:
                raise InputError(
                    f"the atlas lacks the array {name}",
                    expected="an atlas.npz as i2uv-edge writes it",
                    remedy="export the bundle again",
                )
            array = arrays[name]
            values[field.name] = int(array) if field.name in ("size", "covered") else array
        return Atlas(**values)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(M, M) texels that hold surface, ring included."""
        mask = np.zeros(self.size * self.size, np.bool_)
        mask[self.texels] = True
        return mask.reshape(self.size, self.size)

    def rasterise(self, vertices: FloatArray, *, fill: bool = False) -> FloatArray:
        """(..., V, 3) -> (..., M, M, 3).

        Texels outside the mask are 0 or, with ``fill``, hold the nearest surface texel: a map
        without cliffs, which is what a network should be asked to draw.
        """
        parts = [
            vertices[..., self.texel_vertices[:, k], :] * self.texel_barycentrics[:, k, None]
            for k in range(3)
        ]
        values = parts[0] + parts[1] + parts[2]
        shape = (*vertices.shape[:-2], self.size * self.size, 3)
        if fill:
            flat: FloatArray = values[..., self._nearest, :]
        else:
            flat = np.zeros(shape, np.float32)
            flat[..., self.texels, :] = values
        return flat.reshape(*vertices.shape[:-2], self.size, self.size, 3)

    def read_vertices(self, uv_map: FloatArray) -> FloatArray:
        """(..., M, M, 3) -> (..., V, 3): a weighted sum of K texels a vertex."""
        flat = uv_map.reshape(*uv_map.shape[:-3], self.size * self.size, 3)
        # `take` is twice as fast as an index.
        total: FloatArray = flat.take(self.texel_index[:, 0], -2) * self.texel_weight[:, 0, None]
        for k in range(1, self.texel_index.shape[1]):
            total = total + flat.take(self.texel_index[:, k], -2) * self.texel_weight[:, k, None]
        return total

    def filled(self) -> tuple[IntArray, FloatArray]:
        """(M*M, 3) vertices and (M*M, 3) shares of each texel, as `rasterise` fills the map."""
        return self.texel_vertices[self._nearest], self.texel_barycentrics[self._nearest]

    @cached_property
    def seam_corners(self) -> tuple[IntArray, FloatArray]:
        """(S, 2, 3) vertices of the texels of the seams, and what each has of them."""
        order = np.argsort(self.texels)
        rows = order[np.searchsorted(self.texels, self.seams, sorter=order)]
        return self.texel_vertices[rows], self.texel_barycentrics[rows]

    @cached_property
    def _nearest(self) -> IntArray:
        """(M*M,) row of ``texels`` nearest to each texel."""
        from scipy.spatial import cKDTree

        own = np.stack(np.unravel_index(self.texels, (self.size, self.size)), axis=1)
        every = np.stack(np.unravel_index(np.arange(self.size**2), (self.size, self.size)), axis=1)
        return np.asarray(cKDTree(own).query(every)[1], np.int32)


def texel_positions(uv: FloatArray, size: int) -> NDArray[np.float64]:
    """(T, 2) texture coordinates -> (T, 2) column, row in texels."""
    column = uv[:, 0].astype(np.float64) * (size - 1)
    row = (1.0 - uv[:, 1].astype(np.float64)) * (size - 1)
    return np.stack([column, row], axis=1)


def _rasterise_faces(
    points: NDArray[np.float64], uv_faces: IntArray, size: int
) -> tuple[IntArray, FloatArray]:
    """(M, M) face of each texel centre or -1, (M, M, 3) its barycentric coordinates."""
    face = np.full((size, size), -1, np.int32)
    barycentrics = np.zeros((size, size, 3), np.float32)
    corners = points[uv_faces]
    low = np.maximum(np.ceil(corners.min(1) - 1e-9), 0).astype(int)
    high = np.minimum(np.floor(corners.max(1) + 1e-9), size - 1).astype(int)
    for f in np.flatnonzero((high >= low).all(1)):
        columns, rows = np.meshgrid(
            np.arange(low[f, 0], high[f, 0] + 1), np.arange(low[f, 1], high[f, 1] + 1)
        )
        weights = _barycentric(corners[f], columns, rows)
        inside = (weights >= -1e-7).all(-1)
        face[rows[inside], columns[inside]] = f
        barycentrics[rows[inside], columns[inside]] = weights[inside]
    return face, barycentrics


def _barycentric(
    triangle: NDArray[np.float64], columns: NDArray[np.int_], rows: NDArray[np.int_]
) -> NDArray[np.float64]:
    """(..., 3, 2) corners, (...) texels -> (..., 3); a triangle of no area holds no texel."""
    (x0, y0), (x1, y1), (x2, y2) = np.moveaxis(triangle, (-2, -1), (0, 1))
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    area = np.where(np.abs(area) < 1e-12, np.inf, area)
    b1 = ((columns - x0) * (y2 - y0) - (x2 - x0) * (rows - y0)) / area
    b2 = ((x1 - x0) * (rows - y0) - (columns - x0) * (y1 - y0)) / area
    outside = np.isinf(area)
    return np.stack([np.where(outside, -1.0, 1 - b1 - b2), b1, b2], axis=-1)


def _dilate(
    points: NDArray[np.float64], uv_faces: IntArray, face: IntArray, barycentrics: FloatArray
) -> tuple[IntArray, FloatArray, NDArray[np.bool_]]:
    """Add the ring: texels beside the raster, which continue the nearest triangle linearly."""
    from scipy.ndimage import binary_dilation
    from scipy.spatial import cKDTree

    covered = face >= 0
    ring = binary_dilation(covered, np.ones((3, 3), bool)) & ~covered
    own = np.stack(np.nonzero(covered), axis=1)
    new = np.stack(np.nonzero(ring), axis=1)
    nearest = own[cKDTree(own).query(new)[1]]
    source = face[nearest[:, 0], nearest[:, 1]]
    extended = _barycentric(points[uv_faces[source]], new[:, 1], new[:, 0])
    far = np.abs(extended).max(1) > MAX_EXTRAPOLATION
    extended[far] = barycentrics[nearest[far, 0], nearest[far, 1]]
    face, barycentrics = face.copy(), barycentrics.copy()
    face[ring] = source
    barycentrics[ring] = extended
    return face, barycentrics, ring


def _seams(
    points: NDArray[np.float64], faces: IntArray, uv_faces: IntArray, texels: IntArray, size: int
) -> IntArray:
    """Texel pairs of the vertices that have several texture coordinates."""
    from scipy.spatial import cKDTree

    pairs = np.unique(np.stack([faces.ravel(), uv_faces.ravel()], axis=1), axis=0)
    # Not by rounding: beside the tip of a sharp chart the nearest texel of all holds no surface.
    surface = np.stack([texels % size, texels // size], axis=1)
    flat = texels[cKDTree(surface).query(points)[1]]
    result = []
    _, starts = np.unique(pairs[:, 0], return_index=True)
    for start, end in zip(starts, [*starts[1:], len(pairs)], strict=True):
        own = flat[pairs[start:end, 1]]
        result += [(own[0], other) for other in own[1:] if other != own[0]]
    return np.asarray(result, np.int32).reshape(-1, 2)


def _read_obj(path: Path) -> tuple[FloatArray, IntArray, FloatArray, IntArray]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise _refuse(path, f"cannot be read ({error.strerror})") from error
    vertices: list[list[float]] = []
    uv: list[list[float]] = []
    faces: list[list[int]] = []
    uv_faces: list[list[int]] = []
    for number, line in enumerate(lines, start=1):
        kind, *words = line.split() or [""]
        try:
            if kind == "v":
                vertices.append(_numbers(words, 3))
            elif kind == "vt":
                uv.append(_numbers(words, 2))
            elif kind == "f":
                corners = [word.split("/") for word in words]
                if len(corners) != 3:
                    raise ValueError(f"a face of {len(corners)} corners")
                if any(len(corner) < 2 or not corner[1] for corner in corners):
                    raise ValueError("a face without texture coordinates")
                faces.append([_index(corner[0], len(vertices)) for corner in corners])
                uv_faces.append([_index(corner[1], len(uv)) for corner in corners])
        except ValueError as error:
            raise _refuse(path, f"line {number}: {line.strip()!r}: {error}") from error
    if not faces:
        raise _refuse(path, "no faces")
    coordinates = np.asarray(uv, np.float32)
    used = coordinates[np.unique(uv_faces)]
    if used.min() < -UV_SLACK or used.max() > 1.0 + UV_SLACK:
        raise _refuse(path, f"texture coordinates {used.min():.3g}..{used.max():.3g} leave 0..1")
    return (
        np.asarray(vertices, np.float32),
        np.asarray(faces, np.int32),
        np.clip(coordinates, 0.0, 1.0),
        np.asarray(uv_faces, np.int32),
    )


def _refuse(path: Path, what: str) -> InputError:
    return InputError(
        f"{path}: {what}",
        expected="a triangle mesh with lines `v x y z`, `vt u v`, `f v/vt v/vt v/vt`",
        remedy="export the mesh with texture coordinates and triangulated faces",
    )


def _numbers(words: list[str], count: int) -> list[float]:
    values = [float(word) for word in words[:count]]
    if len(values) < count or not all(map(math.isfinite, values)):
        raise ValueError(f"{count} finite numbers are needed")
    return values


def _index(word: str, count: int) -> int:
    """OBJ counts from 1, and from the end if negative."""
    value = int(word)
    index = value - 1 if value > 0 else count + value
    if value == 0 or not 0 <= index < count:
        raise ValueError(f"index {value} is out of range, there are {count} so far")
    return index

"""A z-buffer renderer for smooth-shaded meshes, compiled by numba: a millisecond a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]


@dataclass(frozen=True)
class Lights:
    """Directional lights and how skin answers them.

    Attributes
    ----------
    directions : (L, 3) unit vectors towards the lights, camera axes (x right, y down, z away)
    colours : (L, 3) RGB intensity
    ambient : intensity of the light from everywhere
    gloss : strength of the highlight
    shininess : exponent of the highlight (Blinn-Phong)
    """

    directions: FloatArray
    colours: FloatArray
    ambient: float
    gloss: float
    shininess: float


def draw(
    image: FloatArray, vertices: FloatArray, faces: IntArray, colours: FloatArray, lights: Lights
) -> FloatArray:
    """Draw a closed mesh over ``image`` in place, orthographically, back faces culled.

    Parameters
    ----------
    image
        (H, W, 3) RGB, the background.
    vertices
        (V, 3): x, y in pixels (0 is the left edge of the first pixel), z away from the camera in
        the same unit.
    faces
        (F, 3) counter-clockwise seen from outside (right-handed axes).
    colours
        (V, 3) RGB albedo.
    lights
        The lights.

    Returns
    -------
    FloatArray
        (H, W) depth of the nearest surface, infinite where there is none.
    """
    depth = np.full(image.shape[:2], np.inf, np.float32)
    normals = _normals(vertices, faces)
    _rasterise(
        vertices, faces, normals, colours, image, depth,
        lights.directions, lights.colours, lights.ambient, lights.gloss, lights.shininess,
    )  # fmt: skip
    return depth


@numba.njit(cache=True)
def _normals(vertices: FloatArray, faces: IntArray) -> FloatArray:
    total = np.zeros_like(vertices)
    for f in range(faces.shape[0]):
        i, j, k = faces[f]
        ax, ay, az = vertices[j] - vertices[i]
        bx, by, bz = vertices[k] - vertices[i]
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        for corner in (i, j, k):
            total[corner, 0] += nx
            total[corner, 1] += ny
            total[corner, 2] += nz
    for v in range(len(total)):
        total[v] /= np.sqrt((total[v] ** 2).sum() + 1e-12)
    return total


@numba.njit(cache=True)
def _rasterise(
    vertices: FloatArray,
    faces: IntArray,
    normals: FloatArray,
    colours: FloatArray,
    image: FloatArray,
    depth: FloatArray,
    directions: FloatArray,
    intensities: FloatArray,
    ambient: float,
    gloss: float,
    shininess: float,
) -> None:
    height, width = depth.shape
    for f in range(faces.shape[0]):
        i, j, k = faces[f]
        x0, y0 = vertices[i, 0], vertices[i, 1]
        x1, y1 = vertices[j, 0], vertices[j, 1]
        x2, y2 = vertices[k, 0], vertices[k, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        # With x right, y down, z away a face turned to the camera has z of its normal < 0.
        if area >= -1e-9:
            continue
        inverse = 1.0 / area
        left = max(int(np.ceil(min(x0, x1, x2) - 0.5)), 0)
        right = min(int(np.floor(max(x0, x1, x2) - 0.5)), width - 1)
        top = max(int(np.ceil(min(y0, y1, y2) - 0.5)), 0)
        bottom = min(int(np.floor(max(y0, y1, y2) - 0.5)), height - 1)
        for row in range(top, bottom + 1):
            y = row + 0.5
            for column in range(left, right + 1):
                x = column + 0.5
                b1 = ((x - x0) * (y2 - y0) - (x2 - x0) * (y - y0)) * inverse
                b2 = ((x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)) * inverse
                b0 = 1.0 - b1 - b2
                if b0 < 0.0 or b1 < 0.0 or b2 < 0.0:
                    continue
                z = b0 * vertices[i, 2] + b1 * vertices[j, 2] + b2 * vertices[k, 2]
                if z >= depth[row, column]:
                    continue
                depth[row, column] = z
                nx = b0 * normals[i, 0] + b1 * normals[j, 0] + b2 * normals[k, 0]
                ny = b0 * normals[i, 1] + b1 * normals[j, 1] + b2 * normals[k, 1]
                nz = b0 * normals[i, 2] + b1 * normals[j, 2] + b2 * normals[k, 2]
                unit = 1.0 / np.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
                nx, ny, nz = nx * unit, ny * unit, nz * unit
                # Light from above is a little stronger than light from below (y points down).
                red = green = blue = ambient * (0.75 - 0.25 * ny)
                shine = 0.0
                for light in range(directions.shape[0]):
                    lx, ly, lz = directions[light]
                    facing = nx * lx + ny * ly + nz * lz
                    # Wrapped diffuse: light scattered under skin reaches past the terminator, red
                    # furthest, which is what makes a hand look like one.
                    wide = max((facing + 0.25) / 1.25, 0.0)
                    narrow = max((facing + 0.1) / 1.1, 0.0)
                    red += intensities[light, 0] * wide
                    green += intensities[light, 1] * 0.5 * (wide + narrow)
                    blue += intensities[light, 2] * narrow
                    hz = lz - 1.0
                    length = np.sqrt(lx * lx + ly * ly + hz * hz + 1e-9)
                    half = (nx * lx + ny * ly + nz * hz) / length
                    if half > 0.0:
                        shine += gloss * half**shininess * intensities[light, 1]
                image[row, column, 0] = (
                    b0 * colours[i, 0] + b1 * colours[j, 0] + b2 * colours[k, 0]
                ) * red + shine
                image[row, column, 1] = (
                    b0 * colours[i, 1] + b1 * colours[j, 1] + b2 * colours[k, 1]
                ) * green + shine
                image[row, column, 2] = (
                    b0 * colours[i, 2] + b1 * colours[j, 2] + b2 * colours[k, 2]
                ) * blue + shine

"""A supersampled z-buffer for meshes that were shaded at their vertices.

Triangles of the hand are a few samples large, so light computed at the vertices looks like light
computed at the pixels and costs a tenth.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from i2uv_edge.hand.model import FloatArray, IntArray

LabelArray = NDArray[np.uint8]


@numba.njit(cache=True, fastmath=True)
def normals_of(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """(V, 3) unit normals, outward where faces run counter-clockwise seen from outside."""
    total = np.zeros_like(vertices)
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = (
            vertices[j, 0] - vertices[i, 0],
            vertices[j, 1] - vertices[i, 1],
            vertices[j, 2] - vertices[i, 2],
        )
        bx, by, bz = (
            vertices[k, 0] - vertices[i, 0],
            vertices[k, 1] - vertices[i, 1],
            vertices[k, 2] - vertices[i, 2],
        )
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        for corner in range(3):
            v = faces[f, corner]
            total[v, 0] += nx
            total[v, 1] += ny
            total[v, 2] += nz
    for v in range(len(total)):
        x, y, z = total[v, 0], total[v, 1], total[v, 2]
        unit = 1.0 / np.sqrt(x * x + y * y + z * z + 1e-18)
        total[v, 0], total[v, 1], total[v, 2] = x * unit, y * unit, z * unit
    return total


@numba.njit(cache=True, fastmath=True)
def draw_layer(
    vertices: FloatArray,
    faces: IntArray,
    colours: FloatArray,
    labels: LabelArray,
    size: int,
    samples: int,
) -> tuple[FloatArray, FloatArray]:
    """Draw a scene as a layer that anything can lie behind.

    Parameters
    ----------
    vertices
        (V, 3): x, y in pixels of the picture (0 is the left edge of the first), z away from the
        camera in any unit. Faces that are not before the camera have to be left out.
    faces
        (F, 3) counter-clockwise seen from outside; back faces are culled.
    colours
        (V, 3) linear RGB as seen.
    labels
        (F,) what each face belongs to; 1 is the hand.
    size
        Side of the picture, pixels.
    samples
        Samples along a side of a pixel.

    Returns
    -------
    tuple of FloatArray
        (S, S, 4) linear RGB, premultiplied, and cover; (S, S) the hand's share of each pixel, 0..1.
    """
    fine = size * samples
    depth = np.full((fine, fine), np.float32(np.inf), np.float32)
    colour = np.empty((fine, fine, 3), np.float32)
    label = np.zeros((fine, fine), np.uint8)
    low, high = fine, -1
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        x0, y0 = vertices[i, 0] * samples, vertices[i, 1] * samples
        x1, y1 = vertices[j, 0] * samples, vertices[j, 1] * samples
        x2, y2 = vertices[k, 0] * samples, vertices[k, 1] * samples
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area >= -1e-9:  # x right, y down, z away: turned from the camera
            continue
        left = max(int(np.ceil(min(x0, x1, x2) - 0.5)), 0)
        right = min(int(np.floor(max(x0, x1, x2) - 0.5)), fine - 1)
        top = max(int(np.ceil(min(y0, y1, y2) - 0.5)), 0)
        bottom = min(int(np.floor(max(y0, y1, y2) - 0.5)), fine - 1)
        if left > right or top > bottom:
            continue
        low, high = min(low, top), max(high, bottom)
        inverse = 1.0 / area
        step1, step2 = (y2 - y0) * inverse, -(y1 - y0) * inverse
        z0, z1, z2 = (
            vertices[i, 2],
            vertices[j, 2] - vertices[i, 2],
            vertices[k, 2] - vertices[i, 2],
        )
        r0, g0, b0 = colours[i, 0], colours[i, 1], colours[i, 2]
        r1, g1, b1 = colours[j, 0] - r0, colours[j, 1] - g0, colours[j, 2] - b0
        r2, g2, b2 = colours[k, 0] - r0, colours[k, 1] - g0, colours[k, 2] - b0
        for row in range(top, bottom + 1):
            y = row + 0.5 - y0
            x = left + 0.5 - x0
            w1 = (x * (y2 - y0) - (x2 - x0) * y) * inverse
            w2 = ((x1 - x0) * y - x * (y1 - y0)) * inverse
            for column in range(left, right + 1):
                if w1 >= 0.0 and w2 >= 0.0 and w1 + w2 <= 1.0:
                    z = z0 + w1 * z1 + w2 * z2
                    if z < depth[row, column]:
                        depth[row, column] = z
                        colour[row, column, 0] = r0 + w1 * r1 + w2 * r2
                        colour[row, column, 1] = g0 + w1 * g1 + w2 * g2
                        colour[row, column, 2] = b0 + w1 * b1 + w2 * b2
                        label[row, column] = labels[f]
                w1 += step1
                w2 += step2
    layer = np.zeros((size, size, 4), np.float32)
    hand = np.zeros((size, size), np.float32)
    share = np.float32(1.0 / (samples * samples))
    for row in range(low, high + 1):
        for column in range(fine):
            if label[row, column]:
                y, x = row // samples, column // samples
                layer[y, x, 0] += colour[row, column, 0] * share
                layer[y, x, 1] += colour[row, column, 1] * share
                layer[y, x, 2] += colour[row, column, 2] * share
                layer[y, x, 3] += share
                if label[row, column] == 1:
                    hand[y, x] += share
    return layer, hand


@numba.njit(cache=True, fastmath=True)
def lay_over(layer: FloatArray, behind: FloatArray, shadow: FloatArray) -> FloatArray:
    """(S, S, 3) a layer over what lies behind it.

    Parameters
    ----------
    layer
        (S, S, 4) premultiplied, see `draw_layer`.
    behind
        (S, S, 3) linear RGB.
    shadow
        (S, S) factor to what lies behind; (1, 1): none.
    """
    image = np.empty_like(behind)
    shaded = shadow.shape[0] > 1
    for row in range(layer.shape[0]):
        for column in range(layer.shape[1]):
            past = 1.0 - layer[row, column, 3]
            if shaded:
                past *= shadow[row, column]
            for c in range(3):
                image[row, column, c] = layer[row, column, c] + past * behind[row, column, c]
    return image

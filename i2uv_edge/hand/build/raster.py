"""Which triangle covers which texel: an exact test of overlaps, gaps and texel density."""

from __future__ import annotations

import numpy as np

from i2uv_edge.hand.build.skeleton import Floats, Ints


def rasterise(uv: Floats, faces: Ints, size: int) -> tuple[Ints, Ints, Floats]:
    """Rasterise a UV layout.

    Parameters
    ----------
    uv: (T, 2) OBJ convention, 0..1, v up. Texel centres: column u (M-1), row (1-v) (M-1).

    Returns
    -------
    (M, M) number of triangles whose interior holds the texel centre; (M, M) a triangle there, -1
    if none (edges count as inside); (M, M, 3) barycentric coordinates in it.
    """
    texels = np.stack([uv[:, 0], 1.0 - uv[:, 1]], axis=1) * (size - 1)
    count = np.zeros((size, size), np.int64)
    owner = np.full((size, size), -1, np.int64)
    barycentric = np.zeros((size, size, 3))
    for f, face in enumerate(faces):
        a, b, c = texels[face]
        low = np.maximum(np.ceil(texels[face].min(axis=0) - 1e-9), 0).astype(int)
        high = np.minimum(np.floor(texels[face].max(axis=0) + 1e-9), size - 1).astype(int)
        area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        if (high < low).any() or area == 0:
            continue
        x, y = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1))
        second = ((x - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (y - a[1])) / area
        third = ((b[0] - a[0]) * (y - a[1]) - (x - a[0]) * (b[1] - a[1])) / area
        inside = np.stack([1 - second - third, second, third], axis=-1)
        least = inside.min(axis=-1)
        touched = least >= -1e-9
        count[y[least > 1e-9], x[least > 1e-9]] += 1
        owner[y[touched], x[touched]] = f
        barycentric[y[touched], x[touched]] = inside[touched]
    return count, owner, barycentric

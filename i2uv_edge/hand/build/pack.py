"""Packing of charts into the UV square, with the gaps the smallest map needs.

Lengths here are texels of the smallest map (64 x 64: 63 texels from centre to centre across the
square). Charts are rasterised on a finer grid, and each takes the free place where it touches most
of what is already there, found by correlation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import fftconvolve

from i2uv_edge.hand.build.skeleton import Floats, Ints

SMALLEST_MAP = 64
GAP = 2.05
"""Texels between charts: then no 1-texel rings around two charts meet."""
MARGIN = 1.55
"""Texels between the charts and the border of the square: the ring stays inside."""
_CELLS = 3  # grid cells a texel


@dataclass(frozen=True)
class Layout:
    """Angles (degrees) tried for each chart, in the order in which the charts are placed."""

    order: tuple[int, ...]
    angles: tuple[tuple[float, ...], ...]


def pack(charts: Sequence[Floats], faces: Sequence[Ints], layout: Layout, scale: float) -> Floats:
    """UV coordinates (T, 2), 0..1, of all charts in turn, at the largest scale that fits.

    Parameters
    ----------
    charts: flat positions (T_i, 2) in mm of each chart; `faces`: their triangles (F_i, 3).
    scale: texels per mm to begin with; lowered by 1 % until the charts fit.
    """
    while scale > 0.05:
        placed = place(charts, faces, layout, scale)
        if placed is not None:
            return np.concatenate(placed) / (SMALLEST_MAP - 1)
        scale *= 0.99
    raise ValueError("the charts fit the square at no reasonable scale")


def place(
    charts: Sequence[Floats], faces: Sequence[Ints], layout: Layout, scale: float
) -> list[Floats] | None:
    """Texel positions of every chart at a given scale, or None if they do not fit."""
    side = int((SMALLEST_MAP - 1 - 2 * MARGIN) * _CELLS)
    pad = int(np.ceil(GAP * _CELLS))
    # what a chart may not cover: other charts grown by the gap; the outside pulls like a chart
    taken = np.zeros((side + 2 * pad,) * 2)
    taken[:] = 1
    taken[pad:-pad, pad:-pad] = 0
    placed: list[Floats] = [np.empty(0)] * len(charts)
    for chart, angles in zip(layout.order, layout.angles, strict=True):
        best: tuple[float, Floats, Floats, tuple[int, int]] | None = None
        for angle in angles:
            flat = _turned(charts[chart], angle) * scale * _CELLS
            mask = _mask(flat, faces[chart])
            if mask.shape[0] > side or mask.shape[1] > side:
                continue
            overlap = fftconvolve(taken, mask[::-1, ::-1], mode="valid")
            free = overlap < 0.5
            if not free.any():
                continue
            near = _grow(mask, 2)
            touch = fftconvolve(np.pad(taken, 2, constant_values=1.0), near[::-1, ::-1], "valid")
            score = np.where(free, touch / near.sum() ** 0.5, -1.0)
            top, left = divmod(int(score.argmax()), score.shape[1])
            if best is None or score[top, left] > best[0] + 1e-6:
                best = (float(score[top, left]), flat, mask, (top, left))
        if best is None:
            return None
        _, flat, mask, (top, left) = best
        grown = _grow(mask, pad)
        window = taken[max(top - pad, 0) : top + mask.shape[0] + pad]
        window = window[:, max(left - pad, 0) : left + mask.shape[1] + pad]
        part = grown[max(pad - top, 0) :, max(pad - left, 0) :]
        part = part[: window.shape[0], : window.shape[1]]
        np.maximum(window, part, out=window)
        placed[chart] = (flat + np.array([left, top]) - pad) / _CELLS + MARGIN
    return placed


def _turned(flat: Floats, degrees: float) -> Floats:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned: Floats = flat @ turn
    turned -= turned.min(axis=0)
    return turned


def _mask(flat: Floats, faces: Ints) -> Floats:
    """1 in every grid cell that the chart touches."""
    import cv2

    width, height = np.ceil(flat.max(axis=0)).astype(int) + 1
    mask = np.zeros((height, width), np.uint8)
    for face in faces:
        corners = np.round(flat[face] * 16 - 8).astype(np.int32)
        cv2.fillConvexPoly(mask, corners, 1, lineType=cv2.LINE_8, shift=4)
    return mask.astype(np.float64)


def _grow(mask: Floats, cells: int) -> Floats:
    import cv2

    kernel = np.ones((2 * cells + 1,) * 2, np.uint8)
    grown = cv2.dilate(np.pad(mask, cells).astype(np.uint8), kernel)
    return np.asarray(grown, dtype=np.float64)

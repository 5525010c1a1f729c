"""The hand's texture, taken from the picture through the predicted map.

A texel of the map says where in the picture its point of the surface is seen. What is turned away
or hidden behind another part of the hand was not seen: it gets the colour that flows in over the
surface from what was.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.hand.layer import normals_of
from i2uv_edge.hand.renderer import Lights, draw

__all__ = ["bake"]

Array = NDArray[Any]
Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]

TEXTURE_SIDE = 512  # texels; a hand in a picture has a few hundred pixels
ROW = 512  # of places that are sampled together
DEPTH_SIDE = 256  # pixels of the depth by which hidden points are known
# In crop sides, some 4 mm: less is the surface itself, on a slope, seen between two pixels.
BEHIND = 0.015
# Cosines to the line of sight: nothing is taken from beyond the first, all up to the second. At the
# rim of the hand a misplaced mesh takes its colour from what is behind it.
GRAZING, FACING = 0.25, 0.55

_NO_LIGHT = Lights(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), 0.0, 0.0, 1.0)


def bake(
    picture: UInt8, pixels: Array, crop_side: float, atlas: Atlas, faces: NDArray[np.int32]
) -> UInt8:
    """Take the texture of a mesh from the picture that it was read from.

    Parameters
    ----------
    picture
        (H, W, 3) uint8 RGB.
    pixels
        (V, 3) finite: x right and y down in pixels of the picture, z away in as many.
    crop_side
        Pixels of the square that the hand was read from.
    atlas
        Of the mesh.
    faces
        (F, 3) counter-clockwise seen from outside, which those of a left hand's atlas are not.

    Returns
    -------
    ndarray
        (512, 512, 3) uint8 RGB, its first row at v = 1, for the atlas' texture coordinates.
    """
    pixels = np.ascontiguousarray(pixels, np.float32)
    trust = _trust(pixels, crop_side, faces, picture.shape[:2])
    colours = _sampled(picture, pixels)
    filled = _spread(colours, trust, faces)
    # Texels: the picture where it is to be trusted, the surface's flowing colour elsewhere.
    place = _upsampled(atlas.rasterise(pixels, fill=True)[..., :2])
    share = _upsampled(atlas.rasterise(trust[:, None].repeat(3, 1), fill=True))[..., :1]
    flowing = _upsampled(atlas.rasterise(filled, fill=True))
    seen = _sampled(picture, place.reshape(-1, 2)).reshape(flowing.shape)
    texture = flowing + np.clip(share, 0, 1) * (seen - flowing)
    return np.rint(np.clip(texture, 0, 255)).astype(np.uint8)


def _trust(
    pixels: Float32, crop_side: float, faces: NDArray[np.int32], shape: tuple[int, ...]
) -> Float32:
    """(V,) how much of what the picture shows at each vertex is the vertex, 0..1."""
    normals = normals_of(pixels, faces)
    facing = np.clip((-normals[:, 2] - GRAZING) / (FACING - GRAZING), 0, 1)
    low = pixels[:, :2].min(0)
    side = max(float(np.ptp(pixels[:, :2], axis=0).max()), 1.0)
    small = (pixels - np.append(low, 0)) * np.float32(DEPTH_SIDE / side)
    ignored = np.zeros((DEPTH_SIDE, DEPTH_SIDE, 3), np.float32)
    depth = draw(ignored, np.asarray(small, np.float32), faces, np.zeros_like(small), _NO_LIGHT)
    columns, rows = np.clip(small[:, :2].astype(int), 0, DEPTH_SIDE - 1).T
    nearest = cv2.erode(depth, np.ones((3, 3), np.uint8))[rows, columns]
    hidden = small[:, 2] - nearest > BEHIND * crop_side * DEPTH_SIDE / side
    height, width = shape
    inside = (pixels[:, :2] >= 0).all(1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
    return np.asarray(facing * inside * ~hidden, np.float32)


def _sampled(picture: UInt8, places: Array) -> Float32:
    """(N, 2 or more) pixels -> (N, 3) bilinear colours, 0..255; beyond the picture its border."""
    # cv2.remap counts from a pixel's centre, and takes maps of at most 32767 rows.
    where = np.asarray(places[:, :2], np.float32) - np.float32(0.5)
    padded = np.pad(where, ((0, -len(where) % ROW), (0, 0))).reshape(-1, ROW, 2)
    columns, rows = (np.ascontiguousarray(padded[..., axis]) for axis in (0, 1))
    border = cv2.BORDER_REPLICATE
    found = cv2.remap(picture, columns, rows, cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(found.reshape(-1, 3)[: len(where)], np.float32)


def _spread(colours: Float32, trust: Float32, faces: NDArray[np.int32]) -> Float32:
    """(V, 3) colours: where trusted as they are, elsewhere the mean of their neighbours.

    Where nothing is trusted at all, their mean.
    """
    from scipy.sparse import coo_matrix, diags
    from scipy.sparse.linalg import spsolve

    if not trust.any():
        return np.broadcast_to(colours.mean(0), colours.shape).astype(np.float32)
    count = len(colours)
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    both = np.concatenate([sides, sides[:, ::-1]])
    beside = coo_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(count, count))
    beside = beside.tocsr()
    beside.data[:] = 1.0
    degree = np.asarray(beside.sum(1)).ravel()
    mean = (trust[:, None] * colours).sum(0) / trust.sum()
    # Known colours are held with the weight of their trust; a trace of the mean keeps parts that
    # are connected to nothing known from being anything at all.
    hold = 50.0 * trust.astype(np.float64)
    trace = 1e-6
    system = diags(degree + hold + trace) - beside
    known = hold[:, None] * colours + trace * mean
    return np.asarray(spsolve(system.tocsc(), known), np.float32)


def _upsampled(values: Float32) -> Float32:
    """(M, M, C) of a map -> (T, T, C): a map's outer texels are at its edge, a texture's within."""
    size = len(values)
    places = ((np.arange(TEXTURE_SIDE) + 0.5) / TEXTURE_SIDE * (size - 1)).astype(np.float32)
    columns, rows = np.meshgrid(places, places)
    made = cv2.remap(values, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(made.reshape(TEXTURE_SIDE, TEXTURE_SIDE, -1), np.float32)

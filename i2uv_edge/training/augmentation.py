"""Annotated pictures varied: picture, map and camera move together, colours and sharpness change.

A turn in the picture's plane is a turn of the hand about the camera's axis, and shift and scale are
the camera's own: with the picture moved by the similarity ``A`` (pixels to pixels), the points by
the rotation ``R`` in it, the camera becomes ``A K R^-1``, and every point is seen exactly where the
picture shows it. Nothing is mirrored: a mirrored right hand is a left one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from i2uv_edge.data.dataset import HandSample
from i2uv_edge.data.pictures import list_pictures, read_picture
from i2uv_edge.hand.camera import Square, project
from i2uv_edge.hand.model import FloatArray
from i2uv_edge.training.config import AugmentationSettings

Generator = np.random.Generator
Picture = NDArray[np.uint8]
Matrix = NDArray[np.float64]

MOST_SUPERSAMPLING = 4


@dataclass(frozen=True)
class View:
    """A square cut out of a picture, turned.

    Attributes
    ----------
    matrix : (3, 3) pixels of the picture -> pixels of the square; a pixel's centre is at +0.5
    turn : (3, 3) what the hand is turned by before the camera
    scale : pixels of the square for each of the picture
    size : side of the square in pixels
    """

    matrix: Matrix
    turn: Matrix
    scale: float
    size: int

    @staticmethod
    def around(
        square: Square, size: int, *, degrees: float = 0.0, points: Matrix | None = None
    ) -> View:
        """The view of a square that is centred on ``square``.

        ``points`` (N, 2), if given, are what ``square`` was drawn around: turned by ``degrees``
        they fill another one, of the same margin.
        """
        angle = math.radians(degrees)
        cosine, sine = math.cos(angle), math.sin(angle)
        turn = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
        left, top, side = square
        centre = turn[:2, :2] @ (left + side / 2, top + side / 2)
        if points is not None:
            upright, turned = points, points @ turn[:2, :2].T
            shift = np.array([left + side / 2, top + side / 2]) - _middle(upright)
            side *= float(np.ptp(turned, axis=0).max() / np.ptp(upright, axis=0).max())
            centre = _middle(turned) + shift
        scale = size / side
        matrix = np.diag([scale, scale, 1.0]) @ turn
        matrix[:2, 2] = size / 2 - scale * centre
        return View(matrix, turn, scale, size)

    def picture(self, picture: NDArray[Any]) -> Picture:
        """What is seen of a picture (H, W) or (H, W, 3) uint8; black beyond it."""
        # A bilinear sample looks at four pixels; where more become one, it is averaged over more.
        often = min(MOST_SUPERSAMPLING, max(1, math.ceil(1.0 / self.scale - 0.25)))
        half = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
        enlarged = np.diag([float(often), float(often), 1.0]) @ self.matrix
        centres = np.linalg.inv(half) @ enlarged @ half  # OpenCV counts from pixel centres
        side = self.size * often
        seen = cv2.warpAffine(picture, centres[:2], (side, side), flags=cv2.INTER_LINEAR)
        if often > 1:
            seen = cv2.resize(seen, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return np.asarray(seen, np.uint8)

    def sample(self, sample: HandSample) -> HandSample:
        """A sample as it is seen; its annotations fit its picture as before."""
        changes: dict[str, Any] = {"picture": self.picture(sample.picture)}
        if sample.mask is not None:
            seen = self.picture(sample.mask.astype(np.uint8) * np.uint8(255))
            changes["mask"] = seen >= 128
        if sample.intrinsics is not None:
            camera = self.matrix @ sample.intrinsics.astype(np.float64) @ self.turn.T
            changes["intrinsics"] = camera.astype(np.float32)
        for name in ("vertices", "joints", "root"):
            points = getattr(sample, name)
            if points is not None:
                changes[name] = (points @ self.turn.T).astype(np.float32)
        if sample.uv_map is not None:
            changes["uv_map"] = self._map(sample.uv_map, sample.picture.shape[1])
        if sample.box is not None:
            left, top, side = sample.box
            middle = self.matrix[:2, :2] @ (left + side / 2, top + side / 2) + self.matrix[:2, 2]
            side *= self.scale
            changes["box"] = (*(float(value) for value in middle - side / 2), side)
        return replace(sample, **changes)

    def _map(self, uv_map: FloatArray, width: int) -> FloatArray:
        """A map in sides of the picture -> in sides of the square; empty texels stay so."""
        held = uv_map.any(-1, keepdims=True)
        pixels = uv_map.astype(np.float64) * width
        flat = pixels[..., :2] @ self.matrix[:2, :2].T + self.matrix[:2, 2]
        moved = np.concatenate([flat, pixels[..., 2:] * self.scale], axis=-1) / self.size
        return np.where(held, moved, 0.0).astype(np.float32)


class Backgrounds:
    """Pictures of a folder, to put behind hands.

    Raises
    ------
    InputError
        The folder is missing or holds no picture.
    """

    def __init__(self, folder: Path) -> None:
        self.paths: Sequence[Path] = list_pictures(folder)[0]

    def take(self, rng: Generator, size: int) -> Picture:
        """(size, size, 3) of one of them, from anywhere in it, either way round."""
        picture = read_picture(self.paths[int(rng.integers(len(self.paths)))])
        height, width = picture.shape[:2]
        side = max(1, int(min(height, width) * rng.uniform(0.4, 1.0)))
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        part = picture[top : top + side, left : left + side]
        if rng.random() < 0.5:
            part = part[:, ::-1]
        method = cv2.INTER_AREA if size < side else cv2.INTER_LINEAR
        resized = cv2.resize(np.ascontiguousarray(part), (size, size), interpolation=method)
        return np.asarray(resized, np.uint8)


def plain(sample: HandSample, size: int, settings: AugmentationSettings) -> HandSample:
    """The hand upright in the middle of a (size, size) picture, at the mean margin."""
    margin = sum(settings.margin) / 2
    square, _ = _hand_square(sample, margin, settings)
    return View.around(square, size).sample(sample)


def augment(
    sample: HandSample,
    rng: Generator,
    size: int,
    settings: AugmentationSettings,
    backgrounds: Backgrounds | None = None,
) -> HandSample:
    """A sample turned, cut out, put before another background, covered, and photographed anew.

    Parameters
    ----------
    sample
        A picture with what is known of it. Where its hand is shows in its vertices, its map or its
        box, in this order; without any, the whole picture is the hand's.
    rng
        What it is varied by.
    size
        Side of the result's picture.
    settings
        How much.
    backgrounds
        What may be put behind the hand of a sample with a mask.

    Returns
    -------
    HandSample
        With a (size, size, 3) picture that is wholly inside its own frame.
    """
    square, points = _hand_square(sample, rng.uniform(*settings.margin), settings)
    left, top, side = square
    right, down = rng.uniform(-settings.shift, settings.shift, 2) * side
    degrees = rng.uniform(-settings.rotation_degrees, settings.rotation_degrees)
    view = View.around((left + right, top + down, side), size, degrees=degrees, points=points)
    seen = view.sample(sample)
    image = seen.picture.astype(np.float32) / np.float32(255)
    if backgrounds is not None and sample.mask is not None and rng.random() < settings.background:
        share = view.picture(sample.mask.astype(np.uint8) * np.uint8(255))[..., None]
        behind = backgrounds.take(rng, size).astype(np.float32) / np.float32(255)
        image = behind + (image - behind) * (share.astype(np.float32) / np.float32(255))
    if rng.random() < settings.occluder:
        _occlude(rng, image)
    return replace(seen, picture=_photograph(rng, image, settings))


def _hand_square(
    sample: HandSample, margin: float, settings: AugmentationSettings
) -> tuple[Square, Matrix | None]:
    """The square around the hand, with that margin, and the points it was drawn around."""
    points = None
    if sample.vertices is not None and sample.intrinsics is not None:
        points = project(sample.vertices, sample.intrinsics)
    elif sample.uv_map is not None:
        held = sample.uv_map[sample.uv_map.any(-1)]
        points = held[:, :2].astype(np.float64) * sample.picture.shape[1]
    if points is not None:
        side = float(np.ptp(points, axis=0).max()) * margin
        middle = _middle(points)
    elif sample.box is not None:
        left, top, side = sample.box
        middle = np.array([left + side / 2, top + side / 2])
        side *= margin
    else:  # as it is, more or less: whoever cut it out left a margin
        height, width = sample.picture.shape[:2]
        middle = np.array([width / 2, height / 2])
        side = max(height, width) * margin / (sum(settings.margin) / 2)
    return (float(middle[0] - side / 2), float(middle[1] - side / 2), side), points


def _middle(points: Matrix) -> Matrix:
    return np.asarray((points.min(0) + points.max(0)) / 2)


def _occlude(rng: Generator, image: FloatArray) -> None:
    """Draw something before the hand: a bar or a disc, of one colour or of the picture's own."""
    size = image.shape[0]
    covered = np.zeros(image.shape[:2], np.uint8)
    middle = tuple(int(value) for value in rng.uniform(0.1, 0.9, 2) * size)
    axes = tuple(int(value) for value in rng.uniform((0.08, 0.04), (0.35, 0.12)) * size)
    degrees = float(rng.uniform(0, 180))
    if rng.random() < 0.5:
        cv2.ellipse(covered, middle, axes, degrees, 0, 360, 1, -1)
    else:
        corners = cv2.boxPoints((middle, (2.0 * axes[0], 2.0 * axes[1]), degrees))
        cv2.fillConvexPoly(covered, corners.astype(np.int32), 1)
    there = covered.astype(bool)
    colour = rng.random(3).astype(np.float32)
    if rng.random() < 0.5:
        elsewhere = np.roll(image, tuple(rng.integers(size // 4, size, 2)), (0, 1))
        image[there] = elsewhere[there]
    else:
        shade = rng.uniform(0.6, 1.0) + 0.4 * np.linspace(0, 1, size, dtype=np.float32)
        image[there] = (colour * shade[:, None, None] * np.ones_like(image))[there]


def _photograph(rng: Generator, image: FloatArray, settings: AugmentationSettings) -> Picture:
    """Focus, motion, exposure, contrast, colour, noise, eight bits."""
    size = image.shape[0]
    if rng.random() < settings.blur:
        image = _float32(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.1) * size / 128))
    if rng.random() < settings.motion_blur:
        image = _float32(cv2.filter2D(image, -1, _stroke(rng, max(3, round(size / 24)))))
    gain = 1 + rng.uniform(-settings.brightness, settings.brightness)
    contrast = 1 + rng.uniform(-settings.contrast, settings.contrast)
    saturation = max(0.0, 1 + rng.uniform(-settings.saturation, settings.saturation))
    grey = image.mean(-1, keepdims=True)
    image = grey + (image - grey) * np.float32(saturation)
    level = image.mean()
    image = level + (image - level) * np.float32(contrast)
    image = image * (gain * (1 + rng.normal(0, settings.white_balance, 3))).astype(np.float32)
    noise = rng.standard_normal(image.shape, np.float32)
    image = image + noise * np.float32(rng.uniform(0, settings.noise))
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _stroke(rng: Generator, length: int) -> FloatArray:
    """A kernel that smears along a random direction."""
    side = length | 1
    kernel = np.zeros((side, side), np.float32)
    angle = rng.uniform(0, math.pi)
    reach = (side - 1) / 2 * np.array([math.cos(angle), math.sin(angle)])
    first, last = (
        tuple(round(float(value)) for value in (side - 1) / 2 + sign * reach) for sign in (-1, 1)
    )
    cv2.line(kernel, first, last, 1.0, 1)
    return _float32(kernel / kernel.sum())


def _float32(image: NDArray[Any]) -> FloatArray:
    return np.asarray(image, np.float32)

"""From linear light to a picture: focus, motion, exposure, noise, tone, compression."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from i2uv_edge.data.rendered.sample import Generator, SceneSettings
from i2uv_edge.hand.model import FloatArray

NOISE_BANK = 1 << 19  # normal numbers that all pictures take their noise from
LEVELS = 4096  # of the tone curve's table, spaced evenly in the square root of light


def move(rng: Generator, layer: FloatArray, settings: SceneSettings) -> FloatArray:
    """Blur a layer (S, S, 4) along a line, its own place in the middle: a hand that moved."""
    length = rng.uniform(0.012, 0.05) * settings.size
    angle = rng.uniform(0, np.pi)
    count = max(int(np.ceil(length)), 2)
    side = 2 * int(np.ceil(length / 2)) + 3
    kernel = np.zeros((side, side), np.float32)
    for step in np.linspace(-0.5, 0.5, 2 * count + 1) * length:
        x, y = side // 2 + step * np.cos(angle), side // 2 + step * np.sin(angle)
        left, top = int(np.floor(x)), int(np.floor(y))
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            weight = (1 - abs(x - left - column)) * (1 - abs(y - top - row))
            kernel[top + row, left + column] += weight
    return _float32(cv2.filter2D(layer, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE))


def expose(rng: Generator, image: FloatArray, settings: SceneSettings) -> NDArray[np.uint8]:
    """(S, S, 3) linear RGB -> uint8 sRGB as a camera would have it."""
    size = settings.size
    if rng.random() < settings.upscaled:  # a small hand in a large photograph, enlarged
        small = max(int(size * rng.uniform(0.4, 0.9)), 8)
        image = _float32(cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA))
    if rng.random() < settings.blur:
        sigma = rng.uniform(0.35, 1.2) * len(image) / 128
        image = _float32(cv2.GaussianBlur(image, (0, 0), sigma))
    gain = 2 ** rng.normal(0, 0.3) * (1 + rng.normal(0, 0.05, 3))
    noisy = rng.random() ** 2 * settings.noise
    shot = noisy * rng.uniform(0.6, 1)
    read = 0.35 * noisy * rng.uniform(0.2, 1)
    offsets = rng.integers(0, NOISE_BANK - image.size, 2)
    colourful = rng.uniform(0.2, 1.0)
    saturation, contrast = rng.normal(1, 0.12), rng.normal(0, 0.35)
    picture = np.empty(image.shape, np.uint8)
    _develop(
        np.ascontiguousarray(image), gain.astype(np.float32), shot, read, _noise_bank(),
        int(offsets[0]), int(offsets[1]), colourful, saturation, _tone(round(contrast, 1)), picture,
    )  # fmt: skip
    if len(picture) != size:
        picture = _uint8(cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR))
    elif rng.random() < 0.15:  # what phones do to look sharp
        soft = cv2.GaussianBlur(picture, (0, 0), 1.0)
        amount = rng.uniform(0.2, 0.8)
        picture = _uint8(cv2.addWeighted(picture, 1 + amount, soft, -amount, 0))
    if rng.random() < settings.jpeg:
        quality = int(rng.integers(30, 96))
        picture = _uint8(_through_jpeg(picture, quality))
    return picture


def _through_jpeg(picture: NDArray[np.uint8], quality: int) -> Any:
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded: Any = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


@cache
def _noise_bank() -> FloatArray:
    return np.random.default_rng(17).standard_normal(NOISE_BANK, np.float32)


@cache
def _tone(contrast: float) -> NDArray[np.float32]:
    """(LEVELS,) sRGB 0..255 of linear light 0..1.5, bent by a contrast of -1..1."""
    light = (np.arange(LEVELS) / (LEVELS - 1)) ** 2 * 1.5
    value = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    # Highlights roll off instead of breaking.
    value = np.where(value > 0.85, 0.85 + 0.15 * np.tanh((value - 0.85) / 0.15), value)
    bent = value + 0.25 * np.clip(contrast, -1, 1) * value * (1 - value) * (2 * value - 1) * 2
    return np.asarray(np.clip(bent, 0, 1) * 255, np.float32)


@numba.njit(cache=True, fastmath=True)
def _develop(
    image: FloatArray,
    gain: FloatArray,
    shot: float,
    read: float,
    noise: FloatArray,
    grey_offset: int,
    colour_offset: int,
    colourful: float,
    saturation: float,
    tone: FloatArray,
    picture: NDArray[np.uint8],
) -> None:
    height, width = image.shape[:2]
    top = len(tone) - 1
    scale = np.float32(1.0 / 1.5)
    at, colour_at = grey_offset, colour_offset
    one = np.float32(1.0)
    values = np.empty(3, np.float32)
    for row in range(height):
        for column in range(width):
            grey = noise[at]
            at += 1
            for c in range(3):
                light = image[row, column, c] * gain[c]
                # Photons are counted: their noise grows as the square root of their number.
                sigma = np.sqrt(read * read + shot * shot * max(light, np.float32(0.0)))
                light += sigma * ((one - colourful) * grey + colourful * noise[colour_at])
                colour_at += 1
                light = min(max(light * scale, np.float32(0.0)), one)
                values[c] = tone[int(np.sqrt(light) * top)]
            mean = np.float32(0.3) * values[0] + np.float32(0.59) * values[1]
            mean += np.float32(0.11) * values[2]
            for c in range(3):
                value = mean + saturation * (values[c] - mean) + np.float32(0.5)
                picture[row, column, c] = np.uint8(min(max(value, 0.0), 255.0))


def _float32(image: NDArray[Any]) -> FloatArray:
    return np.asarray(image, np.float32)  # what it is already; OpenCV's types do not say so


def _uint8(image: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(image, np.uint8)

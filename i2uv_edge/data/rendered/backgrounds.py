"""What lies behind the hand: rooms, tables, leaves, cloth, people; or pictures from a folder.

A bank of backgrounds is made as it is needed; each picture cuts, mirrors, stretches and tints one.
Statistics matter more than content: power spectra that fall as 1/f, and things that hide each
other with sizes that have no scale ("dead leaves"; Baradad et al. 2021, "Learning to see by looking
at noise", where such pictures train networks nearly as well as photographs do).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from i2uv_edge.data.pictures import list_pictures, read_picture
from i2uv_edge.data.rendered.colours import SKIN_TONES, hsv, linear_table, muted_colour
from i2uv_edge.data.rendered.sample import Generator, SceneSettings
from i2uv_edge.hand.model import FloatArray

BANK = 256
LOUD_BANK = 64
SIDE = 320


def background(rng: Generator, settings: SceneSettings) -> FloatArray:
    """(S, S, 3) linear RGB."""
    loud = rng.random() < settings.garish
    number = int(rng.integers(BANK))
    if settings.backgrounds and not loud and rng.random() < 0.75:
        whole = _from_folder(rng, settings.backgrounds)
    else:
        whole = _banked(number % LOUD_BANK if loud else number, loud)
    height, width = whole.shape[:2]
    side = int(rng.uniform(0.4, 0.95) * min(height, width))
    top, left = rng.integers(0, height + 1 - side), rng.integers(0, width + 1 - side)
    part: NDArray[Any] = whole[top : top + side, left : left + side]
    kept = (settings.size, settings.size)
    part = cv2.resize(part, kept, interpolation=cv2.INTER_LINEAR)
    turned = rng.random()
    if rng.random() < 0.5:
        part = cv2.flip(part, 1)
    if turned < 0.25:
        part = cv2.flip(part, 0) if turned < 0.08 else cv2.transpose(part)
    gain = 2 ** rng.normal(0, 0.45) * (1 + rng.normal(0, 0.06, 3))
    table = linear_table()[:, None] * gain.astype(np.float32)
    return _float32(cv2.LUT(part, table[None]))


@cache
def _banked(number: int, loud: bool) -> NDArray[np.uint8]:
    rng = np.random.default_rng((number, int(loud)))
    image = _loud(rng) if loud else _natural(rng)
    return np.asarray(np.clip(image, 0, 1) * 255, np.uint8)


@cache
def _folder(path: str) -> list[Path]:
    return list(list_pictures(Path(path))[0])


def _from_folder(rng: Generator, path: str) -> NDArray[np.uint8]:
    files = _folder(path)
    return np.asarray(read_picture(files[int(rng.integers(len(files)))]), np.uint8)


def _natural(rng: Generator) -> FloatArray:
    kinds = (_room, _table, _leaves, _texture, _cloth, _person)
    image = kinds[int(rng.choice(6, p=(0.3, 0.22, 0.18, 0.1, 0.1, 0.1)))](rng)
    if rng.random() < 0.3:
        image = _skin_coloured(rng, image)
    if rng.random() < 0.7:  # the hand is in focus
        image = _blur(image, float(rng.choice((0.7, 1.2, 2.5, 4.5))))
    # Light falls off from somewhere.
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE - rng.uniform(0, 1, 2)[:, None, None]
    falloff = 1 - rng.uniform(0, 0.6) * np.hypot(x, y)
    return np.asarray(image * falloff[..., None].astype(np.float32), np.float32)


def _pink(rng: Generator, exponent: float, stretch: float = 1.0) -> FloatArray:
    """(S, S) noise of unit variance whose amplitude falls as frequency to the ``exponent``."""
    vertical = np.fft.fftfreq(SIDE)[:, None] * stretch
    horizontal = np.fft.rfftfreq(SIDE)[None]
    frequency = np.hypot(vertical, horizontal)
    frequency[0, 0] = 1.0
    spectrum = rng.normal(0, 1, (2, *frequency.shape)) / frequency**exponent
    spectrum[:, 0, 0] = 0
    noise = np.fft.irfft2(spectrum[0] + 1j * spectrum[1], (SIDE, SIDE))
    return np.asarray(noise / noise.std(), np.float32)


def _plane(rng: Generator, colour: FloatArray) -> FloatArray:
    """(S, S, 3) an evenly coloured surface in uneven light, plain, grained or speckled."""
    shade = 1 + rng.uniform(0.03, 0.12) * _pink(rng, 1.8)
    kind = rng.random()
    if kind < 0.3:  # wood
        shade = shade + rng.uniform(0.03, 0.14) * _pink(rng, 1.0, rng.uniform(6, 25))
    elif kind < 0.6:
        shade = shade + rng.uniform(0.02, 0.1) * _pink(rng, rng.uniform(0.2, 0.9))
    return np.asarray(shade[..., None] * colour, np.float32)


def _shape(rng: Generator, size: float) -> tuple[NDArray[np.int32], float]:
    """A polygon: box seen at an angle, disc, or bar; and its extent."""
    place = rng.uniform(-0.1, 1.1, 2) * SIDE
    kind = rng.random()
    angle = rng.normal(0, 0.25) + rng.integers(0, 2) * np.pi / 2
    if kind < 0.3:
        turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        outline = np.stack([np.cos(turns), rng.uniform(0.5, 1) * np.sin(turns)], 1) * size
    else:
        length = rng.uniform(0.4, 1.6) if kind < 0.8 else rng.uniform(4, 12)
        box = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (length, 1 / max(length, 1) ** 0.5)
        outline = box * size * 0.8 + rng.normal(0, 0.08 * size, (4, 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(outline @ turn + place, np.int32), size


def _put(
    rng: Generator, image: FloatArray, outline: NDArray[np.int32], colour: FloatArray, shadow: float
) -> FloatArray:
    """Draw a shaded, textured polygon with a soft shadow beneath it."""
    low = np.clip(outline.min(0) - 24, 0, SIDE)
    high = np.clip(outline.max(0) + 24, 0, SIDE)
    if (high - low).min() < 2:
        return image
    part = image[low[1] : high[1], low[0] : high[0]]
    mask = np.zeros(part.shape[:2], np.uint8)
    cv2.fillPoly(mask, [outline - low.astype(np.int32)], 255, lineType=cv2.LINE_AA)
    cover = mask.astype(np.float32)[..., None] / np.float32(255)
    if shadow > 0:
        moved = np.roll(cover, tuple(rng.integers(-7, 8, 2)), (0, 1))
        soft = _float32(cv2.GaussianBlur(moved, (0, 0), rng.uniform(2, 6)))
        part *= 1 - np.float32(shadow) * soft[..., None]
    y, x = np.mgrid[0 : len(part), 0 : part.shape[1]] / np.float32(max(part.shape[:2]))
    slope = rng.normal(0, 0.25, 2)
    shade = (1 + slope[0] * (x - 0.5) + slope[1] * (y - 0.5))[..., None].astype(np.float32)
    if rng.random() < 0.3:  # print, stripes, shelves
        wave = np.sin((x * rng.uniform(-1, 1) + y) * rng.uniform(15, 120))
        shade *= 1 - rng.uniform(0.05, 0.5) * (wave > rng.uniform(-0.5, 0.9))[..., None]
    part += cover * (colour * shade - part)
    return image


def _clutter(rng: Generator, image: FloatArray, count: int, largest: float) -> FloatArray:
    for size in np.sort(largest * SIDE * rng.uniform(0.08, 1, count) ** 2)[::-1]:
        loud = rng.random() < 0.2
        colour = hsv(rng.random(), rng.uniform(0.4, 0.9), rng.uniform(0.3, 0.9))
        outline, _ = _shape(rng, float(size) + 2)
        shade = colour if loud else muted_colour(rng)
        image = _put(rng, image, outline, shade, rng.uniform(0, 0.5))
    return image


def _room(rng: Generator) -> FloatArray:
    """A wall, a floor or a shelf, furniture, perhaps a window."""
    wall = hsv(rng.choice((0.09, 0.12, 0.55)), rng.uniform(0, 0.2), rng.uniform(0.35, 0.95))
    image = _plane(rng, wall)
    edge, tilt = rng.uniform(0.4, 1.1) * SIDE, rng.normal(0, 0.2) * SIDE
    floor = _plane(rng, muted_colour(rng))
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    image = np.where((y > edge + tilt * (x / SIDE - 0.5))[..., None], floor, image)
    image = _clutter(rng, np.ascontiguousarray(image), int(rng.integers(2, 14)), 0.4)
    if rng.random() < 0.25:
        outline, _ = _shape(rng, rng.uniform(0.15, 0.4) * SIDE)
        image = _put(rng, image, outline, np.full(3, rng.uniform(0.9, 1.2), np.float32), 0)
    return image


def _table(rng: Generator) -> FloatArray:
    """A desk from above: paper, books, cups, cables."""
    image = _clutter(rng, _plane(rng, muted_colour(rng)), int(rng.integers(1, 9)), 0.35)
    for _ in range(int(rng.integers(0, 3))):
        steps = rng.normal(0, 0.09 * SIDE, (14, 2))
        line = np.cumsum(_float32(cv2.blur(steps, (1, 5))), 0) + rng.uniform(0, SIDE, 2)
        colour = (muted_colour(rng) * 0.5).tolist()
        cv2.polylines(
            image, [line.astype(np.int32)], False, colour, int(rng.integers(1, 5)), cv2.LINE_AA
        )
    return image


def _leaves(rng: Generator) -> FloatArray:
    """Dead leaves: things without a scale that hide each other; foliage, gravel, crowds."""
    image = _plane(rng, muted_colour(rng))
    colours = [muted_colour(rng) * rng.uniform(0.6, 1.3) for _ in range(5)]
    smallest, round_share = rng.uniform(0.01, 0.035), rng.choice((0.0, 0.5, 1.0))
    for _ in range(int(rng.integers(150, 350))):
        size = SIDE * smallest / np.sqrt(rng.uniform(0.01, 1))  # number falls as size cubed
        turns = np.linspace(0, 2 * np.pi, int(rng.integers(4, 9)), endpoint=False)
        if rng.random() < round_share:
            turns = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        outline = np.stack([np.cos(turns), rng.uniform(0.3, 1) * np.sin(turns)], 1) * size
        outline += rng.normal(0, 0.12 * size, outline.shape)
        angle = rng.uniform(0, np.pi)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        outline = (outline @ turn + rng.uniform(0, SIDE, 2)).astype(np.int32)
        colour = colours[int(rng.integers(5))] * rng.uniform(0.5, 1.4)
        shade = np.clip(colour * 0.45, 0, 1).tolist()
        cv2.fillPoly(image, [outline + int(1 + size / 10)], shade, lineType=cv2.LINE_AA)
        cv2.fillPoly(image, [outline], np.clip(colour, 0, 1).tolist(), lineType=cv2.LINE_AA)
    relief = 1 + rng.uniform(0.08, 0.25) * _pink(rng, rng.uniform(0.6, 1.3))
    return np.asarray(image * relief[..., None], np.float32)


def _texture(rng: Generator) -> FloatArray:
    """Noise whose amplitude falls about as 1/f, in the colours of some landscape."""
    exponent = rng.uniform(0.8, 1.6)
    light = 0.45 + rng.uniform(0.1, 0.25) * _pink(rng, exponent)
    mix = np.clip(0.5 + 0.4 * _pink(rng, exponent), 0, 1)[..., None]
    colours = mix * muted_colour(rng) + (1 - mix) * muted_colour(rng)
    return np.asarray(light[..., None] * (0.4 + colours), np.float32)


def _cloth(rng: Generator) -> FloatArray:
    """Folded cloth with stripes, checks or a repeated print."""
    image = np.tile(muted_colour(rng), (SIDE, SIDE, 1)).astype(np.float32)
    warp = 6 * np.stack([_pink(rng, 2.0), _pink(rng, 2.0)])
    y, x = np.mgrid[0:SIDE, 0:SIDE] + warp
    angle, period = rng.uniform(0, np.pi), rng.uniform(10, 50)
    along = np.cos(angle) * x + np.sin(angle) * y
    across = np.cos(angle) * y - np.sin(angle) * x
    kind = rng.random()
    for _ in range(int(rng.integers(1, 4))):
        colour = hsv(rng.random(), rng.uniform(0.1, 0.7), rng.uniform(0.2, 0.95))
        shift = rng.uniform(0, period, 2)
        first, second = (along + shift[0]) % period, (across + shift[1]) % period
        if kind < 0.3:
            inside = first < rng.uniform(0.15, 0.6) * period
        elif kind < 0.5:
            inside = (first < 0.3 * period) ^ (second < 0.3 * period)
        else:
            away = np.hypot(first - period / 2, second - period / 2)
            petals = np.sin(
                rng.integers(0, 7) * np.arctan2(first - period / 2, second - period / 2)
            )
            inside = away < period * (0.22 + 0.12 * petals)
        image += inside[..., None] * (colour - image) * np.float32(rng.uniform(0.4, 1))
    folds = 1 + rng.uniform(0.05, 0.22) * _pink(rng, 1.7, rng.uniform(0.3, 3))
    return np.asarray(image * folds[..., None], np.float32)


def _person(rng: Generator) -> FloatArray:
    """Somebody in clothes before a room; perhaps a face or another arm."""
    image = _room(rng)
    turns = np.linspace(0, 2 * np.pi, 40)
    centre = SIDE * np.array([rng.uniform(0.1, 0.9), rng.uniform(0.7, 1.1)])
    wide = SIDE * rng.uniform(0.3, 0.7)
    body = np.stack([np.cos(turns), rng.uniform(0.8, 1.6) * np.sin(turns)], 1) * wide + centre
    image = _put(rng, image, body.astype(np.int32), muted_colour(rng), 0.3)
    head = np.stack([np.cos(turns), 1.3 * np.sin(turns)], 1) * wide * 0.35
    head += centre - (rng.normal(0, 0.1) * wide, wide * rng.uniform(1.0, 1.6))
    image = _put(rng, image, head.astype(np.int32), _skin(rng), 0.1)
    folds = 1 + 0.1 * _pink(rng, 1.6)
    return np.asarray(image * folds[..., None], np.float32)


def _skin(rng: Generator) -> FloatArray:
    tone = SKIN_TONES[int(rng.integers(len(SKIN_TONES)))]
    return np.asarray(np.clip(tone * rng.uniform(0.6, 1.1), 0, 1), np.float32)


def _skin_coloured(rng: Generator, image: FloatArray) -> FloatArray:
    """Add limbs: long rounded shapes the colour of skin, lit from one side."""
    for _ in range(int(rng.integers(1, 4))):
        first, second = rng.uniform(-0.1, 1.1, (2, 2)) * SIDE
        width = rng.uniform(0.02, 0.12) * SIDE
        y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
        axis = second - first
        along = ((x - first[0]) * axis[0] + (y - first[1]) * axis[1]) / (axis @ axis + 1)
        along = np.clip(along, 0, 1)
        dx, dy = x - first[0] - along * axis[0], y - first[1] - along * axis[1]
        away = np.hypot(dx, dy) / width
        cover = np.clip((1 - away) * width / 1.5, 0, 1)[..., None]
        light = rng.normal(0, 1, 2)
        side = (dx * light[0] + dy * light[1]) / (width * np.linalg.norm(light))
        shade = (0.75 + 0.25 * np.sqrt(np.clip(1 - away**2, 0, 1)) + 0.2 * side)[..., None]
        image = image + cover * (_skin(rng) * shade - image)
    return np.asarray(image, np.float32)


def _loud(rng: Generator) -> FloatArray:
    """Colours and shapes of no world, so that no colour or edge is safe to call background."""
    coarse = rng.random((*rng.integers(2, 7, 2), 3)).astype(np.float32)
    image = _float32(cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))
    for cells in (16, 64):
        texture = rng.normal(0, rng.uniform(0, 0.12), (cells, cells)).astype(np.float32)
        texture = _float32(cv2.resize(texture, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR))
        image += texture[..., None] * rng.uniform(0.5, 1.0, 3).astype(np.float32)
    for _ in range(int(rng.integers(0, 14))):
        outline, _ = _shape(rng, rng.uniform(0.03, 0.35) * SIDE)
        colour = rng.random(3) if rng.random() < 0.6 else _skin(rng)
        cv2.fillPoly(image, [outline], colour.tolist(), lineType=cv2.LINE_AA)
    return _blur(image, rng.uniform(0.5, 5)) if rng.random() < 0.6 else image


def _blur(image: FloatArray, sigma: float) -> FloatArray:
    return _float32(cv2.GaussianBlur(image, (0, 0), sigma))


def _float32(image: NDArray[Any]) -> FloatArray:
    return np.asarray(image, np.float32)  # what it is already; OpenCV's types do not say so

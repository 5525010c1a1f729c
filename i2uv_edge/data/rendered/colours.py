"""What things look like: linear RGB albedos of skin, cloth and objects, and the colour of light."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from i2uv_edge.data.rendered.sample import Generator
from i2uv_edge.hand.model import FloatArray, HandModel, HandParameters

# Light to dark skin as a camera with the right white shows it, sRGB 0..1; a hand's tone is
# interpolated along the list.
SKIN_TONES: FloatArray = np.array(
    [
        [0.92, 0.79, 0.73],
        [0.87, 0.71, 0.62],
        [0.80, 0.62, 0.52],
        [0.68, 0.50, 0.40],
        [0.50, 0.35, 0.27],
        [0.33, 0.23, 0.18],
    ],
    np.float32,
)
NOISE_FIELDS = 24


def linear(srgb: FloatArray) -> FloatArray:
    """From sRGB 0..1 to linear 0..1 (IEC 61966-2-1)."""
    srgb = np.asarray(srgb, np.float32)
    low = srgb / np.float32(12.92)
    high = ((srgb + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4)
    return np.asarray(np.where(srgb <= 0.04045, low, high), np.float32)


@cache
def linear_table() -> FloatArray:
    """(256,) linear value of each 8-bit one."""
    return linear(np.arange(256, dtype=np.float32) / np.float32(255))


def hsv(hue: float, saturation: float, value: float) -> FloatArray:
    """(3,) sRGB 0..1 of a hue in turns."""
    pixel = np.array([[[hue % 1.0 * 360.0, saturation, value]]], np.float32)
    return np.asarray(cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0], np.float32)


def muted_colour(rng: Generator) -> FloatArray:
    """(3,) sRGB of most things made or grown: greys, browns, dull blues and greens."""
    hue = rng.choice((0.06, 0.09, 0.11, 0.3, 0.57, 0.6)) + rng.normal(0, 0.03)
    return hsv(hue, rng.beta(1.3, 4.0), rng.beta(2.0, 1.7))


def cloth_colour(rng: Generator) -> FloatArray:
    """(3,) linear: black, white, grey, denim, and now and then a strong dye."""
    kind = rng.random()
    if kind < 0.4:
        colour = np.full(3, rng.choice((0.1, 0.2, 0.45, 0.9)) * rng.uniform(0.8, 1.1))
        colour = colour * (1 + rng.normal(0, 0.03, 3))
    elif kind < 0.75:
        colour = muted_colour(rng)
    else:
        colour = hsv(rng.random(), rng.uniform(0.4, 0.85), rng.uniform(0.25, 0.85))
    return linear(np.clip(colour, 0.03, 0.95))


def thing_colour(rng: Generator) -> FloatArray:
    """(3,) linear: plastic, metal, paper, wood."""
    if rng.random() < 0.35:
        colour = hsv(rng.random(), rng.uniform(0.4, 0.9), rng.uniform(0.3, 0.9))
    elif rng.random() < 0.5:
        colour = np.full(3, rng.choice((0.12, 0.5, 0.92)), np.float32)
    else:
        colour = muted_colour(rng)
    return linear(np.clip(colour, 0.04, 0.95))


def light_colour(rng: Generator) -> FloatArray:
    """(3,) from candle-like to sky-like, of luminance about 1."""
    warmth = rng.normal(0, 0.1)  # a camera's white balance takes most of it away
    colour = np.exp(np.array([warmth, 0.0, -warmth]) + rng.normal(0, 0.02, 3))
    return np.asarray(colour / (colour @ np.array([0.21, 0.72, 0.07])), np.float32)


def skin_albedo(
    rng: Generator, parameters: HandParameters
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Albedo and gloss of the fine mesh, and what the bare forearm's albedo is.

    Palms are paler, knuckles and fingertips redder, the back shows veins and blotches, furrows are
    darker; nails are pale and shine, a few are varnished.

    Returns
    -------
    tuple of FloatArray
        (Vf, 3) linear RGB, (Vf,) gloss relative to skin's, (3,) linear RGB.
    """
    model = HandModel.load()
    tone = rng.beta(1.0, 1.15) * (len(SKIN_TONES) - 1)
    below = min(int(tone), len(SKIN_TONES) - 2)
    mix = tone - below
    base = linear(SKIN_TONES[below] * (1 - mix) + SKIN_TONES[below + 1] * mix)
    base = np.clip(base * rng.normal(1, (0.05, 0.04, 0.05)), 0.01, 0.9).astype(np.float32)
    palm, nail, knuckle = (model.albedo[name] for name in ("palm", "nail", "knuckle"))
    blotches, shades = (_noise_fields() @ rng.normal(0, 1, (NOISE_FIELDS, 2)).astype(np.float32)).T
    amounts = rng.uniform(
        (0, 0, 0.01, 0.1, 0, 0.15, 0.01, 0.3), (0.14, 0.22, 0.05, 0.3, 0.06, 0.5, 0.05, 0.9)
    ).astype(np.float32)
    redness = knuckle * amounts[0] + _fingertips() * amounts[1] + blotches * amounts[2]
    # Pigment: the palm has little of it, knuckles more.
    paler = np.clip(palm * np.float32(amounts[3] + 0.08 * tone), 0, 0.75) * _past_wrist()
    furrows = np.clip(model.relief_of(parameters) * np.float32(-1000), 0, 1)
    darker = (1 - palm) * knuckle * (amounts[4] * np.float32(1 + tone))
    darker += furrows * amounts[5] + shades * amounts[6]
    pale_palm = linear(np.array([0.86, 0.66, 0.57])) * np.float32(0.9)
    varnished = rng.random() < 0.06
    if varnished:
        plate = linear(hsv(rng.choice((0.0, 0.95, 0.6, 0.0)), rng.uniform(0.3, 0.9), 0.8))
        plated, gloss = nail, 1 + 6 * nail
    else:
        plate = np.minimum(base * np.array([1.1, 1.12, 1.2], np.float32) + np.float32(0.05), 0.9)
        plated, gloss = nail * amounts[7], 1 + nail * np.float32(rng.uniform(0.5, 4))
    albedo = np.empty((len(palm), 3), np.float32)
    for c, (red, dark) in enumerate(((0.1, 0.75), (1.0, 1.0), (0.9, 1.0))):
        channel = base[c] + paler * (max(pale_palm[c], base[c] * np.float32(1.1)) - base[c])
        channel *= (1 - redness * np.float32(red)) * (1 - darker * np.float32(dark))
        channel += plated * (plate[c] - channel)
        albedo[:, c] = np.clip(channel, 0.005, 0.95)
    return albedo, gloss.astype(np.float32), base


@cache
def _past_wrist() -> FloatArray:
    """(Vf,) 0 at the wrist, 1 from 40 mm on: where the palm's colour begins."""
    along = (HandModel.load().fine.vertices[:, 1] + 0.02) / 0.04
    return np.asarray(np.clip(along, 0, 1), np.float32)


@cache
def _fingertips() -> FloatArray:
    """(Vf,) 1 at the fingertips, 0 a phalanx away."""
    model = HandModel.load()
    tips = model.joints[[4, 8, 12, 16, 20]]
    away = np.linalg.norm(model.fine.vertices[:, None] - tips, axis=-1).min(1)
    return np.asarray(np.exp(-((away / 0.013) ** 2)), np.float32)


@cache
def _noise_fields() -> FloatArray:
    """(Vf, N) smooth fields over the hand of unit variance a sum, wavelengths 5 to 50 mm."""
    rng = np.random.default_rng(5)
    directions = rng.normal(0, 1, (3, NOISE_FIELDS))
    directions /= np.linalg.norm(directions, axis=0)
    waves = 2 * np.pi / np.geomspace(0.005, 0.05, NOISE_FIELDS)
    phases = HandModel.load().fine.vertices @ (directions * waves)
    fields = np.sin(phases + rng.uniform(0, 2 * np.pi, NOISE_FIELDS))
    return np.asarray(fields * np.sqrt(2.0 / NOISE_FIELDS), np.float32)

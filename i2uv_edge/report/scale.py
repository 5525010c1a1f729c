"""Axes and colour scales: where the ticks are and what they say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from i2uv_edge.report.pixels import ramp

__all__ = ["ColourScale", "Tick", "colour_scale", "ticks"]

SWATCHES = 64


@dataclass(frozen=True)
class Tick:
    """A mark at `place` (0..1 of the axis) and what it says."""

    place: float
    text: str


@dataclass(frozen=True)
class ColourScale:
    """From 0 to `top` millimetres: `swatches` are CSS colours in equal steps."""

    top: float
    swatches: tuple[str, ...]
    ticks: tuple[Tick, ...]


def colour_scale(top: float) -> ColourScale:
    """The scale of `pixels.colours` that ends at `top`."""
    rows = ramp()[np.linspace(0, len(ramp()) - 1, SWATCHES).round().astype(int)]
    swatches = tuple("#" + bytes(row.tolist()).hex() for row in rows)
    return ColourScale(top, swatches, ticks(top))


def ticks(top: float, most: int = 6) -> tuple[Tick, ...]:
    """Round numbers from 0 to at most `top`, no more than `most` of them."""
    power = 10.0 ** np.floor(np.log10(top / most))
    step = next(s * power for s in (1, 2, 2.5, 5, 10, 20) if top / (s * power) < most + 1e-9)
    decimals = max(0, -int(np.floor(np.log10(step) + 1e-9)) + (0 if _is_whole(step) else 1))
    values = np.arange(0, top / step + 1e-9) * step
    return tuple(Tick(float(value / top), f"{value:.{decimals}f}") for value in values)


def _is_whole(step: float) -> bool:
    """Whether a step has one digit that counts; 2.5 has two."""
    digit = step / 10.0 ** np.floor(np.log10(step) + 1e-9)
    return bool(abs(digit - round(digit)) < 1e-6)

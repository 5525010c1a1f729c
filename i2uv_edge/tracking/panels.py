"""What is written on pictures: a line of figures, and float, int8 and their difference together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from i2uv_edge.report.pixels import colours, ramp
from i2uv_edge.tracking.overlay import lay_over

__all__ = ["HEAT_TOP_MM", "greyed", "heat_over", "side_by_side", "write_line"]

Array = NDArray[Any]
UInt8 = NDArray[np.uint8]

HEAT_TOP_MM = 3.0
"""Where the colours of a difference end: fixed, so that frames and runs can be compared."""

SMALLEST_TEXT, TEXT_HEIGHT = 0.4, 1 / 900  # OpenCV's scale: least, and for each row of a picture
WIDEST_BAR = 0.3  # of the picture


def write_line(picture: UInt8, text: str, *, bottom: bool = False) -> None:
    """Write a line on a dark strip along the top of a picture, or its bottom, in place."""
    height, width = picture.shape[:2]
    scale = max(SMALLEST_TEXT, height * TEXT_HEIGHT)
    font, thick = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(scale * 1.6))
    (long, tall), below = cv2.getTextSize(text, font, scale, thick)
    if long > width - 8:  # smaller rather than cut off
        scale *= (width - 8) / long
        (_, tall), below = cv2.getTextSize(text, font, scale, thick)
    strip = min(tall + below + 8, height)
    top = height - strip if bottom else 0
    picture[top : top + strip] //= 3
    place = 4, top + tall + 4
    cv2.putText(picture, text, place, font, scale, (255, 255, 255), thick, cv2.LINE_AA)


def greyed(picture: UInt8) -> UInt8:
    """The picture pale and without colour, so that what is drawn on it stands out."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) // 2 + 64
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)


def heat_over(
    picture: UInt8, pixels: Array, faces: NDArray[np.int32], apart_mm: Array, *, samples: int
) -> UInt8:
    """The mesh over the greyed picture, each vertex in the colour of its (V,) distance."""
    made = greyed(picture)
    shades = colours(apart_mm, HEAT_TOP_MM)
    lay_over(made, pixels, faces, colours=shades, opacity=1.0, samples=samples)
    _draw_bar(made)
    return made


def side_by_side(titled: Sequence[tuple[str, UInt8]]) -> UInt8:
    """Pictures of one size in a row, each with its title on it."""
    for title, picture in titled:
        write_line(picture, title, bottom=True)
    return np.concatenate([picture for _, picture in titled], axis=1)


def _draw_bar(picture: UInt8) -> None:
    """The scale of a difference, in the upper right corner."""
    height, width = picture.shape[:2]
    thick, long = max(6, height // 48), int(width * WIDEST_BAR)
    left, top = width - long - thick, thick
    if long < 8 or top + thick > height:
        return
    shades = ramp()[np.linspace(0, len(ramp()) - 1, long).round().astype(int)]
    picture[top : top + thick, left : left + long] = shades
    scale = max(SMALLEST_TEXT, height * TEXT_HEIGHT)
    for text, at in (("0", left), (f"{HEAT_TOP_MM:.0f} mm", left + long)):
        (wide, tall), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        place = (at if text == "0" else at - wide), top + 2 * thick + tall
        colour = (255, 255, 255)
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)

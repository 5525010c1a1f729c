"""Which square of a picture the network is shown.

It was trained on squares that are `margin` times as wide as the hand in them, with the hand hardly
off their middle. A box that still is such a square stays where it is: one that followed the mesh to
the pixel would pass its noise on to the next picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.data.pictures import Box
from i2uv_edge.hand.camera import bounding_square

__all__ = ["Margin", "around", "of_rectangle", "out_of_place", "square_of"]

Array = NDArray[Any]

SHIFT = 0.05  # how far off the middle of a training picture its hand is, in sides of the picture
SMALLEST = 16  # pixels; a hand in fewer is no hand
LARGEST = 4.0  # sides of the picture, the longer one


@dataclass(frozen=True)
class Margin:
    """Side of a crop over the longer side of the hand in it: least and most in training."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """What a new box gets."""
        return (self.low + self.high) / 2

    def holds(self, box: Box, pixels: Array) -> bool:
        """Whether a box shows the hand at (N, 2) pixels as training pictures do."""
        low, high = np.min(pixels, 0), np.max(pixels, 0)
        extent = float((high - low).max())
        apart = np.abs((low + high) / 2 - (box.left + box.side / 2, box.top + box.side / 2)).max()
        return bool(
            self.low * extent <= box.side <= self.high * extent and apart <= SHIFT * box.side
        )


def around(pixels: Array, margin: Margin) -> Box:
    """The box around a hand whose points are at (N, 2) pixels; they have to be finite."""
    left, top, side = bounding_square(pixels, margin.middle)
    # Far beyond any picture an answer is nonsense, and must still be a box.
    left, top = (float(np.clip(value, -1e6, 1e6)) for value in (left, top))
    whole = int(np.clip(np.rint(side), 1, 1e6))
    return Box(round(left), round(top), whole)


def of_rectangle(rectangle: Sequence[float], margin: Margin) -> Box:
    """The box for a hand that is said to fill a rectangle: left, top, width, height in pixels."""
    left, top, width, height = rectangle
    return around(np.array([[left, top], [left + width, top + height]]), margin)


def out_of_place(box: Box, height: int, width: int) -> str:
    """Say why no hand of a picture is in a box, nothing if one may be."""
    if box.side < SMALLEST:
        return f"it would be {box.side} pixels wide"
    if box.side > LARGEST * max(height, width):
        return "it would be larger than the picture"
    x, y = box.left + box.side / 2, box.top + box.side / 2
    if not (0 <= x <= width and 0 <= y <= height):
        return "it would be outside the picture"
    return ""


def square_of(box: Box) -> list[int]:
    """What JSON holds of a box: left, top, side in pixels of the picture."""
    return [box.left, box.top, box.side]

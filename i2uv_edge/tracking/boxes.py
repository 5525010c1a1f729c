"""Which square of a picture the network is shown.

It was trained on squares that are `margin` times as wide as the hand in them, with the hand hardly
off their middle. A box that is nearly the best such square stays where it is: one that followed the
mesh to the pixel would pass its noise on to the next picture. On rendered clips a hand at rest so
trembles by 0.8 mm and not by 2.1, and is no less exact; boxes that stay for longer lose accuracy,
then the hand (`benchmarks/tracking.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.data.pictures import Box

__all__ = ["Extent", "Margin", "around", "out_of_place", "square_of"]

Array = NDArray[Any]

SLACK = 0.04  # how far the side may be from the best one, as a part of that
SHIFT = 0.025  # how far the hand may be off the middle, in sides of the box
FURTHEST = 1e6  # pixels
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

    def holds(self, box: Box, extent: Extent) -> bool:
        """Whether a box is still the one for a hand."""
        middle = box.left + box.side / 2, box.top + box.side / 2
        apart = max(abs(a - b) for a, b in zip(extent.middle, middle, strict=True))
        return (
            abs(box.side - self.middle * extent.side) <= SLACK * self.middle * extent.side
            and apart <= SHIFT * box.side
        )


@dataclass(frozen=True)
class Extent:
    """What a hand fills of a picture, pixels."""

    left: float
    top: float
    right: float
    bottom: float

    @staticmethod
    def of_points(pixels: Array) -> Extent:
        """Of finite (N, 2 or more) pixels."""
        columns = np.ascontiguousarray(pixels[:, :2].T)  # ten times as fast as down the columns
        return Extent(*columns.min(1).tolist(), *columns.max(1).tolist())

    @property
    def middle(self) -> tuple[float, float]:
        """X and y."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    @property
    def side(self) -> float:
        """The longer one."""
        return max(self.right - self.left, self.bottom - self.top)


def around(extent: Extent, margin: Margin) -> Box:
    """The box for a hand."""
    # Far beyond any picture an answer is nonsense, and must still be a box.
    side = min(max(extent.side * margin.middle, 1.0), FURTHEST)
    left, top = (min(max(value - side / 2, -FURTHEST), FURTHEST) for value in extent.middle)
    return Box(round(left), round(top), round(side))


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

"""Where the hand is from one frame to the next, and when it is lost.

The hand of a frame is looked for around the mesh that was read from the frame before. A first
frame, or one after the hand was lost, is looked at whole (or where a detector points), and again at
where the answer says the hand is, until that is what is shown. The networks find a hand so by
themselves that fills a quarter of the picture's width or more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.data.pictures import Box, whole
from i2uv_edge.tracking.boxes import Margin, around, out_of_place
from i2uv_edge.tracking.reader import HandReader, Look

__all__ = ["Detector", "Found", "How", "Tracker"]

UInt8 = NDArray[np.uint8]
How = Literal["given", "tracked", "detector", "whole"]
Detector = Callable[[UInt8], Box | None]
"""(H, W, 3) RGB -> the square of its surest hand, None where there is none."""

LOOKS = 4  # at a frame whose hand has to be found: more bring nothing


@dataclass(frozen=True)
class Found:
    """The hand of a frame.

    Attributes
    ----------
    look : the surest one; None if none gave numbers
    how : where the first look was directed
    doubt : why it is taken for no hand, "" if it is one
    """

    look: Look | None
    how: How
    doubt: str = ""


class Tracker:
    """Follows one hand.

    Parameters
    ----------
    reader
        What looks.
    margin
        Of the crops it was trained on.
    limit_mm
        How far a map may disagree with itself along its seams before it is taken for no hand's.
    detector
        Says where to look first.
    """

    def __init__(
        self,
        reader: HandReader,
        margin: Margin,
        *,
        limit_mm: float = float("inf"),
        detector: Detector | None = None,
    ) -> None:
        self._reader = reader
        self._margin = margin
        self._limit = limit_mm
        self._detector = detector
        self._next: Box | None = None

    def forget(self) -> None:
        """What comes next is another picture, not the next frame."""
        self._next = None

    def follow(self, picture: UInt8, given: Box | None = None) -> Found:
        """Find the hand in the next (H, W, 3) frame; `given` is a square to look at instead."""
        if given is not None:
            look = self._reader.look(picture, given)
            return self._remember(picture, Found(look, "given", self._doubt(picture, look)))
        if self._next is not None:
            look = self._reader.look(picture, self._next)
            doubt = self._doubt(picture, look)
            if not doubt:
                return self._remember(picture, Found(look, "tracked"))
        return self._remember(picture, self._search(picture))

    def _search(self, picture: UInt8) -> Found:
        pointed = self._detector(picture) if self._detector is not None else None
        how: How = "whole" if pointed is None else "detector"
        box = whole(picture) if pointed is None else pointed
        best: Look | None = None
        for _ in range(LOOKS):
            look = self._reader.look(picture, box)
            if not look.finite:
                break
            if best is None or not look.disagreement_mm >= best.disagreement_mm:
                best = look
            if self._margin.holds(box, look.extent):
                break
            box = around(look.extent, self._margin)
            if out_of_place(box, *picture.shape[:2]):
                break
        return Found(best, how, "no numbers" if best is None else self._doubt(picture, best))

    def _doubt(self, picture: UInt8, look: Look) -> str:
        if not look.finite:
            return "the networks gave no numbers"
        if reason := out_of_place(around(look.extent, self._margin), *picture.shape[:2]):
            return reason
        if look.disagreement_mm > self._limit:
            return f"the map disagrees with itself by {look.disagreement_mm:.1f} mm"
        return ""

    def _remember(self, picture: UInt8, found: Found) -> Found:
        self._next = None
        if found.look is not None and not found.doubt:
            box, extent = found.look.box, found.look.extent
            kept = self._margin.holds(box, extent)
            self._next = box if kept else around(extent, self._margin)
        return found

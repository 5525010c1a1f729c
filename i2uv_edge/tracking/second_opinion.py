"""The same square of each picture read by float and by int8, side by side with their difference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.comparison import Contents
from i2uv_edge.scores import BASELINE
from i2uv_edge.tracking.overlay import lay_over
from i2uv_edge.tracking.panels import heat_over, side_by_side
from i2uv_edge.tracking.reader import HandReader, in_pixels
from i2uv_edge.tracking.records import Hand, number

__all__ = ["SecondOpinion"]

UInt8 = NDArray[np.uint8]


class SecondOpinion:
    """Reads what another reader has read, with the other networks of the bundle.

    Parameters
    ----------
    contents
        The bundle.
    reader
        What reads first: "tflite" is read by "float" as well, and the other way round.
    """

    def __init__(self, contents: Contents, reader: HandReader) -> None:
        name = "tflite" if reader.name == BASELINE else BASELINE
        self._reader = reader
        self._other = HandReader(contents, name, hand=reader.hand)
        quantized = "float, TFLite" if contents.recipe.is_float else "int8"
        self._titles = {BASELINE: "float", "tflite": quantized}
        self._count, self._sum, self._most = 0, 0.0, 0.0

    def panels(
        self, picture: UInt8, shown: UInt8, hand: Hand | None, samples: int
    ) -> tuple[UInt8, dict[str, Any]]:
        """Put float, int8 and their difference side by side.

        Parameters
        ----------
        picture
            (H, W, 3) the frame.
        shown
            (H, W, 3) the same with the first reader's hand over it.
        hand
            That hand, None if there is none.
        samples
            Drawn for each pixel, along a side.

        Returns
        -------
        tuple
            (H, 3 W, 3), and what JSON says of the frame; nothing where one of the two saw no hand.
        """
        views = {self._reader.name: shown, self._other.name: picture.copy()}
        heat, said, fields = picture.copy(), "no hand", {}
        theirs = None if hand is None else self._other.look(picture, hand.look.box)
        if hand is not None and theirs is not None and theirs.finite:
            faces, ours = self._reader.faces, hand.look
            placed = in_pixels(theirs.vertices, theirs.box)
            lay_over(views[self._other.name], placed, faces, samples=samples)
            reference = ours if self._reader.name == BASELINE else theirs
            apart = np.linalg.norm(ours.vertices - theirs.vertices, axis=1)
            apart = apart * self._reader.scale_mm(reference.vertices)
            mean, most = float(apart.mean()), float(apart.max())
            if math.isfinite(mean):
                heat = heat_over(picture, hand.pixels, faces, apart, samples=samples)
                said = f"difference: mean {mean:.2f} mm, most {most:.1f}"
                fields = {"difference_mm": {"mean": number(mean), "max": number(most)}}
                self._count += 1
                self._sum, self._most = self._sum + mean, max(self._most, most)
        titled = [(self._titles[name], views[name]) for name in (BASELINE, "tflite")]
        return side_by_side([*titled, (said, heat)]), fields

    def summary(self) -> dict[str, Any]:
        """What JSON says of all frames; nothing if no hand was seen in any."""
        if not self._count:
            return {}
        mean = number(self._sum / self._count)
        return {"difference_mm": {"mean": mean, "max": number(self._most)}}

"""What the tests of following a hand share: a reader that knows the truth, and small clips."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from i2uv_edge.atlases import ModelAtlases
from i2uv_edge.bundle import Bundle
from i2uv_edge.comparison import Contents, open_contents
from i2uv_edge.data.pictures import Box
from i2uv_edge.data.rendered.sample import Sample
from i2uv_edge.data.rendered_clip import ClipSettings, render_clip
from i2uv_edge.tracking.boxes import Margin
from i2uv_edge.tracking.reader import Look
from i2uv_edge.tracking.video import VideoWriter

UInt8 = NDArray[np.uint8]
MARGIN = Margin(1.12, 1.45)
CLIP = ClipSettings(size=96, noise=0.0)


@functools.cache
def clip(count: int = 4) -> tuple[Sample, ...]:
    return tuple(render_clip(1, count, CLIP))


def write_clip(path: Path, count: int = 4) -> Path:
    with VideoWriter(path, 30.0) as video:
        for sample in clip(count):
            video.write(sample.picture)
    return path


def write_png(path: Path, picture: UInt8) -> Path:
    assert cv2.imwrite(str(path), np.ascontiguousarray(picture[:, :, ::-1]))
    return path


def contents(bundle: Path) -> Contents:
    return open_contents(Bundle.open(bundle))


class Knows:
    """A reader that sees a square hand of 40 pixels where it is told to, if the box is near it."""

    hand = "right"
    name = "tflite"

    def __init__(self, left: float, top: float, *, apart_mm: float = 1.0) -> None:
        self.place = np.array([left, top], np.float32)
        self.apart_mm = apart_mm
        self.shown: list[Box] = []
        self.atlases: ModelAtlases | None = None

    def look(self, picture: UInt8, box: Box) -> Look:
        self.shown.append(box)
        corners = self.place + np.array([[0, 0], [40, 0], [0, 40], [40, 40]], np.float32)
        middle = np.array([box.left, box.top]) + box.side / 2
        near = bool((np.abs(middle - self.place - 20) < box.side / 2).all())
        flat = (corners - (box.left, box.top)) / box.side
        vertices = np.column_stack([flat, np.full(4, 0.5)]).astype(np.float32)
        maps: dict[str, Any] = {"affinenet": np.zeros((2, 2, 3), np.float32)}
        return Look(box, maps, vertices, self.apart_mm if near else 20.0)

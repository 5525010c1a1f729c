"""Calibration sets: the pictures that activation ranges are taken from, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from i2uv_edge.data.pictures import crop, list_pictures, read_picture
from i2uv_edge.data.rendered_set import set_sha256
from i2uv_edge.hand.model import FloatArray


@dataclass(frozen=True)
class CalibrationSet:
    """A folder of pictures.

    Attributes
    ----------
    paths : the pictures, sorted by name
    skipped : files in the folder that are no pictures
    sha256 : of the names and contents, see `rendered_set.set_sha256`
    """

    paths: tuple[Path, ...]
    skipped: int
    sha256: str

    @staticmethod
    def of_folder(folder: Path) -> CalibrationSet:
        """The set in a folder.

        Raises
        ------
        InputError
            No folder, or no picture in it.
        """
        paths, skipped = list_pictures(folder)
        return CalibrationSet(tuple(paths), skipped, set_sha256(paths))

    def batches(self, size: int) -> Iterator[FloatArray]:
        """One picture at a time as (1, size, size, 3) RGB 0..1, the whole picture in its square.

        Raises
        ------
        InputError
            A picture cannot be read; the message names it.
        """
        for path in self.paths:
            yield crop(read_picture(path), size)[0][None]


def write_calibration(images: Path, output: Path, size: int) -> CalibrationSet:
    """Make a calibration set of a folder of pictures: square crops of one size, as PNG.

    Every picture is read before the first is written, so that a damaged one leaves nothing behind.
    """
    found, skipped = list_pictures(images)
    for path in found:
        read_picture(path)
    output.mkdir(parents=True)
    for path in found:
        square = np.rint(crop(read_picture(path), size)[0] * 255).astype(np.uint8)
        bgr = np.ascontiguousarray(square[:, :, ::-1])
        target = output / f"{path.name}.png"  # the whole name: a.jpg and a.png are two pictures
        _, content = cv2.imencode(".png", bgr)
        target.write_bytes(content.tobytes())
    made = CalibrationSet.of_folder(output)
    return CalibrationSet(made.paths, skipped, made.sha256)

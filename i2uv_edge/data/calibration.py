"""Calibration sets: the pictures that activation ranges are taken from, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from i2uv_edge.atomic import write_folder
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

    def first(self, count: int) -> CalibrationSet:
        """The set's first pictures; `sha256` stays that of the whole set they are taken from."""
        return replace(self, paths=self.paths[:count])

    def batches(self, size: int) -> Iterator[FloatArray]:
        """One picture at a time as (1, size, size, 3) RGB 0..1, the whole picture in its square.

        Raises
        ------
        InputError
            A picture cannot be read; the message names it.
        """
        for path in self.paths:
            yield crop(read_picture(path), size)[0][None]


def write_calibration(
    images: Path, output: Path, size: int, *, force: bool = False
) -> CalibrationSet:
    """Make a calibration set of a folder of pictures: square crops of one size, as PNG.

    It takes its place when it is complete: a damaged picture or a kill leaves nothing behind, and
    what was there before stays.

    Parameters
    ----------
    images
        The pictures; subfolders are not searched.
    output
        The folder to make.
    size
        Side of the crops, pixels.
    force
        Replace a set that lies at ``output`` already: a folder of nothing but PNG files, and not
        ``images`` itself.

    Raises
    ------
    InputError
        No picture, or one that cannot be read; the message names it.
    UsageError
        ``output`` exists and is not to be replaced, or cannot be written.
    """
    found, skipped = list_pictures(images)

    def replaceable(folder: Path) -> bool:
        is_set = all(item.is_file() and item.suffix == ".png" for item in folder.iterdir())
        return is_set and folder.resolve() != images.resolve()

    with write_folder(output, replaceable=replaceable, force=force) as folder:
        for path in found:
            square = np.rint(crop(read_picture(path), size)[0] * 255).astype(np.uint8)
            _, content = cv2.imencode(".png", np.ascontiguousarray(square[:, :, ::-1]))
            # The whole name: a.jpg and a.png are two pictures.
            (folder / f"{path.name}.png").write_bytes(content.tobytes())
    return replace(CalibrationSet.of_folder(output), skipped=skipped)

"""Frames as an MP4 file."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from i2uv_edge.errors import InputError, UsageError

__all__ = ["VideoWriter"]


class VideoWriter:
    """Writes frames of one size into an MP4 file of MPEG-4 part 2.

    H.264 would be smaller, and is not in what OpenCV's packages bring.

    Raises
    ------
    UsageError
        The file cannot be written.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps = path, fps
        self._writer: Any = None
        self._shape: tuple[int, ...] = ()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, picture: NDArray[np.uint8]) -> None:
        """Append a (H, W, 3) RGB frame; an odd last row or column is cut off, as MPEG-4 asks."""
        if self._writer is None:
            height, width = picture.shape[:2]
            self._shape = picture.shape
            code = cv2.VideoWriter.fourcc(*"mp4v")
            size = width - width % 2, height - height % 2
            self._writer = cv2.VideoWriter(str(self._path), code, self._fps, size)
            if not self._writer.isOpened():
                raise UsageError(
                    f"{self._path} cannot be written as a video of {width} x {height} pixels",
                    remedy="free some space there, or choose another -o",
                )
        if picture.shape != self._shape:
            raise InputError(
                f"a frame of shape {picture.shape} after frames of {self._shape}",
                expected="a video whose frames all have one size",
            )
        height, width = (size - size % 2 for size in picture.shape[:2])
        self._writer.write(np.ascontiguousarray(picture[:height, :width, ::-1]))

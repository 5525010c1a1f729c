"""A video, frame by frame: no annotation, the hand fills the picture.

Frames are counted by decoding, never by seeking: what a container says of its length, and where a
seek ends up, are estimates with many codecs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from i2uv_edge.data.dataset import BUILT_IN, HandSample
from i2uv_edge.errors import InputError

__all__ = ["VideoFrames"]


class VideoFrames:
    """The frames of a video; ids are their numbers.

    Frames in order cost one decoding each; a step back starts again from the first.

    Raises
    ------
    InputError
        There is no file, or no frame in it that can be decoded.
    """

    name = "video"
    topology = BUILT_IN

    def __init__(self, path: Path) -> None:
        self._path = path
        self._capture: Any = None
        self._next = 0
        if not path.is_file():
            raise InputError(
                f"there is no video {path}", expected="a video file", remedy="check the path"
            )
        self._count = self._counted()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> HandSample:
        if not 0 <= index < len(self):
            raise IndexError(f"{self._path} has {len(self)} frames")
        if self._capture is None or index < self._next:
            self._open()
        while self._next < index and self._capture.grab():
            self._next += 1
        done, frame = self._capture.read()
        if not done:
            raise self._unreadable(f"frame {index} of {len(self)} cannot be decoded")
        self._next = index + 1
        picture: NDArray[np.uint8] = np.ascontiguousarray(frame[:, :, ::-1], np.uint8)
        return HandSample(id=f"{index:06d}", picture=picture)

    def __getstate__(self) -> dict[str, Any]:
        # A decoder belongs to its process.
        return {**self.__dict__, "_capture": None, "_next": 0}

    def _open(self) -> None:
        self._capture, self._next = cv2.VideoCapture(str(self._path)), 0

    def _counted(self) -> int:
        self._open()
        count = 0
        while self._capture.grab():
            count += 1
        self._capture = None
        if not count:
            raise self._unreadable("no frame can be decoded")
        return count

    def _unreadable(self, what: str) -> InputError:
        return InputError(
            f"{self._path}: {what}",
            expected="a video that OpenCV can decode (MP4, AVI, MKV, WebM)",
            remedy="convert it, for instance with `ffmpeg -i VIDEO -c:v libx264 out.mp4`",
        )

"""Where pictures come from: a file, a folder, a video or a camera, one by one."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from i2uv_edge.data.pictures import (
    list_pictures,
    looks_like_picture,
    quiet_decoder,
    read_picture,
)
from i2uv_edge.errors import InputError

__all__ = ["Frame", "Source", "open_source"]

UInt8 = NDArray[np.uint8]
Kind = Literal["picture", "folder", "video", "camera"]

USUAL_FPS = 30.0  # of a video that does not say
PLAUSIBLE_FPS = (0.5, 1000.0)
LOST_SHARE = 0.01  # of a video's frames: its container's count is an estimate


@dataclass(frozen=True)
class Frame:
    """A picture: the name of its file, or its number; (H, W, 3) RGB; seconds since the first."""

    name: str
    picture: UInt8
    time: float


class Source(Protocol):
    """Pictures, to be taken once.

    Attributes
    ----------
    kind : what it is
    name : what files about it are called
    total : how many there are, as far as is known; 0: unknown
    fps : frames a second; 0 where pictures have nothing to do with each other
    skipped : files of a folder that are no pictures
    note : what was wrong with it, known when it has ended
    """

    kind: Kind
    name: str
    total: int
    fps: float
    skipped: int
    note: str

    def __iter__(self) -> Iterator[Frame]:
        """The pictures, in order.

        Raises
        ------
        InputError
            One of them cannot be read.
        """

    def close(self) -> None:
        """Let go of it."""


def open_source(name: str) -> Source:
    """Open what a user named: a path, or "camera:N".

    Raises
    ------
    InputError
        There is no such thing, or it is neither picture nor video.
    """
    if camera := re.fullmatch(r"camera:(\d+)", name):
        return _Camera(int(camera.group(1)))
    if name.startswith("camera:") and not Path(name).exists():
        raise InputError(f"there is no camera {name!r}", expected="camera:0, camera:1, ...")
    path = Path(name)
    if path.is_dir():
        paths, skipped = list_pictures(path)
        return _Pictures("folder", path.resolve().name, paths, skipped)
    if not path.is_file():
        raise InputError(
            f"there is no {path}",
            expected="a picture, a folder of pictures, a video, or camera:N",
            remedy="check the path",
        )
    if looks_like_picture(path):
        return _Pictures("picture", path.stem, [path], 0)
    return _Video(path)


class _Pictures:
    """Files that have nothing to do with each other."""

    fps = 0.0
    note = ""

    def __init__(
        self, kind: Literal["picture", "folder"], name: str, paths: list[Path], skipped: int
    ) -> None:
        self.kind: Kind = kind
        self.name, self.total, self.skipped = name, len(paths), skipped
        self._paths = paths

    def __iter__(self) -> Iterator[Frame]:
        for path in self._paths:
            yield Frame(path.name, read_picture(path), 0.0)

    def close(self) -> None:
        """There is nothing to let go of."""


class _Video:
    kind: Kind = "video"
    skipped = 0

    def __init__(self, path: Path) -> None:
        self.name, self.note = path.stem, ""
        self._path = path
        self._capture = _opened(str(path))
        first = self._capture.read()[1] if self._capture is not None else None
        if self._capture is None or first is None:
            raise InputError(
                f"{path} is neither a picture nor a video that can be decoded",
                expected="JPEG, PNG, BMP, WebP, TIFF, or a video that OpenCV can decode "
                "(MP4, AVI, MKV, WebM)",
                remedy="convert it, for instance with `ffmpeg -i VIDEO -c:v libx264 out.mp4`",
            )
        self._first = first
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if PLAUSIBLE_FPS[0] <= fps <= PLAUSIBLE_FPS[1] else USUAL_FPS
        self.total = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)

    def __iter__(self) -> Iterator[Frame]:
        done, frame = 0, self._first
        while frame is not None:
            yield Frame(f"{done:06d}", _rgb(frame), done / self.fps)
            done += 1
            frame = self._capture.read()[1]
        if done < self.total - max(1.0, LOST_SHARE * self.total):
            self.note = f"{self._path} ends early: {done} of {self.total} frames could be decoded"

    def close(self) -> None:
        """Let go of the file."""
        self._capture.release()


class _Camera:
    kind: Kind = "camera"
    total = 0
    skipped = 0

    def __init__(self, number: int) -> None:
        self.name, self.note = f"camera-{number}", ""
        self._number = number
        self._capture = _opened(number)
        first = self._capture.read()[1] if self._capture is not None else None
        if self._capture is None or first is None:
            raise InputError(
                f"camera {number} gives no picture",
                expected="a camera that is connected and that no other program uses",
                remedy="look which there are (`ls /dev/video*`) and name one as camera:N",
            )
        self._first = first
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if PLAUSIBLE_FPS[0] <= fps <= PLAUSIBLE_FPS[1] else USUAL_FPS

    def __iter__(self) -> Iterator[Frame]:
        done, frame, start = 0, self._first, time.monotonic()
        while frame is not None:
            yield Frame(f"{done:06d}", _rgb(frame), time.monotonic() - start)
            done += 1
            frame = self._capture.read()[1]
        self.note = f"camera {self._number} stopped giving pictures after {done}"

    def close(self) -> None:
        """Let go of the camera."""
        self._capture.release()


def _opened(what: str | int) -> Any:
    with quiet_decoder():
        capture = cv2.VideoCapture(what)
    return capture if capture.isOpened() else None


def _rgb(frame: Any) -> UInt8:
    return np.ascontiguousarray(frame[:, :, ::-1], np.uint8)

"""Pictures as text for a page: colours for distances, PNG with a palette, JPEG, data URIs."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["colours", "heat_png", "jpeg", "nice_ceiling", "png", "ramp"]

Array = NDArray[Any]
Colours = NDArray[np.uint8]

LEVELS = 255
JPEG_QUALITY = 84


def ramp() -> Colours:
    """(255, 3) RGB from small to large: viridis, in which equal steps look equal to all eyes.

    See https://doi.org/10.1371/journal.pone.0199239 for why not a rainbow.
    """
    grey = np.linspace(0, 255, LEVELS).round().astype(np.uint8)[:, None]
    return np.asarray(cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS)[:, 0, ::-1], np.uint8)


def colours(values: Array, top: float) -> NDArray[np.float32]:
    """(...) values -> (..., 3) RGB 0..1 along the ramp, which `top` and all above end."""
    return ramp()[_levels(values, top)].astype(np.float32) / np.float32(255)


def heat_png(values: Array, top: float) -> str:
    """(H, W) -> a data URI, one pixel a value; NaN is transparent."""
    hole = np.isnan(values)
    indices = np.where(hole, 0, _levels(np.where(hole, 0, values), top) + 1).astype(np.uint8)
    palette = np.concatenate([np.zeros((1, 3), np.uint8), ramp()])
    height, width = values.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), indices], axis=1)  # 0: no filter
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", palette.tobytes()),
        (b"tRNS", b"\x00"),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    content = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)
    return _uri("png", content)


def jpeg(image: Colours) -> str:
    """(H, W, 3) RGB -> a data URI."""
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    _, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return _uri("jpeg", content.tobytes())


def png(image: Colours) -> str:
    """(H, W, 4) RGBA -> a data URI."""
    bgra = np.ascontiguousarray(image[:, :, (2, 1, 0, 3)])
    _, content = cv2.imencode(".png", bgra, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return _uri("png", content.tobytes())


def nice_ceiling(value: float) -> float:
    """The next round number, to end a scale at."""
    if not value > 0 or not np.isfinite(value):
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    steps = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
    return float(next(step for step in steps if value <= step * power * (1 + 1e-9)) * power)


def _levels(values: Array, top: float) -> NDArray[np.intp]:
    return np.clip(np.rint(values / top * (LEVELS - 1)), 0, LEVELS - 1).astype(np.intp)


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"

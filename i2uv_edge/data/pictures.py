"""Pictures in: from a file to RGB, from RGB to the square crop a network takes.

Reading gives what a person sees: upright (EXIF orientation), 8 bits, three channels, the first
frame of an animation. Transparent pixels are laid over black, like the border of `crop`. What
cannot be read whole is refused by name: a decoder that fills the missing half with grey would put
it into a calibration set.

Coordinates: a pixel is a square, its centre at half-integers. The crop's left edge is x = 0 and its
right edge x = 1, whatever the size, so a map's xy go back to the picture by `Box.to_pixels`.
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from i2uv_edge import bundle
from i2uv_edge.errors import InputError

__all__ = [
    "PREPROCESS",
    "Box",
    "crop",
    "list_pictures",
    "looks_like_picture",
    "quiet_decoder",
    "read_picture",
    "sha256_of",
    "whole",
]

UInt8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]

PREPROCESS = {
    "colour": "RGB",
    "layout": "NHWC",
    "range": [0.0, 1.0],
    "crop": "square, whole pixels; outside the picture black",
    "interpolation": "8-bit: area when shrinking (cv2.INTER_AREA), else bilinear; half-pixel",
}
"""What `crop` does, as an app has to be told it; belongs in a bundle's manifest."""

_FORMATS = "JPEG, PNG, BMP, WebP or TIFF"
_REMEDY = "export the picture again as 8-bit RGB PNG or JPEG, or take it out of the folder"

# By their first bytes (file(1)); the decoder knows more kinds, none of them tested here.
_SIGNATURES = {
    "jpeg": re.compile(rb"\xff\xd8\xff"),
    "png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "bmp": re.compile(rb"BM.{4}\0\0\0\0", re.DOTALL),
    "webp": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "tiff": re.compile(rb"II\*\0|MM\0\*"),
}
_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff"}
# Pictures to whoever put them there: better refused by name than skipped.
_SUFFIXES |= {".heic", ".heif", ".avif", ".gif", ".jp2", ".jxl", ".raw", ".dng", ".exr", ".hdr"}


@dataclass(frozen=True)
class Box:
    """A square of a picture: its left and top edge and its side, in whole pixels.

    It may reach beyond the picture.
    """

    left: int
    top: int
    side: int

    def to_pixels(self, xy: NDArray[Any]) -> NDArray[np.float64]:
        """Take (..., 2) crop units, 0..1, to pixels of the picture; a pixel's centre is at +0.5."""
        return np.asarray(xy, np.float64) * self.side + (self.left, self.top)

    def to_crop(self, xy: NDArray[Any]) -> NDArray[np.float64]:
        """Take (..., 2) pixels of the picture to crop units, the inverse of `to_pixels`."""
        return np.asarray((np.asarray(xy, np.float64) - (self.left, self.top)) / self.side)


def read_picture(path: Path | str) -> UInt8:
    """Read a JPEG, PNG, BMP, WebP or TIFF file.

    Grey, palette, 16-bit, CMYK and transparent pictures are converted.

    Returns
    -------
    ndarray
        (H, W, 3) uint8 RGB.

    Raises
    ------
    InputError
        The file is missing, empty, cut short, damaged, no picture, or of a kind that cannot be
        shown in 8 bits (floating point).
    """
    path = Path(path)
    content = _content(path)
    kind = _kind(content)
    if kind is None:
        raise InputError(
            f"{path} is not a picture that can be read: it starts with {content[:8]!r}",
            expected=_FORMATS,
            remedy=_REMEDY,
        )
    if (kind == "jpeg" and not _jpeg_ends(content)) or (kind == "png" and not _png_ends(content)):
        raise InputError(
            f"{path} is cut short: the end marker of its {kind.upper()} data is missing",
            expected="a complete file",
            remedy="copy the file again from where it came",
        )
    picture = _decode(content, kind)
    if picture is None:
        raise InputError(
            f"{path} cannot be decoded: its {kind.upper()} data is damaged, cut short or unusual",
            expected=f"{_FORMATS}, 8 or 16 bits a channel",
            remedy=_REMEDY,
        )
    return picture


def list_pictures(folder: Path | str) -> tuple[list[Path], int]:
    """List the pictures of a folder, not of its subfolders.

    A file is a picture by its suffix or by its first bytes; whether it can be read is for
    `read_picture` to find out. Hidden files are no pictures.

    Returns
    -------
    tuple
        The paths sorted by name, and how many files were skipped.

    Raises
    ------
    InputError
        The folder is missing, is no folder, or holds no picture.
    """
    folder = Path(folder)
    remedy = f"name a folder that holds {_FORMATS} files"
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {what}", expected="a folder of pictures", remedy=remedy)
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}", remedy=remedy) from error
    pictures = [path for path in files if looks_like_picture(path)]
    if not pictures:
        raise InputError(
            f"{folder} holds no picture ({len(files)} other files; subfolders are not searched)",
            expected=f"at least one {_FORMATS} file",
            remedy=remedy,
        )
    return pictures, len(files) - len(pictures)


def sha256_of(path: Path | str) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    try:
        return bundle.sha256_of(Path(path))
    except OSError as error:
        raise _unreadable(Path(path), error) from error


def whole(picture: NDArray[Any]) -> Box:
    """Return the centred square that holds all of a (H, W, 3) picture."""
    height, width = picture.shape[:2]
    side = max(height, width)
    return Box((width - side) // 2, (height - side) // 2, side)


def crop(picture: UInt8, size: int, box: Box | None = None) -> tuple[Float32, Box]:
    """Cut a square out of a picture and resize it to what a network takes.

    Shrinking averages over the area a pixel covers, so that fine texture does not turn into noise;
    growing is bilinear. Both are done in 8 bits, as on the phone, so every runtime sees the same
    256 levels, which an int8 input of scale 1/255 holds exactly.

    Parameters
    ----------
    picture
        (H, W, 3) uint8 RGB.
    size
        The side S of the result.
    box
        What to cut out; `whole(picture)` without. It is black beyond the picture.

    Returns
    -------
    tuple
        (S, S, 3) float32 RGB, 0..1, and the box that was cut out.

    Raises
    ------
    InputError
        The box has no size or does not meet the picture.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(f"expected (H, W, 3) uint8, got {picture.shape} {picture.dtype}")
    box = whole(picture) if box is None else box
    height, width = picture.shape[:2]
    top, bottom = max(box.top, 0), min(box.top + box.side, height)
    left, right = max(box.left, 0), min(box.left + box.side, width)
    if box.side < 1 or top >= bottom or left >= right:
        raise InputError(
            f"the crop at ({box.left}, {box.top}) of side {box.side} holds nothing of a picture of "
            f"{width} x {height} pixels",
            expected="a square that meets the picture",
        )
    square = picture[top:bottom, left:right]
    if square.shape[:2] != (box.side, box.side):
        padded = np.zeros((box.side, box.side, 3), np.uint8)
        padded[top - box.top : bottom - box.top, left - box.left : right - box.left] = square
        square = padded
    if box.side != size:
        method = cv2.INTER_AREA if size < box.side else cv2.INTER_LINEAR
        square = np.asarray(cv2.resize(square, (size, size), interpolation=method), np.uint8)
    return np.asarray(square, np.float32) / np.float32(255), box


# --- files ----------------------------------------------------------------------------------------


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    if not content:
        raise InputError(f"{path} is empty", expected=_FORMATS, remedy=_REMEDY)
    return content


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path} cannot be read: {error.strerror}",
        expected="a file that exists and may be read",
        remedy="check the path and its permissions",
    )


def looks_like_picture(path: Path) -> bool:
    """Whether a file is a picture by its suffix or its first bytes; see `list_pictures`."""
    if path.name.startswith("."):
        return False
    if path.suffix.lower() in _SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return _kind(file.read(16)) is not None
    except OSError as error:
        raise _unreadable(path, error) from error


def _kind(content: bytes) -> str | None:
    return next((k for k, signature in _SIGNATURES.items() if signature.match(content)), None)


_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}  # TEM, RST0..7, SOI


def _jpeg_ends(content: bytes) -> bool:
    """Whether the end-of-image marker is there (ITU-T T.81, annex B).

    Segments are walked by their lengths: a thumbnail in the EXIF segment has an end marker of its
    own. In the compressed data after a scan header a stuffed 0xFF00 is no marker.
    """
    position = 0
    while (marker := _JPEG_MARKER.search(content, position)) is not None:
        code, position = marker.group(1)[0], marker.end()
        if code == 0xD9:
            return True
        if code not in _WITHOUT_LENGTH:
            if position + 2 > len(content):
                return False
            position += int.from_bytes(content[position : position + 2], "big")
    return False


def _png_ends(content: bytes) -> bool:
    """Whether the chunks go on to IEND (PNG specification, 5.3)."""
    position = 8
    while position + 8 <= len(content):
        length, kind = struct.unpack(">I4s", content[position : position + 8])
        position += length + 12
        if kind == b"IEND":
            return bool(position <= len(content))
    return False


# --- decoding -------------------------------------------------------------------------------------


def _decode(content: bytes, kind: str) -> UInt8 | None:
    buffer = np.frombuffer(content, np.uint8)
    with quiet_decoder():
        try:
            # PNG and WebP keep colour and transparency apart; TIFF comes multiplied out already,
            # and what BMP holds in the fourth byte is mostly nothing.
            if kind in ("png", "webp"):
                raw = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)
                if raw is not None and raw.ndim == 3 and raw.shape[2] == 4:
                    return _turned(_over_black(raw), _orientation(buffer))
            picture = cv2.imdecode(buffer, cv2.IMREAD_COLOR)
        except cv2.error:  # a header that asks for more than the decoder allows
            return None
    if picture is None or not picture.size or picture.dtype != np.uint8:
        return None
    return np.ascontiguousarray(picture[:, :, ::-1])


def _over_black(bgra: NDArray[Any]) -> UInt8:
    peak = np.iinfo(bgra.dtype).max
    colour = bgra[:, :, 2::-1].astype(np.float32) * (bgra[:, :, 3:].astype(np.float32) / peak)
    return np.rint(colour * np.float32(255 / peak)).astype(np.uint8)


def _orientation(buffer: UInt8) -> int:
    """Return the EXIF orientation, 1..8; the decoder applies it to pictures without alpha only."""
    _, kinds, blocks = cv2.imdecodeWithMetadata(buffer, cv2.IMREAD_UNCHANGED)
    for kind, block in zip(kinds, blocks, strict=True):
        if kind == cv2.IMAGE_METADATA_EXIF:
            return _exif_orientation(np.asarray(block, np.uint8).tobytes())
    return 1


def _exif_orientation(exif: bytes) -> int:
    """Find tag 0x0112 in the first directory (EXIF 2.32, 4.6.2); 1 if there is none."""
    start = exif.find(b"II*\0") if b"II*\0" in exif else exif.find(b"MM\0*")
    order = "<" if exif[start : start + 1] == b"I" else ">"
    with contextlib.suppress(struct.error):  # a damaged block turns nothing
        (directory,) = struct.unpack_from(f"{order}I", exif, start + 4)
        (entries,) = struct.unpack_from(f"{order}H", exif, start + directory)
        for entry in range(entries):
            place = start + directory + 2 + 12 * entry
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, place)
            if tag == 0x0112 and 1 <= value <= 8:
                return int(value)
    return 1


def _turned(picture: UInt8, orientation: int) -> UInt8:
    """Undo an EXIF orientation: 5..8 transpose, then rows and columns are reversed."""
    if orientation >= 5:
        picture = picture.transpose(1, 0, 2)
    down = -1 if orientation in (3, 4, 7, 8) else 1
    across = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(picture[::down, ::across])


@contextlib.contextmanager
def quiet_decoder() -> Iterator[None]:
    """Keep OpenCV's own complaints out of the terminal: errors that say what to do come instead."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)

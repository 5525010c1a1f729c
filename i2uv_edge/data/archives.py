"""Samples as the archive of I2UV-HandNet's authors keeps them, a `.npz` each.

For AffineNet: ``rgb`` (a picture file's bytes) and ``uvz`` (its map), at times ``mask`` (bytes too)
and ``rgb_hand`` (the hand alone, which is left aside). For SRNet: ``uvz_778`` and ``uvz_3k``, the
coarse and the fine map of one hand, and ``max_min`` (its extent before it was normalised).
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from i2uv_edge.data.dataset import MANO, HandSample
from i2uv_edge.errors import InputError
from i2uv_edge.hand.model import FloatArray

__all__ = ["MapPair", "MapPairs", "PictureArchives"]

_REMEDY = "name the folder of the samples, or take this file out of it"
# How far a map may leave the crop. Other numbers are another unit: metres, or pixels.
_LOW, _HIGH = -0.5, 1.5


class PictureArchives:
    """Pictures with their maps; ids are file names. The map is of the whole picture.

    Raises
    ------
    InputError
        The folder is missing or holds no `.npz`.
    """

    name = "i2uv-archive"
    topology = MANO

    def __init__(self, folder: Path) -> None:
        self._paths = _npz_files(folder, "rgb and uvz")

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> HandSample:
        path = _at(self._paths, index)
        arrays = _read(path, ("rgb", "uvz"), ("mask",))
        picture = _decoded(path, "rgb", arrays["rgb"])
        mask = None
        if "mask" in arrays:
            mask = np.asarray(_decoded(path, "mask", arrays["mask"]).any(-1))
        uv_map = _map(path, "uvz", arrays["uvz"])
        height, width = picture.shape[:2]
        if height != width:
            raise _refuse(path, f"rgb is of {width} x {height} pixels, not square")
        return HandSample(
            id=path.stem,
            picture=picture,
            mask=mask,
            box=(0.0, 0.0, float(width)),
            uv_map=uv_map,
        )


@dataclass(frozen=True)
class MapPair:
    """Two maps of one hand.

    Attributes
    ----------
    id : the file's name
    coarse, fine : (M, M, 3) float32, each axis 0..1 over the hand
    low, span : (3,) float32: what was taken to 0 and how much of it to 1
    """

    id: str
    coarse: FloatArray
    fine: FloatArray
    low: FloatArray
    span: FloatArray


class MapPairs:
    """Pairs of maps for SRNet, random access like a `HandDataset`.

    Raises
    ------
    InputError
        The folder is missing or holds no `.npz`.
    """

    name = "i2uv-pairs"

    def __init__(self, folder: Path) -> None:
        self._paths = _npz_files(folder, "uvz_778, uvz_3k and max_min")

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> MapPair:
        path = _at(self._paths, index)
        arrays = _read(path, ("uvz_778", "uvz_3k", "max_min"))
        coarse, fine = (_map(path, name, arrays[name]) for name in ("uvz_778", "uvz_3k"))
        if coarse.shape != fine.shape:
            raise _refuse(path, f"maps of shapes {coarse.shape} and {fine.shape}")
        if arrays["max_min"].size != 6:
            raise _refuse(path, f"max_min is of shape {arrays['max_min'].shape}, not (2, 3)")
        most, least = np.asarray(arrays["max_min"], np.float32).reshape(2, 3)
        return MapPair(path.stem, coarse, fine, least, most - least)


def _npz_files(folder: Path, what: str) -> tuple[Path, ...]:
    try:
        paths = tuple(sorted(path for path in folder.iterdir() if path.suffix == ".npz"))
    except OSError as error:
        raise InputError(
            f"{folder} cannot be read: {error.strerror}",
            expected=f"a folder of .npz files with {what}",
            remedy=_REMEDY,
        ) from error
    if not paths:
        raise InputError(
            f"{folder} holds no .npz file",
            expected=f"files with {what}; subfolders are not searched",
            remedy=_REMEDY,
        )
    return paths


def _at(paths: tuple[Path, ...], index: int) -> Path:
    if not 0 <= index < len(paths):
        raise IndexError(f"there are {len(paths)} samples")
    return paths[index]


def _read(
    path: Path, needed: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            names = [name for name in (*needed, *optional) if name in stored.files]
            arrays = {name: stored[name] for name in names}
            others = ", ".join(stored.files)
    # AttributeError: a bare .npy under this name is an array and no archive.
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise _refuse(path, f"it cannot be read ({error})") from error
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise _refuse(path, f"it lacks {', '.join(missing)}; it holds {others or 'nothing'}")
    return arrays


def _decoded(path: Path, name: str, stored: NDArray[Any]) -> NDArray[np.uint8]:
    """A picture, (H, W, 3) RGB, from the bytes of its file or from its pixels."""
    if stored.dtype == np.uint8 and stored.ndim == 3 and stored.shape[2] == 3:
        return stored
    content = np.frombuffer(stored.tobytes(), np.uint8)
    picture = None
    if content.size and (stored.dtype.kind == "S" or stored.dtype == np.uint8):
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR)
    if picture is None:
        raise _refuse(path, f"its {name} cannot be decoded")
    return np.ascontiguousarray(picture[:, :, ::-1], np.uint8)


def _map(path: Path, name: str, stored: NDArray[Any]) -> FloatArray:
    if stored.ndim != 3 or stored.shape[0] != stored.shape[1] or stored.shape[2] != 3:
        raise _refuse(path, f"its {name} is of shape {stored.shape}, not (M, M, 3)")
    try:
        uv_map = stored.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise _refuse(path, f"its {name} holds no numbers") from error
    held = uv_map[uv_map.any(-1)]
    if not len(held) or not np.isfinite(held).all():
        raise _refuse(path, f"its {name} is empty, or not finite")
    if held.min() < _LOW or held.max() > _HIGH:
        raise _refuse(
            path,
            f"its {name} holds {held.min():.3g}..{held.max():.3g}, which are no map units "
            f"(they may be metres, or pixels)",
        )
    return uv_map


def _refuse(path: Path, what: str) -> InputError:
    return InputError(
        f"{path}: {what}",
        expected="a sample of the I2UV archive, its maps in sides of the crop",
        remedy=_REMEDY,
    )

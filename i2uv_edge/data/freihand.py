"""FreiHAND as its authors publish it (https://lmb.informatik.uni-freiburg.de/projects/freihand).

``training/rgb/%08d.jpg`` holds every hand in up to four versions, which differ by their background:
picture i + N * version belongs to row i of the N rows of the annotations, and only the first N have
a mask. ``evaluation/rgb`` has one version; its ground truth came as a later download.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from i2uv_edge.data.dataset import MANO, HandSample, bone_length, bounding_box
from i2uv_edge.data.json_rows import JsonRows
from i2uv_edge.data.pictures import read_picture
from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.hand.mano import VERTICES

__all__ = ["SPLITS", "FreiHand"]

SPLITS = ("training", "evaluation")
_PICTURE = re.compile(r"\d{8}\.jpg")


class FreiHand:
    """The pictures of one split.

    Parameters
    ----------
    folder
        What holds `training`, `evaluation` and the JSON files.
    split
        "training" or "evaluation".

    Raises
    ------
    InputError
        A file is missing or damaged, the annotations have different numbers of rows, or there are
        not as many pictures as rows, times a whole number of versions.
    UsageError
        There is no such split.
    """

    name = "freihand"
    topology = MANO

    def __init__(self, folder: Path, split: str = "training") -> None:
        if split not in SPLITS:
            raise UsageError(
                f"FreiHAND has no split {split!r}", expected=f"one of {', '.join(SPLITS)}"
            )
        self.folder = folder
        self.split = split
        self._cameras = JsonRows(folder / f"{split}_K.json", (3, 3))
        needed = split == "training"
        self._joints = self._rows("xyz", (21, 3), needed=needed)
        self._vertices = self._rows("verts", (VERTICES, 3), needed=needed)
        self._scales = self._rows("scale", (), needed=False)
        self._versions = self._count_versions()
        self._masks = folder / split / "mask"
        self._masked = self._masks.is_dir()

    @property
    def annotated(self) -> bool:
        """Whether joints and vertices are known."""
        return self._joints is not None and self._vertices is not None

    def __len__(self) -> int:
        return len(self._cameras) * self._versions

    def __getitem__(self, index: int) -> HandSample:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.folder} has {len(self)} pictures of {self.split}")
        row = index % len(self._cameras)
        camera = self._cameras[row].astype(np.float32)
        joints = None if self._joints is None else self._joints[row].astype(np.float32)
        vertices = None if self._vertices is None else self._vertices[row].astype(np.float32)
        scale = bone_length(joints) if self._scales is None else float(self._scales[row])
        path = self.folder / self.split / "rgb" / f"{index:08d}.jpg"
        try:
            box = bounding_box(joints if vertices is None else vertices, camera)
        except ValueError as error:
            raise InputError(
                f"row {row} of {self.folder / self.split}_xyz.json: {error}",
                expected="a hand in front of the camera, in metres",
                remedy="unpack the data set again",
            ) from error
        return HandSample(
            id=f"{index:08d}",
            picture=read_picture(path),
            intrinsics=camera,
            vertices=vertices,
            joints=joints,
            mask=read_mask(self._masks / f"{row:08d}.jpg") if self._masked else None,
            scale=scale,
            box=box,
        )

    def _rows(self, what: str, shape: tuple[int, ...], *, needed: bool) -> JsonRows | None:
        path = self.folder / f"{self.split}_{what}.json"
        if not needed and not path.exists():
            return None
        rows = JsonRows(path, shape)
        if len(rows) != len(self._cameras):
            raise InputError(
                f"{path} has {len(rows)} rows, {self._cameras.path} has {len(self._cameras)}",
                expected="files of one download, with a row for each hand",
                remedy="unpack the data set again",
            )
        return rows

    def _count_versions(self) -> int:
        """How often each row's hand is there."""
        folder, rows = self.folder / self.split / "rgb", len(self._cameras)
        try:
            with os.scandir(folder) as entries:
                present = {entry.name for entry in entries if _PICTURE.fullmatch(entry.name)}
        except OSError as error:
            raise InputError(
                f"{folder} cannot be read: {error.strerror}",
                expected="the folder of FreiHAND's pictures",
                remedy="name the folder that holds `training` and `evaluation`",
            ) from error
        versions = max(-(-len(present) // rows), 1)
        names = (f"{index:08d}.jpg" for index in range(rows * versions))
        missing = next((name for name in names if name not in present), None)
        if missing is not None:
            raise InputError(
                f"{folder / missing} is missing: there are {len(present)} pictures for the {rows} "
                f"rows of {self._cameras.path}",
                expected=f"{rows}, or a multiple of it: every hand in the same number of versions",
                remedy="unpack the data set again",
            )
        return versions


def read_mask(path: Path) -> NDArray[np.bool_]:
    """(H, W) bool of a grey picture: what is bright."""
    grey = cv2.cvtColor(read_picture(path), cv2.COLOR_RGB2GRAY)
    return np.asarray(grey > 127)

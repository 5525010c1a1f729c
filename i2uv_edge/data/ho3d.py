"""HO-3D, version 2 and 3, as its authors publish it (https://github.com/shreyashampali/ho3d).

``train.txt`` and ``evaluation.txt`` list samples as ``SEQUENCE/NUMBER``; each has a picture in
``SPLIT/SEQUENCE/rgb`` and a pickle in ``SPLIT/SEQUENCE/meta``. Axes are OpenGL's, joints in MANO's
order. The evaluation split gives the wrist and a box; its ground truth, where a user has it, lies
beside the lists as ``evaluation_xyz.json`` and ``evaluation_verts.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.data.dataset import JOINTS, MANO, HandSample, Square, bone_length, bounding_box
from i2uv_edge.data.json_rows import JsonRows
from i2uv_edge.data.pictures import read_picture
from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.hand.camera import bounding_square
from i2uv_edge.hand.mano import FINGERTIPS, Mano, to_freihand_order
from i2uv_edge.hand.model import FloatArray
from i2uv_edge.pickles import read_pickle

__all__ = ["FOLDERS", "OPENGL", "Ho3d"]

FOLDERS = {"training": "train", "evaluation": "evaluation"}
OPENGL: FloatArray = np.array([1.0, -1.0, -1.0], np.float32)
"""Times this, OpenGL's axes (y up, z towards the viewer) are those of a camera."""
_SUFFIXES = (".png", ".jpg")  # of version 2 and 3


class Ho3d:
    """The pictures of one split.

    Parameters
    ----------
    folder
        What holds `train`, `evaluation` and the lists.
    split
        "training" or "evaluation".
    mano
        The hand model, for vertices; without it there are joints alone.

    Raises
    ------
    InputError
        The list is missing or damaged.
    UsageError
        There is no such split.
    """

    name = "ho3d"
    topology = MANO

    def __init__(self, folder: Path, split: str = "training", mano: Mano | None = None) -> None:
        if split not in FOLDERS:
            raise UsageError(
                f"HO3D has no split {split!r}", expected=f"one of {', '.join(FOLDERS)}"
            )
        self.folder = folder
        self.split = split
        self._mano = mano
        self._list = folder / f"{FOLDERS[split]}.txt"
        self._ids = self._read_list()
        self._joints = self._vertices = None
        truth = folder / "evaluation_xyz.json", folder / "evaluation_verts.json"
        if split == "evaluation" and truth[0].exists():
            self._joints = self._rows(truth[0], (JOINTS, 3))
            self._vertices = self._rows(truth[1], (-1, 3)) if truth[1].exists() else None

    @property
    def annotated(self) -> bool:
        """Whether all joints are known."""
        return self.split == "training" or self._joints is not None

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> HandSample:
        if not 0 <= index < len(self):
            raise IndexError(f"{self._list} lists {len(self)} samples")
        sequence, number = self._ids[index].split("/")
        place = self.folder / FOLDERS[self.split] / sequence
        path = place / "meta" / f"{number}.pkl"
        content = read_pickle(path)
        if not isinstance(content, dict):
            raise _refuse(path, "no dictionary")
        camera = _array(path, content, "camMat", (3, 3))
        joints, vertices, root = self._hand(path, content, index)
        try:
            box = bounding_box(joints if vertices is None else vertices, camera)
        except ValueError as error:
            raise _refuse(path, str(error)) from error
        return HandSample(
            id=self._ids[index],
            picture=read_picture(_picture(place / "rgb" / number)),
            intrinsics=camera,
            vertices=vertices,
            joints=joints,
            scale=bone_length(joints),
            box=_given_box(path, content) if box is None else box,
            root=root,
        )

    def _hand(
        self, path: Path, content: dict[str, Any], index: int
    ) -> tuple[FloatArray | None, FloatArray | None, FloatArray]:
        """Joints, vertices and the wrist, in camera axes."""
        if self.split == "evaluation":
            root = np.ravel(_array(path, content, "handJoints3D", None))[:3] * OPENGL
            joints = vertices = None
            if self._joints is not None:
                joints = to_freihand_order(self._joints[index]) * OPENGL
            if self._vertices is not None:
                vertices = self._vertices[index].astype(np.float32) * OPENGL
            return joints, vertices, root
        joints = to_freihand_order(_array(path, content, "handJoints3D", (JOINTS, 3))) * OPENGL
        vertices = None
        if self._mano is not None:
            hand = self._mano.pose(
                _array(path, content, "handPose", (48,)),
                _array(path, content, "handBeta", (10,)),
                _array(path, content, "handTrans", (3,)),
                fingertips=FINGERTIPS["ho3d"],
            )
            vertices = hand.vertices * OPENGL
        return joints, vertices, joints[0]

    def _read_list(self) -> list[str]:
        try:
            lines = self._list.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{self._list} cannot be read: {error}",
                expected=f"the list of HO3D's samples of {self.split}",
                remedy="name the folder that holds `train.txt` and `evaluation.txt`",
            ) from error
        for number, line in enumerate(lines, start=1):
            parts = line.split("/")
            if len(parts) != 2 or not all(parts) or ".." in parts:
                raise InputError(
                    f"{self._list}, line {number}: {line!r} is no sample",
                    expected="lines SEQUENCE/NUMBER",
                    remedy="unpack the data set again",
                )
        if not lines:
            raise InputError(f"{self._list} lists no sample", expected="lines SEQUENCE/NUMBER")
        return lines

    def _rows(self, path: Path, shape: tuple[int, ...]) -> JsonRows:
        rows = JsonRows(path, shape)
        if len(rows) != len(self._ids):
            raise InputError(
                f"{path} has {len(rows)} rows, {self._list} lists {len(self._ids)} samples",
                expected="a row for each sample",
                remedy="get the ground truth of this version of the data set",
            )
        return rows


def _picture(stem: Path) -> Path:
    found = (stem.with_suffix(suffix) for suffix in _SUFFIXES)
    return next((path for path in found if path.exists()), stem.with_suffix(_SUFFIXES[0]))


def _given_box(path: Path, content: dict[str, Any]) -> Square | None:
    """`handBoundingBox`, left, top, right and bottom, as a square."""
    if content.get("handBoundingBox") is None:
        return None
    corners = np.asarray(_array(path, content, "handBoundingBox", (4,)), np.float64).reshape(2, 2)
    if not (corners[1] > corners[0]).all():
        raise _refuse(path, f"a handBoundingBox without an area, {corners.ravel().tolist()}")
    return bounding_square(corners)


def _array(
    path: Path, content: dict[str, Any], key: str, shape: tuple[int, ...] | None
) -> NDArray[np.float32]:
    value = content.get(key)
    if value is None:
        raise _refuse(path, f"no {key}, so its hand is not annotated")
    try:
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError) as error:
        raise _refuse(path, f"a {key} of no numbers") from error
    if shape is None:
        shape = (max(array.size, 3),)
        array = array.ravel()
    if array.shape != shape or not np.isfinite(array).all():
        raise _refuse(path, f"a {key} of shape {array.shape}, not {shape} of finite numbers")
    return array


def _refuse(path: Path, what: str) -> InputError:
    return InputError(
        f"{path} holds {what}",
        expected="an annotation of HO3D: camMat, handJoints3D, handPose, handBeta, handTrans",
        remedy="unpack the data set again; a list of your own may name annotated samples only",
    )

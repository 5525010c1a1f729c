"""One picture of a hand with its annotation, whichever data set it comes from.

A data set is random access (`dataset[index]`), goes into other processes (it can be pickled), and
holds none of its pictures: what it keeps in memory does not grow with what is on disk beyond an
index. `data.catalogue.open_dataset` opens each kind by its name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.hand.camera import Square, bounding_square, project, to_map_units
from i2uv_edge.hand.model import FloatArray

__all__ = [
    "BUILT_IN",
    "JOINTS",
    "MANO",
    "HandDataset",
    "HandSample",
    "Mirrored",
    "Square",
    "bounding_box",
    "mirrored",
    "to_map_units",
]

BUILT_IN = "built-in"
MANO = "mano"
JOINTS = 21
SCALE_BONE = (9, 10)  # the middle finger's first bone: FreiHAND's `scale` is its length


@dataclass(frozen=True)
class HandSample:
    """One picture; what a data set does not know is None. Camera axes: x right, y down, z away.

    Attributes
    ----------
    id : unique in its data set
    picture : (H, W, 3) uint8 RGB, of a right hand
    intrinsics : (3, 3) float32 pixels
    vertices : (V, 3) float32 metres, in the data set's topology
    joints : (21, 3) float32 metres in FreiHAND's order: wrist, thumb to little, tips last of each
    mask : (H, W) bool, where the hand is seen
    scale : length of the bone between joints 9 and 10, metres
    box : left, top, side in pixels of a square around the hand, without any margin
    uv_map : (M, M, 3) float32 map units, where the data set stores maps
    root : (3,) float32 metres, the wrist, where that is given and no other joint
    """

    id: str
    picture: NDArray[np.uint8]
    intrinsics: FloatArray | None = None
    vertices: FloatArray | None = None
    joints: FloatArray | None = None
    mask: NDArray[np.bool_] | None = None
    scale: float | None = None
    box: Square | None = None
    uv_map: FloatArray | None = None
    root: FloatArray | None = None


class HandDataset(Protocol):
    """Pictures by number."""

    @property
    def name(self) -> str:
        """How it is called: "freihand"."""

    @property
    def topology(self) -> str:
        """Whose vertices its samples have: "built-in" or "mano"."""

    def __len__(self) -> int:
        """The number of samples."""

    def __getitem__(self, index: int) -> HandSample:
        """Sample ``index``, 0 and up; IndexError behind the last.

        Raises
        ------
        InputError
            A file of it is missing or damaged; the message names it.
        """


@dataclass(frozen=True)
class Mirrored:
    """A data set of left hands, each shown as the right hand in a mirror."""

    original: HandDataset

    @property
    def name(self) -> str:
        """That of the original."""
        return self.original.name

    @property
    def topology(self) -> str:
        """That of the original."""
        return self.original.topology

    def __len__(self) -> int:
        return len(self.original)

    def __getitem__(self, index: int) -> HandSample:
        return mirrored(self.original[index])


def mirrored(sample: HandSample) -> HandSample:
    """Mirror picture, camera and hand together, left to right.

    A pixel column c becomes W - 1 - c, so the edge x becomes W - x; the camera's centre moves
    likewise. Vertices keep their order, as MANO's left hand has its right hand's.
    """
    width = sample.picture.shape[1]
    changes: dict[str, Any] = {"picture": np.ascontiguousarray(sample.picture[:, ::-1])}
    if sample.intrinsics is not None:
        camera = sample.intrinsics.copy()
        camera[0, 1:] *= -1
        camera[0, 2] += width
        changes["intrinsics"] = camera
    flip = np.array([-1.0, 1.0, 1.0], np.float32)
    for name in ("vertices", "joints", "root"):
        points = getattr(sample, name)
        changes[name] = None if points is None else points * flip
    if sample.mask is not None:
        changes["mask"] = np.ascontiguousarray(sample.mask[:, ::-1])
    if sample.box is not None:
        left, top, side = sample.box
        changes["box"] = (width - left - side, top, side)
    if sample.uv_map is not None:
        # Maps are of the whole picture; texels without a hand are zero, and stay so.
        held = sample.uv_map.any(-1)
        turned = sample.uv_map * flip
        turned[..., 0] += held
        changes["uv_map"] = turned
    return replace(sample, **changes)


def bounding_box(points: FloatArray | None, intrinsics: FloatArray | None) -> Square | None:
    """The square around where points are seen, None if they or the camera are unknown."""
    if points is None or intrinsics is None:
        return None
    return bounding_square(project(points, intrinsics))


def bone_length(joints: FloatArray | None) -> float | None:
    """`HandSample.scale` of (21, 3) joints."""
    if joints is None:
        return None
    first, second = SCALE_BONE
    return float(np.linalg.norm(joints[first] - joints[second]))

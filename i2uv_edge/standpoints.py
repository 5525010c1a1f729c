"""What the vertices of a network of the role "hand" are relative to, and what it is fed with.

A sample's truth is in map units, which are crop sides. Here it is told as such a network tells it:
then one unit is as many millimetres as `scale_mm` says, as with any map.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.atlases import ModelAtlases
from i2uv_edge.data.evaluation import bundled_samples
from i2uv_edge.errors import InputError
from i2uv_edge.parity import Sample, Truth
from i2uv_edge.spec import NetworkSpec, Role, seeing

__all__ = [
    "NOISE_MM",
    "Standpoint",
    "as_taken",
    "keypoint_feed",
    "picture_size",
    "seen_from",
    "standpoint",
]

Array = NDArray[Any]
Float32 = NDArray[np.float32]
Origin = Literal["crop", "root", "keypoints"]

PICTURE_SIZE = 256  # of the samples of networks that look at no picture
ROOT = 9  # the middle finger's first joint
_BONE = (0, 1)  # whose length is the unit of keypoints, less a factor
_BONE_UNITS = 0.5  # of that bone
NOISE_MM = 2.0
"""Standard deviation, along each axis, of the error of keypoints that a network is shown."""


@dataclass(frozen=True)
class Standpoint:
    """Vertices are told as ``(point - origin) / unit``; both in map units."""

    origin: Array
    unit: float

    def tell(self, points: Array) -> Float32:
        """(..., 3) map units -> the network's own."""
        return np.asarray((np.asarray(points, np.float64) - self.origin) / self.unit, np.float32)


def standpoint(origin: Origin, joints: Array, scale_mm: float) -> Standpoint:
    """Where a network with that `origin` stands to a hand.

    Parameters
    ----------
    joints
        (21, 3) map units; for "keypoints" those that the network is given.
    scale_mm
        Of a map unit.
    """
    if origin == "keypoints":
        bone = float(np.linalg.norm(joints[_BONE[1]] - joints[_BONE[0]]))
        return Standpoint(np.asarray(joints, np.float64).mean(0), bone / _BONE_UNITS)
    middle = np.full(3, 0.5) if origin == "crop" else np.asarray(joints[ROOT], np.float64)
    return Standpoint(middle, 1000.0 / scale_mm)


def keypoint_feed(joints: Array, scale_mm: float, rng: np.random.Generator) -> Array:
    """(21, 3) joints as somebody's detector would see them, map units."""
    return np.asarray(joints + rng.standard_normal((21, 3)) * (NOISE_MM / scale_mm), np.float64)


def seen_from(origin: Origin, sample: Sample) -> Sample:
    """The sample as a network with that `origin` takes and tells it.

    Raises
    ------
    InputError
        The network is given keypoints, and the sample has none.
    """
    truth = sample.truth
    if truth is None or truth.joints is None:
        if origin != "keypoints":
            return sample
        raise _no_keypoints(sample)
    joints, feed = np.asarray(truth.joints, np.float64), None
    if origin == "keypoints":
        rng = np.random.default_rng(zlib.crc32(sample.id.encode()))
        joints = keypoint_feed(joints, truth.scale_mm, rng)
    stand = standpoint(origin, joints, truth.scale_mm)
    if origin == "keypoints":
        feed = stand.tell(joints).reshape(1, 1, -1)
    told = Truth(
        coarse=stand.tell(truth.coarse),
        scale_mm=truth.scale_mm * stand.unit,
        joints=stand.tell(truth.joints),
    )
    return replace(sample, truth=told, feed=feed)


def picture_size(specs: Mapping[Role, NetworkSpec]) -> int:
    """The side of the pictures that a model's samples have."""
    first = seeing(specs)
    return first.input.shape[1] if first is not None and first.takes_pictures else PICTURE_SIZE


def _no_keypoints(sample: Sample) -> InputError:
    return InputError(
        f"sample {sample.id} has no keypoints, which is what the network takes",
        expected="samples with ground truth: the bundle's own",
        remedy="leave --images out",
    )


def as_taken(
    samples: Iterable[Sample], specs: Mapping[Role, NetworkSpec], atlases: ModelAtlases
) -> Iterator[Sample]:
    """Samples with what a model's networks take and tell: maps for an SRNet alone, keypoints, ...

    Raises
    ------
    InputError
        A sample has not what that is made of.
    """
    first = seeing(specs)
    if first is None:
        return map(atlases.with_coarse_map, samples)
    if first.readout is None:
        return iter(samples)
    origin = first.readout.origin
    if origin == "keypoints" and not atlases.built_in:
        return _with_keypoints(samples)
    return (seen_from(origin, sample) for sample in samples)


def _with_keypoints(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Keypoints of the frozen hands for a network of another hand, which has no truth to tell.

    Joints are joints: any hand's network takes them.
    """
    known = {sample.id: sample for sample in bundled_samples(1)}
    for sample in samples:
        if sample.id not in known:
            raise _no_keypoints(sample)
        yield replace(sample, feed=seen_from("keypoints", known[sample.id]).feed)

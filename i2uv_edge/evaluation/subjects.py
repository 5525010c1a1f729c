"""What a network is shown of a sample, and how its answer becomes millimetres."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.data.dataset import HandDataset, HandSample
from i2uv_edge.data.pictures import Box, crop, whole
from i2uv_edge.hand import metrics
from i2uv_edge.hand.camera import Convention, Square, from_map_units
from i2uv_edge.hand.official_metrics import Hand
from i2uv_edge.parity import Sample

__all__ = ["Subject", "View", "in_metres", "of_dataset", "of_rendered"]

Array = NDArray[Any]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_BONE = (9, 10)  # whose length FreiHAND gives out with its evaluation pictures


@dataclass(frozen=True)
class View:
    """The camera of a picture, what the network sees of it, and how its map holds a hand."""

    intrinsics: Float32
    crop: Square
    convention: Convention


@dataclass(frozen=True)
class Subject:
    """A sample ready to be shown.

    Attributes
    ----------
    index, id : its number in the data set, and its name
    picture : (S, S, 3) float32 RGB, 0..1
    truth : coarse vertices and joints, mm; None where the data set tells none
    fine : (Vf, 3) mm, where the data set tells it
    view : how to put an answer before the camera; without one, map units are only scaled
    unit_mm : millimetres a map unit, where that is known beforehand
    bone_mm : length of the bone between joints 9 and 10, where that is known
    root_mm : (3,) the wrist, where that is known
    affinenet_map : the true coarse map, which an SRNet by itself is fed with
    feed : what a network takes that looks at no picture
    """

    index: int
    id: str
    picture: Float32
    truth: Hand | None = None
    fine: Array | None = None
    view: View | None = None
    unit_mm: float | None = None
    bone_mm: float | None = None
    root_mm: Array | None = None
    affinenet_map: Float32 | None = None
    feed: Float32 | None = None

    @property
    def taken(self) -> Float32:
        """What a model's first network is fed with."""
        return self.picture if self.feed is None else self.feed

    def unit(self, vertices: Array, joints: Array | None, template: Array) -> float:
        """Millimetres a map unit, judged by the answer of the reference.

        By the sample's own scale, else by the length of its bone, as methods that take part in
        FreiHAND's evaluation do, else by the size of the template, which is in metres.
        """
        if self.unit_mm is not None:
            return self.unit_mm
        if self.bone_mm is not None and joints is not None:
            length = float(np.linalg.norm(joints[_BONE[0]] - joints[_BONE[1]]))
            return self.bone_mm / length if length > 0 else float("nan")
        return float(metrics.similarity_scale(template, vertices))

    def place(self, points: Array, unit_mm: float, regressor: Array) -> Hand:
        """Turn (V, 3) map units into a hand in millimetres, where the camera sees it.

        A wrist that the data set gives out is where the hand's is put.
        """
        if self.view is None:
            placed = np.asarray(points, np.float64) * unit_mm
        else:
            view = self.view
            where = view.intrinsics, view.crop
            placed = 1000.0 * from_map_units(points, unit_mm, *where, convention=view.convention)
        joints = np.asarray(regressor, np.float64) @ placed if len(regressor) else None
        if self.root_mm is not None and joints is not None:
            moved = np.asarray(self.root_mm, np.float64) - joints[0]
            placed, joints = placed + moved, joints + moved
        return Hand(placed, joints)


def of_rendered(samples: Iterable[Sample], indices: range) -> Iterator[Subject]:
    """Those of the rendered samples that have these numbers."""
    for index, sample in enumerate(samples):
        if index not in indices:
            continue
        assert sample.truth is not None, sample.id
        truth, scale = sample.truth, sample.truth.scale_mm
        joints = None if truth.joints is None else np.asarray(truth.joints, np.float64) * scale
        yield Subject(
            index=index,
            id=sample.id,
            picture=sample.picture,
            truth=Hand(np.asarray(truth.coarse, np.float64) * scale, joints),
            fine=None if truth.fine is None else np.asarray(truth.fine, np.float64) * scale,
            unit_mm=scale,
            affinenet_map=sample.affinenet_map,
            feed=sample.feed,
        )


def of_dataset(
    dataset: HandDataset, indices: range, size: int, margin: float, convention: Convention
) -> Iterator[Subject]:
    """Samples of a data set, each cropped to `margin` times the box around its hand.

    A sample without a box is shown whole.
    """
    for index in indices:
        sample = dataset[index]
        box = crop_box(sample, margin)
        picture, _ = crop(sample.picture, size, box)
        view = None
        if sample.intrinsics is not None:
            square = float(box.left), float(box.top), float(box.side)
            view = View(sample.intrinsics, square, convention)
        known = sample.vertices is not None or sample.joints is not None
        yield Subject(
            index=index,
            id=sample.id,
            picture=picture,
            truth=Hand(_mm(sample.vertices), _mm(sample.joints)) if known else None,
            view=view,
            bone_mm=None if sample.scale is None else 1000.0 * sample.scale,
            root_mm=_mm(sample.root),
        )


def in_metres(subject: Subject) -> Subject:
    """The subject for a network that answers in metres, and looks for no camera."""
    return replace(subject, view=None, bone_mm=None, unit_mm=1000.0)


def crop_box(sample: HandSample, margin: float) -> Box:
    """Whole pixels, as on the phone: the square around the hand's box, or the whole picture."""
    if sample.box is None:
        return whole(sample.picture)
    left, top, side = sample.box
    grown = max(round(side * margin), 1)
    return Box(round(left + side / 2 - grown / 2), round(top + side / 2 - grown / 2), grown)


def _mm(points: Float32 | None) -> Float64 | None:
    return None if points is None else np.asarray(points, np.float64) * 1000.0

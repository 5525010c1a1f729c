"""Rendered hands as a data set: drawn when asked for, or those of a frozen set."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from i2uv_edge.data.dataset import BUILT_IN, HandSample, bone_length, bounding_box
from i2uv_edge.data.pictures import read_picture
from i2uv_edge.data.rendered.sample import Sample, SceneSettings
from i2uv_edge.data.rendered_set import read_set
from i2uv_edge.data.synthetic import render_sample

__all__ = ["FrozenHands", "RenderedHands"]


@dataclass(frozen=True)
class RenderedHands:
    """Hands drawn on the fly: sample ``index`` depends on ``seed`` and ``index`` alone."""

    seed: int = 0
    count: int = 1 << 20
    settings: SceneSettings = field(default_factory=SceneSettings)
    name = "rendered"
    topology = BUILT_IN

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> HandSample:
        if not 0 <= index < self.count:
            raise IndexError(f"there are {self.count} samples")
        return _hand_sample(f"{self.seed}-{index}", render_sample(self.seed, index, self.settings))


@dataclass(frozen=True)
class FrozenHands:
    """A set that was rendered into a folder, `calibration_data/evaluation` for instance."""

    folder: Path
    name = "rendered"
    topology = BUILT_IN

    def __len__(self) -> int:
        return len(self._annotations)

    def __getitem__(self, index: int) -> HandSample:
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} samples")
        sample = self._annotations[index]
        return replace(sample, picture=read_picture(self.folder / f"{sample.id}.jpg"))

    @cached_property
    def _annotations(self) -> tuple[HandSample, ...]:
        """The samples without their pictures; the set is hashed as a whole before it is used."""
        none = np.zeros((0, 0, 3), np.uint8)
        samples = (_hand_sample(name, sample) for name, sample in read_set(self.folder))
        return tuple(replace(sample, picture=none) for sample in samples)


def _hand_sample(name: str, sample: Sample) -> HandSample:
    camera = sample.intrinsics
    vertices, joints = sample.in_camera(sample.coarse), sample.in_camera(sample.joints)
    return HandSample(
        id=name,
        picture=sample.picture,
        intrinsics=camera,
        vertices=vertices,
        joints=joints,
        mask=sample.mask if sample.mask.size else None,
        scale=bone_length(joints),
        box=bounding_box(vertices, camera),
    )

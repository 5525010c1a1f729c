"""Pictures of a data set as AffineNet learns from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from i2uv_edge.data.catalogue import open_dataset
from i2uv_edge.data.dataset import BUILT_IN, HandDataset, HandSample
from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.hand.camera import project, to_map_units
from i2uv_edge.hand.mano import FINGERTIPS, Mano
from i2uv_edge.hand.model import FloatArray, HandModel
from i2uv_edge.training.augmentation import Backgrounds, augment, plain
from i2uv_edge.training.config import DatasetSettings, TrainingConfig
from i2uv_edge.training.keypoints import in_picture
from i2uv_edge.training.task import EVALUATION_SEED, Sample, shuffled


class AnnotatedPictures:
    """The samples of a data set, shuffled anew each time round, augmented; held-out ones plain.

    Parameters
    ----------
    config
        The run; its ``dataset`` says which.
    size
        Side of the pictures that the network takes.

    Raises
    ------
    UsageError
        No such data set, or no atlas for its vertices; keypoints are asked for and its pictures
        have none.
    InputError
        It cannot be read, or has too few samples to hold any out.
    """

    def __init__(self, config: TrainingConfig, size: int) -> None:
        self.size = size
        self.settings = config.augmentation
        chosen = config.dataset
        folder = config.augmentation.backgrounds
        self.backgrounds = Backgrounds(Path(folder)) if folder else None
        self.mano = Mano.load(Path(chosen.mano)) if chosen.mano else None
        self.learned = _opened(chosen, chosen.split, self.mano)
        self.count = len(self.learned)
        if chosen.held_out:
            self.held_out = _opened(chosen, chosen.held_out, self.mano)
            self.first_held_out = 0
        else:
            self.held_out = self.learned
            self.count -= config.evaluation_samples
            self.first_held_out = self.count
        if self.count < 1:
            raise InputError(
                f"the data set {chosen.path or chosen.kind} has {len(self.learned)} samples",
                expected=f"more than the {config.evaluation_samples} that are held out",
                remedy="lower evaluation_samples, or name a split to evaluate on: dataset.held_out",
            )
        self.mesh = chosen.atlas
        if not self.mesh and self.learned.topology != BUILT_IN:
            raise UsageError(
                f"the vertices of {self.learned.name} are {self.learned.topology}'s, for which no "
                f"texture coordinates come with this package",
                expected="an OBJ file of the mesh with texture coordinates",
                remedy="name it: dataset.atlas, HandRightUV.obj in the archive of I2UV-HandNet",
            )
        self._atlases: dict[int, Atlas] = {}
        self.keypoints = config.keypoints.any
        if self.keypoints and not _has_joints(self.learned[0]):
            raise UsageError(
                f"the pictures of {self.learned.name} have no keypoints to weigh",
                expected="joints and a camera",
                remedy="drop keypoints, or name another data set or split",
            )

    def atlas(self, size: int) -> Atlas:
        """See `picture_to_map.Source`."""
        if size not in self._atlases:
            tips = FINGERTIPS.get(self.learned.name, FINGERTIPS["freihand"])
            joints = None if self.mano is None else self.mano.joint_regressor(tips)
            self._atlases[size] = (
                Atlas.from_obj(Path(self.mesh), size, joints)
                if self.mesh
                else Atlas.of_mesh(HandModel.load().coarse, size)
            )
        return self._atlases[size]

    def sample(self, seed: int, index: int) -> Sample:
        """See `picture_to_map.Source`."""
        if seed >= EVALUATION_SEED:
            number = index % (len(self.held_out) - self.first_held_out)
            found = self.held_out[self.first_held_out + number]
            seen = plain(found, self.size, self.settings)
        else:
            found = self.learned[shuffled(seed, index, self.count)]
            rng = np.random.default_rng((seed, index))
            seen = augment(found, rng, self.size, self.settings, self.backgrounds)
        coarse, scale_mm = self._mapped(seen)
        made: Sample = {
            "picture": seen.picture,
            "coarse": coarse,
            "scale_mm": np.asarray(scale_mm, np.float32),
        }
        if self.keypoints and seed < EVALUATION_SEED:
            made["keypoints"] = self._keypoints(seen)
        return made

    def _keypoints(self, sample: HandSample) -> FloatArray:
        if sample.joints is None or sample.intrinsics is None:
            raise InputError(
                f"sample {sample.id} of the data set has no keypoints",
                expected="joints and a camera, as its first sample has",
                remedy="drop keypoints, or choose a split that has them: dataset.split",
            )
        return in_picture(project(sample.joints, sample.intrinsics) / self.size)

    def _mapped(self, sample: HandSample) -> tuple[FloatArray, float]:
        """Vertices in map units, and how many millimetres one is."""
        if sample.vertices is not None and sample.intrinsics is not None:
            square = (0.0, 0.0, float(self.size))
            self._check(sample, len(sample.vertices))
            return to_map_units(sample.vertices, sample.intrinsics, square)
        if sample.uv_map is not None:
            atlas = self.atlas(sample.uv_map.shape[0])
            mapped = atlas.read_vertices(sample.uv_map)
            mapped[:, 2] += 0.5 - mapped[:, 2].mean()  # maps here have their mean depth at 0.5
            # How large the hand is is not in a map; its edges are about those of the template.
            return mapped, 1000.0 * _edges(atlas.template, atlas) / _edges(mapped, atlas)
        raise InputError(
            f"sample {sample.id} of the data set has no mesh to learn from",
            expected="vertices and a camera, or a map",
            remedy="choose a split that has them (dataset.split, dataset.held_out), or name the "
            "hand model that they are made from (dataset.mano)",
        )

    def _check(self, sample: HandSample, count: int) -> None:
        wanted = {len(atlas.template) for atlas in self._atlases.values()}
        if wanted and count not in wanted:
            raise InputError(
                f"sample {sample.id} has {count} vertices, the atlas {wanted.pop()}",
                expected="an atlas of the data set's mesh",
                remedy="name its OBJ file: dataset.atlas",
            )


def _has_joints(sample: HandSample) -> bool:
    return sample.joints is not None and sample.intrinsics is not None


def _opened(chosen: DatasetSettings, split: str, mano: Mano | None) -> HandDataset:
    path = Path(chosen.path) if chosen.path else None
    return open_dataset(chosen.kind, path, split=split, mano=mano, hand=chosen.hand)


def _edges(vertices: FloatArray, atlas: Atlas) -> float:
    """Mean length of the faces' first edges."""
    ends = vertices[atlas.faces[:, :2]]
    return float(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=-1).mean())

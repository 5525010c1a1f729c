"""A small AffineNet learns from what a large one makes of pictures that nobody annotated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2uv_edge.data.dataset import HandSample
from i2uv_edge.data.pictures import list_pictures, read_picture
from i2uv_edge.errors import UsageError
from i2uv_edge.hand.model import FloatArray
from i2uv_edge.networks.model import open_checkpoint
from i2uv_edge.spec import NetworkSpec
from i2uv_edge.training.augmentation import augment
from i2uv_edge.training.config import TrainingConfig
from i2uv_edge.training.losses import resize
from i2uv_edge.training.picture_to_map import PictureToMap, picture_source, stages
from i2uv_edge.training.task import EVALUATION_SEED, Batch, Sample, pictures


class BarePictures:
    """Pictures of side ``size`` without annotations: of the run's folder, or as they are rendered.

    Raises
    ------
    InputError
        There are none.
    """

    def __init__(self, config: TrainingConfig, size: int) -> None:
        self.size = size
        self.settings = config.augmentation
        self.paths = list_pictures(Path(config.images))[0] if config.images else []
        self.stream = picture_source(config, size)

    def sample(self, seed: int, index: int) -> Sample:
        """Picture ``index`` of the run."""
        if not self.paths:
            return {"picture": self.stream.sample(seed, index)["picture"]}
        rng = np.random.default_rng((seed, index))
        path = self.paths[int(rng.integers(len(self.paths)))]
        found = HandSample(id=path.name, picture=read_picture(path))
        return {"picture": augment(found, rng, self.size, self.settings).picture}


class Distillation:
    """A teacher's map from a picture. Score: PA-MPVPE on held-out annotated pictures.

    Parameters
    ----------
    spec, config
        The network and the run; ``config.teacher`` is the teacher's checkpoint.

    Raises
    ------
    UsageError
        The checkpoint does not say which network it belongs to, or it is no AffineNet.
    InputError
        It cannot be read, or there are no pictures.
    """

    def __init__(self, spec: NetworkSpec, config: TrainingConfig) -> None:
        teacher = open_checkpoint(Path(config.teacher), config.teacher_network)
        if teacher.spec.role != "affinenet":
            raise UsageError(
                f"the teacher {config.teacher} is {teacher.spec.name}, whose role is "
                f"{teacher.spec.role}",
                expected="an AffineNet",
            )
        self.teacher = teacher.module.requires_grad_(False).eval()
        self.sizes = spec.input.shape[1], teacher.spec.input.shape[1]
        self.truth = PictureToMap(spec, config)
        # What both look at is made once, as large as the one that sees more takes it.
        self.stream = BarePictures(config, max(self.sizes))

    def sample(self, seed: int, index: int) -> Sample:
        """A picture to learn from, or an annotated one to be scored on."""
        if seed >= EVALUATION_SEED:
            return self.truth.sample(seed, index)
        return self.stream.sample(seed, index)

    def loss(self, module: nn.Module, batch: Batch, progress: float, coin: float) -> Tensor:
        """Loss of the finest stages against the teacher's map."""
        del progress, coin
        picture = pictures(batch["picture"])
        self.teacher.to(picture.device)
        self.truth.map_loss.to(picture.device)
        own, other = (_shrunk(picture, size) for size in self.sizes)
        # Not under autocast: a bfloat16 map has steps of a millimetre.
        with torch.no_grad(), torch.autocast(picture.device.type, enabled=False):
            wanted = resize(self.teacher(other), self.truth.surface.size)
        return self.truth.map_loss.stages(stages(module, own, None), wanted)

    def score(self, module: nn.Module, batch: Batch) -> FloatArray:
        """PA-MPVPE against the truth, not the teacher."""
        return self.truth.score(module, batch)


def _shrunk(picture: Tensor, size: int) -> Tensor:
    if picture.shape[-1] == size:
        return picture
    return F.interpolate(picture, (size, size), mode="bilinear", antialias=True)


__all__ = ["BarePictures", "Distillation"]

"""Quantization-aware training: a fake-quant network learns to answer as its float network does."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from i2uv_edge.errors import UsageError
from i2uv_edge.hand.model import FloatArray
from i2uv_edge.spec import NetworkSpec
from i2uv_edge.training.config import TrainingConfig
from i2uv_edge.training.distillation import BarePictures
from i2uv_edge.training.picture_to_map import PictureToMap
from i2uv_edge.training.task import EVALUATION_SEED, Batch, Sample, array, pictures


class Imitation:
    """The float network's map from a picture. Score: mean distance of the vertices to its own.

    Pictures need no annotations; with ``labels`` the true map counts too.

    Parameters
    ----------
    teacher
        The float network, (N, 3, S, S) -> (N, 3, M, M).
    spec, config
        The network and the run.

    Raises
    ------
    UsageError
        Labels are asked for and the pictures have none, or the network is no AffineNet.
    """

    def __init__(self, teacher: nn.Module, spec: NetworkSpec, config: TrainingConfig) -> None:
        if spec.role != "affinenet":
            raise UsageError(
                f"{spec.name} is no AffineNet: nothing is gained by training its integers",
                remedy="drop its table under [training] from the recipe",
            )
        if config.labels and config.images:
            raise UsageError(
                "the pictures of a folder have no labels to weigh",
                remedy="drop labels, or name a dataset instead of images",
            )
        self.teacher = teacher.requires_grad_(False).eval()
        self.truth = PictureToMap(spec, config)
        self.stream = BarePictures(config, spec.input.shape[1])
        self.labels = config.labels

    def sample(self, seed: int, index: int) -> Sample:
        """A picture to learn from, or an annotated one to be scored on."""
        if self.labels or seed >= EVALUATION_SEED:
            return self.truth.sample(seed, index)
        return self.stream.sample(seed, index)

    def loss(self, module: nn.Module, batch: Batch, progress: float, coin: float) -> Tensor:
        """Loss of the finest map against the float network's, and against the truth."""
        del progress, coin
        picture, loss = pictures(batch["picture"]), self.truth.map_loss
        for part in (loss, self.teacher):
            part.to(picture.device)
        made = module(picture).float()
        total = loss.finest(made, self._wanted(picture))
        if self.labels:
            truth = self.truth.surface.rasterise(batch["coarse"])
            total = total + self.labels * loss.finest(made, truth, batch["coarse"])
        return total

    def score(self, module: nn.Module, batch: Batch) -> FloatArray:
        """Mean over the vertices of how far each is from where the float network has it."""
        picture, surface = pictures(batch["picture"]), self.truth.surface
        surface.to(picture.device)
        with torch.no_grad():
            apart = surface.read_vertices(module(picture).float() - self._wanted(picture))
        return array(apart.norm(dim=-1).mean(-1) * batch["scale_mm"])

    def _wanted(self, picture: Tensor) -> Tensor:
        # Not under autocast: a bfloat16 map has steps of a millimetre.
        with torch.no_grad(), torch.autocast(picture.device.type, enabled=False):
            answer: Tensor = self.teacher(picture)
        return answer.float()


__all__ = ["Imitation"]

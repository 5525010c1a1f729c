"""Quantization-aware training: a fake-quant network learns to answer as its float network does."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from i2uv_edge.errors import UsageError
from i2uv_edge.hand.model import JOINTS, FloatArray
from i2uv_edge.spec import NetworkSpec
from i2uv_edge.training.config import TrainingConfig
from i2uv_edge.training.distillation import BarePictures
from i2uv_edge.training.features import distance, head_layers, with_features
from i2uv_edge.training.keypoints import KeypointLoss
from i2uv_edge.training.picture_to_map import PictureToMap
from i2uv_edge.training.task import EVALUATION_SEED, Batch, Sample, array, pictures


class Imitation:
    """The float network's map from a picture. Score: mean distance of the vertices to its own.

    Pictures need no annotations; with ``labels`` the true map counts too, with ``keypoints`` where
    the joints are seen, and with ``features`` what the float network's heads read.

    Parameters
    ----------
    teacher
        The float network, (N, 3, S, S) -> (N, 3, M, M); for ``features`` in the form that
        `quantizer.network.float_twin` gives it.
    spec, config
        The network and the run.

    Raises
    ------
    UsageError
        Labels or keypoints are asked for and the pictures have none, or the mesh no known joints;
        features of a network that names no heads; the network is no AffineNet.
    """

    def __init__(self, teacher: nn.Module, spec: NetworkSpec, config: TrainingConfig) -> None:
        if spec.role != "affinenet":
            raise UsageError(
                f"{spec.name} is no AffineNet: nothing is gained by training its integers",
                remedy="drop its table under [training] from the recipe",
            )
        for name, weighs in (("labels", config.labels), ("keypoints", config.keypoints.any)):
            if weighs and config.images:
                raise UsageError(
                    f"the pictures of a folder have no {name} to weigh",
                    remedy=f"drop {name}, or name a dataset instead of images",
                )
        self.teacher = teacher.requires_grad_(False).eval()
        self.truth = PictureToMap(spec, config)
        self.stream = BarePictures(config, spec.input.shape[1])
        self.labels = config.labels
        self.features = config.features
        self.heads = head_layers(teacher, spec) if config.features else ()
        self.keypoints = self._keypoint_loss(spec, config) if config.keypoints.any else None

    def sample(self, seed: int, index: int) -> Sample:
        """A picture to learn from, or an annotated one to be scored on."""
        if self.labels or self.keypoints or seed >= EVALUATION_SEED:
            return self.truth.sample(seed, index)
        return self.stream.sample(seed, index)

    def loss(self, module: nn.Module, batch: Batch, progress: float, coin: float) -> Tensor:
        """Loss of the finest map against the float network's, and whatever else was asked for."""
        del progress, coin
        picture, loss = pictures(batch["picture"]), self.truth.map_loss
        for part in (loss, self.teacher):
            part.to(picture.device)
        if self.features:
            made, found = with_features(module, picture, self.heads)
            with torch.no_grad(), torch.autocast(picture.device.type, enabled=False):
                wanted, features = with_features(self.teacher, picture, self.heads)
            made = made.float()
            total = self._apart(made, wanted) + self.features * distance(found, features)
        else:
            made = module(picture).float()
            total = self._apart(made, self._wanted(picture))
        if self.labels:
            truth = self.truth.surface.rasterise(batch["coarse"])
            total = total + self.labels * loss.finest(made, truth, batch["coarse"])
        if self.keypoints is not None:
            vertices = self.truth.surface.read_vertices(made)
            self.keypoints.to(picture.device)
            total = total + self.keypoints(vertices, batch["keypoints"])
        return total

    def score(self, module: nn.Module, batch: Batch) -> FloatArray:
        """Mean over the vertices of how far each is from where the float network has it."""
        picture, surface = pictures(batch["picture"]), self.truth.surface
        surface.to(picture.device)
        with torch.no_grad():
            apart = surface.read_vertices(module(picture).float() - self._wanted(picture))
        return array(apart.norm(dim=-1).mean(-1) * batch["scale_mm"])

    def _keypoint_loss(self, spec: NetworkSpec, config: TrainingConfig) -> KeypointLoss:
        atlas = self.truth.source.atlas(spec.output.shape[1])
        if atlas.joint_regressor.shape != (JOINTS, len(atlas.template)):
            raise UsageError(
                "the joints of the mesh are not known, so keypoints say nothing about it",
                expected=f"the hand model whose mesh of {len(atlas.template)} vertices it is",
                remedy="name it: dataset.mano, or drop keypoints",
            )
        return KeypointLoss(atlas.joint_regressor, config.keypoints)

    def _apart(self, made: Tensor, wanted: Tensor) -> Tensor:
        """Loss of the maps, the root of its mean square over the pictures.

        A picture that is twice as far off has twice the weight: where the network is unsure,
        rounding moves whole fingers, and those few pictures are what the tail is made of.
        """
        each = [
            self.truth.map_loss.finest(*pair)
            for pair in zip(torch.split(made, 1), torch.split(wanted, 1), strict=True)
        ]
        # Unlike a square root, a norm has a gradient at 0.
        root: Tensor = torch.linalg.vector_norm(torch.stack(each)) / len(each) ** 0.5
        return root

    def _wanted(self, picture: Tensor) -> Tensor:
        # Not under autocast: a bfloat16 map has steps of a millimetre.
        with torch.no_grad(), torch.autocast(picture.device.type, enabled=False):
            answer: Tensor = self.teacher(picture)
        return answer.float()


__all__ = ["Imitation"]

"""What networks of the role "hand" learn from: pictures or keypoints of rendered hands.

Their answers are read as vertices, as at run time, and vertices are what is compared.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2uv_edge.atlases import hand_of
from i2uv_edge.data.stand_in import stand_in_parameters
from i2uv_edge.data.synthetic import SceneSettings, sample_parameters
from i2uv_edge.errors import UsageError
from i2uv_edge.hand.metrics import pa_mpvpe
from i2uv_edge.hand.model import FloatArray, HandModel
from i2uv_edge.networks.model import open_checkpoint
from i2uv_edge.networks.registry import readout
from i2uv_edge.spec import NetworkSpec
from i2uv_edge.standpoints import keypoint_feed, standpoint
from i2uv_edge.training.config import TrainingConfig
from i2uv_edge.training.picture_to_map import picture_source
from i2uv_edge.training.task import Batch, Sample, array, pictures

__all__ = ["HandDistillation", "KeypointsToHand", "PictureToHand"]

_SEEN_MM = 200.0  # of a hand whose keypoints are given: what a crop would show
_PARAMETERS = 0.1  # weight of a radian, or of a unit of shape, where a centimetre has 1


class PictureToHand:
    """Vertices from a picture. Score: PA-MPVPE.

    Parameters
    ----------
    spec, config
        The network and the run.
    """

    def __init__(self, spec: NetworkSpec, config: TrainingConfig) -> None:
        assert spec.readout is not None
        self.origin = spec.readout.origin
        self.source = picture_source(config, spec.input.shape[1])
        self.readout = readout(spec, hand_of(spec))
        self.joints = HandModel.load().coarse.joint_regressor

    def sample(self, seed: int, index: int) -> Sample:
        """A picture, its vertices as the network is to tell them, and millimetres a unit."""
        made = self.source.sample(seed, index)
        coarse, scale = np.asarray(made["coarse"], np.float64), float(made["scale_mm"])
        stand = standpoint(self.origin, self.joints @ coarse, scale)
        return {
            "picture": made["picture"],
            "target": stand.tell(coarse),
            "unit_mm": np.asarray(scale * stand.unit, np.float32),
        }

    def loss(self, module: nn.Module, batch: Batch, progress: float, coin: float) -> Tensor:
        """Centimetres, where the hand is and where its vertices are within it."""
        del progress, coin
        return apart(self._vertices(module(pictures(batch["picture"]))), batch)

    def score(self, module: nn.Module, batch: Batch) -> FloatArray:
        """PA-MPVPE."""
        with torch.no_grad():
            found = self._vertices(module(pictures(batch["picture"])))
        return score(found, batch)

    def _vertices(self, output: Tensor) -> Tensor:
        vertices: Tensor = self.readout.to(output.device)(output.float())
        return vertices


class HandDistillation(PictureToHand):
    """A teacher's vertices from a picture, and the true ones. Score: PA-MPVPE against the truth.

    Parameters
    ----------
    spec, config
        The network and the run; ``config.teacher`` is the teacher's checkpoint.

    Raises
    ------
    UsageError
        The checkpoint is of a network with another input, or one that tells hands another way.
    """

    def __init__(self, spec: NetworkSpec, config: TrainingConfig) -> None:
        super().__init__(spec, config)
        teacher = open_checkpoint(Path(config.teacher), config.teacher_network)
        if (teacher.spec.input.shape, teacher.spec.readout) != (spec.input.shape, spec.readout):
            raise UsageError(
                f"the teacher {config.teacher} is {teacher.spec.name}, which does not answer as "
                f"{spec.name} does",
                expected="the same input and the same [readout]",
            )
        self.teacher = teacher.module.requires_grad_(False).eval()

    def loss(self, module: nn.Module, batch: Batch, progress: float, coin: float) -> Tensor:
        """As for a picture, with half the weight on what the teacher makes of it."""
        del progress, coin
        picture = pictures(batch["picture"])
        found = self._vertices(module(picture))
        with torch.no_grad(), torch.autocast(picture.device.type, enabled=False):
            wanted = self._vertices(self.teacher.to(picture.device)(picture))
        return 0.5 * (apart(found, batch) + apart(found, {**batch, "target": wanted}))


class KeypointsToHand:
    """Vertices and MANO's parameters from noisy keypoints. Score: PA-MPVPE."""

    def __init__(self, spec: NetworkSpec, config: TrainingConfig) -> None:
        assert spec.readout is not None
        if config.dataset.kind != "rendered":
            raise UsageError(
                f"{spec.name} learns from keypoints of the built-in hand, not from a data set",
                expected="dataset.kind = rendered",
            )
        self.fields = spec.readout.slices()
        self.settings = SceneSettings(separate_fingers=False)  # which no keypoint tells
        self.hand = hand_of(spec)
        self.readout = readout(spec, self.hand)

    def sample(self, seed: int, index: int) -> Sample:
        """``feed`` (1, 1, 63), the vertices in its unit, and the parameters without a rotation."""
        rng = np.random.default_rng((seed, index))
        parameters = sample_parameters(rng, self.settings)
        posed = HandModel.load().pose(parameters)
        scale = 1000.0 / _SEEN_MM
        seen = keypoint_feed(posed.joints * scale, _SEEN_MM, rng)
        stand = standpoint("keypoints", seen, _SEEN_MM)
        turns, shape = stand_in_parameters(parameters)
        return {
            "feed": stand.tell(seen).reshape(1, 1, -1),
            "target": stand.tell(posed.coarse * scale),
            "unit_mm": np.asarray(_SEEN_MM * stand.unit, np.float32),
            "pose": (turns[3:] - self.hand.mean).astype(np.float32),
            "shape": shape.astype(np.float32),
        }

    def loss(self, module: nn.Module, batch: Batch, progress: float, coin: float) -> Tensor:
        """Centimetres, and a little of the parameters' difference."""
        del progress, coin
        output = module(batch["feed"].permute(0, 3, 1, 2)).float()
        total = apart(self.readout.to(output.device)(output), batch)
        for name in ("pose", "shape"):
            if name in self.fields:
                found = output[:, self.fields[name]].flatten(1)
                total = total + _PARAMETERS * F.l1_loss(found, batch[name])
        return total

    def score(self, module: nn.Module, batch: Batch) -> FloatArray:
        """PA-MPVPE."""
        with torch.no_grad():
            output = module(batch["feed"].permute(0, 3, 1, 2)).float()
            found = self.readout.to(output.device)(output)
        return score(found, batch)


def apart(vertices: Tensor, batch: Batch) -> Tensor:
    """Centimetres between vertices and the batch's own, as they are and about their means."""
    target = batch["target"]
    unit = (batch["unit_mm"] / 10.0)[:, None, None]
    moved = (vertices - vertices.mean(1, keepdim=True)) - (target - target.mean(1, keepdim=True))
    return ((vertices - target) * unit).abs().mean() + (moved * unit).abs().mean()


def score(vertices: Tensor, batch: Batch) -> FloatArray:
    """(N,) PA-MPVPE, mm."""
    unit = array(batch["unit_mm"])[:, None, None]
    return pa_mpvpe(array(vertices) * unit, array(batch["target"]) * unit).astype(np.float32)

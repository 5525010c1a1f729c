"""What each kind of network learns from: its samples, its loss, its score.

The loop knows only `Task`. A task makes sample ``i`` of the run from (seed, i) alone, so a resumed
run sees what an unbroken one would have seen.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from i2uv_edge.data.synthetic import SceneSettings, render_sample, sample_parameters
from i2uv_edge.errors import UsageError
from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.hand.metrics import pa_mpvpe
from i2uv_edge.hand.model import FloatArray, HandModel
from i2uv_edge.networks.affinenet import AffineNet
from i2uv_edge.networks.affinenet_edge import AffineNetEdge
from i2uv_edge.spec import NetworkSpec
from i2uv_edge.training.config import RESERVED_SEEDS, TrainingConfig
from i2uv_edge.training.losses import MapLoss, resize

EVALUATION_SEED = RESERVED_SEEDS  # of the samples that a run is evaluated on

SUPERVISED = 4  # the finest stages, which weigh the same (I2UV-HandNet, section 3.2)

Sample = dict[str, NDArray[np.generic]]
Batch = dict[str, Tensor]


class Task(Protocol):
    """Samples, loss and score of one network."""

    def sample(self, seed: int, index: int) -> Sample:
        """Sample ``index`` of the run; called in worker processes."""

    def loss(self, module: nn.Module, batch: Batch, progress: float, coin: float) -> Tensor:
        """Training loss at ``progress`` 0..1 of the run; ``coin``, 0..1, is for random choices."""

    def score(self, module: nn.Module, batch: Batch) -> FloatArray:
        """(N,) error in millimetres."""


def make_task(spec: NetworkSpec, config: TrainingConfig) -> Task:
    """The task of a network by its role."""
    if spec.role == "srnet":
        return SuperResolution(spec, config)
    if spec.family in ("affinenet", "affinenet_edge"):
        return PictureToMap(spec, config)
    raise UsageError(
        f"network {spec.name}: no training is defined for the family {spec.family}",
        expected="affinenet, affinenet_edge or a network of the role srnet",
    )


class PictureToMap:
    """AffineNet: rendered picture -> UV map of the coarse mesh. Score: PA-MPVPE."""

    def __init__(self, spec: NetworkSpec, config: TrainingConfig) -> None:
        self.settings = SceneSettings(size=spec.input.shape[1], coarse_edges=config.coarse_edges)
        self.atlas = Atlas.of_mesh(HandModel.load().coarse, spec.output.shape[1])
        self.map_loss = MapLoss(torch.from_numpy(self.atlas.mask), config.loss)
        self.teacher_forcing = config.teacher_forcing

    def sample(self, seed: int, index: int) -> Sample:
        sample = render_sample(seed, index, self.settings)
        return {
            "picture": sample.picture,
            "coarse": sample.coarse,
            "scale_mm": np.asarray(sample.frame.scale_mm, np.float32),
        }

    def loss(self, module: nn.Module, batch: Batch, progress: float, coin: float) -> Tensor:
        truth = _rasterise(self.atlas, batch["coarse"])
        guides = None
        # While the coarse maps are centimetres off, warps that follow them fetch the wrong places
        # and teach the network to ignore what they fetch.
        if progress < self.teacher_forcing and coin < 1.0 - progress / self.teacher_forcing:
            size = truth.shape[-1]
            guides = (resize(truth, size // 4), resize(truth, size // 2), truth)
        if isinstance(module, AffineNetEdge):
            maps = module.stages(_picture(batch), guides)
        else:
            assert isinstance(module, AffineNet)
            maps = module.stages(_picture(batch))
        learned = maps[-SUPERVISED:]  # of a map with a confidence, the map alone
        return self.map_loss.stages(tuple(stage[:, :3].float() for stage in learned), truth)

    def score(self, module: nn.Module, batch: Batch) -> FloatArray:
        predicted = self.atlas.read_vertices(_nhwc(module(_picture(batch))))
        scale = batch["scale_mm"].numpy()[:, None, None]
        return pa_mpvpe(predicted * scale, batch["coarse"].numpy() * scale).astype(np.float32)


class SuperResolution:
    """SRNet: map of the coarse mesh -> map of the fine mesh. Score: mean vertex error (MPVPE).

    Both maps are normalised by the coarse hand's extent, each axis by its own.
    """

    def __init__(self, spec: NetworkSpec, config: TrainingConfig) -> None:
        model = HandModel.load()
        self.settings = SceneSettings()
        self.coarse = Atlas.of_mesh(model.coarse, spec.input.shape[1])
        self.fine = Atlas.of_mesh(model.fine, spec.output.shape[1])
        self.map_loss = MapLoss(torch.from_numpy(self.fine.mask), config.loss)
        self.perturbed = config.predicted_maps

    def sample(self, seed: int, index: int) -> Sample:
        rng = np.random.default_rng((seed, index))
        hand = HandModel.load().pose(sample_parameters(rng, self.settings))
        low, high = hand.coarse.min(0), hand.coarse.max(0)
        coarse = self.coarse.rasterise((hand.coarse - low) / (high - low), fill=True)
        size = self.coarse.size
        smooth, rough = np.zeros((5, 5, 3), np.float32), np.zeros_like(coarse)
        if rng.random() < self.perturbed:
            # What a network's own map is off by: slowly varying errors, which the fine map shares
            # (SRNet cannot know them), and texel noise, which it should take away.
            smooth = rng.normal(0, rng.uniform(0, 0.05), smooth.shape).astype(np.float32)
            rough = rng.normal(0, rng.uniform(0, 0.006), (size, size, 3)).astype(np.float32)
        return {
            "coarse_map": coarse,
            "fine": ((hand.fine - low) / (high - low)).astype(np.float32),
            "smooth": smooth,
            "rough": rough,
            "extent_mm": ((high - low) * 1000.0).astype(np.float32),
        }

    def loss(self, module: nn.Module, batch: Batch, progress: float, coin: float) -> Tensor:
        del progress, coin
        truth = _rasterise(self.fine, batch["fine"])
        smooth = batch["smooth"].permute(0, 3, 1, 2)
        given = batch["coarse_map"].permute(0, 3, 1, 2) + resize(smooth, self.coarse.size)
        given = given + batch["rough"].permute(0, 3, 1, 2)
        predicted = module(given).float()
        # In units of a hundredth of the hand: the relief is so small that the L1 of map units would
        # leave Adam's epsilon in charge.
        return 100.0 * self.map_loss.finest(predicted, truth + resize(smooth, self.fine.size))

    def score(self, module: nn.Module, batch: Batch) -> FloatArray:
        predicted = module(batch["coarse_map"].permute(0, 3, 1, 2))
        vertices = self.fine.read_vertices(_nhwc(predicted))
        error = (vertices - batch["fine"].numpy()) * batch["extent_mm"].numpy()[:, None]
        return np.asarray(np.linalg.norm(error, axis=-1).mean(-1), np.float32)


def _picture(batch: Batch) -> Tensor:
    picture = batch["picture"].permute(0, 3, 1, 2)
    return picture.to(memory_format=torch.channels_last).float() / 255.0


def _rasterise(atlas: Atlas, vertices: Tensor) -> Tensor:
    filled = atlas.rasterise(vertices.numpy(), fill=True)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(filled, -1, 1)))


def _nhwc(maps: Tensor) -> FloatArray:
    return np.asarray(maps.float().permute(0, 2, 3, 1).numpy())

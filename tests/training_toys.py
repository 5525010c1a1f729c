"""What the tests of training share: a run's settings, modules that say what they are told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from network_toys import AFFINENET, SRNET, smooth_map, tensor
from torch import Tensor, nn
from torch.utils.data import default_collate

from i2uv_edge.hand.model import FloatArray
from i2uv_edge.training.config import TrainingConfig
from i2uv_edge.training.task import Batch, Sample, Task

CONFIG = TrainingConfig(
    steps=12,
    batch=4,
    learning_rate=3e-3,
    warmup_steps=3,
    precision="float32",
    workers=0,
    checkpoint_every=4,
    evaluation_samples=3,
)
SHARP = replace(AFFINENET, output=tensor("map", 64))  # maps large enough to hold the mesh
FINE = replace(SRNET, input=tensor("map", 32), output=tensor("map", 128))


class Says(nn.Module):
    """Gives the same maps whatever it is shown."""

    def __init__(self, maps: Tensor) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, x: Tensor) -> Tensor:
        del x
        return self.maps


class Maps:
    """Learn any one map from noise, through a network with batch norms."""

    def sample(self, seed: int, index: int) -> Sample:
        rng = np.random.default_rng((seed, index))
        return {"picture": rng.random((3, 64, 64), np.float32)}

    def loss(self, module: nn.Module, batch: Batch, progress: float, coin: float) -> Tensor:
        del progress, coin
        return (module(batch["picture"]) - smooth_map(16)).abs().mean()

    def score(self, module: nn.Module, batch: Batch) -> FloatArray:
        # Nobody's accuracy, but other for every sample.
        del module
        return batch["picture"].mean((1, 2, 3)).numpy()


def batch_of(task: Task, count: int = 2, seed: int = 3) -> Batch:
    made: Batch = default_collate([task.sample(seed, index) for index in range(count)])
    return made


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)

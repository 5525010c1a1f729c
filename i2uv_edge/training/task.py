"""What the loop knows of what a network learns: samples, a loss, a score.

A task makes sample ``i`` of the run from (seed, i) alone, so a resumed run sees what an unbroken
one would have seen.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.hand.model import FloatArray
from i2uv_edge.training.config import RESERVED_SEEDS

EVALUATION_SEED = RESERVED_SEEDS  # of the samples that a run is evaluated on

Sample = dict[str, NDArray[np.generic]]
Batch = dict[str, Tensor]


class Task(Protocol):
    """Samples, loss and score of one network."""

    def sample(self, seed: int, index: int) -> Sample:
        """Sample ``index`` of the run; called in worker processes."""

    def loss(self, module: nn.Module, batch: Batch, progress: float, coin: float) -> Tensor:
        """Training loss at ``progress`` 0..1 of the run; ``coin``, 0..1, is for random choices.

        The batch lies on the device of the module.
        """

    def score(self, module: nn.Module, batch: Batch) -> FloatArray:
        """(N,) error in millimetres."""


class Source(Protocol):
    """Annotated pictures without end."""

    def atlas(self, size: int) -> Atlas:
        """The atlas of their mesh for maps of side ``size``."""

    def sample(self, seed: int, index: int) -> Sample:
        """Picture ``index`` of the run.

        ``picture`` (S, S, 3) uint8 RGB, ``coarse`` (V, 3) float32 map units, ``scale_mm`` () how
        many millimetres one is; where the run asks for them ``keypoints`` (21, 3) float32, see
        `keypoints.in_picture`.
        """


def pictures(stored: Tensor) -> Tensor:
    """(N, S, S, 3) uint8 RGB -> (N, 3, S, S) float32, 0..1, as networks take them."""
    planes = stored.permute(0, 3, 1, 2)
    return planes.to(memory_format=torch.channels_last).float() / 255.0


def shuffled(seed: int, index: int, count: int) -> int:
    """Which of ``count`` samples comes as number ``index``; each comes once a round."""
    turn, place = divmod(index, count)
    return int(_order(seed, turn, count)[place])


@lru_cache(maxsize=4)
def _order(seed: int, turn: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, turn)).permutation(count)


def array(tensor: Tensor) -> FloatArray:
    """A tensor of any device and type as float32."""
    return np.asarray(tensor.detach().float().cpu().numpy())

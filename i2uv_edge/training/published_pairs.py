"""SRNet's task on pairs of maps as the archive of I2UV-HandNet's authors keeps them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from i2uv_edge.data.catalogue import open_pairs
from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.hand.model import FloatArray
from i2uv_edge.spec import NetworkSpec
from i2uv_edge.training.config import TrainingConfig
from i2uv_edge.training.losses import MapLoss
from i2uv_edge.training.task import EVALUATION_SEED, Batch, Sample, array, shuffled

PAIRS = "i2uv-pairs"  # the kind of data set


class PublishedPairs:
    """Fine map from coarse map. Score: mean error of the fine map's texels.

    Both are turned together about the camera's axis, all round, as the archive does; held-out ones
    are not. The score is in thousandths of the unit that the archive's maps had before they were
    normalised: millimetres, if that was the metre.

    Parameters
    ----------
    spec, config
        The network and the run; ``config.dataset.path`` is the folder.

    Raises
    ------
    UsageError
        The maps are not of the sizes that the network takes and makes.
    InputError
        There are too few of them, or one cannot be read.
    """

    def __init__(self, spec: NetworkSpec, config: TrainingConfig) -> None:
        if config.loss.vertex or config.loss.seam:
            raise UsageError(
                "pairs of maps come without their mesh, so nothing reads vertices or knows seams",
                expected="loss.vertex = 0 and loss.seam = 0",
            )
        self.pairs = open_pairs(Path(config.dataset.path))
        self.count = len(self.pairs) - config.evaluation_samples
        if self.count < 1:
            raise InputError(
                f"{config.dataset.path} holds {len(self.pairs)} pairs",
                expected=f"more than the {config.evaluation_samples} that are held out",
                remedy="lower evaluation_samples",
            )
        first = self.pairs[0]
        sizes = len(first.coarse), len(first.fine)
        wanted = spec.input.shape[1], spec.output.shape[1]
        if sizes != wanted:
            raise UsageError(
                f"{config.dataset.path} holds maps of sides {sizes[0]} and {sizes[1]}",
                expected=f"{wanted[0]} and {wanted[1]}, which {spec.name} takes and makes",
                remedy="train srnet, whose maps are the archive's",
            )
        self.held: tuple[NDArray[np.bool_], ...] = tuple(
            np.asarray(stored.any(-1)) for stored in (first.coarse, first.fine)
        )
        self.nearest = tuple(_nearest(held) for held in self.held)
        self.map_loss = MapLoss(torch.from_numpy(self.held[1]), config.loss)

    def sample(self, seed: int, index: int) -> Sample:
        """One pair: ``coarse`` and ``fine`` (M, M, 3), normalised; ``extent`` of the hand, (3,)."""
        learns = seed < EVALUATION_SEED
        held_out = self.count + index % (len(self.pairs) - self.count)
        pair = self.pairs[shuffled(seed, index, self.count) if learns else held_out]
        angle = np.random.default_rng((seed, index)).uniform(0, 2 * np.pi) if learns else 0.0
        cosine, sine = np.cos(angle), np.sin(angle)
        turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], np.float32)
        coarse, fine = (
            _filled(stored * pair.span + pair.low, nearest) @ turn.T
            for stored, nearest in zip((pair.coarse, pair.fine), self.nearest, strict=True)
        )
        surface = coarse[self.held[0]]
        low, span = surface.min(0), np.maximum(np.ptp(surface, axis=0), np.float32(1e-6))
        return {
            "coarse": ((coarse - low) / span).astype(np.float32),
            "fine": ((fine - low) / span).astype(np.float32),
            "extent": span.astype(np.float32),
        }

    def loss(self, module: nn.Module, batch: Batch, progress: float, coin: float) -> Tensor:
        """In hundredths of the hand, as for rendered pairs."""
        del progress, coin
        self.map_loss.to(batch["coarse"].device)
        predicted = module(_planes(batch["coarse"])).float()
        return 100.0 * self.map_loss.finest(predicted, _planes(batch["fine"]))

    def score(self, module: nn.Module, batch: Batch) -> FloatArray:
        """Mean distance of the texels that hold surface."""
        predicted = module(_planes(batch["coarse"])).float().permute(0, 2, 3, 1)
        error = (predicted - batch["fine"]) * batch["extent"][:, None, None]
        apart = array(error.norm(dim=-1))
        return np.asarray(1000.0 * apart[:, self.held[1]].mean(1), np.float32)


def _nearest(held: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(M * M,) the texel with surface that is nearest to each."""
    from scipy.ndimage import distance_transform_edt

    rows, columns = distance_transform_edt(~held, return_distances=False, return_indices=True)
    return np.asarray(rows * held.shape[1] + columns, np.int64).ravel()


def _filled(stored: FloatArray, nearest: NDArray[np.int64]) -> FloatArray:
    return np.asarray(stored.reshape(-1, 3)[nearest].reshape(stored.shape), np.float32)


def _planes(maps: Tensor) -> Tensor:
    return maps.permute(0, 3, 1, 2)


__all__ = ["PAIRS", "PublishedPairs"]

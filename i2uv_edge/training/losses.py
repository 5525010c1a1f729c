"""Losses on UV position maps (I2UV-HandNet, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from i2uv_edge.training.config import LossWeights


class MapLoss:
    """L1 on the map, on its gradients along U and V, and on the background.

    Parameters
    ----------
    mask
        (M, M) texels that hold surface.
    weights
        Weight of each term.
    """

    def __init__(self, mask: Tensor, weights: LossWeights) -> None:
        self.mask = mask.float()[None, None]
        self.weights = weights
        self.along_u = self.mask[..., 1:] * self.mask[..., :-1]
        self.along_v = self.mask[..., 1:, :] * self.mask[..., :-1, :]

    def stages(self, predicted: tuple[Tensor, ...], truth: Tensor) -> Tensor:
        """Maps (N, 3, m, m), coarse to fine, against the finest truth (N, 3, M, M).

        The stages weigh the same; the coarser truths are sampled from the finest.
        """
        total = self.finest(predicted[-1], truth)
        for coarse in predicted[:-1]:
            size = coarse.shape[-1]
            total = total + self._map(coarse, resize(truth, size), resize(self.mask, size).round())
        return total / len(predicted)

    def finest(self, predicted: Tensor, truth: Tensor) -> Tensor:
        """All terms on one map."""
        error = predicted - truth
        u = (error[..., 1:] - error[..., :-1]).abs()
        v = (error[..., 1:, :] - error[..., :-1, :]).abs()
        gradient = _mean(u, self.along_u) + _mean(v, self.along_v)
        return self._map(predicted, truth, self.mask) + self.weights.gradient * gradient

    def _map(self, predicted: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
        error = (predicted - truth).abs()
        surface, background = _mean(error, mask), _mean(error, 1.0 - mask)
        return self.weights.map * surface + self.weights.background * background


def resize(maps: Tensor, size: int) -> Tensor:
    """(N, C, M, M) -> (N, C, size, size) at the same texture coordinates."""
    return F.interpolate(maps, (size, size), mode="bilinear", align_corners=True)


def _mean(error: Tensor, mask: Tensor) -> Tensor:
    total: Tensor = (error * mask).sum() / (mask.sum() * error.shape[0] * error.shape[1]).clamp(
        min=torch.finfo(torch.float32).tiny
    )
    return total

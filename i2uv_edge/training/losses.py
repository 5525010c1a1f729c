"""Losses on UV position maps (I2UV-HandNet, section 3.2, and the archive of its authors)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2uv_edge.training.config import LossWeights
from i2uv_edge.training.surface import Surface


class MapLoss(nn.Module):
    """L1 on the map, on its gradients along U and V, and on the background; more on request.

    Parameters
    ----------
    mask
        (M, M) texels that hold surface.
    weights
        Weight of each term.
    surface
        What reads vertices and knows seams; the terms on these need it.
    """

    mask: Tensor
    along_u: Tensor
    along_v: Tensor

    def __init__(self, mask: Tensor, weights: LossWeights, surface: Surface | None = None) -> None:
        super().__init__()
        if surface is None and (weights.vertex or weights.seam):
            raise ValueError("the terms on vertices and seams need a surface")
        self.weights = weights
        self.surface = surface
        mask = mask.float()[None, None]
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("along_u", mask[..., 1:] * mask[..., :-1], persistent=False)
        self.register_buffer("along_v", mask[..., 1:, :] * mask[..., :-1, :], persistent=False)

    @staticmethod
    def of(surface: Surface, weights: LossWeights) -> MapLoss:
        """The loss on maps of a surface."""
        return MapLoss(surface.mask, weights, surface)

    def stages(
        self, predicted: tuple[Tensor, ...], truth: Tensor, vertices: Tensor | None = None
    ) -> Tensor:
        """Maps (N, 3, m, m), coarse to fine, against the finest truth (N, 3, M, M).

        The stages weigh the same; the coarser truths are sampled from the finest.
        """
        total = self.finest(predicted[-1], truth, vertices)
        for coarse in predicted[:-1]:
            size = coarse.shape[-1]
            total = total + self._map(coarse, resize(truth, size), resize(self.mask, size).round())
        return total / len(predicted)

    def finest(self, predicted: Tensor, truth: Tensor, vertices: Tensor | None = None) -> Tensor:
        """All terms on one map.

        ``vertices`` (N, V, 3) are the true ones; without them those of the true map stand in.
        """
        weights = self.weights
        error = predicted - truth
        u = (error[..., 1:] - error[..., :-1]).abs()
        v = (error[..., 1:, :] - error[..., :-1, :]).abs()
        gradient = _mean(u, self.along_u) + _mean(v, self.along_v)
        total = self._map(predicted, truth, self.mask) + weights.gradient * gradient
        if weights.vertex:
            assert self.surface is not None
            wanted = self.surface.read_vertices(truth) if vertices is None else vertices
            away = (self.surface.read_vertices(predicted) - wanted).abs().mean()
            total = total + weights.vertex * away
        if weights.seam:
            assert self.surface is not None
            apart = self.surface.disagreement(predicted).abs()
            total = total + weights.seam * apart.sum() / max(apart.numel(), 1)
        if weights.depth:
            depth = error[:, 2:3]
            mean = (depth * self.mask).sum((2, 3), keepdim=True) / self.mask.sum().clamp(min=1)
            total = total + weights.depth * _mean((depth - mean).abs(), self.mask)
        return total

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

"""Batch norms in training: some that stay as they are, and one update of the rest a step."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from i2uv_edge.errors import UsageError


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """A batch norm that no ``train()`` wakes: its statistics and its weights stay."""

    def train(self, mode: bool = True) -> FrozenBatchNorm2d:
        """Stay in evaluation mode, whatever the network around is put into."""
        del mode
        super().train(False)
        return self


def freeze_norms(module: nn.Module, pattern: str) -> int:
    """Freeze the batch norms whose path matches a glob, and return how many there were.

    Their names and tensors stay, so checkpoints fit as before.

    Raises
    ------
    UsageError
        There is none.
    """
    found = [
        layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.BatchNorm2d) and fnmatchcase(name, pattern)
    ]
    if not found:
        raise UsageError(
            f"freeze_norms = {pattern!r} matches no batch norm of {type(module).__name__}",
            expected='a glob of module paths, like "encoder.*"',
        )
    for layer in found:
        layer.__class__ = FrozenBatchNorm2d
        layer.requires_grad_(False).eval()
    return len(found)


class Statistics:
    """Running statistics of one step that is taken in several parts.

    Every part starts from those of the step before, and what they came to is averaged. So they are
    the same whether the parts run one after the other or in as many processes, and their momentum
    counts steps.
    """

    def __init__(self, module: nn.Module) -> None:
        self.buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]

    def parts(self, count: int) -> Iterator[int]:
        """Number the parts; what was updated meanwhile is averaged behind the last."""
        if count == 1:
            yield 0
            return
        before = [buffer.clone() for buffer in self.buffers]
        total = [torch.zeros_like(buffer) for buffer in self.buffers]
        for number in range(count):
            for buffer, value in zip(self.buffers, before, strict=True):
                buffer.copy_(value)
            yield number
            for value, buffer in zip(total, self.buffers, strict=True):
                value.add_(buffer)
        for buffer, value in zip(self.buffers, total, strict=True):
            buffer.copy_(value / count)

    @property
    def flat(self) -> Tensor:
        """All of them in one vector."""
        return torch.cat([buffer.flatten() for buffer in self.buffers])

    def put(self, flat: Tensor) -> None:
        """The inverse of `flat`."""
        start = 0
        for buffer in self.buffers:
            buffer.copy_(flat[start : start + buffer.numel()].view_as(buffer))
            start += buffer.numel()

"""The processes that train one network together, on one machine or several.

``torchrun`` starts them and says to each which it is. Every process holds the whole network and
takes its share of each batch; gradients are averaged.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, distributed

from i2uv_edge.errors import UsageError


@dataclass(frozen=True)
class Crew:
    """Which process this is.

    Attributes
    ----------
    rank, count : its number, and how many there are
    device : what it trains on
    """

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this one writes and reports."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes of a tensor that each has."""
        if self.count == 1:
            return values
        total = values.detach().clone()
        distributed.all_reduce(total)
        return total / self.count

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            distributed.barrier()


def leads() -> bool:
    """Whether this process is the first of those that ``torchrun`` started, or the only one."""
    launched = distributed.is_available() and distributed.is_torchelastic_launched()
    return not launched or os.environ["RANK"] == "0"


@contextlib.contextmanager
def crew(device: Literal["auto", "cpu", "cuda"]) -> Iterator[Crew]:
    """Join the other processes, if ``torchrun`` started any, until the end of the block.

    Raises
    ------
    UsageError
        A GPU is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "device = cuda, but torch finds no GPU",
            expected="a CUDA build of torch, a driver and a GPU",
            remedy="train on the CPU: device = cpu",
        )
    kind = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    started = distributed.is_available() and distributed.is_torchelastic_launched()
    joined = started and not distributed.is_initialized()
    if joined:
        distributed.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield _crew(kind)
    finally:
        if joined:
            distributed.destroy_process_group()


def _crew(kind: str) -> Crew:
    together = distributed.is_available() and distributed.is_initialized()
    rank, count = (distributed.get_rank(), distributed.get_world_size()) if together else (0, 1)
    if kind == "cpu":
        return Crew(rank, count, torch.device("cpu"))
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))  # torchrun's
    torch.cuda.set_device(device)
    return Crew(rank, count, device)

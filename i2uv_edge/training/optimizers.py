"""Optimisers: AdamW, and Muon for the weights of convolutions.

Muon (Jordan et al., 2024, kellerjordan.github.io/posts/muon) replaces the momentum of a matrix by
the nearest matrix whose singular values are all about 1, so that a step turns every direction of
the layer and not only the few that dominate its gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from i2uv_edge.training.config import TrainingConfig

MOMENTUM = 0.95
# The quintic of the Newton-Schulz iteration whose slope at zero is greatest (ibid.).
QUINTIC = (3.4445, -4.7750, 2.0315)
ROUNDS = 5
# A step of singular values 1 times 0.2 sqrt(larger side) has the size of one of Adam's, so both
# take one learning rate (Liu et al., "Muon is scalable for LLM training", 2025, section 2.2).
ADAM_SIZE = 0.2
SMALLEST_SIZE = 1e-3
STRETCH = "stretch"  # the parameter that a quantizer's range is trained by
EPSILON = 1e-8  # of Adam
MAPS_AND_PICTURES = 4  # as many channels at most have pictures, and maps with their confidence


def make_optimizer(module: nn.Module, config: TrainingConfig) -> Optimizer:
    """The optimiser of a run, over the parameters that are trained.

    A group's learning rate is that of the run times its ``factor``, 1 where it has none.
    """
    named = {key: item for key, item in module.named_parameters() if item.requires_grad}
    ranges = [item for key, item in named.items() if key.rpartition(".")[2] == STRETCH]
    parameters = [item for key, item in named.items() if key.rpartition(".")[2] != STRETCH]
    if config.optimizer == "muon":
        return Muon(
            parameters,
            config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            # In a quarter of the time on a CPU that has it, and of the same singular values.
            dtype=torch.float32 if config.precision == "float32" else torch.bfloat16,
        )
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if config.relative_steps:
        groups = [{"params": [item], "factor": _size(item)} for item in parameters]
    if ranges:
        groups.append({"params": ranges, "factor": config.range_rate, "weight_decay": 0.0})
    return AdamW(groups, config.learning_rate, betas=config.betas, weight_decay=config.weight_decay)


class Muon(Optimizer):
    """Muon on the weights of inner convolutions, AdamW on all else.

    A weight (outputs, inputs, kh, kw) is taken as the matrix (outputs, inputs * kh * kw). Biases,
    norms, learned constants, and the layers that see pictures or draw maps go to AdamW, as is
    usual.

    Parameters
    ----------
    parameters
        What to train.
    lr
        Learning rate of both.
    betas
        Of AdamW.
    weight_decay
        Of both, times the learning rate.
    dtype
        Of the Newton-Schulz iteration.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.98),
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.dtype = dtype
        every = list(parameters)
        matrices = [parameter for parameter in every if _is_matrix(parameter)]
        others = [parameter for parameter in every if not _is_matrix(parameter)]
        groups = [{"params": matrices, "matrix": True}, {"params": others, "matrix": False}]
        defaults = {"lr": lr, "betas": betas, "weight_decay": weight_decay}
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Take one step."""
        assert closure is None, "this optimiser evaluates nothing again"
        for group in self.param_groups:
            update = self._orthogonal if group["matrix"] else self._adam
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
                    change = update(parameter, cast(Tensor, parameter.grad), group)
                    parameter.add_(change, alpha=-group["lr"])

    def _orthogonal(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        del group
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        momentum: Tensor = state["momentum"].lerp_(gradient, 1.0 - MOMENTUM)
        ahead = gradient.lerp(momentum, MOMENTUM)  # Nesterov's
        matrix = orthogonal(ahead.reshape(len(parameter), -1), self.dtype)
        scale = ADAM_SIZE * math.sqrt(max(matrix.shape))
        return scale * matrix.reshape(parameter.shape)

    def _adam(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        first, second = group["betas"]
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["mean"] = torch.zeros_like(gradient)
            state["square"] = torch.zeros_like(gradient)
        state["step"] += 1
        mean = state["mean"].lerp_(gradient, 1.0 - first) / (1.0 - first ** state["step"])
        state["square"].lerp_(gradient.square(), 1.0 - second)
        square = state["square"] / (1.0 - second ** state["step"])
        change: Tensor = mean / (square.sqrt() + EPSILON)
        return change


def orthogonal(matrix: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """(r, c) -> (r, c), the same singular vectors, singular values between about 0.7 and 1.2."""
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).float()
    x = (x / x.norm().clamp(min=torch.finfo(torch.float32).tiny)).to(dtype)
    for _ in range(ROUNDS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    result: Tensor = x.T if tall else x
    return result.float()


def _size(parameter: Tensor) -> float:
    """Root mean square; of a tensor that starts at zero, enough to leave it."""
    return max(float(parameter.detach().square().mean().sqrt()), SMALLEST_SIZE)


def _is_matrix(parameter: Tensor) -> bool:
    return parameter.ndim == 4 and min(parameter.shape[:2]) > MAPS_AND_PICTURES

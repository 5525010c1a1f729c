"""What a training run is made of, as data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from i2uv_edge import resources, strict_toml
from i2uv_edge.errors import UsageError

# Seeds from here on belong to held-out samples, on which no run may train.
RESERVED_SEEDS = 1 << 40


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss terms (I2UV-HandNet, section 3.2).

    Attributes
    ----------
    map : L1 on the texels that hold surface, each stage
    gradient : L1 on the map's differences along U and V, finest stage
    background : L1 on the other texels towards their nearest surface texel, the mask regulariser
    """

    map: float = 1.0
    gradient: float = 0.5
    background: float = 0.05


@dataclass(frozen=True)
class TrainingConfig:
    """One run.

    Attributes
    ----------
    steps, batch : optimiser steps, samples a step
    learning_rate, weight_decay, warmup_steps, gradient_clip : AdamW under linear warm-up, then
        cosine decay to a hundredth
    ema : decay of the weight average that is saved and evaluated; 0 saves the last weights
    teacher_forcing : part of the run over which the warps' maps pass from true to predicted
    precision : autocast type of the network's forward pass
    seed : of weights, order and samples
    workers : processes that render samples
    threads : torch threads of the trainer
    checkpoint_every, evaluate_every : steps
    evaluation_samples : held-out samples of an evaluation
    coarse_edges : part of the pictures rendered without supersampling, in half the time
    predicted_maps : SRNet: part of the inputs that are perturbed as a network's own maps are
    """

    steps: int
    batch: int
    learning_rate: float
    weight_decay: float = 1e-4
    warmup_steps: int = 150
    gradient_clip: float = 1.0
    ema: float = 0.999
    teacher_forcing: float = 0.0
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    seed: int = 0
    workers: int = 1
    threads: int = 1
    checkpoint_every: int = 500
    evaluate_every: int = 2000
    evaluation_samples: int = 200
    coarse_edges: float = 0.0
    predicted_maps: float = 0.5
    loss: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least {least}")
        for name in ("learning_rate", "gradient_clip"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} = {getattr(self, name)} must be greater than 0")
        if not 0.0 <= self.ema < 1.0:
            raise ValueError(f"ema = {self.ema} must lie in 0..1, 1 excluded")
        for name in ("teacher_forcing", "coarse_edges", "predicted_maps"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} = {getattr(self, name)} must lie in 0..1")
        if not 0 <= self.seed < RESERVED_SEEDS:
            raise ValueError(f"seed = {self.seed} must lie in 0..2^40, which excluded")


_LEAST = {
    "steps": 1,
    "batch": 2,  # batch normalisation needs two samples
    "weight_decay": 0,
    "warmup_steps": 0,
    "workers": 0,
    "threads": 1,
    "checkpoint_every": 1,
    "evaluate_every": 1,
    "evaluation_samples": 1,
}


def load_config(network: str, path: Path | None = None, **overrides: Any) -> TrainingConfig:
    """The run of a network: its file in ``export/training/``, or ``path``, then the overrides.

    An override that is None leaves the file's value.
    """
    if path is None:
        path = resources.export_data() / "training" / f"{network}.toml"
        if not path.is_file():
            raise UsageError(
                f"there is no training file for the network {network}",
                expected=f"{path}",
                remedy="write one, or pass one with --config",
            )
    config = strict_toml.load(TrainingConfig, path)
    given = {key: value for key, value in overrides.items() if value is not None}
    try:
        return replace(config, **given)
    except ValueError as error:
        raise UsageError(str(error)) from error

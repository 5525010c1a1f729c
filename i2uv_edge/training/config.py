"""What a training run is made of, as data."""

from __future__ import annotations

import copy
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from i2uv_edge import resources, strict_toml
from i2uv_edge.errors import UsageError

# Seeds from here on belong to held-out samples, on which no run may train.
RESERVED_SEEDS = 1 << 40


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss terms (I2UV-HandNet, section 3.2; the last three are its archive's).

    Attributes
    ----------
    map : L1 on the texels that hold surface, each stage
    gradient : L1 on the map's differences along U and V, finest stage
    background : L1 on the other texels towards their nearest surface texel, the mask regulariser
    vertex : L1 on the vertices that are read from the finest map
    seam : L1 between the texels of the finest map that hold one vertex on two charts
    depth : L1 on the depth of the finest map after the mean depth was taken from both sides
    """

    map: float = 1.0
    gradient: float = 0.5
    background: float = 0.05
    vertex: float = 0.0
    seam: float = 0.0
    depth: float = 0.0


@dataclass(frozen=True)
class KeypointWeights:
    """Weights of S2HAND's terms on given 2D keypoints (Chen et al., CVPR 2021).

    Attributes
    ----------
    distance : between joints, robust
    direction : squared difference of the bones' unit vectors, 2 (1 - cosine)
    length : L1 on the bones' lengths, in sides of the crop
    """

    distance: float = 0.0
    direction: float = 0.0
    length: float = 0.0

    def __post_init__(self) -> None:
        for name in ("distance", "direction", "length"):
            if getattr(self, name) < 0.0:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 0")

    @property
    def any(self) -> bool:
        """Whether any term counts, so that keypoints are needed."""
        return bool(self.distance or self.direction or self.length)


@dataclass(frozen=True)
class DatasetSettings:
    """Where the pictures come from.

    Attributes
    ----------
    kind : "rendered", the endless built-in hand, or a kind that `data.catalogue` opens
    path : where it lies
    split : what to train on
    held_out : what to evaluate on; empty holds out the last `evaluation_samples` of `split`
    atlas : OBJ file with the texture coordinates of its mesh, where that is not the built-in hand
    mano : the hand model, for a data set whose vertices are made from it
    hand : left hands are mirrored
    """

    kind: str = "rendered"
    path: str = ""
    split: str = "training"
    held_out: str = ""
    atlas: str = ""
    mano: str = ""
    hand: Literal["right", "left"] = "right"


@dataclass(frozen=True)
class AugmentationSettings:
    """How annotated pictures are varied; picture, map and camera move together.

    Hands are never mirrored: a mirrored right hand is a left one.

    Attributes
    ----------
    rotation_degrees : most rotation in the picture's plane, either way
    margin : (least, most) side of the crop over the hand's extent
    shift : furthest the hand's centre lies from the crop's, as a part of its side
    brightness, contrast, saturation : most relative change, either way
    white_balance : standard deviation of each colour's gain
    blur, motion_blur : probabilities
    noise : most sensor noise, standard deviation, 0..1
    occluder : probability of something in front of the hand
    backgrounds : folder of pictures to put behind the hands of a data set that has masks
    background : probability that one of them is
    """

    rotation_degrees: float = 90.0
    margin: tuple[float, float] = (1.12, 1.45)
    shift: float = 0.05
    brightness: float = 0.25
    contrast: float = 0.2
    saturation: float = 0.3
    white_balance: float = 0.04
    blur: float = 0.2
    motion_blur: float = 0.1
    noise: float = 0.025
    occluder: float = 0.2
    backgrounds: str = ""
    background: float = 0.7

    def __post_init__(self) -> None:
        if not 1.0 <= self.margin[0] <= self.margin[1]:
            raise ValueError(f"margin = {list(self.margin)} must be [least, most], both at least 1")
        for name in ("blur", "motion_blur", "occluder", "background", "contrast", "brightness"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} = {getattr(self, name)} must lie in 0..1")
        for name in ("rotation_degrees", "shift", "saturation", "white_balance", "noise"):
            if getattr(self, name) < 0.0:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 0")


@dataclass(frozen=True)
class TrainingConfig:
    """One run.

    Attributes
    ----------
    steps, batch : optimiser steps, samples a step (of all processes together)
    learning_rate, weight_decay, warmup_steps, gradient_clip : of the optimiser, under linear
        warm-up, then cosine decay to a hundredth
    micro_batch : samples that go through a network at once; 0 is all of a process's
    optimizer : "adam" is AdamW (Adam where `weight_decay` is 0); "muon" takes the convolutions'
        weights from it
    betas : of Adam
    ema : decay of the weight average that is saved and evaluated; 0 saves the last weights
    teacher_forcing : part of the run over which the warps' maps pass from true to predicted
    freeze_norms : glob of module paths whose batch norms stay as they are
    precision : autocast type of the network's forward pass
    device : "auto" is a GPU where there is one
    seed : of weights, order and samples
    workers : processes that make samples, for each process that trains
    threads : torch threads of the trainer
    checkpoint_every, evaluate_every : steps
    evaluation_samples : held-out samples of an evaluation
    tensorboard : whether to write its logs beside the CSV
    coarse_edges : part of the rendered pictures drawn without supersampling, in half the time
    first_edition : part of the rendered pictures made the way the frozen sets were, whose light,
        backgrounds and poses are plainer
    kept : folder where rendered pictures are kept, for other runs to read instead of drawing them
    predicted_maps : SRNet: part of the inputs that are an AffineNet's, or perturbed like those
    affinenet : SRNet: checkpoint of the AffineNet, frozen, whose maps these are; empty: perturbed
    smoothing : SRNet: standard deviation, in texels, of the Gaussian that the relief is smoothed by
    relative_steps : learning_rate counts in parts of each tensor's first root mean square; for
        trained networks, where Adam's steps of one size for all would shake the small tensors
    range_rate : quantization-aware training: learning rate of the ranges over that of the weights
    labels : quantization-aware training: weight of the true maps; that of the float network's is 1
    features : quantization-aware training: weight of the distance to the float network's features
        that its heads read
    keypoints : quantization-aware training: weights of the terms on given 2D keypoints
    teacher : checkpoint of the AffineNet to learn from instead of annotations
    teacher_network : its network, where the checkpoint does not say: a name or a TOML
    images : folder of pictures to learn from it on; empty: the rendered ones
    """

    steps: int
    batch: int
    learning_rate: float
    micro_batch: int = 0
    optimizer: Literal["adam", "muon"] = "adam"
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 1e-4
    warmup_steps: int = 150
    gradient_clip: float = 1.0
    ema: float = 0.999
    teacher_forcing: float = 0.0
    freeze_norms: str = ""
    precision: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0
    workers: int = 1
    threads: int = 1
    checkpoint_every: int = 500
    evaluate_every: int = 2000
    evaluation_samples: int = 200
    tensorboard: bool = False
    coarse_edges: float = 0.0
    first_edition: float = 0.0
    kept: str = ""
    predicted_maps: float = 0.5
    affinenet: str = ""
    smoothing: float = 0.0
    relative_steps: bool = False
    range_rate: float = 0.0
    labels: float = 0.0
    features: float = 0.0
    teacher: str = ""
    teacher_network: str = ""
    images: str = ""
    loss: LossWeights = field(default_factory=LossWeights)
    keypoints: KeypointWeights = field(default_factory=KeypointWeights)
    dataset: DatasetSettings = field(default_factory=DatasetSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least {least}")
        for name in ("learning_rate", "gradient_clip"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} = {getattr(self, name)} must be greater than 0")
        if not 0.0 <= self.ema < 1.0:
            raise ValueError(f"ema = {self.ema} must lie in 0..1, 1 excluded")
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ValueError(f"betas = {list(self.betas)} must lie in 0..1, 1 excluded")
        for name in ("teacher_forcing", "coarse_edges", "first_edition", "predicted_maps"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} = {getattr(self, name)} must lie in 0..1")
        if self.micro_batch == 1:
            raise ValueError("micro_batch = 1 must be 0 or at least 2, for batch normalisation")
        if not 0 <= self.seed < RESERVED_SEEDS:
            raise ValueError(f"seed = {self.seed} must lie in 0..2^40, which excluded")


_LEAST = {
    "steps": 1,
    "batch": 2,  # batch normalisation needs two samples
    "micro_batch": 0,
    "weight_decay": 0,
    "range_rate": 0,
    "labels": 0,
    "features": 0,
    "warmup_steps": 0,
    "workers": 0,
    "threads": 1,
    "checkpoint_every": 1,
    "evaluate_every": 1,
    "evaluation_samples": 1,
    "smoothing": 0,
}


def load_config(
    network: str, path: Path | None = None, settings: Sequence[str] = ()
) -> TrainingConfig:
    """The run of a network: its file in ``export/training/``, or ``path``, then what replaces it.

    Parameters
    ----------
    network
        Its name.
    path
        Another file.
    settings
        ``KEY=VALUE``: any key of the file, ``loss.seam=0.1``; a value that is no TOML is a string.
    """
    if path is None:
        path = resources.export_data() / "training" / f"{network}.toml"
        if not path.is_file():
            raise UsageError(
                f"there is no training file for the network {network}",
                expected=f"{path}",
                remedy="write one, or pass one with --config",
            )
    return make_config(strict_toml.read(path), settings, where=str(path))


def make_config(
    table: Mapping[str, Any], settings: Sequence[str] = (), *, where: str
) -> TrainingConfig:
    """The run that a table describes, and ``KEY=VALUE`` settings that replace some of it."""
    changed = copy.deepcopy(dict(table))
    for setting in settings:
        _put(changed, setting)
    where = f"{where} with {' '.join(settings)}" if settings else where
    return strict_toml.parse(TrainingConfig, changed, where=where)


def _put(table: dict[str, Any], setting: str) -> None:
    """Put ``a.b=value`` into a table."""
    key, separator, text = setting.partition("=")
    *outer, last = key.strip().split(".")
    if not separator or not all([*outer, last]):
        raise UsageError(
            f"the setting {setting!r} has no key and value", expected="KEY=VALUE, as in a TOML file"
        )
    for name in outer:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise UsageError(f"the setting {setting!r}: {name} is no table")
    try:
        table[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        table[last] = text.strip()

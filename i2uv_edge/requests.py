"""What the verbs of `pipeline` are asked and what they answer: plain data, nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from i2uv_edge.errors import UsageError
from i2uv_edge.scores import Report

__all__ = [
    "CANDIDATES",
    "DATASETS",
    "CalibrateRequest",
    "CalibrateResult",
    "EvaluateRequest",
    "ExportRequest",
    "ExportResult",
    "Notify",
    "TrainRequest",
    "TrainResult",
    "ValidateRequest",
    "ValidateResult",
]

Reference = Literal["float", "fake-quant"]
Dataset = Literal["rendered"]

Notify = Callable[[str, int, int], None]
"""Told what is being done, how many are done, and of how many (0: unknown)."""

CANDIDATES = ("tflite", "fake-quant")
DATASETS: tuple[Dataset, ...] = ("rendered",)


@dataclass(frozen=True)
class ExportRequest:
    """A build: model x recipe x target.

    Attributes
    ----------
    model
        A model or network, by name or as a path to its TOML.
    checkpoints
        Weights to use instead of the bundled ones; which network each is for shows in its tensors.
    target
        The device, by name or path.
    recipe
        The recipe, by name or path.
    calibration
        A folder of pictures; None is the bundled one.
    output
        The bundle to write; None is `build/TARGET`.
    force
        Replace the bundle that lies there.
    """

    model: str = "edge"
    checkpoints: tuple[Path, ...] = ()
    target: str = "sd865"
    recipe: str = "w8a8"
    calibration: Path | None = None
    output: Path | None = None
    force: bool = False

    @property
    def destination(self) -> Path:
        """Where the bundle goes."""
        return self.output or Path("build") / Path(self.target).stem


@dataclass(frozen=True)
class ExportResult:
    """A bundle that was written.

    Attributes
    ----------
    bundle
        Where it lies.
    report
        Its `report.json`; `report.passed` says whether its gates passed.
    sizes
        Bytes of the networks by what runs them: "float", "tflite".
    skipped
        Files of the request's calibration folder that are no pictures.
    """

    bundle: Path
    report: Report = field(repr=False)
    sizes: Mapping[str, int] = field(default_factory=dict)
    skipped: int = 0


@dataclass(frozen=True)
class ValidateRequest:
    """A comparison of what a bundle holds.

    Attributes
    ----------
    bundle
        The bundle.
    images
        A folder of pictures; None is the bundle's own evaluation pictures.
    reference
        What to compare against; None is the float networks and the fake-quant ones.
    candidates
        Names out of `CANDIDATES`, or folders of device dumps; none is all that the bundle holds.
        With a dump among them, only its samples are compared.
    """

    bundle: Path
    images: Path | None = None
    reference: Reference | None = None
    candidates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for candidate in self.candidates:
            if candidate not in CANDIDATES and not Path(candidate).is_dir():
                raise UsageError(
                    f"unknown candidate {candidate!r}",
                    expected=f"one of {', '.join(CANDIDATES)}, or the folder of a device dump",
                )


@dataclass(frozen=True)
class ValidateResult:
    """What came of a comparison; `sizes` and `skipped` (of the folder `images`) as in an export."""

    report: Report
    sizes: Mapping[str, int] = field(default_factory=dict)
    skipped: int = 0


@dataclass(frozen=True)
class EvaluateRequest:
    """Accuracy against ground truth of a bundle or a checkpoint (`subject`).

    The rendered data set comes with the package.
    """

    subject: Path
    dataset: Dataset = "rendered"


@dataclass(frozen=True)
class TrainRequest:
    """A training run.

    Attributes
    ----------
    network
        The network, by name or as a path to its TOML.
    config
        TOML with the settings of the run; None is the network's own.
    steps
        Optimiser steps, instead of the number in the settings.
    batch, learning_rate, seed, workers, threads
        Likewise.
    initial
        Weights to start from.
    output
        Folder of checkpoints; None is `build/train/NETWORK`.
    resume
        Go on from the last checkpoint in `output`.
    """

    network: str
    config: Path | None = None
    steps: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    seed: int | None = None
    workers: int | None = None
    threads: int | None = None
    initial: Path | None = None
    output: Path | None = None
    resume: bool = False

    @property
    def destination(self) -> Path:
        """Where the checkpoints go."""
        return self.output or Path("build") / "train" / Path(self.network).stem

    def overrides(self) -> dict[str, float | int | None]:
        """Settings that replace those of the file; None leaves them."""
        names = ("steps", "batch", "learning_rate", "seed", "workers", "threads")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class TrainResult:
    """The last checkpoint, and numbers about it by name (losses, accuracy in millimetres)."""

    checkpoint: Path
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class CalibrateRequest:
    """A calibration set to be made from a folder of pictures.

    `output` None is the folder's name with `-calibration` behind it; `force` replaces the
    calibration set that lies there.
    """

    images: Path
    output: Path | None = None
    force: bool = False

    @property
    def destination(self) -> Path:
        """Where the set goes."""
        folder = self.images.resolve()
        return self.output or folder.with_name(f"{folder.name}-calibration")


@dataclass(frozen=True)
class CalibrateResult:
    """The set written: number of pictures used and skipped, and the SHA-256 of its content."""

    folder: Path
    pictures: int
    skipped: int
    sha256: str

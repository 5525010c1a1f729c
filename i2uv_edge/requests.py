"""What the verbs of `pipeline` are asked and what they answer: plain data, nothing heavy."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from i2uv_edge.device.profiles import Profile
from i2uv_edge.errors import UsageError
from i2uv_edge.findings import Findings
from i2uv_edge.plans import PRE_POST_MS
from i2uv_edge.scores import Report

__all__ = [
    "CANDIDATES",
    "DATASETS",
    "PROFILED_ON",
    "AnalyzeRequest",
    "AnalyzeResult",
    "CalibrateRequest",
    "CalibrateResult",
    "EvaluateRequest",
    "EvaluateResult",
    "ExportRequest",
    "ExportResult",
    "Notify",
    "PlanRequest",
    "ProfileRequest",
    "ProfileResult",
    "QuantizeRequest",
    "QuantizeResult",
    "RunRequest",
    "RunResult",
    "TrainRequest",
    "TrainResult",
    "ValidateRequest",
    "ValidateResult",
]

Reference = Literal["float", "fake-quant"]
Dataset = Literal["rendered", "freihand", "ho3d"]
Machine = Literal["host", "arm64", "hub"]
Side = Literal["right", "left"]

Notify = Callable[[str, int, int], None]
"""Told what is being done, how many are done, and of how many (0: unknown)."""

CANDIDATES = ("tflite", "onnx", "fake-quant", "arm64", "split", "qnn")
DATASETS: tuple[Dataset, ...] = ("rendered", "freihand", "ho3d")
PROFILED_ON: tuple[Machine, ...] = ("host", "arm64", "hub")


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
        The recipe, by name or path; empty: w8a8-qat where there are weights trained under it and no
        `calibration`, else w8a8.
    calibration
        A folder of pictures; None is the bundled one.
    output
        The bundle to write; None is `build/TARGET`.
    split
        Cut the networks into segments as well: what a DSP takes whole, and what lies between.
    force
        Replace the bundle that lies there.
    """

    model: str = "edge"
    checkpoints: tuple[Path, ...] = ()
    target: str = "sd865"
    recipe: str = ""
    calibration: Path | None = None
    output: Path | None = None
    split: bool = False
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
        Bytes of the networks by what runs them: "float", "tflite", "onnx".
    skipped
        Files of the request's calibration folder that are no pictures.
    note
        What was cut short for networks that take long, "" if nothing was.
    segments
        A line for each network that was cut: what the DSP gets, and what is left to the CPU.
    """

    bundle: Path
    report: Report = field(repr=False)
    sizes: Mapping[str, int] = field(default_factory=dict)
    skipped: int = 0
    note: str = ""
    segments: tuple[str, ...] = ()

    @property
    def page(self) -> Path:
        """The page that shows the report."""
        return self.bundle / "report.html"


@dataclass(frozen=True)
class QuantizeRequest:
    """Quantization-aware training of a model's networks, as far as a recipe says.

    Attributes
    ----------
    model, checkpoints, recipe, calibration
        As for an export.
    images
        A folder of pictures to train on, without annotations; None are rendered hands.
    settings
        ``KEY=VALUE``, any key of the recipe's training.
    output
        Folder for the weights and the state of the run; None is `build/quantized/MODEL`.
    resume
        Go on with the run that lies there.
    """

    model: str = "edge"
    checkpoints: tuple[Path, ...] = ()
    recipe: str = "w8a8-qat"
    calibration: Path | None = None
    images: Path | None = None
    settings: tuple[str, ...] = ()
    output: Path | None = None
    resume: bool = False

    @property
    def destination(self) -> Path:
        """Where the weights go."""
        return self.output or Path("build") / "quantized" / Path(self.model).stem

    def overrides(self) -> tuple[str, ...]:
        """What replaces the recipe's settings, ``KEY=VALUE``."""
        named = () if self.images is None else (f"images={json.dumps(str(self.images))}",)
        return (*self.settings, *named)


@dataclass(frozen=True)
class QuantizeResult:
    """The weights that were written, and how far from the float network, mm, by network."""

    files: tuple[Path, ...]
    off_float_mm: Mapping[str, float] = field(default_factory=dict)
    leads: bool = True


@dataclass(frozen=True)
class AnalyzeRequest:
    """Where a model's millimetres go under a recipe, and what leaving blocks in float buys.

    Attributes
    ----------
    model, checkpoints, calibration
        As for an export.
    recipe
        What to start from. What it leaves in float though it could be integer is looked at, too;
        its training is left out.
    budgets
        Millimetres of mean vertex deviation from float; a recipe is written for each.
    ladder
        Whether to try what to leave in float first, second and so on beyond what budgets need.
    output
        Folder for `analysis.json` and the recipes; None is `build/quantized/MODEL`.
    """

    model: str = "edge"
    checkpoints: tuple[Path, ...] = ()
    recipe: str = "w8a8"
    calibration: Path | None = None
    budgets: tuple[float, ...] = ()
    ladder: bool = True
    output: Path | None = None

    def __post_init__(self) -> None:
        wrong = [budget for budget in self.budgets if not 0.0 < budget < float("inf")]
        if wrong:
            raise UsageError(f"a budget of {wrong[0]} mm", expected="a number above 0")

    @property
    def destination(self) -> Path:
        """Where the results go."""
        return self.output or Path("build") / "quantized" / Path(self.model).stem


@dataclass(frozen=True)
class AnalyzeResult:
    """What was found; `files` are `analysis.json` and the recipes."""

    findings: Findings
    files: tuple[Path, ...]


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
    report
        The folder to write `report.json` and `report.html` into. None writes over those of the
        bundle if everything else is left at its default, which is what an export compares too;
        any other comparison is no report of the bundle, and is not written down.
    analysis
        An `analysis.json` for the report to show, beside which a copy is put; None is the one that
        lies in the bundle, if there is one.
    force
        Replace the report that lies in `report`.
    """

    bundle: Path
    images: Path | None = None
    reference: Reference | None = None
    candidates: tuple[str, ...] = ()
    report: Path | None = None
    analysis: Path | None = None
    force: bool = False

    @property
    def is_default(self) -> bool:
        """Whether everything that the bundle holds is compared on its own pictures."""
        return self.images is None and self.reference is None and not self.candidates

    def __post_init__(self) -> None:
        if self.analysis is not None and self.report is None and not self.is_default:
            raise UsageError(
                "--analysis beside a comparison that no report is written of",
                remedy="name a folder for the report with --report",
            )
        for candidate in self.candidates:
            if candidate not in CANDIDATES and not Path(candidate).is_dir():
                raise UsageError(
                    f"unknown candidate {candidate!r}",
                    expected=f"one of {', '.join(CANDIDATES)}, or the folder of a device dump",
                )


@dataclass(frozen=True)
class ValidateResult:
    """What came of a comparison; the other attributes are as in an export.

    `skipped` is of the folder `images`; `page` is the `report.html` that was written, None if none
    was.
    """

    report: Report
    sizes: Mapping[str, int] = field(default_factory=dict)
    skipped: int = 0
    page: Path | None = None
    note: str = ""


@dataclass(frozen=True)
class ProfileRequest:
    """A measurement of a bundle's networks.

    Attributes
    ----------
    bundle
        The bundle; the profile is written into its `profiles/`.
    on
        This machine, a 64-bit Arm processor emulated on it, or a phone of Qualcomm AI Hub.
    device, resume, compiled
        Of the Hub: the device by name, "" for the one nearest to the bundle's target; whether to go
        on with jobs that were submitted before; whether to profile what the Hub compiles, too.
    """

    bundle: Path
    on: Machine
    device: str = ""
    resume: bool = False
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.on not in PROFILED_ON:
            raise UsageError(
                f"nothing is profiled on {self.on!r}", expected=f"one of {', '.join(PROFILED_ON)}"
            )
        given = {"--device": self.device, "--resume": self.resume, "--compiled": self.compiled}
        if self.on != "hub" and (of_hub := [name for name, value in given.items() if value]):
            raise UsageError(
                f"{', '.join(of_hub)} beside --on {self.on}",
                expected="these with --on hub alone",
            )


@dataclass(frozen=True)
class ProfileResult:
    """What was measured, and the file that it was written to."""

    profile: Profile
    file: Path


@dataclass(frozen=True)
class EvaluateRequest:
    """Accuracy against ground truth of a bundle or a checkpoint (`subject`).

    Attributes
    ----------
    subject
        The bundle, or a checkpoint that says which network it belongs to.
    dataset
        The ground truth; rendered hands come with the package.
    path
        Where any other data set lies.
    split
        Which part of it: "training" or "evaluation".
    mano
        The user's MANO model, from which HO-3D's vertices are made.
    margin
        Side of the crop over the box around the hand; None is what the model was trained with.
    predictions
        A folder for `RUNNER/pred.json`, the file that the data sets' servers take.
    """

    subject: Path
    dataset: Dataset = "rendered"
    path: Path | None = None
    split: str = "evaluation"
    mano: Path | None = None
    margin: float | None = None
    predictions: Path | None = None


@dataclass(frozen=True)
class EvaluateResult:
    """What came of it: the report, the files written, and whether this process is to show them.

    Under ``torchrun`` every process knows the whole report, and the first one shows it.
    """

    report: Report
    predictions: tuple[Path, ...] = ()
    leads: bool = True


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
    batch, learning_rate, seed, workers, threads, device, teacher, images, tensorboard
        Likewise.
    dataset, data, atlas
        Likewise: the kind of data set, where it lies, and the OBJ file of its mesh.
    settings
        ``KEY=VALUE``, any key of the settings.
    initial
        Weights to start from: the network's, or a torchvision ResNet's for its encoder.
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
    device: str | None = None
    teacher: Path | None = None
    images: Path | None = None
    tensorboard: bool | None = None
    dataset: str | None = None
    data: Path | None = None
    atlas: Path | None = None
    settings: tuple[str, ...] = ()
    initial: Path | None = None
    output: Path | None = None
    resume: bool = False

    @property
    def destination(self) -> Path:
        """Where the checkpoints go."""
        return self.output or Path("build") / "train" / Path(self.network).stem

    def overrides(self) -> tuple[str, ...]:
        """What replaces the settings of the file, ``KEY=VALUE``; what comes later wins."""
        keys = {"dataset": "dataset.kind", "data": "dataset.path", "atlas": "dataset.atlas"}
        named = [
            (keys.get(name, name), getattr(self, name))
            for name in (
                *("steps", "batch", "learning_rate", "seed", "workers", "threads", "device"),
                *("teacher", "images", "tensorboard", "dataset", "data", "atlas"),
            )
        ]
        # JSON writes numbers, booleans and strings as TOML reads them.
        return (
            *self.settings,
            *(
                f"{key}={json.dumps(str(value) if isinstance(value, Path) else value)}"
                for key, value in named
                if value is not None
            ),
        )


@dataclass(frozen=True)
class TrainResult:
    """The last checkpoint, and numbers about it by name (losses, accuracy in millimetres).

    `leads` is false in all but the first of several processes that trained together.
    """

    checkpoint: Path
    metrics: Mapping[str, float]
    leads: bool = True


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


@dataclass(frozen=True)
class PlanRequest:
    """Where a bundle's networks, or one TFLite file (`subject`), run on a target.

    `runtime` is one of the target's; empty is the one that a plan finds best. `pre_post_ms` is what
    a frame takes before and after the networks. With `split` it is about the segments of a bundle.
    """

    subject: Path
    target: str = "sd865"
    runtime: str = ""
    pre_post_ms: float = PRE_POST_MS
    split: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.pre_post_ms < float("inf"):
            raise UsageError(
                f"{self.pre_post_ms} ms before and after the networks", expected="0 or more"
            )


@dataclass(frozen=True)
class RunRequest:
    """A hand to be read in pictures, a video or a camera's picture.

    Attributes
    ----------
    bundle
        The bundle.
    source
        A picture, a folder of pictures, a video, or "camera:N".
    output
        The folder to write; None is `build/run/` and the name of the source.
    box
        What the hand fills in the picture, in the first frame of a video: left, top, width and
        height, pixels. None: the networks look for it themselves.
    hand
        Which hand it is.
    float_network
        Run the float networks in place of the TFLite files.
    compare
        Run both, and show them beside their difference.
    steady, cutoff, beta
        Smooth the hand of a video with a One-Euro filter; its cutoff at rest in Hz, and by how many
        Hz it grows for each width of the hand's box a second.
    frames
        Stop after so many; None: all there are, of a camera until it is interrupted.
    detector
        A model file that says where to look first.
    force
        Replace what an earlier run wrote at the output.
    """

    bundle: Path
    source: str
    output: Path | None = None
    box: tuple[float, float, float, float] | None = None
    hand: Side = "right"
    float_network: bool = False
    compare: bool = False
    steady: bool = False
    cutoff: float = 1.0
    beta: float = 5.0
    frames: int | None = None
    detector: Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if self.box is not None and not (self.box[2] > 0 and self.box[3] > 0):
            raise UsageError(
                f"a box of {self.box[2]:g} x {self.box[3]:g} pixels",
                expected="left, top, width and height, the last two above 0",
            )


@dataclass(frozen=True)
class RunResult:
    """What was written.

    Attributes
    ----------
    folder
        Where it lies.
    summary
        What its `run.json` holds.
    skipped
        Files of the source that are no pictures.
    note
        What was wrong with the source or the bundle, "" if nothing was.
    """

    folder: Path
    summary: Mapping[str, Any] = field(repr=False)
    skipped: int = 0
    note: str = ""

    def fields(self) -> dict[str, Any]:
        """Return the summary, and what was seen in each frame: read from the folder."""
        lines = (self.folder / "frames.jsonl").read_text(encoding="utf-8").splitlines()
        return {
            **self.summary,
            "folder": str(self.folder),
            "frames": [json.loads(line) for line in lines],
        }

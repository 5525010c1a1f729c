"""What a page is made of, and what one section of it is: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from i2uv_edge.bundle import Artifact
from i2uv_edge.findings import Findings
from i2uv_edge.plans import Checks, Plan
from i2uv_edge.report.witness import Evidence
from i2uv_edge.scores import Report
from i2uv_edge.spec import GateSpec
from i2uv_edge.tally import SurfaceAtlas

__all__ = [
    "ConvertedFile",
    "KeptFloat",
    "Material",
    "NetworkEncodings",
    "Prediction",
    "ProfiledNetwork",
    "ProfiledSource",
    "Section",
    "StepsApart",
    "Subject",
    "TensorParity",
    "TensorTable",
]


@dataclass(frozen=True)
class ConvertedFile:
    """A file that a device runs.

    `operators` counts them by name and types ("CONV_2D INT8>INT8"), `macs` are multiply-accumulates
    by type; both are empty for a kind of file that nothing here reads.
    """

    artifact: Artifact
    operators: Mapping[str, int] = field(default_factory=dict)
    macs: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class NetworkEncodings:
    """How many tensors of a network have a scale, and how many layers were changed for it."""

    role: str
    activations: int
    weights: int
    equalized: int
    bias_corrected: int


@dataclass(frozen=True)
class KeptFloat:
    """What the recipe keeps in float: the modules that `match` names, and why.

    `layers` are those of them that multiply, as the converted file names them.
    """

    role: str
    match: str
    reason: str
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Subject:
    """What the page is about: a bundle, as its manifest and files say.

    Attributes
    ----------
    model : its name
    recipe, target : name and description of each
    files : the converted ones
    encodings, kept_float : empty where nothing is quantized
    tools : versions by name
    sources : SHA-256 of outside inputs by name
    artifacts : the sealed files
    sha256 : of the manifest, so of the sealed part as a whole
    commands : what makes the bundle and the page again, run in the bundle's folder
    remarks : what the commands leave to say
    """

    model: str
    recipe: tuple[str, str]
    target: tuple[str, str]
    files: tuple[ConvertedFile, ...]
    encodings: tuple[NetworkEncodings, ...]
    kept_float: tuple[KeptFloat, ...]
    tools: Mapping[str, str]
    sources: Mapping[str, str]
    artifacts: tuple[Artifact, ...]
    sha256: str
    commands: tuple[str, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class StepsApart:
    """How far a file's integers are from the fake-quant network's.

    `share` (0..1) of the values differ, by at most `most` steps of the tensor's scale.
    """

    share: float
    most: int


@dataclass(frozen=True)
class TensorParity:
    """One rounded tensor of a network, over all pictures.

    Attributes
    ----------
    role, name : the network, and the tensor's name in its encodings
    values : how many it has on one picture
    sqnr_db : power of the float network's values over that of what fake-quant is off them by;
        infinite where nothing is lost
    saturated : share (0..1) of the values that lay beyond the grid
    files : by kind of file ("tflite", "onnx"); without those that do not hold the tensor
    """

    role: str
    name: str
    values: int
    sqnr_db: float
    saturated: float
    files: Mapping[str, StepsApart]


@dataclass(frozen=True)
class TensorTable:
    """Three-way parity of every rounded tensor, in running order, and on how many pictures."""

    pictures: int
    tensors: tuple[TensorParity, ...]


@dataclass(frozen=True)
class ProfiledNetwork:
    """One network as a source ran it, in words.

    `cells` go with the source's columns; `operators` are the slowest: name, kind, unit, time and
    share; `summary` counts all of them by unit, "" where none are known.
    """

    role: str
    cells: tuple[str, ...]
    operators: tuple[tuple[str, ...], ...] = ()
    summary: str = ""


@dataclass(frozen=True)
class ProfiledSource:
    """What one source says of speed and cost; figures of two sources never share a table.

    Attributes
    ----------
    heading : the source, what ran the networks, and what its figures are worth
    columns, networks : the table
    jobs : where they can be looked up
    notes : what to know before believing a figure
    tools : versions by name
    """

    heading: str
    columns: tuple[str, ...]
    networks: tuple[ProfiledNetwork, ...]
    jobs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Prediction:
    """Where the bundle's files would run on its target, or with `split` its segments, and when.

    `checks` are what the times rest on.
    """

    plan: Plan
    checks: Checks
    split: bool = False


@dataclass(frozen=True)
class Material:
    """Everything a section may draw on.

    Attributes
    ----------
    report : the scores
    gates : those it was judged by
    subject : the bundle
    atlas : of the last stage's maps
    sizes : bytes of the networks by runner
    evidence : what was kept of the comparison; None if nothing was compared
    tensors : parity inside the networks; None where nothing is quantized
    profiles : what was measured of speed and cost, by source
    predictions : where it would run; the best plan first, empty where nothing can be predicted
    findings : which blocks cost how much; None without an analysis
    """

    report: Report
    gates: tuple[GateSpec, ...]
    subject: Subject
    atlas: SurfaceAtlas
    sizes: Mapping[str, int]
    evidence: Evidence | None = None
    tensors: TensorTable | None = None
    profiles: tuple[ProfiledSource, ...] = ()
    predictions: tuple[Prediction, ...] = ()
    findings: Findings | None = None


@dataclass(frozen=True)
class Section:
    """One section of the page: `template` is filled in with `content`.

    `script` names what of `assets/` it needs to run, "" for most.
    """

    anchor: str
    title: str
    template: str
    content: Mapping[str, Any]
    script: str = ""

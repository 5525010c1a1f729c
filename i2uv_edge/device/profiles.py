"""What was measured of a bundle's networks, by what ran them: one schema for every source.

Profiles lie in a bundle's `profiles/`, one file for each source and device, outside the seal: they
can be measured again. A file says of which bundle and of which files in it it speaks.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from i2uv_edge import strict_toml
from i2uv_edge.bundle import write_json
from i2uv_edge.errors import DamagedError, InputError, UsageError

__all__ = [
    "FOLDER",
    "INVENTED",
    "MEANINGS",
    "SCHEMA",
    "SOURCES",
    "Against",
    "Device",
    "Instructions",
    "Job",
    "Latency",
    "Layer",
    "NetworkProfile",
    "OffMm",
    "Profile",
    "Source",
    "parse_profile",
    "read_profile",
    "read_profiles",
    "write_profile",
]

Source = Literal["host", "arm64-emulated", "hub", "device"]
Unit = Literal["CPU", "GPU", "NPU", "DSP"]

SCHEMA = 1
SOURCES: tuple[Source, ...] = ("host", "arm64-emulated", "hub", "device")
MEANINGS: Mapping[Source, str] = {
    "host": "measured on a desktop machine, which is no phone",
    "arm64-emulated": "counted in an emulated Arm processor, where time means nothing",
    "hub": "reported by Qualcomm AI Hub",
    "device": "measured on a device at hand",
}
"""What a reader has to know of each source's figures."""

INVENTED = ": invented"
"""How the note ends that says whose server made the figures up, where it was not Qualcomm's."""

FOLDER = "profiles"


@dataclass(frozen=True)
class Device:
    """What ran the networks; `stands_in_for` names the device that is meant, "" if it is this."""

    name: str
    chipset: str = ""
    stands_in_for: str = ""


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one warm inference over `runs` of them."""

    median: float
    least: float
    p90: float
    runs: int

    def __post_init__(self) -> None:
        _check_amounts(median=self.median, least=self.least, p90=self.p90)
        if self.runs < 1 or not self.least <= self.median <= self.p90:
            raise ValueError("a latency needs runs, and least <= median <= p90")


@dataclass(frozen=True)
class Instructions:
    """Instructions of one inference: all, and the int8 dot products (SDOT) among them."""

    total: int
    sdot: int

    def __post_init__(self) -> None:
        if not 0 <= self.sdot <= self.total:
            raise ValueError("instructions need 0 <= sdot <= total")


@dataclass(frozen=True)
class Layer:
    """One operator as the runtime names it, where it ran, how long and what share (0..1) of all."""

    name: str
    type: str
    unit: Unit
    ms: float | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        _check_amounts(ms=self.ms, share=self.share)
        if self.share is not None and self.share > 1.0:
            raise ValueError(f"the share of layer {self.name!r} is {self.share}: above 1")


@dataclass(frozen=True)
class OffMm:
    """Millimetres between this run's vertices and the reference runner's."""

    mean: float
    p95: float

    def __post_init__(self) -> None:
        _check_amounts(mean=self.mean, p95=self.p95)


@dataclass(frozen=True)
class Against:
    """What the network was timed beside: its median, and the network's time as a part of it."""

    name: str
    median_ms: float
    ratio: float

    def __post_init__(self) -> None:
        _check_amounts(median_ms=self.median_ms, ratio=self.ratio)


@dataclass(frozen=True)
class Job:
    """A job at Qualcomm AI Hub."""

    id: str
    kind: str
    status: str
    url: str = ""


@dataclass(frozen=True)
class NetworkProfile:
    """One network, run one way.

    Attributes
    ----------
    role, file, sha256 : the network, its file in the bundle (or what was made of it), that one's
        hash
    runtime : what computed it: "xnnpack", "qnn-dsp", ...
    threads : of the CPU
    latency_ms : of warm runs
    first_ms : cold start: loading and the first inference
    memory_mb : what the process grew by
    instructions : of one inference
    layers : in running order; empty where nothing is known of them
    off_mm : outputs of this run against the reference runner
    against : what ran in turns with it
    """

    role: str
    file: str
    sha256: str
    runtime: str
    threads: int = 1
    latency_ms: Latency | None = None
    first_ms: float | None = None
    memory_mb: float | None = None
    instructions: Instructions | None = None
    layers: tuple[Layer, ...] = ()
    off_mm: OffMm | None = None
    against: tuple[Against, ...] = ()

    def __post_init__(self) -> None:
        _check_amounts(first_ms=self.first_ms, memory_mb=self.memory_mb)
        if self.threads < 1:
            raise ValueError(f"{self.threads} threads")


@dataclass(frozen=True)
class Profile:
    """One source's figures.

    `bundle` is the SHA-256 of the manifest, `tools` are versions by name, `notes` what a reader has
    to know before he believes a figure.
    """

    source: Source
    bundle: str
    device: Device
    tools: Mapping[str, str]
    networks: tuple[NetworkProfile, ...]
    jobs: tuple[Job, ...] = ()
    notes: tuple[str, ...] = ()
    schema: int = field(default=SCHEMA, kw_only=True)

    def fields(self) -> dict[str, Any]:
        """Return the JSON document."""
        return asdict(self)

    @property
    def invented(self) -> str:
        """The note that its figures are made up, "" if they are not."""
        return next((note for note in self.notes if note.endswith(INVENTED)), "")

    @property
    def file_name(self) -> str:
        """Name in the bundle's folder of profiles; sources of many devices have one for each."""
        named = f"-{_slug(self.device.name)}" if self.source in ("hub", "device") else ""
        return f"{self.source}{named}.json"


def parse_profile(document: object, *, where: str) -> Profile:
    """Make a profile of a JSON document that was read from `where`.

    Raises
    ------
    InputError
        It is of another schema.
    DamagedError
        It is no profile; the message names the key.
    """
    remedy = "remove it, or measure again"
    if not isinstance(document, dict):
        raise DamagedError(f"{where} is no profile", expected="a JSON object", remedy=remedy)
    if (schema := document.get("schema")) != SCHEMA or type(schema) is not int:
        raise InputError(
            f"{where} is of schema {schema!r}",
            expected=f"schema {SCHEMA}",
            remedy="use the version of i2uv-edge that wrote it, or measure again",
        )
    try:
        return strict_toml.parse(Profile, document, where=where)
    except UsageError as error:
        raise DamagedError(error.what, expected=error.expected, remedy=remedy) from error


def read_profile(path: Path) -> Profile:
    """Read one file.

    Raises
    ------
    InputError
        It is not there, or of another schema.
    DamagedError
        It is no profile.
    """
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"there is no profile {path}", remedy="i2uv-edge profile") from error
    except (OSError, ValueError) as error:
        raise DamagedError(
            f"{path} cannot be read as a profile: {error}", remedy="remove it, or measure again"
        ) from error
    return parse_profile(document, where=str(path))


def read_profiles(bundle: Path) -> tuple[Profile, ...]:
    """Read a bundle's profiles, ordered by source and device; other files there are left alone."""
    found = []
    for path in sorted((bundle / FOLDER).glob("*.json")):
        if any(path.stem == source or path.stem.startswith(f"{source}-") for source in SOURCES):
            found.append(read_profile(path))
    return tuple(sorted(found, key=lambda own: (SOURCES.index(own.source), own.device.name)))


def write_profile(bundle: Path, profile: Profile) -> Path:
    """Write a profile into a bundle, over an earlier one of its source and device.

    Raises
    ------
    UsageError
        The bundle cannot be written to.
    """
    path = bundle / FOLDER / profile.file_name
    try:
        path.parent.mkdir(exist_ok=True)
        write_json(path, profile.fields())
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}",
            remedy="profile a copy of the bundle that can be written to",
        ) from error
    return path


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unnamed"


def _check_amounts(**amounts: float | None) -> None:
    for name, value in amounts.items():
        if value is not None and (not math.isfinite(value) or value < 0.0):
            raise ValueError(f"{name} is {value}: no amount")

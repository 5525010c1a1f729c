"""What a device is and what its runtimes can: `export/targets/NAME.toml`.

Every fact has its source and how sure it is: "measured" on the device or its sibling, "documented"
by who makes the runtime, "derived" from such facts, or "assumed" for want of any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

__all__ = [
    "Certainty",
    "ClusterSpec",
    "CostSpec",
    "LimitSpec",
    "OperatorsSpec",
    "ProcessorSpec",
    "RuntimeSpec",
    "TargetSpec",
    "Unit",
]

Certainty = Literal["measured", "documented", "derived", "assumed"]
Unit = Literal["CPU", "DSP", "GPU", "NPU"]
Term = Literal["call", "gmac", "mb", "clip_mb"]


@dataclass(frozen=True)
class ClusterSpec:
    """CPU cores of one kind."""

    name: str
    cores: int
    ghz: float
    source: str
    certainty: Certainty


@dataclass(frozen=True)
class ProcessorSpec:
    """What is not a CPU; `architecture` is the name that its runtimes go by."""

    unit: Unit
    name: str
    architecture: str
    source: str
    certainty: Certainty
    note: str = ""


@dataclass(frozen=True)
class OperatorsSpec:
    """Operators, by their TFLite names, that a runtime takes as far as its limits let it."""

    names: tuple[str, ...]
    source: str
    certainty: Certainty


@dataclass(frozen=True)
class LimitSpec:
    """One condition that operators must meet to run on the unit; it holds for `operators`, or all.

    `types` are of the tensors read and written that are no constants; `max_output_side` is in
    pixels; `zero_padding` is whether padding must be with the zero of the tensor's own grid.
    `max_network_tensor_mb` bounds the largest tensor of a network, and refuses the whole network.
    """

    source: str
    certainty: Certainty
    operators: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    max_rank: int | None = None
    max_stride: int | None = None
    max_dilation: int | None = None
    max_groups: int | None = None
    max_multiplier: int | None = None
    kernel_width: int | None = None
    max_output_side: int | None = None
    zero_padding: bool = False
    max_network_tensor_mb: float | None = None

    def __post_init__(self) -> None:
        if len(self.conditions) != 1:
            raise ValueError(
                f"a limit has one condition, this one has {', '.join(self.conditions) or 'none'}"
            )

    @property
    def conditions(self) -> tuple[str, ...]:
        """The names of what is limited."""
        about = ("source", "certainty", "operators")
        names = (item.name for item in fields(self) if item.name not in about)
        return tuple(name for name in names if getattr(self, name) not in (None, (), False))


@dataclass(frozen=True)
class CostSpec:
    """How the time on a unit is predicted from public measurements.

    Parameters
    ----------
    column
        The measurements of the evidence that it is fitted to.
    lanes
        What channels are rounded up to: those a convolution reads, those it writes, and those of a
        tensor in memory. Thin layers are slow because lanes stay empty.
    terms
        What is paid for: each "call" of the unit, "gmac" of convolutions in full lanes, "mb" read
        and written in full lanes, "clip_mb" of activations that no convolution absorbs.
    most_call_ms
        More than this a call cannot cost, since a whole network takes no longer.
    float_slowdown
        How much slower convolutions in float are than in int8.
    """

    column: Literal["dsp", "gpu", "cpu"]
    lanes: tuple[int, int, int]
    terms: tuple[Term, ...]
    source: str
    certainty: Certainty
    most_call_ms: float | None = None
    float_slowdown: float = 1.0


@dataclass(frozen=True)
class RuntimeSpec:
    """Something that runs TFLite files: the unit it uses, and what it leaves to the CPU.

    Without `operators` it takes all of them. `advisable` is whether a plan may choose it unasked.
    """

    unit: Unit
    description: str
    source: str
    certainty: Certainty
    advisable: bool = True
    operators: tuple[OperatorsSpec, ...] = ()
    limit: tuple[LimitSpec, ...] = ()
    cost: CostSpec | None = None


@dataclass(frozen=True)
class TargetSpec:
    """A device: `export/targets/NAME.toml`.

    `sources` are where its facts come from; `evidence` names the file of public measurements in
    `export/evidence` that times are predicted from, "" if there are none.
    """

    name: str
    description: str
    soc: str
    sources: tuple[str, ...]
    evidence: str = ""
    memory_gb_per_s: float | None = None
    cpu: tuple[ClusterSpec, ...] = ()
    processor: tuple[ProcessorSpec, ...] = ()
    runtime: Mapping[str, RuntimeSpec] = field(default_factory=dict)

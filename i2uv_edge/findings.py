"""What an analysis found: which blocks cost how many millimetres, what leaving them in float buys.

Plain data, its JSON document (`analysis.json`) and its table.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from i2uv_edge import strict_toml
from i2uv_edge.errors import DamagedError, InputError, UsageError
from i2uv_edge.spec import Role

__all__ = [
    "ANALYSIS",
    "BlockFinding",
    "Budget",
    "Findings",
    "Step",
    "TensorFinding",
    "floats_in_words",
    "read_findings",
]

ANALYSIS = "analysis.json"
"""The file's name; in a bundle it lies outside the seal, beside the report that shows it."""

SCHEMA = 1
WORST_TENSORS = 8  # in a table
BOUND = 0.05  # of the multiply-adds in float: that of the bundled recipes and of the gates


@dataclass(frozen=True)
class BlockFinding:
    """A block of a network.

    Attributes
    ----------
    network, block : whose, and its module path
    part : the part of the network's file that it is of, "" for none
    macs : share (0..1) of the network's multiply-adds
    alone_mm : mean vertex deviation from float with this block integer and all others float
    all_but_mm : with this block float and all others integer
    saved_mm : how much less that is than with all integer
    """

    network: Role
    block: str
    part: str
    macs: float
    alone_mm: float
    all_but_mm: float
    saved_mm: float


@dataclass(frozen=True)
class TensorFinding:
    """A quantized tensor, rounded alone: signal to rounding noise, and the share clipped (0..1)."""

    network: Role
    tensor: str
    kind: Literal["activation", "weight"]
    sqnr_db: float
    saturated: float


@dataclass(frozen=True)
class Step:
    """A choice of blocks to leave in float.

    Attributes
    ----------
    floats : "network: block", or "network: part" for all blocks of a part
    mm : mean vertex deviation from float, measured with ranges that are not found anew
    extra_time : share by which all networks take longer than with everything integer, estimated
    float_macs : largest share of a network's multiply-adds that is float
    """

    floats: tuple[str, ...]
    mm: float
    extra_time: float
    float_macs: float

    def line(self) -> str:
        """Say it in one line."""
        text = f"{self.mm:.2f} mm: {floats_in_words(self.floats)}, {percent(self.extra_time)} time"
        return f"{text}, estimated{over_bound(self.float_macs)}"


@dataclass(frozen=True)
class Budget:
    """A recipe that keeps within a budget.

    Attributes
    ----------
    max_mm : the budget
    recipe : its file
    choice : what it leaves in float
    mm : mean vertex deviation from float of the quantized networks, on all pictures, worst stage
    pictures : how many these are
    """

    max_mm: float
    recipe: str
    choice: Step
    mm: float
    pictures: int

    def line(self) -> str:
        """Say it in one line."""
        choice = self.choice
        return (
            f"{self.max_mm:g} mm: {floats_in_words(choice.floats)}, {percent(choice.extra_time)} "
            f"time, estimated; {self.mm:.3f} mm on {self.pictures} pictures"
            f"{over_bound(choice.float_macs)}"
        )


@dataclass(frozen=True)
class Findings:
    """An analysis of a model under a recipe.

    Attributes
    ----------
    model, recipe : names
    pictures : held-out ones that were measured on
    integer_mm : mean vertex deviation from float with everything integer, by network
    blocks : the worst first
    tensors : in running order
    ladder : each step leaves more in float than the one before it
    budgets : those that were asked for
    """

    model: str
    recipe: str
    pictures: int
    integer_mm: Mapping[Role, float]
    blocks: tuple[BlockFinding, ...]
    tensors: tuple[TensorFinding, ...]
    ladder: tuple[Step, ...]
    budgets: tuple[Budget, ...] = ()

    def fields(self) -> dict[str, Any]:
        """Return the JSON document; numbers that JSON does not have are null."""
        return {"schema": SCHEMA, **_finite(asdict(self))}

    def text(self) -> str:
        """Return what a person wants to see first; everything else is in `analysis.json`."""
        lines = [
            f"{self.model} under {self.recipe}: mean distance from float over the vertices of "
            f"{self.pictures} held-out pictures"
        ]
        for network, value in self.integer_mm.items():
            lines += [f"\n{network}: everything integer {value:.3f} mm", *self._blocks(network)]
            lines += ["", *self._tensors(network)]
        if self.ladder:
            lines += ["\nleft in float, one after the other", *[s.line() for s in self.ladder]]
        if self.budgets:
            lines += ["\nbudgets", *[budget.line() for budget in self.budgets]]
        lines += [self.footnote] if self.footnote else []
        return "\n".join(lines)

    @property
    def footnote(self) -> str:
        """What the star at the end of a line means, "" where there is none."""
        steps = [*self.ladder, *(budget.choice for budget in self.budgets)]
        if all(step.float_macs <= BOUND for step in steps):
            return ""
        return (
            f"* of a network; bundled recipes allow themselves {100 * BOUND:.0f} %, and so do "
            "the gates"
        )

    def _blocks(self, network: Role) -> list[str]:
        own = [block for block in self.blocks if block.network == network]
        width = max((len(block.block) for block in own), default=0)
        head = f"{'block':{width}}  MACs %  it alone, mm  all but it, mm  saved, mm"
        return [head] + [
            f"{item.block:{width}}  {100 * item.macs:6.1f}  {item.alone_mm:12.3f}  "
            f"{item.all_but_mm:14.3f}  {item.saved_mm:+9.3f}"
            for item in own
        ]

    def _tensors(self, network: Role) -> list[str]:
        own = [tensor for tensor in self.tensors if tensor.network == network]
        worst = sorted(own, key=lambda tensor: tensor.sqnr_db)[:WORST_TENSORS]
        width = max((len(tensor.tensor) for tensor in worst), default=0)
        head = f"{f'{len(worst)} worst of {len(own)} tensors':{width}}  SQNR, dB  saturated, %"
        width = max(width, len(head) - len("  SQNR, dB  saturated, %"))
        return [head] + [
            f"{item.tensor:{width}}  {item.sqnr_db:8.1f}  {100 * item.saturated:12.3f}"
            for item in worst
        ]


def read_findings(path: Path) -> Findings:
    """Read an `analysis.json`, without its tensors, which nothing asks for again.

    Raises
    ------
    InputError
        It is not there, or of another schema.
    DamagedError
        It is no analysis.
    """
    remedy = "i2uv-edge quantize MODEL --analyze"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"there is no analysis {path}", remedy=remedy) from error
    except (OSError, ValueError) as error:
        raise DamagedError(
            f"{path} cannot be read as an analysis: {error}", remedy=remedy
        ) from error
    if not isinstance(document, dict) or "schema" not in document:
        raise DamagedError(f"{path} is no analysis", expected="a JSON object", remedy=remedy)
    if (schema := document.pop("schema")) != SCHEMA:
        raise InputError(
            f"{path} is of schema {schema!r}", expected=f"schema {SCHEMA}", remedy=remedy
        )
    try:
        return strict_toml.parse(Findings, {**document, "tensors": []}, where=str(path))
    except UsageError as error:
        raise DamagedError(error.what, expected=error.expected, remedy=remedy) from error


def floats_in_words(floats: Sequence[str]) -> str:
    """Say what is left in float; a network is named only where there are several."""
    if not floats:
        return "everything integer"
    names = [tuple(item.split(": ")) for item in floats]
    if len({network for network, _ in names}) == 1:
        words = [name for _, name in names]
    else:
        words = [f"{network}'s {name}" for network, name in names]
    listed = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
    return f"{listed} float"


def percent(share: float) -> str:
    """A change as a percentage with its sign."""
    return f"{100 * share:+.1f} %"


def over_bound(float_macs: float) -> str:
    """A note where more is float than the bundled recipes allow themselves."""
    if float_macs <= BOUND:
        return ""
    return f" ({100 * float_macs:.1f} % of the multiply-adds float) *"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

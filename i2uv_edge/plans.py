"""What a plan says: which part of a network runs where, how long it may take, and how sure that is.

Plain data and its text; `planning` makes it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["PRE_POST_MS", "Alternative", "Check", "Checks", "Plan", "Segment"]

PRE_POST_MS = 8.0
"""For the picture's way into the network and the map's way out of it, camera and drawing aside."""


@dataclass(frozen=True)
class Segment:
    """Operators of one network that run on one unit without a break.

    `ms_low` and `ms_high` are where the true time should lie; `mb` are the megabytes read and
    written, constants aside; `reason` says why they run there, and `offender` names the first
    operator that the asked unit does not take, "" on that unit.
    """

    network: str
    unit: str
    ops: int
    gmac: float
    mb: float
    ms: float
    ms_low: float
    ms_high: float
    reason: str
    offender: str = ""


@dataclass(frozen=True)
class Alternative:
    """What another runtime of the target would come to, or why that is not known."""

    runtime: str
    ms: float
    ms_low: float
    ms_high: float
    crossings: int
    advisable: bool
    note: str = ""


@dataclass(frozen=True)
class Plan:
    """A model's networks, one after the other, on a target by one runtime.

    `pre_post_ms` is what a frame takes besides the networks; `asked` is whether the runtime was.
    """

    target: str
    runtime: str
    unit: str
    description: str
    segments: tuple[Segment, ...]
    crossings: int
    pre_post_ms: float = PRE_POST_MS
    asked: bool = True
    note: str = ""
    alternatives: tuple[Alternative, ...] = ()

    @property
    def ms(self) -> float:
        """Milliseconds of the networks."""
        return sum(segment.ms for segment in self.segments)

    @property
    def ms_low(self) -> float:
        """The optimistic end of it."""
        return sum(segment.ms_low for segment in self.segments)

    @property
    def ms_high(self) -> float:
        """The pessimistic end of it."""
        return sum(segment.ms_high for segment in self.segments)

    @property
    def fps(self) -> float:
        """Frames a second, with what comes before and after the networks."""
        return 1000 / (self.ms + self.pre_post_ms)

    @property
    def fps_low(self) -> float:
        """The pessimistic end of it."""
        return 1000 / (self.ms_high + self.pre_post_ms)

    @property
    def left_to_cpu(self) -> int:
        """How many operators the asked unit leaves to the CPU."""
        if self.unit == "CPU":
            return 0
        return sum(segment.ops for segment in self.segments if segment.unit == "CPU")

    def failures(
        self,
        *,
        fail_on_fallback: bool = False,
        max_crossings: int | None = None,
        min_fps: float | None = None,
    ) -> list[str]:
        """Say which of the gates that are asked for the plan does not pass."""
        found = []
        if fail_on_fallback and self.left_to_cpu:
            first = next(segment for segment in self.segments if segment.offender)
            found.append(
                f"{self.left_to_cpu} operators are left to the CPU, first {first.offender}: "
                f"{first.reason}"
            )
        if max_crossings is not None and self.crossings > max_crossings:
            found.append(f"{self.crossings} crossings, at most {max_crossings} may be")
        if min_fps is not None and not self.fps_low >= min_fps:
            found.append(f"{self.fps_low:.1f} fps on the pessimistic end, {min_fps:g} are asked")
        return found

    def fields(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {
            "target": self.target,
            "runtime": self.runtime,
            "unit": self.unit,
            "segments": [asdict(segment) for segment in self.segments],
            "crossings": self.crossings,
            "ms": self.ms,
            "ms_low": self.ms_low,
            "ms_high": self.ms_high,
            "pre_post_ms": self.pre_post_ms,
            "fps": self.fps,
            "fps_low": self.fps_low,
            "note": self.note,
            "alternatives": [asdict(other) for other in self.alternatives],
        }

    def text(self) -> str:
        """Return it for people."""
        chosen = "" if self.asked else ", the best of those below"
        lines = [f"{self.target}, {self.runtime}{chosen}: {self.description}", ""]
        head = ("network", "unit", "ops", "GMAC", "MB", "ms", "low..high", "why")
        rows = [head, *(_cells(segment) for segment in self.segments)]
        lines += aligned(rows, left=(0, 1, 7))
        lines += [
            "",
            f"crossings  {self.crossings}",
            f"networks   {self.ms:.1f} ms ({self.ms_low:.1f}..{self.ms_high:.1f})",
            f"frame      {self.fps:.0f} fps, pessimistic {self.fps_low:.0f}, with "
            f"{self.pre_post_ms:g} ms before and after the networks",
        ]
        lines += [f"note       {self.note}"] if self.note else []
        for place, other in enumerate(self.alternatives):
            title = "others" if place == 0 else ""
            aside = f"; {other.note}" if other.note else ""
            lines.append(
                f"{title:9}  {other.runtime}: {other.ms:.1f} ms ({other.ms_low:.1f}.."
                f"{other.ms_high:.1f}), {other.crossings} crossings{aside}"
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class Check:
    """A measured network, and what the others let one predict for it, in milliseconds.

    `whole` is whether the unit ran all of it; `placed` says how the plan places it otherwise.
    """

    name: str
    whole: bool
    measured_ms: float
    predicted_ms: float
    placed: str = ""

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted_ms / self.measured_ms


@dataclass(frozen=True)
class Checks:
    """The evidence behind the times of one runtime: each network left out in its turn.

    `coefficients` are milliseconds for each term of the model, `beside` how much slower the CPU is
    beside the unit than alone, `unused` the networks that are not looked at, with the reason.
    """

    target: str
    runtime: str
    source: str
    coefficients: Mapping[str, float]
    beside: float
    rows: tuple[Check, ...]
    unused: Mapping[str, str]

    @property
    def median_error(self) -> float:
        """The median relative error of what the unit ran whole."""
        return statistics.median(abs(row.ratio - 1) for row in self.rows if row.whole)

    @property
    def worst_fallback(self) -> float | None:
        """The largest factor that a network run in part is off by, either way."""
        factors = (max(row.ratio, 1 / row.ratio) for row in self.rows if not row.whole)
        return max(factors, default=None)

    def fields(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {
            "target": self.target,
            "runtime": self.runtime,
            "source": self.source,
            "coefficients": dict(self.coefficients),
            "beside": self.beside,
            "rows": [{**asdict(row), "ratio": row.ratio} for row in self.rows],
            "unused": dict(self.unused),
            "median_error": self.median_error,
            "worst_fallback": self.worst_fallback,
        }

    def text(self) -> str:
        """Return it for people."""
        lines = [f"{self.target}, {self.runtime}: each network predicted from the others"]
        lines += [f"measured by: {self.source}", ""]
        head = ("network", "measured ms", "predicted ms", "ratio", "")
        rows = [
            (
                row.name,
                f"{row.measured_ms:.1f}",
                f"{row.predicted_ms:.1f}",
                f"{row.ratio:.2f}",
                row.placed,
            )
            for row in self.rows
        ]
        lines += aligned([head, *rows], left=(0, 4))
        terms = ", ".join(f"{name} {value:.3g} ms" for name, value in self.coefficients.items())
        lines += ["", f"median error  {self.median_error:.1%} over what ran whole"]
        if self.worst_fallback is not None:
            lines.append(f"run in part   within a factor of {self.worst_fallback:.2f}")
        lines.append(f"coefficients  {terms}")
        if self.worst_fallback is not None:
            lines.append(f"CPU beside    {self.beside:.1f} times slower than alone")
        lines += [f"not used      {name}: {why}" for name, why in self.unused.items()]
        return "\n".join(lines)


def _cells(segment: Segment) -> tuple[str, ...]:
    why = f"{segment.offender}: {segment.reason}" if segment.offender else segment.reason
    return (
        segment.network,
        segment.unit,
        str(segment.ops),
        f"{segment.gmac:.3f}",
        f"{segment.mb:.1f}",
        f"{segment.ms:.2f}",
        f"{segment.ms_low:.2f}..{segment.ms_high:.2f}",
        why,
    )


def aligned(rows: list[tuple[str, ...]], *, left: tuple[int, ...]) -> list[str]:
    """Return lines with columns under one another, those in `left` flush left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]

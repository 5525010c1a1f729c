"""What an examination found: plain data, its JSON document and its table."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Literal

__all__ = ["Check", "Diagnosis", "State"]

State = Literal["works", "missing", "broken"]

SCHEMA = 1
_MARKS = {"works": "ok", "missing": "--", "broken": "FAULT"}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    group, name : where it stands in a table
    state : "missing" is not there, "broken" is there and does not do what it should
    detail : what was found: a version, a result, or what went wrong
    remedy : what to do where it does not work, a command if there is one
    required : whether the package does without it
    """

    group: str
    name: str
    state: State
    detail: str
    remedy: str = ""
    required: bool = False


@dataclass(frozen=True)
class Diagnosis:
    """Everything that was looked at, and how many seconds that took."""

    checks: tuple[Check, ...]
    seconds: float

    @property
    def faults(self) -> tuple[Check, ...]:
        """What is required and does not work."""
        return tuple(c for c in self.checks if c.required and c.state != "works")

    def fields(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {
            "schema": SCHEMA,
            "works": not self.faults,
            "checks": [asdict(check) for check in self.checks],
            "seconds": round(self.seconds, 2),
        }

    def text(self, width: int | None = None) -> str:
        """Return it for people, in lines of at most `width` characters: those of the terminal."""
        columns = width or shutil.get_terminal_size((100, 24)).columns
        name = max((len(check.name) for check in self.checks), default=0)
        lines: list[str] = []
        for group, own in groupby(self.checks, lambda check: check.group):
            lines += ["", group] if lines else [group]
            for check in own:
                lines += _lines(check, name, columns)
        optional = [c for c in self.checks if not c.required and c.state != "works"]
        lines += ["", _verdict(self.faults, len(optional), self.seconds)]
        return "\n".join(lines)


def _lines(check: Check, name: int, columns: int) -> list[str]:
    head = f"  {_MARKS[check.state]:5}  {check.name:{name}}  "
    room = max(columns - len(head), 30)
    rest = textwrap.wrap(check.detail, room, break_on_hyphens=False) or [""]
    # A command stays whole, so that it can be copied.
    rest += [f"to do: {check.remedy}"] if check.remedy and check.state != "works" else []
    return [f"{head if place == 0 else ' ' * len(head)}{line}" for place, line in enumerate(rest)]


def _verdict(faults: Sequence[Check], optional: int, seconds: float) -> str:
    what = "everything that is required works"
    if faults:
        what = f"required and not working: {', '.join(check.name for check in faults)}"
    aside = (
        f"; {optional} optional {'thing' if optional == 1 else 'things'} not" if optional else ""
    )
    return f"{what}{aside} ({seconds:.1f} s)"

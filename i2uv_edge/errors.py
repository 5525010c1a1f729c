"""What went wrong, what was expected and what to do: one class for each kind of failure.

Each kind carries the exit code of the command line. Exit code 1 is left to bugs: an exception
that is none of these.
"""

from __future__ import annotations

__all__ = [
    "ConversionError",
    "DamagedError",
    "GateError",
    "HubError",
    "I2uvError",
    "InputError",
    "MissingDependencyError",
    "UsageError",
]


class I2uvError(Exception):
    """A failure that is worth telling a person about in one paragraph.

    Parameters
    ----------
    what
        What happened, naming the file, key, tensor or sample it happened to.
    expected
        What would have been right.
    remedy
        What to do about it.
    """

    exit_code: int = 1

    def __init__(self, what: str, *, expected: str = "", remedy: str = "") -> None:
        super().__init__(what, expected, remedy)
        self.what = what
        self.expected = expected
        self.remedy = remedy

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders (worker pools), and the default rebuilds them from
        # positional arguments, which `expected` and `remedy` are not.
        return _rebuild, (type(self), self.what, self.expected, self.remedy)

    def __str__(self) -> str:
        lines = [self.what]
        if self.expected:
            lines.append(f"expected: {self.expected}")
        if self.remedy:
            lines.append(f"to do: {self.remedy}")
        return "\n".join(lines)


def _rebuild(kind: type[I2uvError], what: str, expected: str, remedy: str) -> I2uvError:
    return kind(what, expected=expected, remedy=remedy)


class UsageError(I2uvError):
    """A wrong argument, key or name in what the user wrote."""

    exit_code = 2


class InputError(I2uvError):
    """A picture, annotation, mesh or checkpoint that cannot be used."""

    exit_code = 2


class GateError(I2uvError):
    """A result outside its tolerance."""

    exit_code = 3


class MissingDependencyError(I2uvError):
    """An optional package is not installed; the message names the extra that brings it."""

    exit_code = 4


class ConversionError(I2uvError):
    """A network that could not be quantized or converted; the message names op and layer."""

    exit_code = 5


class DamagedError(I2uvError):
    """A file that is missing, changed or not the one its manifest lists."""

    exit_code = 6


class HubError(I2uvError):
    """Qualcomm AI Hub refused, failed or was out of reach."""

    exit_code = 7

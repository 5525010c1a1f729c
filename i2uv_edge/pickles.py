"""Other people's pickles, read without running anything that is in them.

A pickle is a program: it may call whatever it names. Here it can name numpy's arrays, numbers and
plain containers, which are rebuilt by our own code, and a few classes that the caller lists, whose
state is kept as data (`Record`). Anything else is refused by its name before it is looked up.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.errors import InputError

__all__ = ["Record", "read_pickle"]

_DEPTH = 32  # how deep containers may be nested
_PLAIN_KINDS = "biufSU"  # of array elements: no Python objects
# Arrays are called by other names in numpy 2.
_NUMPY = ("numpy.core", "numpy._core")


class Record:
    """An object of a class that is not looked up: its name and its attributes."""

    name = ""

    def __new__(cls, *arguments: object) -> Record:
        """Make one whatever the class's constructor would have been called with."""
        del arguments
        return super().__new__(cls)

    def __init__(self, *arguments: object) -> None:
        del arguments
        self.fields: dict[str, Any] = {}

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f"the state of a {self.name} is no dictionary")
        self.fields = dict(state)


def read_pickle(path: Path, records: Iterable[str] = ()) -> Any:
    """Read a pickle, of Python 2 or 3.

    Parameters
    ----------
    path
        The file.
    records
        Names of the classes whose objects become a `Record`, "package.module.Class".

    Returns
    -------
    object
        Dictionaries, lists, tuples, sets, numbers, strings, None, numpy arrays and records.

    Raises
    ------
    InputError
        The file is missing or damaged, or names something else; the message says what.
    """
    try:
        with path.open("rb") as file:
            return _plain(_Unpickler(file, records).load())
    except _ForeignError as error:
        raise InputError(
            f"{path} names {error.name}, which it has no need of; reading it could run code from "
            f"the file",
            expected="numbers, texts, plain containers and numpy arrays",
            remedy="get the file again from where it is published",
        ) from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}",
            expected="a file that exists and may be read",
            remedy="check the path and its permissions",
        ) from error
    except Exception as error:  # damaged bytes make the unpickler raise anything
        raise InputError(
            f"{path} is no complete pickle ({type(error).__name__}: {error})",
            expected="a pickle of Python 2 or 3",
            remedy="get the file again from where it is published",
        ) from error


class _ForeignError(pickle.UnpicklingError):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, records: Iterable[str]) -> None:
        # Python 2 stored bytes as text; latin-1 takes every byte to the character of its number.
        super().__init__(file, encoding="latin1")
        stand_ins: dict[str, Any] = {
            name: type("Record", (Record,), {"name": name}) for name in records
        }
        self._known: Mapping[str, Callable[..., Any]] = {**_KNOWN, **stand_ins}

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in of a global; nothing is ever imported."""
        found = self._known.get(f"{module}.{name}")
        if found is None:
            raise _ForeignError(f"{module}.{name}")
        return found


class _Dtype:
    """`numpy.dtype`."""

    def __init__(self, code: str, *flags: object) -> None:
        del flags
        self._dtype = np.dtype(code)
        if self._dtype.kind not in _PLAIN_KINDS:
            raise pickle.UnpicklingError(f"an array of {code!r}, which are no plain numbers")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, subarray, names, fields = state[:5]
        if subarray is not None or names is not None or fields is not None:
            raise pickle.UnpicklingError("an array of structures")
        if order in ("<", ">"):
            self._dtype = self._dtype.newbyteorder(order)

    def decode(
        self, raw: bytes | bytearray | str, shape: tuple[int, ...], order: str
    ) -> NDArray[Any]:
        """Return the array in native byte order, a copy."""
        content = raw.encode("latin1") if isinstance(raw, str) else bytes(raw)
        found = np.frombuffer(content, self._dtype).reshape(
            shape, order="F" if order == "F" else "C"
        )
        return np.array(found, self._dtype.newbyteorder("="), order="C")


class _Array:
    """`numpy.ndarray`, which numpy makes empty and then gives its state."""

    def __init__(self, *arguments: object) -> None:
        del arguments
        self.array = np.zeros(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, dtype, fortran, raw = state[-4:]
        if isinstance(raw, list):
            raise pickle.UnpicklingError("an array of objects")
        self.array = dtype.decode(raw, shape, "F" if fortran else "C")


def _array_of_buffer(raw: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
    """`numpy.core.numeric._frombuffer`, of pickles of protocol 5."""
    made = _Array()
    made.array = dtype.decode(raw, shape, order)
    return made


def _scalar(dtype: _Dtype, raw: bytes | str) -> Any:
    return dtype.decode(raw, (1,), "C")[0].item()


def _encoded(text: str, codec: str = "latin1") -> bytes:
    """`_codecs.encode`, by which Python 3 stores bytes for Python 2."""
    if codec not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes stored as {codec}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """`bytes`, which is called for empty ones alone."""
    return b""


def _reconstructed(kind: type, base: type, state: object) -> Record:
    """`copyreg._reconstructor`, for objects of the listed classes alone."""
    if base is not object or state is not None or not issubclass(kind, Record):
        raise pickle.UnpicklingError("an object that is rebuilt in an unusual way")
    return kind()


_KNOWN: dict[str, Callable[..., Any]] = {
    "numpy.dtype": _Dtype,
    "numpy.ndarray": _Array,
    **{f"{core}.multiarray._reconstruct": _Array for core in _NUMPY},
    **{f"{core}.multiarray.scalar": _scalar for core in _NUMPY},
    **{f"{core}.numeric._frombuffer": _array_of_buffer for core in _NUMPY},
    "_codecs.encode": _encoded,
    **{f"{module}._reconstructor": _reconstructed for module in ("copy_reg", "copyreg")},
    **{f"{module}.object": object for module in ("__builtin__", "builtins")},
    **{f"{module}.bytes": _no_bytes for module in ("__builtin__", "builtins")},
    **{f"{module}.set": set for module in ("__builtin__", "builtins")},
}


def _plain(value: Any, depth: int = 0) -> Any:
    """Put arrays in the place of their stand-ins, in containers and records too."""
    if depth > _DEPTH:
        raise pickle.UnpicklingError("containers that are nested without end")
    if isinstance(value, _Array):
        return value.array
    if isinstance(value, Record):
        value.fields = _plain(value.fields, depth + 1)
        return value
    if isinstance(value, dict):
        return {key: _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return type(value)(_plain(item, depth + 1) for item in value)
    if value is None or isinstance(value, str | bytes | bool | int | float):
        return value
    raise pickle.UnpicklingError(f"a {type(value).__name__}")

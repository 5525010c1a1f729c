"""TOML into frozen dataclasses, strictly: the dataclass is the schema.

Each field is a key. A field without a default is a required key, an unknown key is an error that
lists the known ones, and a value of another type is an error that names the key, the expected and
the actual type. A dataclass may refuse values in `__post_init__` with a `ValueError`, which is
reported with the file and table it came from.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import tomllib
import types
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from i2uv_edge.errors import UsageError

__all__ = ["load", "parse", "read", "text_of", "unknown_name"]

T = TypeVar("T")


def load(schema: type[T], path: Path, **given: object) -> T:
    """Read one TOML file as one dataclass.

    Parameters
    ----------
    schema
        The dataclass to make.
    path
        The file.
    given
        Fields that do not come from the file (a name taken from the file name); they are no keys.
    """
    return parse(schema, read(path), where=str(path), **given)


def read(path: Path) -> dict[str, Any]:
    """Read one TOML file as it is.

    Raises
    ------
    UsageError
        It is missing or unreadable, or no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}", remedy="check the path") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no valid TOML: {error}", expected="TOML in UTF-8") from error


def parse(schema: type[T], table: Mapping[str, Any], *, where: str, **given: object) -> T:
    """Make `schema` from a table that was read from `where`; see `load`."""
    assert dataclasses.is_dataclass(schema), schema
    hints = _hints(schema)
    fields = {field.name: field for field in dataclasses.fields(schema) if field.name not in given}
    for key in table:
        if key not in fields:
            raise unknown_name(f"{where}: unknown key", key, fields)
    values = dict(given)
    for key, field in fields.items():
        if key in table:
            values[key] = _convert(table[key], hints[key], where=f"{where}: {key}")
        elif _is_required(field):
            raise UsageError(
                f"{where}: the key {key!r} is missing",
                expected=_describe(hints[key]),
                remedy=f"add it; the known keys are {', '.join(sorted(fields))}",
            )
    try:
        return schema(**values)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error


def text_of(instance: object, *given: str) -> str:
    """Return the TOML that `load` makes an equal dataclass of, without what is the default.

    Parameters
    ----------
    instance
        Of a dataclass whose fields are numbers, strings, booleans, dataclasses or tuples of these.
    given
        Fields that do not come from the file.
    """
    lines, tables = _lines(instance, given)
    return "\n".join(lines) + "\n" + "".join(tables)


def _lines(instance: Any, given: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Key and value in a line each, and the text of each table."""
    lines: list[str] = []
    tables: list[str] = []
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if field.name in given or value is None or value == default:
            continue
        if dataclasses.is_dataclass(value):
            tables.append(f"\n[{field.name}]\n" + "\n".join(_lines(value, ())[0]) + "\n")
        elif isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
            tables += [
                f"\n[[{field.name}]]\n" + "\n".join(_lines(item, ())[0]) + "\n" for item in value
            ]
        else:
            # Strings, numbers, booleans and arrays are written as in JSON; of what JSON leaves as
            # it is, TOML wants one control character escaped.
            text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
            lines.append(f"{field.name} = {text}")
    return lines, tables


def unknown_name(what: str, name: str, known: object) -> UsageError:
    """Return the error for a name that is not among `known` (any iterable of names)."""
    names = sorted(known)  # type: ignore[call-overload]
    close = difflib.get_close_matches(name, names, n=1)
    return UsageError(
        f"{what} {name!r}",
        expected=f"one of {', '.join(names)}" if names else "none: there are no known names",
        remedy=f"did you mean {close[0]!r}?" if close else "",
    )


@cache
def _hints(schema: type) -> dict[str, Any]:
    return get_type_hints(schema)


def _is_required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _convert(value: Any, hint: Any, *, where: str) -> Any:
    """Return `value` as the type `hint` says, or raise the error that names both."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None:  # which JSON has
            return None
        (inner,) = (kind for kind in arguments if kind is not types.NoneType)
        return _convert(value, inner, where=where)
    if origin is Literal:
        if any(type(value) is type(choice) and value == choice for choice in arguments):
            return value
        raise UsageError(f"{where} = {value!r}", expected=_describe(hint))
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        assert isinstance(hint, type)
        return parse(hint, value, where=where)
    if origin is tuple and isinstance(value, list):
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) != len(value):
            raise UsageError(f"{where} holds {len(value)} values", expected=_describe(hint))
        return tuple(
            _convert(item, kind, where=f"{where}[{index}]")
            for index, (item, kind) in enumerate(zip(value, kinds, strict=True))
        )
    if origin is Mapping and isinstance(value, dict):
        return {
            key: _convert(item, arguments[1], where=f"{where}.{key}") for key, item in value.items()
        }
    if hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if hint in (bool, int, str) and type(value) is hint:
        return value
    raise UsageError(
        f"{where} = {value!r} is {_KINDS.get(type(value), type(value).__name__)}",
        expected=_describe(hint),
    )


_KINDS = {
    bool: "a boolean",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "a table",
}


def _describe(hint: Any) -> str:
    """Say in words what a key of this type takes."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(kind) for kind in arguments if kind is not types.NoneType)
    if origin is Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if origin is tuple and arguments[-1] is not Ellipsis:
        return f"an array of {len(arguments)}: {', '.join(map(_describe, arguments))}"
    if origin is tuple:
        return f"an array, each {_describe(arguments[0])}"
    if hint is float:
        return "a finite number"
    if origin is Mapping or dataclasses.is_dataclass(hint):
        return _KINDS[dict]
    return _KINDS.get(hint, str(hint))

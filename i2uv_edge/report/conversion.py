"""What the converted files compute in which type, how large they are, and what stayed in float."""

from __future__ import annotations

from dataclasses import dataclass

from i2uv_edge.report.material import ConvertedFile, Material, Section
from i2uv_edge.report.words import count, decibytes

__all__ = ["FileView", "OperatorRow", "Share", "section"]

TYPE_WORDS = {
    "FLOAT32": "float32",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
}


ONNX_NOTE = (
    "ONNX writes every operation in float; one whose numbers all come dequantized and whose result "
    "is quantized counts here as computed in integers, which is what a runtime makes of it."
)


@dataclass(frozen=True)
class OperatorRow:
    """One operator: how often it occurs, by types."""

    name: str
    counts: tuple[str, ...]
    total: int
    bar: float


@dataclass(frozen=True)
class Share:
    """A part of a whole, 0..1."""

    name: str
    part: float
    start: float
    text: str


@dataclass(frozen=True)
class FileView:
    """One converted file."""

    path: str
    size: str
    types: tuple[str, ...]
    operators: tuple[OperatorRow, ...]
    operator_count: int
    macs: tuple[Share, ...]
    macs_total: str
    note: str


def section(material: Material) -> Section | None:
    """None if a bundle holds no converted file."""
    subject = material.subject
    if not subject.files:
        return None
    floats = [a for a in subject.artifacts if a.kind == "float"]
    content = {
        "files": [_view(file) for file in subject.files],
        "sizes": [
            (artifact.path, decibytes(artifact.bytes))
            for artifact in [*(f.artifact for f in subject.files), *floats]
        ],
        "encodings": subject.encodings,
        "kept_float": subject.kept_float,
        "recipe": subject.recipe,
    }
    return Section("files", "What was converted", "conversion.html", content)


def _view(file: ConvertedFile) -> FileView:
    table: dict[str, dict[str, int]] = {}
    for key, times in file.operators.items():
        name, _, read_and_written = key.rpartition(" ")
        table.setdefault(name, {})[_types(read_and_written)] = times
    types = sorted({kind for row in table.values() for kind in row}, key=_type_order)
    totals = {name: sum(row.values()) for name, row in table.items()}
    most = max(totals.values(), default=1)
    operators = tuple(
        OperatorRow(
            name,
            tuple(str(row[kind]) if kind in row else "" for kind in types),
            totals[name],
            totals[name] / most,
        )
        for name, row in sorted(table.items(), key=lambda item: (-totals[item[0]], item[0]))
    )
    whole = sum(file.macs.values())
    shares, start = [], 0.0
    for kind, macs in sorted(file.macs.items(), key=lambda item: (item[0] == "FLOAT32", item[0])):
        part = macs / whole if whole else 0.0
        name = TYPE_WORDS.get(kind, kind)
        shares.append(Share(name, part, start, f"{name} {part:.1%} ({count(macs)})"))
        start += part
    return FileView(
        path=file.artifact.path,
        size=decibytes(file.artifact.bytes),
        types=tuple(types),
        operators=operators,
        operator_count=sum(totals.values()),
        macs=tuple(shares),
        macs_total=count(whole) if whole else "",
        note=ONNX_NOTE if "QuantizeLinear" in table else "",
    )


def _type_order(kind: str) -> tuple[bool, bool, bool, str]:
    """Bytes, float32, other types, conversions."""
    return (kind not in ("int8", "uint8"), kind != "float32", " to " in kind, kind)


def _types(text: str) -> str:
    """Name the types of an operator: INT8>INT8 is int8, FLOAT32>INT8 is float32 to int8."""
    reads, _, writes = text.partition(">")
    first, second = TYPE_WORDS.get(reads, reads), TYPE_WORDS.get(writes, writes)
    return first if first == second else f"{first} to {second}"

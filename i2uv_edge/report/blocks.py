"""Where inside the networks the three ways to compute them part: block by block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from i2uv_edge.report.material import Material, Section, StepsApart, TensorParity

__all__ = ["BlockRow", "NetworkBlocks", "blocks", "section"]

LARGEST = 8  # tensors that one row stands for, where modules allow
EXACT_DB = 120.0  # what float32 itself leaves

_FILES = {"tflite": "TFLite", "onnx": "ONNX"}


@dataclass(frozen=True)
class FileCell:
    """How far a file is from fake-quant: share of values in words, and steps."""

    share: str = ""
    most: str = ""


@dataclass(frozen=True)
class BlockRow:
    """A block, or one tensor of it: what a row of the table says."""

    name: str
    tensors: int
    sqnr: str
    saturated: str
    files: tuple[FileCell, ...]
    bar: float  # noise beside that of the network's worst block, 0..1


@dataclass(frozen=True)
class NetworkBlocks:
    """The tables of one network: by block, and of every tensor."""

    role: str
    blocks: tuple[BlockRow, ...]
    tensors: tuple[BlockRow, ...]


def section(material: Material) -> Section | None:
    """None where nothing is quantized."""
    table = material.tensors
    if table is None or not table.tensors:
        return None
    kinds = [kind for kind in _FILES if any(kind in t.files for t in table.tensors)]
    networks = []
    for role in dict.fromkeys(tensor.role for tensor in table.tensors):
        own = [tensor for tensor in table.tensors if tensor.role == role]
        grouped = blocks([tensor.name for tensor in own])
        by_name = {tensor.name: tensor for tensor in own}
        rows = [
            _row(name, [by_name[member] for member in members], kinds)
            for name, members in grouped.items()
        ]
        networks.append(
            NetworkBlocks(role, tuple(rows), tuple(_row(t.name, [t], kinds) for t in own))
        )
    content = {
        "pictures": table.pictures,
        "files": [_FILES[kind] for kind in kinds],
        "networks": networks,
    }
    return Section("blocks", "Block by block", "blocks.html", content)


def blocks(names: Sequence[str], largest: int = LARGEST) -> dict[str, list[str]]:
    """Group tensors by their module paths: by the first part, and by more where that is many.

    A group of more than `largest` tensors is split by the next part of the path.
    """
    found: dict[str, list[str]] = {}

    def split(members: Sequence[str], depth: int) -> None:
        groups: dict[str, list[str]] = {}
        for name in members:
            groups.setdefault(".".join(name.split(".")[:depth]), []).append(name)
        for prefix, group in groups.items():
            if len(group) > largest and any(name != prefix for name in group):
                split(group, depth + 1)
            else:
                found.setdefault(prefix, []).extend(group)

    split(names, 1)
    return found


def _row(name: str, tensors: Sequence[TensorParity], kinds: Sequence[str]) -> BlockRow:
    """The worst of a block's signals to noise; shares are of all of its values."""
    worst = min(tensor.sqnr_db for tensor in tensors)
    values = sum(tensor.values for tensor in tensors)
    saturated = sum(tensor.saturated * tensor.values for tensor in tensors) / values
    return BlockRow(
        name=name,
        tensors=len(tensors),
        sqnr="exact" if worst > EXACT_DB else "no signal" if worst == -math.inf else f"{worst:.1f}",
        saturated=_share(saturated),
        files=tuple(_cell([t for t in tensors if kind in t.files], kind) for kind in kinds),
        bar=min(1.0, 10 ** (-worst / 20)),
    )


def _cell(tensors: Sequence[TensorParity], kind: str) -> FileCell:
    if not tensors:
        return FileCell()
    found: list[tuple[int, StepsApart]] = [(t.values, t.files[kind]) for t in tensors]
    share = sum(count * own.share for count, own in found) / sum(count for count, _ in found)
    return FileCell(_share(share), str(max(own.most for _, own in found)))


def _share(part: float) -> str:
    if not part:
        return "0"
    return f"{part:.3%}" if part >= 0.00001 else "< 0.001%"

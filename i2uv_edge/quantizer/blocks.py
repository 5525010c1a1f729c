"""A network in some ten to thirty blocks: what one would leave in float together.

Blocks follow the module paths of the convolutions. One begins with the modules at the top and
divides them into those they hold: first each module of which a part of the network's file takes
some convolutions and leaves others, then the one with most convolutions, and all others with as
many, for as long as no more than `MOST` blocks come out. So a stage of an encoder stays one block
where there are many, a head and a refinement of one decoder stage are two, and a network of three
convolutions has three blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import fx

from i2uv_edge.quantizer.graph import kind_of, layer_of, mac_count
from i2uv_edge.quantizer.plan import matches
from i2uv_edge.spec import Override

__all__ = ["MOST", "Block", "find_blocks"]

MOST = 28

_Path = tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """Layers that are left in float together.

    Attributes
    ----------
    name : module path, which as a glob of an override covers the layers of the block
    concatenations
        Paths of those that only this block reads. With integers among their inputs they would round
        the others, too, for nobody.
    macs : multiply-accumulates for one input
    part : the part of the network's file that it is of, "" for none
    """

    name: str
    concatenations: tuple[str, ...]
    macs: int
    part: str

    @property
    def globs(self) -> tuple[str, ...]:
        """What overrides have to match to leave it in float."""
        return (self.name, *self.concatenations)


def find_blocks(
    graph: fx.GraphModule, role: str, parts: Mapping[str, str] | None = None
) -> tuple[Block, ...]:
    """Divide a graph made by `prepare` into blocks, in running order.

    Parameters
    ----------
    role
        Of the network, for which overrides are read.
    parts
        Globs of module paths by name, as in the network's file.
    """
    convolutions = [node for node in graph.graph.nodes if kind_of(node) == "conv"]
    part_of = {
        tuple(layer_of(node).split(".")): _part(layer_of(node), role, parts or {})
        for node in convolutions
    }
    blocks = []
    for path in _divided(part_of):
        name = ".".join(path)
        inside = [
            node for node in convolutions if _is_under(tuple(layer_of(node).split(".")), path)
        ]
        blocks.append(
            Block(
                name=name,
                concatenations=_concatenations(graph, inside, name),
                macs=sum(map(mac_count, inside)),
                part=part_of[tuple(layer_of(inside[0]).split("."))],
            )
        )
    return tuple(blocks)


def _part(layer: str, role: str, parts: Mapping[str, str]) -> str:
    for name, glob in parts.items():
        if matches(Override(match=glob, reason="a part"), role, layer):
            return name
    return ""


def _divided(part_of: Mapping[_Path, str]) -> list[_Path]:
    """Paths of the blocks; each layer is under one of them."""
    layers = list(part_of)
    found = _children((), layers)
    while mixed := [p for p in found if len({part_of[x] for x in layers if _is_under(x, p)}) > 1]:
        found = _replaced(found, mixed, layers)
    while True:
        sizes = {path: sum(_is_under(layer, path) for layer in layers) for path in found}
        largest = max(sizes.values(), default=1)
        finer = _replaced(found, [p for p in found if sizes[p] == largest], layers)
        if largest < 2 or len(finer) > MOST:
            return found
        found = finer


def _replaced(found: Sequence[_Path], divided: Iterable[_Path], layers: list[_Path]) -> list[_Path]:
    split = set(divided)
    return [
        child for path in found for child in (_children(path, layers) if path in split else [path])
    ]


def _children(path: _Path, layers: Iterable[_Path]) -> list[_Path]:
    """The modules directly in one, in running order."""
    depth = len(path) + 1
    return list(dict.fromkeys(layer[:depth] for layer in layers if _is_under(layer, path)))


def _is_under(layer: _Path, path: _Path) -> bool:
    return layer[: len(path)] == path


def _concatenations(
    graph: fx.GraphModule, convolutions: Sequence[fx.Node], name: str
) -> tuple[str, ...]:
    own = Override(match=name, reason="a block")
    return tuple(
        layer_of(node)
        for node in graph.graph.nodes
        if kind_of(node) == "concat"
        and not matches(own, "*", layer_of(node))
        and all(reader in convolutions for reader in node.users)
    )

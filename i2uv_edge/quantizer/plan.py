"""Which operations become integer, where the quantizers sit, and which tensors share a range.

The rules are those of TFLite's int8 kernels: a convolution has its own output range; pooling,
padding, reshaping, resizing and concatenation keep the range of what they read; an add or a product
rescales both inputs, and a mean its one. A sigmoid is integer where it does nothing but weigh
integers, on the grid that its kernels have for good. What is float stays float until a convolution
or a concatenation takes it in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from torch import fx

from i2uv_edge.errors import ConversionError, UsageError
from i2uv_edge.quantizer.graph import fuses_relu, kind_of, layer_of, mac_count, tensor_inputs
from i2uv_edge.spec import Override, RecipeSpec

__all__ = ["Point", "QuantPlan", "keeps_float", "make_plan", "matches"]

ConcatRanges = Literal["auto", "shared", "requantize"]

# Integer in, integer out with the same scale; the values stay on the grid, so no rounding.
_KEEPS_GRID = ("max_pool", "pad", "reshape", "permute", "depth_to_space", "channels")
_FOLLOWS_INPUTS = (*_KEEPS_GRID, "add", "mean", "mul", "resize", "relu")
# Rounded as they are computed, on a grid of their own.
_OWN_GRID = ("conv", "add", "input", "mean", "mul", "sigmoid")
SIGMOID_ENCODING = (1.0 / 256.0, -128)


@dataclass(frozen=True)
class Point:
    """One place where values are rounded to an integer grid.

    `source` is the tensor, `readers` those of its readers that see the rounded values (all of
    them, where it is rounded as it is computed), `group` the name of the range it shares.
    `entering` is the concatenation an integer tensor is rounded for a second time, if it is.
    """

    name: str
    source: fx.Node
    readers: tuple[fx.Node, ...]
    group: str
    entering: fx.Node | None = None


@dataclass(frozen=True)
class QuantPlan:
    """The outcome: what is integer, where it is rounded, and how much work is left in float."""

    integer: frozenset[fx.Node]
    points: tuple[Point, ...]
    groups: Mapping[fx.Node, str]  # the group of every tensor that is integer or becomes so
    macs: int
    float_macs: int

    @property
    def convolutions(self) -> tuple[fx.Node, ...]:
        """The integer convolutions in running order."""
        graphs = {node.graph for node in self.integer}
        nodes = (node for graph in graphs for node in graph.nodes)
        return tuple(n for n in nodes if n in self.integer and kind_of(n) == "conv")

    @property
    def float_macs_share(self) -> float:
        """Share (0..1) of the multiply-accumulates that stays in float."""
        return self.float_macs / self.macs if self.macs else 0.0


class _Groups:
    """Union-find over tensors, keyed by anything hashable."""

    def __init__(self) -> None:
        self._parent: dict[object, object] = {}

    def find(self, item: object) -> object:
        parent = self._parent.setdefault(item, item)
        if parent is item:
            return item
        root = self.find(parent)
        self._parent[item] = root
        return root

    def union(self, first: object, second: object) -> None:
        self._parent[self.find(second)] = self.find(first)


def matches(override: Override, role: str, layer: str) -> bool:
    """Whether an override is about a layer.

    Its glob may fit the layer's path, a module the layer is part of, or the last parts of either:
    "decoder.warp2", "warp*" and "*warp*" all cover "decoder.warp2.sample".
    """
    if override.network not in ("*", role):
        return False
    parts = layer.split(".")
    spans = (".".join(parts[start:end]) for end in range(1, len(parts) + 1) for start in range(end))
    return any(fnmatchcase(span, override.match) for span in spans)


def keeps_float(recipe: RecipeSpec, role: str, layer: str) -> bool:
    """Whether any override of a recipe keeps a layer in float."""
    return any(matches(override, role, layer) for override in recipe.floats)


def make_plan(
    graph: fx.GraphModule, recipe: RecipeSpec, role: str, *, concat: ConcatRanges = "auto"
) -> QuantPlan:
    """Plan the quantization of a graph made by `prepare`.

    Parameters
    ----------
    concat
        How a concatenation's inputs get the range of its output: "shared" gives all of them one
        range, "requantize" rounds each to the common range as it enters, "auto" shares only where
        nothing else reads the input.

    Raises
    ------
    UsageError
        An override matches no layer.
    ConversionError
        More multiply-accumulates stay in float than the recipe allows.
    """
    nodes = list(graph.graph.nodes)
    kept_float = _overridden(nodes, recipe, role)
    integer = _integer_nodes(nodes, kept_float, recipe)
    _check_share(nodes, integer, recipe)
    points, groups = _points(nodes, integer, concat, recipe)
    return QuantPlan(
        integer=frozenset(integer),
        points=points,
        groups=groups,
        macs=sum(map(mac_count, nodes)),
        float_macs=sum(mac_count(node) for node in nodes if node not in integer),
    )


def _overridden(nodes: Iterable[fx.Node], recipe: RecipeSpec, role: str) -> set[fx.Node]:
    layers = {layer_of(node): node for node in nodes if node.op not in ("placeholder", "output")}
    kept: set[fx.Node] = set()
    for override in recipe.floats:
        if override.network not in ("*", role):
            continue
        found = [node for layer, node in layers.items() if matches(override, role, layer)]
        if not found:
            raise UsageError(
                f"recipe {recipe.name}: override {override.match!r} matches no layer of the {role}",
                expected="a glob over module paths, of which there are "
                + ", ".join(sorted(layers)),
            )
        kept.update(found)
    return kept


def _integer_nodes(
    nodes: Iterable[fx.Node], kept_float: set[fx.Node], recipe: RecipeSpec
) -> set[fx.Node]:
    integer: set[fx.Node] = set()
    for node in nodes:
        kind = kind_of(node)
        fused = kind == "relu" and fuses_relu(tensor_inputs(node)[0])
        if node in kept_float and not fused:  # a fused ReLU is what it is part of
            continue
        if node.meta.get("stays_float"):
            continue
        # A constant takes whatever type the rest of an operation has.
        inputs = [s in integer for s in tensor_inputs(node) if kind_of(s) != "constant"]
        if (
            kind == "conv"
            or (kind == "input" and (recipe.input == "int8" or "encoding" in node.meta))
            or (kind == "concat" and any(inputs))
            or (kind in _FOLLOWS_INPUTS and inputs and all(inputs) and _of_tensors(node))
            or (kind == "sigmoid" and all(inputs) and _weighs_integers(node, integer))
        ):
            integer.add(node)
            if kind == "sigmoid":
                node.meta["encoding"] = SIGMOID_ENCODING
    return integer


def _of_tensors(node: fx.Node) -> bool:
    """False for a sum or product with a Python number, which is arithmetic on a float map."""
    operands = node.args[:2]
    if kind_of(node) not in ("add", "mul"):
        return True
    if not all(isinstance(item, fx.Node) for item in operands):
        return False
    return kind_of(node) == "add" or all(
        kind_of(item) != "constant" for item in tensor_inputs(node)
    )


def _weighs_integers(node: fx.Node, integer: set[fx.Node]) -> bool:
    """Whether all that reads a sigmoid is products with integers."""
    return bool(node.users) and all(
        kind_of(reader) == "mul"
        and _of_tensors(reader)
        and all(source in integer for source in tensor_inputs(reader) if source is not node)
        for reader in node.users
    )


def _check_share(nodes: list[fx.Node], integer: set[fx.Node], recipe: RecipeSpec) -> None:
    total = sum(map(mac_count, nodes))
    in_float = sorted(
        ((mac_count(node), layer_of(node)) for node in nodes if node not in integer), reverse=True
    )
    share = sum(count for count, _ in in_float) / total if total else 0.0
    if share > recipe.max_float_macs:
        worst = ", ".join(f"{layer} {count / total:.1%}" for count, layer in in_float[:3] if count)
        raise ConversionError(
            f"recipe {recipe.name} leaves {share:.1%} of the work in float ({worst})",
            expected=f"at most {recipe.max_float_macs:.1%} of the multiply-accumulates",
            remedy="narrow the overrides or raise max_float_macs in the recipe",
        )


def _points(
    nodes: list[fx.Node], integer: set[fx.Node], concat: ConcatRanges, recipe: RecipeSpec
) -> tuple[tuple[Point, ...], dict[fx.Node, str]]:
    groups = _Groups()
    found: list[tuple[fx.Node, fx.Node | None]] = []  # (tensor, the reader it is rounded for)
    entering: dict[fx.Node, list[fx.Node]] = {}  # float tensors and their integer readers
    for node in nodes:
        if node not in integer:
            continue
        kind = kind_of(node)
        if kind in _OWN_GRID and not fuses_relu(node):
            found.append((node, None))
        elif kind == "resize":
            groups.union(tensor_inputs(node)[0], node)
            found.append((node, None))
        elif kind == "relu":
            if fuses_relu(tensor_inputs(node)[0]):
                found.append((node, None))
            else:
                groups.union(tensor_inputs(node)[0], node)
        elif kind in _KEEPS_GRID:
            groups.union(tensor_inputs(node)[0], node)
        for source in tensor_inputs(node):
            if source not in integer:
                entering.setdefault(source, []).append(node)
    for node in nodes:
        if node not in integer or kind_of(node) != "concat":
            continue
        for source in tensor_inputs(node):
            if source in integer and not _shares(source, node, groups, nodes, integer, concat):
                groups.union(node, (source, node))
                found.append((source, node))
            else:
                groups.union(node, source)
    if recipe.output == "int8":
        result = tensor_inputs(nodes[-1])[0]
        if result not in integer:
            entering.setdefault(result, []).append(nodes[-1])
    for source in entering:
        found.append((source, None))
    order = {node: place for place, node in enumerate(nodes)}
    found.sort(key=lambda item: (order[item[0]], order[item[1]] if item[1] else -1))
    names = {item: _point_name(*item) for item in found}
    first: dict[object, str] = {}
    for source, reader in found:
        root = groups.find((source, reader) if reader else source)
        first.setdefault(root, names[source, reader])
    points = tuple(
        Point(
            name=names[source, reader],
            source=source,
            readers=(reader,) if reader else tuple(entering.get(source, source.users)),
            group=first[groups.find((source, reader) if reader else source)],
            entering=reader,
        )
        for source, reader in found
    )
    tensors = (node for node in nodes if node in integer or node in entering)
    return points, {n: first[groups.find(n)] for n in tensors if groups.find(n) in first}


def _point_name(source: fx.Node, reader: fx.Node | None) -> str:
    return f"{layer_of(source)}->{layer_of(reader)}" if reader else layer_of(source)


def _shares(
    source: fx.Node,
    concat_node: fx.Node,
    groups: _Groups,
    nodes: list[fx.Node],
    integer: set[fx.Node],
    concat: ConcatRanges,
) -> bool:
    """Whether a concatenation's input takes the concatenation's range as its own."""
    if concat != "auto":
        return concat == "shared"
    root = groups.find(source)
    members = {node for node in nodes if node in integer and groups.find(node) == root}
    return all(
        reader in members or reader is concat_node for member in members for reader in member.users
    )

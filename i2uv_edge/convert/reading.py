"""What every lowering reads from a prepared or fake-quant graph."""

from __future__ import annotations

from typing import Any, cast

from torch import fx

from i2uv_edge.errors import ConversionError
from i2uv_edge.quantizer.fake_quant import ActivationQuantizer
from i2uv_edge.quantizer.graph import fuses_relu, kind_of, layer_of, module_of

__all__ = [
    "fused_tail",
    "pads_of",
    "pair",
    "part_of_convolutions",
    "quantizer_of",
    "sole_quantizer",
    "unsupported",
]


def fused_tail(node: fx.Node) -> fx.Node:
    """The ReLU that becomes part of an operation, or the operation itself."""
    return next(iter(node.users)) if fuses_relu(node) else node


def sole_quantizer(node: fx.Node) -> fx.Node | None:
    """The quantizer that is a node's only reader."""
    readers = list(node.users)
    return readers[0] if len(readers) == 1 and kind_of(readers[0]) == "quantizer" else None


def part_of_convolutions(node: fx.Node) -> bool:
    """Whether a padding with zeros is read by convolutions alone that have none of their own."""
    if kind_of(node) != "pad" or cast(Any, module_of(node)).value or not node.users:
        return False
    return all(
        kind_of(reader) == "conv" and not any(cast(Any, module_of(reader)).padding)
        for reader in node.users
    )


def pads_of(node: fx.Node) -> tuple[tuple[int, int], tuple[int, int]]:
    """Zeros around what a convolution reads: (top, left) and (bottom, right).

    Its own, or those of a padding before it that is part of it.
    """
    source = node.all_input_nodes[0]
    if part_of_convolutions(source):
        left, right, top, bottom = cast(Any, module_of(source)).padding
        return (top, left), (bottom, right)
    rows, columns = cast(Any, module_of(node)).padding
    return (rows, columns), (rows, columns)


def quantizer_of(node: fx.Node) -> ActivationQuantizer:
    """The module of a quantizer's node."""
    module = module_of(node)
    assert isinstance(module, ActivationQuantizer)
    return module


def pair(value: Any) -> tuple[int, int]:
    """Rows and columns of what torch writes as one number or as two."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def unsupported(node: fx.Node, why: str) -> ConversionError:
    """The error that names a layer, its operation and what is wrong with it."""
    return ConversionError(
        f"layer {layer_of(node)!r} ({kind_of(node)}): {why}",
        remedy="change the layer's deploy form, or leave it in float by an override of the recipe",
    )

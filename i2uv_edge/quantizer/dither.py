"""Integer layers with steps finer than int8 has: several copies, each rounded elsewhere, summed up.

N copies of a convolution with an Nth of its weights have an Nth of its range, and so of its step.
Their biases are shifted against each other by an Nth of that step: then they do not round alike,
and their sum has the step of one of them (Hermite's identity), for N times the layer's work. What
is left is a sum of N small float tensors.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import fx, nn

from i2uv_edge.errors import UsageError
from i2uv_edge.quantizer.encodings import ActivationEncoding
from i2uv_edge.quantizer.graph import kind_of, layer_of, module_of, shape_of
from i2uv_edge.quantizer.plan import matches
from i2uv_edge.spec import RecipeSpec

__all__ = ["COPIES", "dither", "offsets"]

COPIES = 4  # two bits more; another two would gain less than a fifth of that
_COPY = "copy"


def dither(graph: fx.GraphModule, recipe: RecipeSpec, role: str) -> None:
    """Replace the convolutions that a recipe wants dithered by their copies, in place.

    Parameters
    ----------
    graph
        Made by `prepare`. A copy is named "LAYER.0", "LAYER.1" and so on.

    Raises
    ------
    UsageError
        An override fits no convolution.
    """
    for override in recipe.overrides:
        if override.precision != "dithered" or override.network not in ("*", role):
            continue
        found = [
            node
            for node in list(graph.graph.nodes)
            if node.op == "call_module"
            and kind_of(node) == "conv"
            and matches(override, role, layer_of(node))
        ]
        if not found:
            raise UsageError(
                f"recipe {recipe.name}: override {override.match!r} has no convolution of the "
                f"{role} to dither",
                expected="a glob over module paths of convolutions",
            )
        for node in found:
            _replace(graph, node)
    graph.graph.lint()
    graph.recompile()


def _replace(graph: fx.GraphModule, node: fx.Node) -> None:
    layer, path = layer_of(node), str(node.target)
    single = cast(nn.Conv2d, copy.deepcopy(module_of(node)))
    with torch.no_grad():
        single.weight.div_(COPIES)
        if single.bias is None:
            single.bias = nn.Parameter(torch.zeros(single.out_channels))
        single.bias.div_(COPIES)
    graph.delete_submodule(path)
    total: fx.Node | None = None
    with graph.graph.inserting_before(node):
        for number in range(COPIES):
            graph.add_submodule(f"{path}.{number}", copy.deepcopy(single))
            made = graph.graph.call_module(f"{path}.{number}", node.args)
            made.meta.update(shape=shape_of(node), layer=f"{layer}.{number}")
            made.meta[_COPY] = number
            if total is not None:
                made = graph.graph.call_function(torch.add, (total, made))
                made.meta.update(shape=shape_of(node), layer=f"{layer}.sum{number}")
                made.meta["stays_float"] = True
            total = made
    assert total is not None
    node.replace_all_uses_with(total)
    graph.graph.erase_node(node)


def offsets(
    graph: fx.GraphModule, activations: Mapping[str, ActivationEncoding]
) -> dict[str, tuple[float, ...]]:
    """What to add to the bias of each copy, by layer; the copies' offsets sum up to nothing.

    Parameters
    ----------
    activations
        The encodings found for the graph, by tensor.
    """
    found: dict[str, tuple[float, ...]] = {}
    for node in _copies(graph):
        step = activations[layer_of(node)].scale
        place = (node.meta[_COPY] - (COPIES - 1) / 2) / COPIES
        found[layer_of(node)] = (step * place,) * shape_of(node)[1]
    return found


def _copies(graph: fx.GraphModule) -> Iterator[fx.Node]:
    return (node for node in graph.graph.nodes if _COPY in node.meta)

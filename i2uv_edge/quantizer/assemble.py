"""Quantizers and integer convolutions inserted into a prepared graph, as a plan says."""

from __future__ import annotations

from typing import cast

import torch
from torch import fx, nn

from i2uv_edge.errors import InputError
from i2uv_edge.networks.layers import Upsample
from i2uv_edge.quantizer.encodings import Encodings
from i2uv_edge.quantizer.fake_quant import (
    ActivationQuantizer,
    QuantAdd,
    QuantConv2d,
    QuantMean,
    QuantMul,
    QuantUpsample,
)
from i2uv_edge.quantizer.graph import fuses_relu, kind_of, layer_of, module_of
from i2uv_edge.quantizer.plan import QuantPlan

__all__ = ["assemble"]


def assemble(graph: fx.GraphModule, plan: QuantPlan, encodings: Encodings) -> None:
    """Turn a prepared graph into its fake-quant network, in place and in evaluation mode.

    Raises
    ------
    InputError
        Encodings that are not those of the plan, or give a shared range two values.
    """
    _check_names(plan, encodings)
    paths = _add_quantizers(graph, plan, encodings)
    _insert_quantizers(graph, plan, paths)
    for node in list(graph.graph.nodes):
        if node not in plan.integer:
            continue
        if kind_of(node) == "resize":
            layer = cast(Upsample, module_of(node))
            graph.add_submodule(str(node.target), QuantUpsample(layer, _input_quantizer(node)))
        elif kind_of(node) == "conv":
            _replace_convolution(graph, node, encodings)
        elif kind_of(node) in ("add", "mul"):
            _replace_pair(graph, node)
        elif kind_of(node) == "mean":
            mean = QuantMean(_input_quantizer(node), _output_quantizer(node))
            graph.add_submodule(str(node.target), mean)
    graph.graph.lint()
    graph.recompile()
    graph.eval()


def _check_names(plan: QuantPlan, encodings: Encodings) -> None:
    weights = {f"{layer_of(node)}.weight" for node in plan.convolutions}
    _compare("activations", {point.name for point in plan.points}, set(encodings.activations))
    _compare("weights", weights, set(encodings.weights))
    for point in plan.points:
        group = encodings.activations[point.name].group
        if group != point.group:
            raise InputError(
                f"encodings of {point.name!r} share the range of {group!r}",
                expected=f"{point.group!r}, as this network and recipe demand",
            )


def _compare(section: str, expected: set[str], found: set[str]) -> None:
    if expected != found:
        missing, unknown = sorted(expected - found)[:3], sorted(found - expected)[:3]
        raise InputError(
            f"encodings and network differ in {section}: missing {missing}, unknown {unknown}",
            expected="the encodings written for this network and recipe",
        )


def _add_quantizers(graph: fx.GraphModule, plan: QuantPlan, encodings: Encodings) -> dict[str, str]:
    """One quantizer for each group; returns their module paths by group."""
    quantizers: dict[str, ActivationQuantizer] = {}
    paths: dict[str, str] = {}
    for point in plan.points:
        encoding = encodings.activations[point.name]
        values = (encoding.scale, encoding.zero_point)
        if point.group not in quantizers:
            quantizer = ActivationQuantizer(bits=encoding.bits, symmetric=encoding.symmetric)
            quantizer.set_encoding(*values)
            quantizers[point.group] = quantizer
            paths[point.group] = f"quantizers.{len(paths)}"
            graph.add_submodule(paths[point.group], quantizer)
        elif quantizers[point.group].encoding != values:
            raise InputError(f"encodings of {point.name!r} differ from those of {point.group!r}")
    return paths


def _insert_quantizers(graph: fx.GraphModule, plan: QuantPlan, paths: dict[str, str]) -> None:
    rounded: dict[fx.Node, fx.Node] = {}
    # A tensor is rounded to its own grid first, then to those of the concatenations that take it.
    for point in sorted(plan.points, key=lambda point: point.entering is not None):
        source = rounded.get(point.source, point.source)
        with graph.graph.inserting_after(source):
            node = graph.graph.call_module(paths[point.group], (source,))
        node.meta.update(shape=point.source.meta["shape"], layer=point.name)
        for reader in list(source.users):
            if reader in point.readers:
                reader.replace_input_with(source, node)
        rounded.setdefault(point.source, node)


def _replace_convolution(graph: fx.GraphModule, node: fx.Node, encodings: Encodings) -> None:
    conv = module_of(node)
    assert isinstance(conv, nn.Conv2d)
    encoding = encodings.weights[f"{layer_of(node)}.weight"]
    quantized = QuantConv2d(
        conv,
        _input_quantizer(node),
        _output_quantizer(node),
        per_channel=encoding.axis is not None,
    )
    scale = torch.tensor(encoding.scale, dtype=torch.float32)
    if len(scale) not in (1, conv.out_channels):
        raise InputError(
            f"encodings of {layer_of(node)!r} have {len(scale)} weight scales",
            expected=f"{conv.out_channels}, one for each output channel",
        )
    quantized.set_scale(scale.expand(conv.out_channels))
    graph.add_submodule(str(node.target), quantized)


def _replace_pair(graph: fx.GraphModule, node: fx.Node) -> None:
    """A sum or a product of two integer tensors."""
    first, second = (_grid_of(cast(fx.Node, argument)) for argument in node.args)
    made = QuantAdd if kind_of(node) == "add" else QuantMul
    path = f"{kind_of(node)}s.{node.name}"
    graph.add_submodule(path, made(first, second, _output_quantizer(node)))
    with graph.graph.inserting_before(node):
        call = graph.graph.call_module(path, node.args)
    call.meta.update(node.meta)
    node.replace_all_uses_with(call)
    graph.graph.erase_node(node)


def _output_quantizer(node: fx.Node) -> ActivationQuantizer:
    """The quantizer behind a node, or behind the ReLU that becomes part of it."""
    tail = next(iter(node.users)) if fuses_relu(node) else node
    return _quantizer(next(iter(tail.users)))


def _input_quantizer(node: fx.Node) -> ActivationQuantizer:
    return _grid_of(node.all_input_nodes[0])


def _grid_of(source: fx.Node) -> ActivationQuantizer:
    """The quantizer whose grid a tensor lies on."""
    while kind_of(source) != "quantizer":
        source = source.all_input_nodes[0]
    return _quantizer(source)


def _quantizer(node: fx.Node) -> ActivationQuantizer:
    quantizer = module_of(node)
    assert isinstance(quantizer, ActivationQuantizer)
    return quantizer

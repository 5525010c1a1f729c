"""The fake-quant network as something to train, and what training made of it as a network again.

Integers are what is stored: int8 weights, and biases and whatever stays float as float32. With the
encodings they give the same network bit for bit, which float weights in half precision would not.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor, fx, nn

from i2uv_edge.errors import InputError
from i2uv_edge.networks.layers import Warp
from i2uv_edge.quantizer.encodings import Encodings
from i2uv_edge.quantizer.fake_quant import ActivationQuantizer, QuantConv2d
from i2uv_edge.quantizer.graph import kind_of, layer_of, module_of

__all__ = ["learned_encodings", "load_tensors", "taking_batches", "tensors_of", "trainable"]

_PREFIX = "network."
LEARNED = "learned"  # how a trained range was found


def trainable(graph: fx.GraphModule) -> fx.GraphModule:
    """A copy that takes any number of samples, (N, 3, S, S), and whose ranges are trained too.

    Warps take their training form, and the gradient does not go through their coordinates: where
    to look better is nothing a few millimetres of rounding can tell. The picture's own range stays.

    Weights start in the middle of their integers. Where they were, one in fifty lies so near to a
    boundary that an optimiser's first steps, which are mostly noise, push it over; from the middle
    only those move that many samples agree on.
    """
    made = taking_batches(graph)
    made.requires_grad_(True)
    with torch.no_grad():
        for conv in made.modules():
            if isinstance(conv, QuantConv2d):
                integers = torch.from_numpy(conv.integer_weight())
                conv.weight.copy_(integers * conv.scale[:, None, None, None])
    for source in made.graph.nodes:
        if source.op == "placeholder" or "encoding" in source.meta:  # whose grids are given
            for node in source.users:
                if kind_of(node) == "quantizer":
                    module_of(node).requires_grad_(False)
    return made.train()


def taking_batches(graph: fx.GraphModule) -> fx.GraphModule:
    """A copy whose warps have their training form: (N, 3, S, S), any N; see `trainable`."""
    made = copy.deepcopy(graph)
    for node in list(made.graph.nodes):
        if kind_of(node) == "warp":
            layer = cast(Warp, module_of(node))
            layer.coordinates, layer.sample = None, None
            with made.graph.inserting_before(node):
                where = made.graph.call_method("detach", (node.args[1],))
            node.args = (node.args[0], where)
    made.recompile()
    return made


def learned_encodings(graph: fx.GraphModule, before: Encodings) -> Encodings:
    """The encodings of a trained graph in evaluation mode; ``before`` are those it began with."""
    activations = dict(before.activations)
    quantizers = {
        layer_of(node): cast(ActivationQuantizer, module_of(node))
        for node in graph.graph.nodes
        if node.op == "call_module" and isinstance(module_of(node), ActivationQuantizer)
    }
    for name, encoding in before.activations.items():
        scale, zero = quantizers[name].encoding
        method = encoding.method if scale == encoding.scale else LEARNED
        activations[name] = replace(encoding, scale=scale, zero_point=zero, method=method)
    weights = dict(before.weights)
    for name, layer in graph.named_modules():
        if isinstance(layer, QuantConv2d):
            key = f"{name.removeprefix(_PREFIX)}.weight"
            scales = tuple(float(value) for value in layer.scale[: len(weights[key].scale)])
            weights[key] = replace(weights[key], scale=scales, method=LEARNED)
    return replace(before, activations=activations, weights=weights)


def tensors_of(graph: fx.GraphModule) -> dict[str, Tensor]:
    """What a graph in evaluation mode computes with, by module path: integers where it rounds."""
    tensors: dict[str, Tensor] = {}
    for key, value in _parameters(graph).items():
        layer = graph.get_submodule(key.rpartition(".")[0])
        integer = isinstance(layer, QuantConv2d) and key.endswith(".weight")
        stored = torch.from_numpy(layer.integer_weight()) if integer else value.detach().clone()  # type: ignore[operator]
        tensors[key.removeprefix(_PREFIX)] = stored.contiguous()
    return tensors


@torch.no_grad()
def load_tensors(graph: fx.GraphModule, tensors: Mapping[str, Tensor]) -> None:
    """Fill an assembled graph with `tensors_of` one of the same network, recipe and encodings.

    Raises
    ------
    InputError
        Names, shapes or types are not its own.
    """
    wanted = {key.removeprefix(_PREFIX): key for key in _parameters(graph)}
    if set(wanted) != set(tensors):
        odd = sorted(set(wanted) ^ set(tensors))
        raise InputError(
            f"quantized weights and network differ: {', '.join(odd[:3])}",
            expected=f"{len(wanted)} tensors of this network under this recipe",
            remedy="quantize the network again",
        )
    for name, value in tensors.items():
        parameter = graph.get_parameter(wanted[name])
        layer = graph.get_submodule(wanted[name].rpartition(".")[0])
        integer = isinstance(layer, QuantConv2d) and name.endswith(".weight")
        kind = torch.int8 if integer else torch.float32
        if value.shape != parameter.shape or value.dtype != kind:
            raise InputError(
                f"quantized weights {name!r} are {value.dtype} of shape {list(value.shape)}",
                expected=f"{kind} of shape {list(parameter.shape)}",
                remedy="quantize the network again",
            )
        if isinstance(layer, QuantConv2d) and integer:
            parameter.copy_(value * layer.scale[:, None, None, None])
            _check_integers(layer, value, name)
        else:
            parameter.copy_(value)
    graph.eval()  # from which biases are rounded anew


def _parameters(graph: fx.GraphModule) -> dict[str, nn.Parameter]:
    """All but the quantizers' and the stretch of scales, which evaluation has made part of them."""
    return {
        key: value for key, value in graph.named_parameters() if key.rpartition(".")[2] != "stretch"
    }


def _check_integers(layer: QuantConv2d, stored: Tensor, name: str) -> None:
    """Times the scale and over it again, an integer is itself, unless it is none of this format."""
    if not np.array_equal(layer.integer_weight(), stored.numpy()):
        raise InputError(
            f"quantized weights {name!r} hold a value beyond -127..127",
            expected="integers as `i2uv-edge quantize` wrote them",
        )

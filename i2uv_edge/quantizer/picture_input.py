"""The picture as integers without loss: 256 grey levels on 256 steps, normalisation in the weights.

A network that normalises its picture (`2 * x - 1`) puts the grey levels halfway between the steps
of any grid that holds zero: every pixel is a tie, and which way it rounds is chance. The picture
itself fits exactly (scale 1/255, zero point -128). So the normalisation moves into the first
convolution, and its zero padding, which means mid-grey, becomes a padding with mid-grey.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import fx, nn

from i2uv_edge.quantizer.graph import kind_of, layer_of, module_of, shape_of

__all__ = ["PICTURE_ENCODING", "absorb_normalisation"]

PICTURE_ENCODING = (1.0 / 255.0, -128)
_PAD = "picture_pad"


def absorb_normalisation(graph: fx.GraphModule) -> bool:
    """Fold scalar arithmetic between the input and the first convolution into the convolution.

    Returns whether the graph now feeds the picture itself to a convolution; where something else
    reads the picture, or the arithmetic is not affine in it, the graph is left as it is.

    The result equals the network inside the picture; along its border the padding is the grey
    level nearest to what normalisation maps to zero, at most half a level off.
    """
    picture = next(node for node in graph.graph.nodes if node.op == "placeholder")
    gain, shift, last = 1.0, 0.0, picture
    chain: list[fx.Node] = []
    while len(last.users) == 1:
        node = next(iter(last.users))
        if kind_of(node) == "conv":
            return _absorb(graph, picture, chain, node, gain, shift)
        step = _affine(node, last)
        if step is None:
            return not chain and _pads_for_convolution(picture, node)
        gain, shift = gain * step[0], shift * step[0] + step[1]
        chain.append(node)
        last = node
    return False


def _pads_for_convolution(picture: fx.Node, node: fx.Node) -> bool:
    """Whether a picture goes through a padding with black into convolutions: then it may stay."""
    if kind_of(node) != "pad" or cast(nn.ConstantPad2d, module_of(node)).value:
        return False
    if any(kind_of(reader) != "conv" for reader in node.users):
        return False
    picture.meta["encoding"] = PICTURE_ENCODING
    return True


def _affine(node: fx.Node, source: fx.Node) -> tuple[float, float] | None:
    """(gain, shift) of a node that computes gain * source + shift."""
    kind = kind_of(node)
    if kind not in ("add", "sub", "mul") or len(node.args) != 2 or node.kwargs:
        return None
    first, second = node.args
    if first is source and isinstance(second, int | float):
        number = float(second)
        return {"add": (1.0, number), "sub": (1.0, -number), "mul": (number, 0.0)}[kind]
    if second is source and isinstance(first, int | float):
        number = float(first)
        return {"add": (1.0, number), "sub": (-1.0, number), "mul": (number, 0.0)}[kind]
    return None


@torch.no_grad()
def _absorb(
    graph: fx.GraphModule,
    picture: fx.Node,
    chain: list[fx.Node],
    node: fx.Node,
    gain: float,
    shift: float,
) -> bool:
    conv = cast(nn.Conv2d, module_of(node))
    grey = -shift / gain if gain else -1.0  # what the normalisation maps to zero
    if not 0.0 <= grey <= 1.0 or isinstance(conv.padding, str):
        return False
    picture.meta["encoding"] = PICTURE_ENCODING
    if not chain:
        return True
    offset = conv.weight.double().sum((1, 2, 3)) * shift
    bias = torch.zeros_like(offset) if conv.bias is None else conv.bias.double()
    conv.bias = nn.Parameter((bias + offset).float())
    conv.weight = nn.Parameter((conv.weight.double() * gain).float())
    source = picture
    level = int(255 * grey + 0.5)  # of two equally near levels the upper: int8 zero for mid-grey
    if any(conv.padding) and level:
        source = _pad_with(graph, picture, conv, level / 255.0)
    node.replace_input_with(chain[-1], source)
    for dead in reversed(chain):
        graph.graph.erase_node(dead)
    graph.recompile()
    return True


def _pad_with(graph: fx.GraphModule, picture: fx.Node, conv: nn.Conv2d, value: float) -> fx.Node:
    vertical, horizontal = cast(tuple[int, int], conv.padding)
    sides = (horizontal, horizontal, vertical, vertical)
    graph.add_submodule(_PAD, nn.ConstantPad2d(sides, value))
    conv.padding = (0, 0)
    with graph.graph.inserting_after(picture):
        node = graph.graph.call_module(_PAD, (picture,))
    batch, channels, height, width = shape_of(picture)
    node.meta["shape"] = (batch, channels, height + 2 * vertical, width + 2 * horizontal)
    node.meta["layer"] = f"{layer_of(picture)}.pad"
    return node

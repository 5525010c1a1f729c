"""Channel scales moved between layers so that eight bits suit all channels of a tensor.

A convolution with ReLU whose channel c is multiplied by s and every reader's column c divided by s
computes the same network (Nagel et al., ICCV 2019, section 4.1). It is used twice here: channels of
one tensor are brought closer together, and the inputs of a concatenation, which share one grid, are
brought to one magnitude. Without the second, coordinates of 0..1 beside features of 0..30 are left
with nine steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from i2uv_edge.errors import InputError
from i2uv_edge.quantizer.graph import (
    code_source,
    constant_of,
    fuses_relu,
    kind_of,
    layer_of,
    module_of,
    shape_of,
)

__all__ = ["apply_scales", "find_scales"]

_SMALLEST_RANGE = 1e-6  # of a channel that is always zero
_FEWEST_VALUES = 256  # of a channel, for its range to be known: a global code has one a sample
_STRONGEST = 16.0  # largest ratio between the scales of one tensor's channels


@dataclass
class _Flow:
    """Where a convolution's output channels go.

    `value` is the first tensor with those channels as its own: the ReLU's output, or a global code
    after it has been reshaped, where output k of the convolution is channel k modulo `channels`.
    `sinks` are the reading convolutions and the first column each reads them at, `constants` what
    is added on the way, `neighbours` what else enters the concatenations on the way.
    """

    source: fx.Node
    value: fx.Node
    channels: int
    sinks: list[tuple[fx.Node, int]] = field(default_factory=list)
    constants: list[fx.Node] = field(default_factory=list)
    neighbours: list[fx.Node] = field(default_factory=list)


def find_scales(
    graph: fx.GraphModule, inputs: Sequence[Tensor], *, strength: float
) -> dict[str, tuple[float, ...]]:
    """Return channel scales by convolution, from the ranges of a few samples.

    Layers whose samples are too few to know a channel's range are left alone: scaled up by what
    sixteen samples show, a code that is rare would set the range of all.

    Parameters
    ----------
    strength
        0 leaves the channels of a tensor in proportion, 1 gives all of them the same range, at the
        cost of weights that differ as much as the channels did.
    """
    flows = [
        flow
        for flow in _flows(graph)
        if len(inputs) * math.prod(shape_of(flow.value)[2:]) >= _FEWEST_VALUES
    ]
    ranges = _channel_ranges(graph, inputs, flows)
    movable = {flow.value for flow in flows}
    scales: dict[str, tuple[float, ...]] = {}
    for flow in flows:
        channel = np.maximum(ranges[flow.value], _SMALLEST_RANGE)
        if channel.max() <= _SMALLEST_RANGE:  # dead: nothing to bring anywhere
            continue
        fixed = [ranges[node].max() for node in flow.neighbours if not _comes_from(node, movable)]
        target = max(fixed, default=1.0)
        ratio = np.minimum((channel.max() / channel) ** strength, _STRONGEST)
        scale = (ratio * target / channel.max()).astype(np.float32)
        scales[layer_of(flow.source)] = tuple(float(value) for value in scale)
    return scales


@torch.no_grad()
def apply_scales(graph: fx.GraphModule, scales: Mapping[str, tuple[float, ...]]) -> None:
    """Multiply output channels and divide the readers' columns, in place."""
    for flow in _flows(graph):
        scale = scales.get(layer_of(flow.source))
        if scale is None:
            continue
        if len(scale) != flow.channels:
            raise InputError(
                f"equalization of {layer_of(flow.source)!r} has {len(scale)} scales",
                expected=f"{flow.channels}, one for each channel",
            )
        factor = torch.tensor(scale, dtype=torch.float64)
        conv = cast(nn.Conv2d, module_of(flow.source))
        outputs = factor.repeat(conv.out_channels // flow.channels)
        _multiply(conv.weight, outputs[:, None, None, None])
        if conv.bias is not None:
            _multiply(conv.bias, outputs)
        for constant in flow.constants:
            _multiply(constant_of(constant), factor[None, :, None, None])
        for reader, first in flow.sinks:
            columns = cast(nn.Conv2d, module_of(reader)).weight[:, first : first + flow.channels]
            _multiply(columns, 1.0 / factor[None, :, None, None])


def _multiply(tensor: Tensor, factor: Tensor) -> None:
    tensor.copy_((tensor.double() * factor).float())


def _flows(graph: fx.GraphModule) -> list[_Flow]:
    """Every convolution whose output reaches convolutions alone, through channelwise operations."""
    flows = []
    for node in graph.graph.nodes:
        if kind_of(node) == "conv" and cast(nn.Conv2d, module_of(node)).groups == 1:
            flow = _Flow(node, next(iter(node.users)) if fuses_relu(node) else node, 0)
            ends = [end for end in graph.graph.nodes if code_source(end) is flow.value]
            flow.value = ends[0] if ends else flow.value
            flow.channels = shape_of(flow.value)[1]
            if _follow(flow, flow.value, 0) and flow.sinks:
                flows.append(flow)
    return flows


def _follow(flow: _Flow, node: fx.Node, first: int) -> bool:
    """Note all that reads a tensor whose channels from `first` on are the flow's."""
    for reader in node.users:
        kind = kind_of(reader)
        offset = first
        if kind == "conv":
            if cast(nn.Conv2d, module_of(reader)).groups > 1:
                return False
            flow.sinks.append((reader, first))
            continue
        if kind == "concat":
            parts = cast(list[fx.Node], list(cast(Any, reader.args[0])))
            if parts.count(node) > 1:
                return False
            offset += sum(shape_of(part)[1] for part in parts[: parts.index(node)])
            flow.neighbours.extend(part for part in parts if part is not node)
        elif kind == "add":
            constant = _added_constant(reader)
            # Behind a concatenation a constant's channels are not the flow's alone.
            if constant is None or shape_of(constant)[1] != flow.channels:
                return False
            flow.constants.append(constant)
        elif not _is_channelwise(reader, node):
            return False
        if not _follow(flow, reader, offset):
            return False
    return bool(node.users)


def _added_constant(node: fx.Node) -> fx.Node | None:
    """The constant (1, C, h, w) an add adds, if nothing else reads it."""
    constants = [source for source in node.all_input_nodes if kind_of(source) == "constant"]
    if len(constants) != 1 or len(node.all_input_nodes) != 2 or len(constants[0].users) > 1:
        return None
    return constants[0] if len(shape_of(constants[0])) == 4 else None


def _is_channelwise(node: fx.Node, source: fx.Node) -> bool:
    """Whether scaling a channel of `source` scales that channel of `node`."""
    kind = kind_of(node)
    return (
        kind in ("resize", "max_pool", "relu")
        or (kind == "warp" and node.args[0] is source and node.args[1] is not source)
        or (kind == "pad" and not getattr(module_of(node), "value", 1.0))
    )


def _comes_from(node: fx.Node, movable: set[fx.Node]) -> bool:
    """Whether a tensor is made, channel by channel, from convolutions that are scaled too."""
    if node in movable:
        return True
    kind = kind_of(node)
    if kind == "concat":
        return all(_comes_from(part, movable) for part in cast(Any, node.args[0]))
    if kind == "add":
        parts = [source for source in node.all_input_nodes if kind_of(source) != "constant"]
        return len(parts) == 1 and _comes_from(parts[0], movable)
    source = next(iter(node.all_input_nodes), None)
    return source is not None and _is_channelwise(node, source) and _comes_from(source, movable)


class _Ranges(fx.Interpreter):
    def __init__(self, graph: fx.GraphModule, watched: set[fx.Node]) -> None:
        super().__init__(graph)
        self.found: dict[fx.Node, NDArray[np.float64]] = {}
        self._watched = watched

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n in self._watched:
            peak = cast(Tensor, value).abs().amax((0, 2, 3)).double().numpy()
            self.found[n] = np.maximum(self.found.get(n, peak), peak)
        return value


@torch.no_grad()
def _channel_ranges(
    graph: fx.GraphModule, inputs: Iterable[Tensor], flows: list[_Flow]
) -> dict[fx.Node, NDArray[np.float64]]:
    watched = {flow.value for flow in flows} | {n for flow in flows for n in flow.neighbours}
    interpreter = _Ranges(graph, watched)
    for sample in inputs:
        interpreter.run(sample)
    return interpreter.found

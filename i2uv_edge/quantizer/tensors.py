"""What a fake-quant network rounds, tensor by tensor, beside what is there without rounding."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from i2uv_edge.quantizer.calibrate import way_to_output
from i2uv_edge.quantizer.fake_quant import ActivationQuantizer
from i2uv_edge.quantizer.graph import kind_of, layer_of, module_of, shape_of

__all__ = ["Rounded", "rounded_tensors", "source_values", "unread_values"]


@dataclass(frozen=True, eq=False)  # arrays do not compare to one truth value
class Rounded:
    """One tensor as a quantizer has made it.

    Attributes
    ----------
    source : layer whose result was rounded
    steps : its integers, from -2^(bits - 1) on; NHWC where it has four dimensions, flat
    beyond : which of its values lay more than half a step beyond the grid
    scale, zero_point : of its grid
    """

    source: str
    steps: NDArray[np.int32]
    beyond: NDArray[np.bool_]
    scale: float
    zero_point: int

    @property
    def real(self) -> NDArray[np.float64]:
        """The values that the integers stand for, in their order."""
        return (self.steps - self.zero_point) * np.float64(self.scale)


def rounded_tensors(graph: fx.GraphModule, picture: Tensor) -> dict[str, Rounded]:
    """Every tensor that a fake-quant graph computes and rounds, by its name in the encodings.

    Parameters
    ----------
    graph
        The graph of an `Exact` network.
    picture
        (1, C, H, W) float64. Constants, which are rounded for good, are left out.
    """
    found: dict[str, Rounded] = {}
    for node, value, read in _run(graph, picture):
        if kind_of(node) != "quantizer":
            continue
        origin = node.all_input_nodes[0]
        while kind_of(origin) == "quantizer":
            origin = origin.all_input_nodes[0]
        if kind_of(origin) == "constant":
            continue
        quantizer = module_of(node)
        assert isinstance(quantizer, ActivationQuantizer)
        scale, zero = quantizer.encoding
        before = read / scale + zero
        beyond = (before < quantizer.low - 0.5) | (before > quantizer.high + 0.5)
        found[layer_of(node)] = Rounded(
            source=layer_of(origin),
            steps=np.rint(_flat(value) / scale).astype(np.int32) + zero,
            beyond=_flat(beyond),
            scale=scale,
            zero_point=zero,
        )
    return found


def source_values(graph: fx.GraphModule, picture: Tensor) -> dict[str, NDArray[Any]]:
    """What every layer of a float graph computes, by layer, in the order of `Rounded.steps`."""
    return {
        layer_of(node): _flat(value)
        for node, value, _ in _run(graph, picture)
        if isinstance(value, Tensor) and "layer" in node.meta
    }


def unread_values(
    graph: fx.GraphModule, output_mask: NDArray[np.bool_] | None
) -> dict[str, NDArray[np.bool_]]:
    """Of the layers that only become the output, which values go to texels that nobody reads.

    Calibration leaves those out (see `calibrate.observe`), so they saturate.

    Parameters
    ----------
    graph
        A float graph.
    output_mask
        (M, M), True where the output is read; None where all of it is.
    """
    found: dict[str, NDArray[np.bool_]] = {}
    for node in graph.graph.nodes if output_mask is not None else ():
        if kind_of(node) in ("output", "constant"):
            continue
        layers = way_to_output(node)
        if layers is None:
            continue
        numbers = torch.arange(math.prod(shape_of(node)), dtype=torch.float64)
        read = numbers.reshape(shape_of(node))
        order = _flat(read).astype(np.int64)
        for layer in layers:
            read = layer(read)
        unread = np.ones(len(order), np.bool_)
        unread[read.permute(0, 2, 3, 1).numpy()[:, output_mask].astype(np.int64).ravel()] = False
        found[layer_of(node)] = unread[order]
    return found


def _run(graph: fx.GraphModule, picture: Tensor) -> Iterator[tuple[fx.Node, Any, Any]]:
    """Each node, what it computes, and what it reads first, in running order."""
    interpreter = fx.Interpreter(graph)
    values: dict[fx.Node, Any] = {}
    interpreter.env = values
    interpreter.args_iter = iter((picture,))
    last = {node: reader for reader in graph.graph.nodes for node in reader.all_input_nodes}
    with torch.inference_mode():
        for node in graph.graph.nodes:
            if node.op == "output":
                return
            values[node] = interpreter.run_node(node)
            read = node.all_input_nodes[0] if node.all_input_nodes else None
            yield node, values[node], None if read is None else values[read]
            for source in node.all_input_nodes:
                if last[source] is node:
                    del values[source]


def _flat(value: Tensor) -> NDArray[Any]:
    return (value.permute(0, 2, 3, 1) if value.ndim == 4 else value).reshape(-1).numpy()

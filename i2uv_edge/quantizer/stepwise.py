"""Several samples through a graph side by side, one operation at a time.

What is changed at one operation, by what all samples show there, holds for those behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx

__all__ = ["Visit", "run_stepwise"]

Visit = Callable[[fx.Node, list[Any], Callable[[], list[Any]]], list[Any]]
"""A node, each sample's value of the first thing it reads, and what runs it on all samples: what
each sample's result is to be."""


@torch.no_grad()
def run_stepwise(graph: fx.GraphModule, inputs: Sequence[Tensor], visit: Visit) -> None:
    """Run a graph on all samples; values that no later operation reads are dropped.

    Parameters
    ----------
    graph
        Evaluated in the type of its inputs.
    inputs
        What its one input is, by sample.
    visit
        Asked for the results of every operation in running order.
    """
    interpreter = fx.Interpreter(graph)
    nodes = list(graph.graph.nodes)
    last_reader = {source: node for node in nodes for source in node.all_input_nodes}
    values: dict[fx.Node, list[Any]] = {}
    for node in nodes:
        if node.op == "output":
            break

        def run(node: fx.Node = node) -> list[Any]:
            places = range(len(inputs))
            return [_run(interpreter, node, values, place, inputs[place]) for place in places]

        read = node.all_input_nodes
        values[node] = visit(node, values[read[0]] if read else [], run)
        for source in read:
            if last_reader[source] is node:
                del values[source]


def _run(
    interpreter: fx.Interpreter,
    node: fx.Node,
    values: Mapping[fx.Node, list[Any]],
    place: int,
    sample: Tensor,
) -> Any:
    if node.op == "placeholder":
        return sample
    arguments = fx.node.map_arg((node.args, node.kwargs), lambda source: values[source][place])
    return getattr(interpreter, node.op)(node.target, *cast(tuple[Any, Any], arguments))

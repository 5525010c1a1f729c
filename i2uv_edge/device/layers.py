"""Which layer of a file an operator is that a profiler names by what computes it.

XNNPACK's operators carry the names of its kernels. Their order is known: TFLite cuts a graph into
runs of nodes that one delegate takes, by a rule that `partition` follows, and XNNPACK keeps the
order within. What multiplies is matched in that order with the kernels that multiply, and only
if all of them fit; else nothing is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from i2uv_edge.convert.flatbuffer import read_model
from i2uv_edge.convert.histogram import OpRecord, read_operators
from i2uv_edge.convert.partition import partition
from i2uv_edge.device.litert_profiler import Event
from i2uv_edge.device.profiles import Layer

__all__ = ["named_layers"]

# What begins the names of XNNPACK's kernels that multiply; "Convert" is none of them.
_MULTIPLYING = ("Convolution", "Fully Connected", "Deconvolution", "Depthwise")


def named_layers(path: Path, events: Sequence[Event]) -> tuple[Layer, ...]:
    """The operators of a file with their shares of the time, layers named where they are known.

    The others are named by their number in running order.
    """
    total = sum(event.ms for event in events)
    names = _names(path, events)
    return tuple(
        Layer(
            name=names.get(number, f"operator {number}"),
            type=event.name,
            unit="CPU",
            ms=event.ms,
            share=event.ms / total if total else None,
        )
        for number, event in enumerate(events)
    )


def _names(path: Path, events: Sequence[Event]) -> dict[int, str]:
    """Layers by the number of the event."""
    records = read_operators(path)
    outside = {event.node: number for number, event in enumerate(events) if event.node is not None}
    found = {number: records[node].layer for node, number in outside.items() if node < len(records)}
    model = read_model(path.read_bytes())
    order = _running_order(model, {node for node in outside if node is not None})
    layers = [records[node] for node in order if records[node].macs and node not in outside]
    numbers = [
        number
        for number, event in enumerate(events)
        if event.node is None and event.name.startswith(_MULTIPLYING)
    ]
    if len(layers) == len(numbers) and all(
        _fits(record, events[number]) for record, number in zip(layers, numbers, strict=True)
    ):
        found |= {number: record.layer for record, number in zip(layers, numbers, strict=True)}
    return found


def _fits(record: OpRecord, event: Event) -> bool:
    """Whether a kernel computes in the type of the layer: "QS8", "QC8" or "F32" in its name."""
    return record.is_integer != ("F32" in event.name)


def _running_order(model: Any, outside: AbstractSet[int]) -> list[int]:
    """Nodes in the order they run, if a delegate takes all but those `outside`."""
    (graph,) = model.subgraphs
    runs = partition(
        [number in outside for number in range(len(graph.operators))],
        [{int(i) for i in operator.inputs} for operator in graph.operators],
        [{int(i) for i in operator.outputs} for operator in graph.operators],
    )
    return [number for _, numbers in runs for number in numbers]

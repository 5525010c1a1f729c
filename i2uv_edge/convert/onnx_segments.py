"""The part of a quantized ONNX file that a segment of the TFLite file is.

Both are written from one graph and call their tensors after the same layers, so where one is cut
the other can be: at the same integers, stored as uint8 in NCHW instead of int8 in NHWC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import ModelProto, NodeProto, TensorProto, helper

from i2uv_edge.convert.onnx_graph import OFFSET, QUANTIZED
from i2uv_edge.errors import ConversionError

__all__ = ["Fields", "part", "ports"]

Fields = Mapping[str, Any]


def part(model: ModelProto, inputs: Sequence[Fields], outputs: Sequence[Fields]) -> ModelProto:
    """Cut what lies between tensors out of a Q/DQ model, integers in and out.

    Parameters
    ----------
    model
        The whole network.
    inputs, outputs
        The tensors as the TFLite segment stores them: "name", "shape" and so on.

    Raises
    ------
    ConversionError
        The model has no such integers, or something of the part hangs on other tensors.
    """
    graph = model.graph
    writers = {name: node for node in graph.node for name in node.output}
    constants = {item.name: item for item in graph.initializer}
    known = {*writers, *(port.name for port in graph.input)}
    takes = [_own(fields, known) for fields in inputs]
    gives = [_own(fields, known) for fields in outputs]
    nodes: dict[str, NodeProto] = {}
    used: set[str] = set()
    waiting = list(gives)
    while waiting:
        name = waiting.pop()
        if not name or name in takes or name in nodes:
            continue
        if name in constants:
            used.add(name)
        elif name in writers:
            nodes[name] = writers[name]
            waiting += writers[name].input
        else:
            raise ConversionError(
                f"the integers of {', '.join(gives)} hang on {name!r}",
                expected=f"on {', '.join(takes)} alone",
            )
    shapes = {item.name: item for item in graph.value_info}
    made = helper.make_graph(
        [node for node in graph.node if node.output[0] in nodes],
        "main",
        [_port(name, fields) for name, fields in zip(takes, inputs, strict=True)],
        [_port(name, fields) for name, fields in zip(gives, outputs, strict=True)],
        [item for item in graph.initializer if item.name in used],
        value_info=[shapes[name] for name in nodes if name in shapes and name not in gives],
    )
    return helper.make_model(
        made,
        producer_name=model.producer_name,
        ir_version=model.ir_version,
        opset_imports=list(model.opset_import),
    )


def ports(model: ModelProto, inputs: Sequence[Fields], outputs: Sequence[Fields]) -> Fields:
    """What a part's inputs and outputs are called and how they are stored, in the same order."""

    def stored(port: Any, fields: Fields) -> dict[str, Any]:
        return {
            "name": port.name,
            "shape": list(_nchw(fields)),
            "dtype": "uint8",
            "scale": fields["scale"],
            "zero_point": fields["zero_point"] + OFFSET,
            "layout": "NCHW",
        }

    return {
        "inputs": [stored(*pair) for pair in zip(model.graph.input, inputs, strict=True)],
        "outputs": [stored(*pair) for pair in zip(model.graph.output, outputs, strict=True)],
    }


def _own(fields: Fields, known: set[str]) -> str:
    """The name that the integers of a TFLite tensor have in the ONNX file."""
    name = str(fields["name"])
    found = next((own for own in (name + QUANTIZED, name) if own in known), None)
    if found is None or fields["dtype"] != "int8":
        raise ConversionError(
            f"the ONNX file has no integers of {name!r}",
            expected="the file that was written from the same graph",
        )
    return found


def _port(name: str, fields: Fields) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.UINT8, _nchw(fields))


def _nchw(fields: Fields) -> tuple[int, ...]:
    try:
        batch, height, width, channels = fields["shape"]
    except ValueError as error:
        raise ConversionError(
            f"{fields['name']!r} between two segments has shape {fields['shape']}",
            expected="a map, NHWC",
        ) from error
    return batch, channels, height, width

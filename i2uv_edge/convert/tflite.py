"""A float or quantized network -> a TFLite file, checked against its ranges and recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from i2uv_edge.convert.flatbuffer import read_model
from i2uv_edge.convert.histogram import check_histogram
from i2uv_edge.convert.lowering import QUANTIZED, lower
from i2uv_edge.errors import ConversionError
from i2uv_edge.quantizer.encodings import Encodings
from i2uv_edge.quantizer.graph import prepare
from i2uv_edge.quantizer.network import QuantizedNetwork
from i2uv_edge.spec import ActivationSpec, NetworkSpec, RecipeSpec, WeightSpec

__all__ = ["FLOAT", "check_ranges", "to_tflite"]

_Range = tuple[tuple[float, ...], tuple[int, ...]]  # scales, zero points

FLOAT = RecipeSpec(
    name="float",
    description="nothing is quantized",
    weights=WeightSpec(bits=32),
    activations=ActivationSpec(bits=32),
    max_float_macs=1.0,
)


def to_tflite(network: nn.Module | QuantizedNetwork, spec: NetworkSpec, path: Path) -> None:
    """Write a network as TFLite: NHWC, batch 1, one input and one output named as in its spec.

    Parameters
    ----------
    network
        A float network (any form), or one that `quantize` made: the file then computes what its
        module computes, integer by integer.
    path
        The file to write. Same network, same bytes.

    Raises
    ------
    InputError
        A weight is NaN or infinite.
    ConversionError
        A layer that cannot be converted, or a result that differs from ranges, recipe or spec.
    """
    if isinstance(network, QuantizedNetwork):
        recipe = network.recipe
        data = lower(
            network.graph,
            input_name=spec.input.name,
            output_name=spec.output.name,
            int8_input=recipe.input == "int8",
            int8_output=recipe.output == "int8",
        )
    else:
        recipe = FLOAT
        batch, height, width, channels = spec.input.shape
        graph = prepare(network, (batch, channels, height, width))
        data = lower(graph, input_name=spec.input.name, output_name=spec.output.name)
    path.write_bytes(data)
    check_histogram(path, recipe, network_role=spec.role)
    _check_shapes(data, spec)
    if isinstance(network, QuantizedNetwork):
        check_ranges(path, network.encodings)


def check_ranges(path: Path, encodings: Encodings) -> None:
    """Refuse a file whose scales and zero points are not exactly those of the encodings.

    Raises
    ------
    ConversionError
        Names the first tensors that are missing, differ, or are integer without an encoding.
    """
    graph = read_model(path.read_bytes()).subgraphs[0]
    found = _integer_tensors(graph)
    faults: list[str] = []
    known: set[str] = set()
    for name, entry in encodings.activations.items():
        wanted: _Range = (entry.scale,), (entry.zero_point,)
        names = [key for key in (name, name + QUANTIZED) if key in found]
        # An integer input or output bears the name its spec gives it.
        names += [key for key in _ends(graph) if found.get(key) == wanted]
        if not names:
            faults.append(f"activation {name!r} is not an integer tensor of the file")
            continue
        known.add(names[0])
        faults += _compare(name, found[names[0]], wanted)
    for name, weight in encodings.weights.items():
        if name not in found:
            faults.append(f"weight {name!r} is not an integer tensor of the file")
            continue
        known.add(name)
        faults += _compare(name, found[name], (weight.scale, (0,) * len(weight.scale)))
    for name in sorted(set(found) - _explained(graph, found, known)):
        faults.append(f"tensor {name!r} has a range that no encoding holds")
    if faults:
        more = f"\n  and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise ConversionError(
            f"{path.name} differs from its encodings:\n  " + "\n  ".join(faults[:5]) + more,
            expected="exactly the ranges that calibration found",
        )


def _compare(name: str, found: _Range, wanted: _Range) -> list[str]:
    if found == wanted:
        return []
    (scale, zero), (wanted_scale, wanted_zero) = found, wanted
    if len(scale) != len(wanted_scale):
        return [f"{name!r} has {len(scale)} scales, its encoding {len(wanted_scale)}"]
    at = next(
        i for i in range(len(scale)) if (scale[i], zero[i]) != (wanted_scale[i], wanted_zero[i])
    )
    return [
        f"{name!r} has scale {scale[at]!r} and zero point {zero[at]} at index {at}, "
        f"its encoding {wanted_scale[at]!r} and {wanted_zero[at]}"
    ]


def _integer_tensors(graph: Any) -> dict[str, _Range]:
    """Scales and zero points of every int8 tensor by name."""
    from ai_edge_litert import schema_py_generated as schema

    result: dict[str, _Range] = {}
    for tensor in graph.tensors:
        if tensor.type != schema.TensorType.INT8:
            continue
        parameters = tensor.quantization
        if parameters is None or parameters.scale is None:
            raise ConversionError(f"tensor {_name(tensor)!r} is int8 and has no scale")
        result[_name(tensor)] = (
            tuple(float(value) for value in np.atleast_1d(parameters.scale)),
            tuple(int(value) for value in np.atleast_1d(parameters.zeroPoint)),
        )
    return result


def _ends(graph: Any) -> list[str]:
    """Names of the inputs and outputs."""
    return [_name(graph.tensors[index]) for index in (*graph.inputs, *graph.outputs)]


def _explained(graph: Any, found: dict[str, _Range], known: set[str]) -> set[str]:
    """The integer tensors that have an encoding, or have to have the grid of one that has.

    What keeps its input's grid (reshape, pool, concatenation) has no entry of its own, nor have the
    blocks that a tensor is put together from or what a padding is filled with.
    """
    explained, before = set(known), -1
    while len(explained) > before:
        before = len(explained)
        for operator in graph.operators:
            grid = found.get(_name(graph.tensors[operator.outputs[0]]))
            ends = (*operator.inputs, operator.outputs[0])
            names = (_name(graph.tensors[index]) for index in ends)
            same = {name for name in names if grid is not None and found.get(name) == grid}
            if same & explained:
                explained |= same
    return explained


def _name(tensor: Any) -> str:
    return tensor.name.decode() if isinstance(tensor.name, bytes) else str(tensor.name)


def _check_shapes(data: bytes, spec: NetworkSpec) -> None:
    graph = read_model(data).subgraphs[0]
    for what, index, wanted in (
        ("input", graph.inputs[0], spec.input),
        ("output", graph.outputs[0], spec.output),
    ):
        shape = tuple(int(size) for size in graph.tensors[index].shape)
        if shape != wanted.shape:
            raise ConversionError(
                f"network {spec.name}: the {what} has shape {list(shape)}",
                expected=f"{list(wanted.shape)}, as its spec says",
            )

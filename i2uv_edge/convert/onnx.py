"""A float or quantized network -> an ONNX file, simplified and checked against its ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import fx, nn

from i2uv_edge.convert.tflite import FLOAT
from i2uv_edge.errors import ConversionError
from i2uv_edge.onnx_runner import needed, open_session
from i2uv_edge.quantizer.graph import kind_of, layer_of, prepare
from i2uv_edge.quantizer.network import QuantizedNetwork
from i2uv_edge.spec import NetworkSpec

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["simplified", "to_onnx"]

_SAMPLES = 2  # compared before and after
# Shares the zero points of different weights, which ONNX Runtime then fails to make unsigned.
_SKIPPED = ["eliminate_duplicate_initializer"]


def to_onnx(network: nn.Module | QuantizedNetwork, spec: NetworkSpec, path: Path) -> None:
    """Write a network as ONNX: NCHW, batch 1, one input and one output named as in its spec.

    Parameters
    ----------
    network
        A float network (any form), or one that `quantize` made: the file then holds its integer
        weights and, between operations, its ranges as QuantizeLinear and DequantizeLinear.
    path
        The file to write. Same network, same bytes.

    Raises
    ------
    MissingDependencyError
        onnx, onnxruntime or onnxsim is not installed.
    InputError
        A weight is NaN or infinite.
    ConversionError
        A layer that cannot be converted, or a result that differs from ranges, recipe or spec.
    """
    for package in ("onnx", "onnxruntime", "onnxsim"):
        needed(package)
    from i2uv_edge.convert.onnx_checks import check_model, check_ranges
    from i2uv_edge.convert.onnx_lowering import lower

    batch, height, width, channels = spec.input.shape
    if isinstance(network, QuantizedNetwork):
        graph, recipe = network.graph, network.recipe
    else:
        graph, recipe = prepare(network, (batch, channels, height, width)), FLOAT
    model = lower(
        graph,
        input_name=spec.input.name,
        output_name=spec.output.name,
        integer_input=recipe.input == "int8",
        integer_output=recipe.output == "int8",
    )
    _check_shapes(model, spec)
    model = simplified(model, name=path.name)
    check_model(
        model, recipe, network_role=spec.role, name=path.name, transposed=_transposed(graph)
    )
    if isinstance(network, QuantizedNetwork):
        check_ranges(model, network.encodings, name=path.name)
    path.write_bytes(_bytes(model))


def simplified(model: ModelProto, *, name: str, atol: float = 1e-5) -> ModelProto:
    """Simplify a model with onnxsim; the result computes the same.

    Parameters
    ----------
    name
        The file's, for messages.
    atol
        The largest difference of the outputs, in their units: room for another order of sums in
        float, none for another step of an integer.

    Raises
    ------
    ConversionError
        Outputs before and after differ.
    """
    onnxsim, onnx = needed("onnxsim"), needed("onnx")
    result: ModelProto = onnxsim.simplify(model, skipped_optimizers=_SKIPPED, certify=False)[0]
    del result.metadata_props[:]  # what onnxsim did, not what the network is
    onnx.checker.check_model(result, full_check=True)
    feeds = _feeds(model)
    before, after = _outputs(model, feeds), _outputs(result, feeds)
    worst = float("inf")
    if before.shape == after.shape:
        worst = float(np.abs(before.astype(np.float64) - after).max())
    if not worst <= atol:  # what is no number is no match
        raise ConversionError(
            f"{name}: simplification by onnxsim changed the output by {worst:.3g}",
            expected=f"at most {atol:.3g}",
            remedy="install the version of onnxsim that constraints.txt names",
        )
    return result


def _outputs(model: ModelProto, feeds: Sequence[Mapping[str, NDArray[Any]]]) -> NDArray[Any]:
    """What the one output is for each feed; the session is gone afterwards, as it is large."""
    session = open_session(_bytes(model))
    return np.stack([session.run(None, feed)[0] for feed in feeds])


def _feeds(model: ModelProto) -> list[dict[str, NDArray[Any]]]:
    """Pictures of noise over the whole range of the one input, always the same."""
    (port,) = model.graph.input
    sizes = [dim.dim_value for dim in port.type.tensor_type.shape.dim]
    rng = np.random.default_rng(0)
    if port.type.tensor_type.elem_type == needed("onnx").TensorProto.FLOAT:
        return [{port.name: rng.random(sizes, np.float32)} for _ in range(_SAMPLES)]
    return [{port.name: rng.integers(0, 256, sizes, np.uint8)} for _ in range(_SAMPLES)]


def _transposed(graph: fx.GraphModule) -> set[str]:
    """Names of the nodes that may transpose: what the network permutes, and its warps' grids."""
    from i2uv_edge.convert.onnx_lowering import GRID

    suffix = {"permute": "", "warp": GRID}
    return {
        layer_of(node) + suffix[kind]
        for node in graph.graph.nodes
        if (kind := kind_of(node)) in suffix
    }


def _check_shapes(model: ModelProto, spec: NetworkSpec) -> None:
    for what, port, wanted in (
        ("input", model.graph.input[0], spec.input),
        ("output", model.graph.output[0], spec.output),
    ):
        shape = tuple(dim.dim_value for dim in port.type.tensor_type.shape.dim)
        batch, height, width, channels = wanted.shape
        if shape != (batch, channels, height, width):
            raise ConversionError(
                f"network {spec.name}: the {what} has shape {list(shape)} (NCHW)",
                expected=f"{[batch, channels, height, width]}, as its spec says",
            )


def _bytes(model: ModelProto) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))

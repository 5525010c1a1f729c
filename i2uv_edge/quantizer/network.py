"""A float network and pictures in, a fake-quant network out; what training makes of that, too."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import chain, islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.networks.layers import Warp
from i2uv_edge.quantizer.assemble import assemble
from i2uv_edge.quantizer.bias_correction import (
    added,
    apply_corrections,
    channel_means,
    find_corrections,
)
from i2uv_edge.quantizer.calibrate import empty_set, observe, samples
from i2uv_edge.quantizer.dither import dither, offsets
from i2uv_edge.quantizer.encodings import Encodings
from i2uv_edge.quantizer.equalize import apply_scales, find_scales
from i2uv_edge.quantizer.fake_quant import ROUNDING, Arithmetic
from i2uv_edge.quantizer.graph import kind_of, prepare, shape_of
from i2uv_edge.quantizer.picture_input import absorb_normalisation
from i2uv_edge.quantizer.plan import ConcatRanges, make_plan
from i2uv_edge.quantizer.ranges import find_encodings
from i2uv_edge.quantizer.rounding import round_weights
from i2uv_edge.quantizer.trainable import (
    learned_encodings,
    load_tensors,
    taking_batches,
    tensors_of,
)
from i2uv_edge.spec import RecipeSpec

__all__ = [
    "QuantOptions",
    "QuantizedNetwork",
    "float_twin",
    "load_quantized",
    "prepared",
    "quantize",
    "tuned",
]

# Held in memory: means and channel ranges settle much earlier than tails do, and so early is the
# exact arithmetic not slow. What layers see together takes more to know.
_FEW, _SOME = 16, 128


@dataclass(frozen=True)
class QuantOptions:
    """What a recipe does not say; recorded in the encodings.

    `concat` is explained in `plan.make_plan`, `correct_bias` in `bias_correction`; `equalize` is
    the strength of `equalize.find_scales`, None leaves the network's own scales. Where
    `correct_bias` is None, biases are corrected beside weights rounded to the nearest alone:
    second-order rounding leaves less of a mean to take out than few pictures err by
    (docs/quantization.md).
    """

    concat: ConcatRanges = "shared"
    equalize: float | None = 0.5
    correct_bias: bool | None = None


@dataclass(frozen=True)
class QuantizedNetwork:
    """A network that computes in torch what the integer file computes.

    `graph` is the network itself, NCHW float32 with batch 1: what is exported and trained on.
    `float_macs_share` (0..1) is the share of its multiply-accumulates that stays in float.
    `tensors` are its weights where they were trained (see `trainable`) or rounded together (see
    `rounding`); None where each is the float network's, rounded to the nearest.
    """

    graph: fx.GraphModule
    encodings: Encodings
    recipe: RecipeSpec
    float_macs_share: float
    tensors: Mapping[str, Tensor] | None = None

    @cached_property
    def module(self) -> Exact:
        """The network as the integers compute it: (N, 3, S, S) -> (N, 3, M, M), any N."""
        return Exact(self.graph)

    def module_in(self, arithmetic: Arithmetic) -> Exact:
        """The same in the arithmetic of another format than TFLite, or of none."""
        return Exact(self.graph, arithmetic)


class Exact(nn.Module):
    """Evaluates a network of integers without rounding errors of its own, sample by sample.

    A deployed network has batch 1, as its warps address rows of one feature.
    """

    def __init__(self, graph: fx.GraphModule, arithmetic: Arithmetic = "xnnpack") -> None:
        super().__init__()
        self.graph_module = copy.deepcopy(graph).double()
        for layer in self.graph_module.modules():
            if isinstance(layer, ROUNDING):
                layer.arithmetic = arithmetic
            elif isinstance(layer, Warp) and arithmetic == "real":
                layer.to_plain()
        if arithmetic == "real":
            _round_numbers(self.graph_module)

    def forward(self, batch: Tensor) -> Tensor:
        outputs = [self.graph_module(sample[None].double()) for sample in batch]
        return torch.cat(outputs).to(batch.dtype)


def _round_numbers(graph: fx.GraphModule) -> None:
    """Make Python numbers among the operands what files hold of them: float32."""
    for node in graph.graph.nodes:
        if kind_of(node) in ("add", "sub", "mul"):
            node.args = tuple(
                float(np.float32(item)) if isinstance(item, float) else item for item in node.args
            )
    graph.recompile()


def quantize(
    module: nn.Module,
    recipe: RecipeSpec,
    calibration: Iterable[NDArray[np.float32]],
    *,
    network_role: str,
    output_mask: NDArray[np.bool_] | None = None,
    options: QuantOptions = QuantOptions(),
) -> QuantizedNetwork:
    """Quantize a network after training.

    Parameters
    ----------
    module
        The float network, in training or deploy form; it is not changed.
    recipe
        Which layers, how many bits, how ranges are found.
    calibration
        Batches (N, S, S, 3) float32 NHWC of typical inputs, read once and in order.
    network_role
        "affinenet", "srnet" or "hand": selects the recipe's overrides.
    output_mask
        (M, M), True where the output is read. What the network puts elsewhere then widens no
        range: SRNet's relief beside the hand is fifty times what it is on the hand.

    Raises
    ------
    InputError
        NaN weights; an empty calibration set, or one with wrong shapes or values.
    UsageError
        A recipe that quantizes nothing, or with an override that matches nothing.
    ConversionError
        A layer that cannot be quantized, or too much work left in float.
    """
    _check(recipe)
    first, batches = _peek(calibration)
    shape = (1, first[0].shape[3], first[0].shape[1], first[0].shape[2])
    graph = prepared(module, shape, recipe, network_role)
    some = list(islice(samples(first, shape), _SOME))
    few = some[:_FEW]
    scales = {}
    if options.equalize is not None:
        scales = find_scales(graph, few, strength=options.equalize)
        apply_scales(graph, scales)
    plan = make_plan(graph, recipe, network_role, concat=options.concat)
    _check_mask(graph, output_mask)
    histograms = observe(
        graph,
        plan,
        samples(batches, shape),
        output_mask=output_mask,
        counting=recipe.activations.range != "min-max",
    )
    activations, weights = find_encodings(plan, histograms, recipe)
    shifts = offsets(graph, activations)
    rounded = recipe.weights.rounding == "second-order"
    correct_bias = not rounded if options.correct_bias is None else options.correct_bias
    options = replace(options, correct_bias=correct_bias)
    encodings = Encodings(
        role=network_role,
        recipe=recipe.name,
        input_shape=shape,
        options={**asdict(options), "rounding": recipe.weights.rounding},
        activations=activations,
        weights=weights,
        equalization=scales,
        bias_correction=shifts,
    )
    network = load_quantized(module, recipe, encodings)
    if rounded:
        round_weights(network.graph, some)
    if correct_bias:
        apply_corrections(graph, shifts)
        means = channel_means(graph, few)
        exact = [sample.double() for sample in few]
        corrections = find_corrections(network.module.graph_module, means, exact)
        apply_corrections(network.graph, corrections)
        encodings = replace(encodings, bias_correction=added(shifts, corrections))
    tensors = tensors_of(network.graph) if rounded else None
    return load_quantized(module, recipe, encodings, tensors)


def tuned(module: nn.Module, before: QuantizedNetwork, graph: fx.GraphModule) -> QuantizedNetwork:
    """The network that training has made of `before`.

    Parameters
    ----------
    module
        The float network.
    before
        What `trainable.trainable` was given the graph of.
    graph
        What it returned, trained; it is put into evaluation mode.
    """
    graph.eval()
    encodings = learned_encodings(graph, before.encodings)
    return load_quantized(module, before.recipe, encodings, tensors_of(graph))


def float_twin(module: nn.Module, quantized: QuantizedNetwork) -> fx.GraphModule:
    """The float network, any number of samples, with the layers and channel scales of another.

    What its layers compute is what those of ``quantized`` would if nothing was rounded: features of
    the two compare, while the network's own channels differ by what equalization did.
    """
    encodings = quantized.encodings
    graph = prepared(module, encodings.input_shape, quantized.recipe, encodings.role)
    apply_scales(graph, encodings.equalization)
    return taking_batches(graph)


def load_quantized(
    module: nn.Module,
    recipe: RecipeSpec,
    encodings: Encodings,
    tensors: Mapping[str, Tensor] | None = None,
) -> QuantizedNetwork:
    """Rebuild the fake-quant network of `quantize` from its float network and encodings.

    Where it has `tensors` they are needed as well, in the place of the float network's.

    Raises
    ------
    InputError
        The encodings, or the tensors, are of another network or recipe.
    """
    _check(recipe)
    graph = prepared(module, encodings.input_shape, recipe, encodings.role)
    apply_scales(graph, encodings.equalization)
    apply_corrections(graph, encodings.bias_correction)
    concat = encodings.options.get("concat", QuantOptions.concat)
    plan = make_plan(graph, recipe, encodings.role, concat=concat)
    assemble(graph, plan, encodings)
    if tensors is not None:
        load_tensors(graph, tensors)
    return QuantizedNetwork(graph, encodings, recipe, plan.float_macs_share, tensors)


def prepared(
    module: nn.Module, shape: tuple[int, int, int, int], recipe: RecipeSpec, role: str
) -> fx.GraphModule:
    """The float network as `quantize` plans it, for an input of `shape` (1, C, S, S)."""
    graph = prepare(module, shape)
    spec = recipe.activations
    is_picture = role != "srnet" and shape[2] > 1
    if is_picture and spec.bits == 8 and not spec.symmetric:
        absorb_normalisation(graph)
    dither(graph, recipe, role)
    return graph


def _check_mask(graph: fx.GraphModule, mask: NDArray[np.bool_] | None) -> None:
    result = next(node for node in graph.graph.nodes if node.op == "output").all_input_nodes[0]
    size = shape_of(result)[2:]
    if mask is not None and (mask.dtype != np.bool_ or mask.shape != size or not mask.any()):
        raise UsageError(
            f"output_mask is {mask.dtype} of shape {list(mask.shape)}, {int(mask.sum())} True",
            expected=f"bool of shape {list(size)}, True where the output is read",
        )


def _check(recipe: RecipeSpec) -> None:
    if recipe.is_float:
        raise UsageError(
            f"recipe {recipe.name} quantizes nothing",
            remedy="convert the float network itself, or choose an integer recipe",
        )


def _peek(
    batches: Iterable[NDArray[np.float32]],
) -> tuple[list[NDArray[np.float32]], Iterable[NDArray[np.float32]]]:
    """The first batches, enough for what looks at few samples, and the whole stream."""
    stream = iter(batches)
    first: list[NDArray[np.float32]] = []
    while sum(map(len, first)) < _SOME:
        batch = next(stream, None)
        if batch is None:
            break
        if batch.ndim != 4:
            raise InputError(
                f"a calibration batch has shape {list(batch.shape)}", expected="[N, S, S, 3]"
            )
        first.append(batch)
    if not sum(map(len, first)):
        raise empty_set()
    return first, chain(first, stream)

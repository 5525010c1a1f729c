"""Post-training quantization: a float network and pictures in, a fake-quant network out."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain, islice
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.networks.layers import Upsample
from i2uv_edge.quantizer.calibrate import observe, samples
from i2uv_edge.quantizer.encodings import ActivationEncoding, Encodings, WeightEncoding
from i2uv_edge.quantizer.equalize import apply_scales, find_scales
from i2uv_edge.quantizer.fake_quant import (
    WEIGHT_LIMIT,
    ActivationQuantizer,
    QuantConv2d,
    QuantUpsample,
    affine_parameters,
)
from i2uv_edge.quantizer.graph import kind_of, layer_of, module_of, prepare
from i2uv_edge.quantizer.observers import Histogram, choose_range
from i2uv_edge.quantizer.picture_input import absorb_normalisation
from i2uv_edge.quantizer.plan import ConcatRanges, QuantPlan, make_plan
from i2uv_edge.spec import RecipeSpec

__all__ = ["QuantOptions", "QuantizedNetwork", "load_quantized", "quantize"]

_SMALLEST_WEIGHT_SCALE = 1e-9
_EQUALIZATION_SAMPLES = 16  # held in memory; channel ranges settle much earlier than tails do


@dataclass(frozen=True)
class QuantOptions:
    """What a recipe does not say; recorded in the encodings.

    `concat` is explained in `plan.make_plan`; `weight_range` "max" covers every weight of a
    channel, "mse" clips where that lowers the channel's squared error; `equalize` is the strength
    of `equalize.find_scales`, None leaves the network's own scales.
    """

    concat: ConcatRanges = "shared"
    weight_range: Literal["max", "mse"] = "max"
    equalize: float | None = 0.75


@dataclass(frozen=True)
class QuantizedNetwork:
    """A network that computes in torch what the integer file computes.

    `graph` is the network itself, NCHW float32 with batch 1: what is exported and trained on.
    `float_macs_share` (0..1) is the share of its multiply-accumulates that stays in float.
    """

    graph: fx.GraphModule
    encodings: Encodings
    recipe: RecipeSpec
    float_macs_share: float

    @cached_property
    def module(self) -> nn.Module:
        """The network as the integers compute it: (N, 3, S, S) -> (N, 3, M, M), any N."""
        return _Exact(self.graph)


class _Exact(nn.Module):
    """Evaluates a network of integers without rounding errors of its own, sample by sample.

    A deployed network has batch 1, as its warps address rows of one feature.
    """

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__()
        self.graph_module = copy.deepcopy(graph).double()

    def forward(self, batch: Tensor) -> Tensor:
        outputs = [self.graph_module(sample[None].double()) for sample in batch]
        return torch.cat(outputs).to(batch.dtype)


def quantize(
    module: nn.Module,
    recipe: RecipeSpec,
    calibration: Iterable[NDArray[np.float32]],
    *,
    network_role: str,
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
        "affinenet" or "srnet": selects the recipe's overrides.

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
    graph = _prepare(module, shape, recipe, network_role)
    scales = {}
    if options.equalize is not None:
        few = islice(samples(first, shape), _EQUALIZATION_SAMPLES)
        scales = find_scales(graph, few, strength=options.equalize)
        apply_scales(graph, scales)
    plan = make_plan(graph, recipe, network_role, concat=options.concat)
    histograms = observe(graph, plan, samples(batches, shape))
    activations = _activation_encodings(plan, histograms, recipe)
    weights = _weight_encodings(plan, recipe, options)
    encodings = Encodings(
        role=network_role,
        recipe=recipe.name,
        input_shape=shape,
        options=asdict(options),
        activations=activations,
        weights=weights,
        equalization=scales,
    )
    return _assemble(graph, plan, recipe, encodings)


def load_quantized(module: nn.Module, recipe: RecipeSpec, encodings: Encodings) -> QuantizedNetwork:
    """Rebuild the fake-quant network of `quantize` from its float network and encodings.

    Raises
    ------
    InputError
        The encodings name other tensors than this network and recipe have.
    """
    _check(recipe)
    graph = _prepare(module, encodings.input_shape, recipe, encodings.role)
    apply_scales(graph, encodings.equalization)
    concat = encodings.options.get("concat", QuantOptions.concat)
    plan = make_plan(graph, recipe, encodings.role, concat=concat)
    _compare("activations", {point.name for point in plan.points}, set(encodings.activations))
    _compare(
        "weights", {f"{layer_of(n)}.weight" for n in _convolutions(plan)}, set(encodings.weights)
    )
    for point in plan.points:
        group = encodings.activations[point.name].group
        if group != point.group:
            raise InputError(
                f"encodings of {point.name!r} share the range of {group!r}",
                expected=f"{point.group!r}, as this network and recipe demand",
            )
    return _assemble(graph, plan, recipe, encodings)


def _prepare(
    module: nn.Module, shape: tuple[int, int, int, int], recipe: RecipeSpec, role: str
) -> fx.GraphModule:
    graph = prepare(module, shape)
    spec = recipe.activations
    if role == "affinenet" and spec.bits == 8 and not spec.symmetric:
        absorb_normalisation(graph)
    return graph


def _check(recipe: RecipeSpec) -> None:
    if recipe.is_float:
        raise UsageError(
            f"recipe {recipe.name} quantizes nothing",
            remedy="convert the float network itself, or choose an integer recipe",
        )


def _peek(
    batches: Iterable[NDArray[np.float32]],
) -> tuple[list[NDArray[np.float32]], Iterable[NDArray[np.float32]]]:
    """The first batches, enough to equalize with, and the whole stream."""
    stream = iter(batches)
    first: list[NDArray[np.float32]] = []
    while sum(map(len, first)) < _EQUALIZATION_SAMPLES:
        batch = next(stream, None)
        if batch is None:
            break
        if batch.ndim != 4:
            raise InputError(
                f"a calibration batch has shape {list(batch.shape)}", expected="[N, S, S, 3]"
            )
        first.append(batch)
    if not sum(map(len, first)):
        raise InputError(
            "the calibration set is empty",
            expected="at least one sample; 64 or more for useful ranges",
            remedy="point --calibration to a folder with pictures",
        )
    return first, chain(first, stream)


def _compare(section: str, expected: set[str], found: set[str]) -> None:
    if expected != found:
        missing, unknown = sorted(expected - found)[:3], sorted(found - expected)[:3]
        raise InputError(
            f"encodings and network differ in {section}: missing {missing}, unknown {unknown}",
            expected="the encodings written for this network and recipe",
        )


def _convolutions(plan: QuantPlan) -> list[fx.Node]:
    graphs = {node.graph for node in plan.integer}
    return [
        node
        for graph in graphs
        for node in graph.nodes
        if node in plan.integer and kind_of(node) == "conv"
    ]


def _activation_encodings(
    plan: QuantPlan, histograms: dict[str, Histogram], recipe: RecipeSpec
) -> dict[str, ActivationEncoding]:
    spec = recipe.activations
    result: dict[str, ActivationEncoding] = {}
    for point in plan.points:
        histogram = histograms[point.group]
        # Of a constant every value is known, and none is an outlier.
        method = "min-max" if kind_of(point.source) == "constant" else spec.range
        low, high = choose_range(
            histogram, method, percentile=spec.percentile, levels=(1 << spec.bits) - 1
        )
        scale, zero = affine_parameters(low, high, bits=spec.bits, symmetric=spec.symmetric)
        fixed = point.source.meta.get("encoding")
        if fixed is not None:
            scale, zero = float(np.float32(fixed[0])), fixed[1]
        result[point.name] = ActivationEncoding(
            scale=scale,
            zero_point=zero,
            bits=spec.bits,
            symmetric=spec.symmetric,
            group=point.group,
            method="fixed" if fixed else method,
            minimum=histogram.minimum,
            maximum=histogram.maximum,
            percentile=spec.percentile if method == "percentile" and not fixed else None,
        )
    return result


def _weight_encodings(
    plan: QuantPlan, recipe: RecipeSpec, options: QuantOptions
) -> dict[str, WeightEncoding]:
    per_channel = recipe.weights.granularity == "per-channel"
    result: dict[str, WeightEncoding] = {}
    for node in _convolutions(plan):
        conv = module_of(node)
        assert isinstance(conv, nn.Conv2d)
        rows = conv.weight.detach().numpy().reshape(conv.out_channels if per_channel else 1, -1)
        scale = np.abs(rows).max(axis=1) / WEIGHT_LIMIT
        if options.weight_range == "mse":
            scale = scale * _best_shrink(rows, scale)
        scale = np.maximum(scale, _SMALLEST_WEIGHT_SCALE).astype(np.float32)
        result[f"{layer_of(node)}.weight"] = WeightEncoding(
            scale=tuple(float(value) for value in scale),
            bits=recipe.weights.bits,
            axis=0 if per_channel else None,
            method=options.weight_range,
        )
    return result


def _best_shrink(rows: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """For each row the factor (0.5..1) of its scale with the least squared rounding error."""
    best = np.full(len(rows), np.inf)
    factors = np.ones(len(rows), np.float32)
    for factor in np.linspace(1.0, 0.5, 51, dtype=np.float32):
        step = np.maximum(scale * factor, _SMALLEST_WEIGHT_SCALE)[:, None]
        rounded = np.clip(np.round(rows / step), -WEIGHT_LIMIT, WEIGHT_LIMIT) * step
        error = ((rounded - rows) ** 2).sum(axis=1)
        better = error < best
        best[better], factors[better] = error[better], factor
    return factors


def _assemble(
    graph: fx.GraphModule, plan: QuantPlan, recipe: RecipeSpec, encodings: Encodings
) -> QuantizedNetwork:
    """Insert quantizers and integer convolutions into the graph, which becomes the result."""
    quantizers: dict[str, ActivationQuantizer] = {}
    for point in plan.points:
        encoding = encodings.activations[point.name]
        if point.group not in quantizers:
            quantizer = ActivationQuantizer(bits=encoding.bits, symmetric=encoding.symmetric)
            quantizer.set_encoding(encoding.scale, encoding.zero_point)
            quantizers[point.group] = quantizer
            graph.add_submodule(_path(len(quantizers) - 1), quantizer)
        elif quantizers[point.group].encoding != (encoding.scale, encoding.zero_point):
            raise InputError(f"encodings of {point.name!r} differ from those of {point.group!r}")
    paths = {group: _path(index) for index, group in enumerate(quantizers)}
    rounded: dict[fx.Node, fx.Node] = {}
    # A tensor is rounded to its own grid first, then to those of the concatenations that take it.
    for point in sorted(plan.points, key=lambda point: point.entering is not None):
        source = rounded.get(point.source, point.source)
        with graph.graph.inserting_after(source):
            node = graph.graph.call_module(paths[point.group], (source,))
        node.meta.update(shape=point.source.meta["shape"], layer=point.name)
        for reader in list(source.users):
            if reader in point.readers:
                reader.replace_input_with(source, node)
        rounded.setdefault(point.source, node)
    for node in plan.integer:
        if kind_of(node) == "resize":
            layer = cast(Upsample, module_of(node))
            graph.add_submodule(str(node.target), QuantUpsample(layer, _input_quantizer(node)))
    for node in _convolutions(plan):
        _replace_convolution(graph, node, recipe, encodings.weights[f"{layer_of(node)}.weight"])
    graph.graph.lint()
    graph.recompile()
    graph.eval()
    return QuantizedNetwork(graph, encodings, recipe, plan.float_macs_share)


def _path(index: int) -> str:
    return f"quantizers.{index}"


def _replace_convolution(
    graph: fx.GraphModule, node: fx.Node, recipe: RecipeSpec, encoding: WeightEncoding
) -> None:
    conv = module_of(node)
    assert isinstance(conv, nn.Conv2d)
    per_channel = recipe.weights.granularity == "per-channel"
    quantized = QuantConv2d(conv, _input_quantizer(node), per_channel=per_channel)
    if encoding.bias_correction:
        with torch.no_grad():
            quantized.bias.add_(torch.tensor(encoding.bias_correction))
    scale = torch.tensor(encoding.scale, dtype=torch.float32)
    quantized.set_scale(scale.expand(conv.out_channels))
    graph.add_submodule(str(node.target), quantized)


def _input_quantizer(node: fx.Node) -> ActivationQuantizer:
    """The quantizer whose grid a node's first input lies on."""
    source = node.all_input_nodes[0]
    while kind_of(source) != "quantizer":
        source = source.all_input_nodes[0]
    quantizer = module_of(source)
    assert isinstance(quantizer, ActivationQuantizer)
    return quantizer

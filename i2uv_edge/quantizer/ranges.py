"""From what calibration saw to scales and zero points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from torch import fx, nn

from i2uv_edge.errors import InputError
from i2uv_edge.quantizer.encodings import ActivationEncoding, WeightEncoding
from i2uv_edge.quantizer.fake_quant import WEIGHT_LIMIT, affine_parameters
from i2uv_edge.quantizer.graph import fuses_relu, kind_of, layer_of, module_of, shape_of
from i2uv_edge.quantizer.observers import Histogram, choose_range
from i2uv_edge.quantizer.plan import QuantPlan
from i2uv_edge.spec import ActivationSpec, RecipeSpec

__all__ = ["find_encodings"]

_SMALLEST_WEIGHT_SCALE = 1e-9
_LARGEST_BIAS = 2.0**30  # in its own steps: half of int32
_LARGEST_RATIO = 128.0  # of accumulator step to output step; XNNPACK refuses files from 256 on
# A global code shows one value a channel and picture, less of itself than a map does, and what it
# clips of a picture unlike those calibrated on moves whole fingers: with a quarter more range 99 %
# of the vertices of `edge` are within 1.63 mm of float, not 1.76.
_CODE_SLACK = 1.25
_LARGEST_CODE = 1024  # channels; more are a map that is not yet reshaped
_PICTURE_SLACK = 1e-3  # of a picture's 0..1: what resampling may overshoot


def find_encodings(
    plan: QuantPlan, histograms: Mapping[str, Histogram], recipe: RecipeSpec
) -> tuple[dict[str, ActivationEncoding], dict[str, WeightEncoding]]:
    """Encodings of every point of a plan and of every integer convolution's weights, by name."""
    sources = {point.group: point.source for point in reversed(plan.points)}
    scales = {
        group: _scale(histograms[group], source, recipe.activations)
        for group, source in sources.items()
    }
    weights = {
        f"{layer_of(node)}.weight": _weights(plan, node, recipe, scales)
        for node in plan.convolutions
    }
    activations = {
        point.name: ActivationEncoding(
            scale=scales[point.group].scale,
            zero_point=scales[point.group].zero_point,
            bits=recipe.activations.bits,
            symmetric=recipe.activations.symmetric,
            group=point.group,
            method=scales[point.group].method,
            minimum=histograms[point.group].minimum,
            maximum=histograms[point.group].maximum,
            percentile=(
                recipe.activations.percentile
                if scales[point.group].method == "percentile"
                else None
            ),
        )
        for point in plan.points
    }
    return activations, weights


@dataclass(frozen=True)
class _Scale:
    scale: float
    zero_point: int
    method: str


def _scale(histogram: Histogram, source: fx.Node, spec: ActivationSpec) -> _Scale:
    fixed = source.meta.get("encoding")
    if fixed is not None:
        _check_picture(histogram)
        return _Scale(float(np.float32(fixed[0])), int(fixed[1]), "fixed")
    # Of a constant every value is known, and none is an outlier.
    method = "min-max" if kind_of(source) == "constant" else spec.range
    low, high = choose_range(
        histogram, method, percentile=spec.percentile, levels=(1 << spec.bits) - 1
    )
    if shape_of(source)[2:] == (1, 1) and shape_of(source)[1] <= _LARGEST_CODE:
        low, high = low * _CODE_SLACK, high * _CODE_SLACK
    scale, zero = affine_parameters(low, high, bits=spec.bits, symmetric=spec.symmetric)
    return _Scale(scale, zero, method)


def _check_picture(histogram: Histogram) -> None:
    """Pictures in 0..255 would calibrate every later layer 255 times too wide, silently."""
    if histogram.minimum < -_PICTURE_SLACK or histogram.maximum > 1.0 + _PICTURE_SLACK:
        raise InputError(
            f"calibration pictures hold values of {histogram.minimum:g} to {histogram.maximum:g}",
            expected="RGB from 0 to 1",
            remedy="divide 8-bit pictures by 255",
        )


def _weights(
    plan: QuantPlan, node: fx.Node, recipe: RecipeSpec, scales: dict[str, _Scale]
) -> WeightEncoding:
    """Scales that cover the largest weight; widens the output's scale where no kernel reaches it.

    With at most a few thousand weights a channel, clipping one costs more than it gains.
    """
    conv = module_of(node)
    assert isinstance(conv, nn.Conv2d)
    per_channel = recipe.weights.granularity == "per-channel"
    rows = conv.weight.detach().numpy().reshape(conv.out_channels if per_channel else 1, -1)
    peak = np.abs(rows).max(axis=1) / WEIGHT_LIMIT
    source = scales[plan.groups[node.all_input_nodes[0]]].scale
    bias = np.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach().numpy()
    # A channel without weights worth the name still has a bias, which must fit its int32.
    least = np.abs(bias.reshape(len(rows), -1)).max(axis=1) / (source * _LARGEST_BIAS)
    scale = np.maximum(np.maximum(peak, least), _SMALLEST_WEIGHT_SCALE).astype(np.float32)
    group = plan.groups[next(iter(node.users)) if fuses_relu(node) else node]
    needed = float(np.float32(source * float(scale.max()) / _LARGEST_RATIO))
    if scales[group].scale < needed:
        scales[group] = replace(scales[group], scale=needed)
    return WeightEncoding(
        scale=tuple(float(value) for value in scale),
        bits=recipe.weights.bits,
        axis=0 if per_channel else None,
        method="max",
    )

"""What each block of a network, and each of its tensors, loses to eight bits.

Ranges are found once, for the network with everything integer that can be. With some of its blocks
in float it is planned and assembled as for an export, with these ranges: what is measured differs
from the real thing by what a new calibration would change, and takes no calibration.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from i2uv_edge.errors import InputError
from i2uv_edge.quantizer.assemble import assemble
from i2uv_edge.quantizer.bias_correction import apply_corrections
from i2uv_edge.quantizer.blocks import Block, find_blocks
from i2uv_edge.quantizer.calibrate import samples, way_to_output
from i2uv_edge.quantizer.encodings import ActivationEncoding, Encodings
from i2uv_edge.quantizer.equalize import apply_scales
from i2uv_edge.quantizer.fake_quant import WEIGHT_LIMIT, ActivationQuantizer, QuantConv2d
from i2uv_edge.quantizer.graph import layer_of, module_of
from i2uv_edge.quantizer.network import Exact, QuantizedNetwork, QuantOptions, prepared
from i2uv_edge.quantizer.plan import Point, QuantPlan, make_plan, matches
from i2uv_edge.spec import Override, RecipeSpec

__all__ = ["Loss", "Score", "Sensitivity", "TensorLoss", "idle_overrides"]

Score = Callable[[NDArray[np.float32], NDArray[np.float32]], float]
"""How far the second outputs are from the first, (N, M, M, C) each, N the samples in their order.

0 for the same; the unit is the caller's.
"""


@dataclass(frozen=True)
class Loss:
    """A block's share in what quantization loses, in the unit of the score.

    `alone` is the deviation with this block integer and all others float, `saved` how much smaller
    the deviation is with it in float and all others integer.
    """

    block: Block
    alone: float
    saved: float


@dataclass(frozen=True)
class TensorLoss:
    """What rounding one tensor loses, taken alone: its values are those of the float network.

    Attributes
    ----------
    name : as in the encodings
    kind : what it is
    sqnr_db
        Power of the values over that of what rounding changes, in dB; infinite where nothing is
    saturated : share (0..1) of the values beyond the ends of the grid
    """

    name: str
    kind: Literal["activation", "weight"]
    sqnr_db: float
    saturated: float


def idle_overrides(
    module: nn.Module, shape: tuple[int, int, int, int], recipe: RecipeSpec, role: str
) -> tuple[bool, ...]:
    """For each override of a recipe, whether what it matches is float without it, too.

    An override that matches none of the network's layers is one of them.
    """
    graph = prepared(module, shape, recipe, role)
    plan = make_plan(graph, replace(recipe, overrides=(), max_float_macs=1.0), role)
    layers = {layer_of(node) for node in plan.integer}
    return tuple(not any(matches(o, role, layer) for layer in layers) for o in recipe.overrides)


@dataclass
class Sensitivity:
    """A network, measured with any of its blocks in float.

    Parameters
    ----------
    module
        The float network.
    quantized
        What `quantize` has made of it under a recipe that keeps nothing in float that could be
        integer.
    inputs
        (N, S, S, 3) float32, what to measure on; none that ranges were taken from.
    score
        Compares two outputs.
    parts
        Globs of module paths by name, see `find_blocks`.
    output_mask
        (M, M), True where the output is read, as for `quantize`.
    """

    module: nn.Module
    quantized: QuantizedNetwork
    inputs: NDArray[np.float32]
    score: Score
    parts: Mapping[str, str] = field(default_factory=dict)
    output_mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        encodings = self.quantized.encodings
        graph = prepared(self.module, encodings.input_shape, self._recipe, encodings.role)
        apply_scales(graph, encodings.equalization)
        self._graph = graph
        self._plan = self._planned(graph, frozenset())
        self._groups = {layer_of(node): name for node, name in self._plan.groups.items()}
        self._ranges: dict[str, ActivationEncoding] = {
            encoding.group: encoding for encoding in encodings.activations.values()
        }
        self.blocks = find_blocks(graph, encodings.role, self.parts)
        self._samples = list(samples([self.inputs], encodings.input_shape))
        self._float = self._run(self.module.eval())
        self._known: dict[frozenset[str], float] = {}
        self._spent: dict[frozenset[str], int] = {}

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one input."""
        return self._plan.macs

    @property
    def names(self) -> frozenset[str]:
        """Those of all blocks."""
        return frozenset(block.name for block in self.blocks)

    def overrides(self, floats: Iterable[str], reason: str = "measured") -> tuple[Override, ...]:
        """What leaves blocks in float, beside what the recipe does anyway."""
        chosen = set(floats)
        role: Any = self.quantized.encodings.role
        return tuple(
            Override(match=glob, network=role, reason=reason)
            for block in self.blocks
            if block.name in chosen
            for glob in block.globs
        )

    def float_macs(self, floats: frozenset[str]) -> int:
        """Multiply-accumulates that are float with these blocks in float."""
        if floats not in self._spent:
            self._spent[floats] = self._planned(self._graph, floats).float_macs
        return self._spent[floats]

    def deviation(self, floats: frozenset[str]) -> float:
        """The score against the float network with these blocks in float, the others integer."""
        if floats not in self._known:
            made = self.graph(floats)
            value = self.score(self._float, self._run(Exact(made)))
            if not math.isfinite(value):
                raise InputError(
                    f"the {self.quantized.encodings.role} is {value} off float with these blocks "
                    f"in float: {', '.join(sorted(floats)) or 'none'}",
                    expected="a finite number",
                )
            self._known[floats] = value
        return self._known[floats]

    def losses(self, report: Callable[[int, int], None] | None = None) -> tuple[Loss, ...]:
        """What each block loses, the worst first; `report` hears how many are done of how many."""
        found = []
        for done, block in enumerate(self.blocks):
            if report is not None:
                report(done, len(self.blocks))
            own = frozenset({block.name})
            alone = self.deviation(self.names - own)
            saved = self.deviation(frozenset()) - self.deviation(own)
            found.append(Loss(block, alone, saved))
        return tuple(sorted(found, key=lambda loss: loss.alone, reverse=True))

    def graph(self, floats: frozenset[str]) -> fx.GraphModule:
        """The fake-quant network with these blocks in float."""
        graph = copy.deepcopy(self._graph)
        plan = self._planned(graph, floats)
        encodings = self.quantized.encodings
        integer = {layer_of(node) for node in plan.convolutions}
        # Those of the float layers are of what rounding their own weights did.
        corrections = {k: v for k, v in encodings.bias_correction.items() if k in integer}
        apply_corrections(graph, corrections)
        names = [f"{layer_of(node)}.weight" for node in plan.convolutions]
        weights = {name: encodings.weights[name] for name in names}
        activations = {point.name: self._range_of(point) for point in plan.points}
        assemble(graph, plan, replace(encodings, activations=activations, weights=weights))
        self._fill(graph)
        return graph

    def tensor_losses(self) -> tuple[TensorLoss, ...]:
        """What rounding each tensor loses with everything integer, in running order."""
        watcher = _Watcher(self._graph, self._plan, self.quantized.encodings, self.output_mask)
        with torch.no_grad():
            for sample in self._samples:
                watcher.run(sample)
        return (*watcher.losses(), *_weight_losses(self._plan, self.quantized))

    @torch.no_grad()
    def _fill(self, graph: fx.GraphModule) -> None:
        """Give the integer layers the weights they have, where those were not just rounded."""
        tensors = self.quantized.tensors
        if tensors is None:
            return
        for node in graph.graph.nodes:
            layer = module_of(node) if node.op == "call_module" else None
            if isinstance(layer, QuantConv2d):
                name = layer_of(node)
                scale = layer.scale[:, None, None, None]
                layer.weight.copy_(tensors[f"{name}.weight"] * scale)
                layer.bias.copy_(tensors[f"{name}.bias"])
        graph.eval()  # from which biases are rounded anew

    @property
    def _recipe(self) -> RecipeSpec:
        return self.quantized.recipe

    def _planned(self, graph: fx.GraphModule, floats: frozenset[str]) -> QuantPlan:
        encodings = self.quantized.encodings
        overrides = self._recipe.overrides
        if floats:
            overrides = (*overrides, *self.overrides(floats))
        recipe = replace(self._recipe, overrides=overrides, max_float_macs=1.0)
        concat = encodings.options.get("concat", QuantOptions.concat)
        return make_plan(graph, recipe, encodings.role, concat=concat)

    def _range_of(self, point: Point) -> ActivationEncoding:
        """The range that a point's tensor has with everything integer."""
        group = self._groups[layer_of(point.entering or point.source)]
        return replace(self._ranges[group], group=point.group)

    def _run(self, module: nn.Module) -> NDArray[np.float32]:
        """(N, M, M, C): what a network answers to the samples."""
        with torch.inference_mode():
            maps = [module(sample).permute(0, 2, 3, 1) for sample in self._samples]
            return torch.cat(maps).float().contiguous().numpy()


@dataclass
class _Sums:
    signal: float = 0.0
    noise: float = 0.0
    beyond: int = 0
    count: int = 0

    def add(self, values: Tensor, steps: Tensor, rounded: Tensor, low: int, high: int) -> None:
        """`steps` are where the values lie on a grid from `low` to `high`, before rounding."""
        self.signal += float(values.square().sum(dtype=torch.float64))
        self.noise += float((rounded - values).square().sum(dtype=torch.float64))
        # The half step beyond either end is rounded, not clipped.
        self.beyond += int(((steps < low - 0.5) | (steps > high + 0.5)).sum())
        self.count += values.numel()

    def loss(self, name: str, kind: Literal["activation", "weight"]) -> TensorLoss:
        sqnr = math.inf
        if self.noise > 0.0:
            sqnr = 10.0 * math.log10(self.signal / self.noise) if self.signal else -math.inf
        return TensorLoss(name, kind, sqnr, self.beyond / max(self.count, 1))


class _Watcher(fx.Interpreter):
    """Runs the float network and rounds each tensor on the side."""

    def __init__(
        self,
        graph: fx.GraphModule,
        plan: QuantPlan,
        encodings: Encodings,
        mask: NDArray[np.bool_] | None,
    ) -> None:
        super().__init__(graph)
        self._mask = None if mask is None else torch.from_numpy(mask)
        self._points: dict[fx.Node, list[tuple[str, ActivationQuantizer]]] = {}
        self._sums: dict[str, _Sums] = {}
        for point in plan.points:
            encoding = encodings.activations[point.name]
            quantizer = ActivationQuantizer(bits=encoding.bits, symmetric=encoding.symmetric)
            quantizer.set_encoding(encoding.scale, encoding.zero_point)
            self._points.setdefault(point.source, []).append((point.name, quantizer.eval()))
            self._sums[point.name] = _Sums()

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        for name, quantizer in self._points.get(n, []):
            scale, zero = quantizer.encoding
            exact = self._counted(n, cast(Tensor, value)).double()
            steps = exact / scale + zero
            self._sums[name].add(exact, steps, quantizer(exact), quantizer.low, quantizer.high)
        return value

    def _counted(self, node: fx.Node, value: Tensor) -> Tensor:
        """Of what becomes the output, the texels that are read: ranges are of these alone."""
        layers = None if self._mask is None else way_to_output(node)
        if self._mask is None or layers is None:
            return value
        for layer in layers:
            value = layer(value)
        return value[:, :, self._mask]

    def losses(self) -> list[TensorLoss]:
        return [sums.loss(name, "activation") for name, sums in self._sums.items()]


def _weight_losses(plan: QuantPlan, quantized: QuantizedNetwork) -> Sequence[TensorLoss]:
    found = []
    for node in plan.convolutions:
        name = f"{layer_of(node)}.weight"
        weight = cast(nn.Conv2d, module_of(node)).weight.detach().double()
        scale = torch.tensor(quantized.encodings.weights[name].scale, dtype=torch.float64)
        steps = weight / scale[:, None, None, None]
        integers = steps.round().clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT)
        if quantized.tensors is not None:
            integers = quantized.tensors[name].double()
        rounded = integers * scale[:, None, None, None]
        sums = _Sums()
        sums.add(weight, steps, rounded, -WEIGHT_LIMIT, WEIGHT_LIMIT)
        found.append(sums.loss(name, "weight"))
    return found

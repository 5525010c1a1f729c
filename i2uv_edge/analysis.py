"""Where a model's millimetres go, and the recipe that keeps within a budget of them.

Both networks are looked at side by side: AffineNet on held-out pictures, SRNet on the maps that the
float AffineNet makes of them. What one block or a set of them costs is measured with ranges found
once; what a written recipe promises is measured on the networks it really makes, by the same
comparison that a report is made of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.atlases import ModelAtlases
from i2uv_edge.chain import Chain, ChainSpec
from i2uv_edge.comparison import float_chain
from i2uv_edge.data.calibration import CalibrationSet
from i2uv_edge.data.evaluation import bundled_samples
from i2uv_edge.errors import UsageError
from i2uv_edge.findings import BlockFinding, Budget, Findings, Step, TensorFinding
from i2uv_edge.hand import metrics
from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.networks.model import Network
from i2uv_edge.parity import Sample, measure
from i2uv_edge.quantization import Quantization
from i2uv_edge.quantizer.network import QuantizedNetwork
from i2uv_edge.quantizer.search import Problem, climb, within
from i2uv_edge.quantizer.sensitivity import Sensitivity, idle_overrides
from i2uv_edge.requests import Notify
from i2uv_edge.runners import TorchRunner
from i2uv_edge.spec import Override, RecipeSpec, Role
from i2uv_edge.standpoints import picture_size

__all__ = ["FLOAT_COST", "Study"]

Float32 = NDArray[np.float32]
Choice = frozenset[tuple[Role, str]]

# Time of a float multiply-add in those of an int8 one: XNNPACK takes three to four times as long
# (see the gate of float_macs_share).
FLOAT_COST = 3.5
LADDER_TIME = 0.5  # more time than that nobody trades; the ladder ends there,
LADDER_MM = 0.1  # or where this share is left of what deviates with everything integer


@dataclass(frozen=True)
class _Fed:
    """What a network is measured on, and how its answers are scored."""

    inputs: Float32
    score: Callable[[Float32, Float32], float]


class Study:
    """A model's networks under a recipe, measured with any of their blocks in float.

    Parameters
    ----------
    model
        Its name.
    networks
        With their weights, in running order.
    recipe
        What it leaves in float though it could be integer is looked at as everything else. Training
        is left out: this is about what calibration alone makes.
    calibration
        Pictures to take ranges from.
    atlases
        Of the maps.
    pictures
        How many held-out pictures blocks are measured on.
    most
        How many at most a recipe is checked on.

    Raises
    ------
    UsageError
        The recipe quantizes nothing.
    ConversionError
        A layer that cannot be quantized.
    """

    def __init__(
        self,
        model: str,
        networks: Mapping[Role, Network],
        recipe: RecipeSpec,
        calibration: CalibrationSet,
        atlases: ModelAtlases,
        *,
        pictures: int,
        most: int,
        notify: Notify,
    ) -> None:
        self._model, self._networks, self._notify = model, networks, notify
        self._calibration, self._atlases = calibration, atlases
        self._recipe = recipe.name
        self._base = _without_needs(recipe, networks)
        if "hand" in networks:
            raise UsageError(
                f"{model} answers with a hand, and only what maps cost is known",
                expected="an AffineNet, an SRNet or both",
            )
        size = picture_size({role: network.spec for role, network in networks.items()})
        self._all = list(islice(map(self._known, bundled_samples(size)), most))
        stride = max(1, len(self._all) // pictures)
        self._few = self._all[::stride][:pictures]
        self._float = float_chain({r: (n.spec, n.module) for r, n in networks.items()}, atlases)
        quantization = self._quantization(self._base)
        self._parts: dict[Role, Sensitivity] = {}
        for role, network in networks.items():
            fed = self._fed(role)
            made = quantization.network(role, notify)
            self._parts[role] = Sensitivity(
                network.module,
                made,
                fed.inputs,
                fed.score,
                network.spec.parts,
                atlases.fine.mask if role == "srnet" and atlases.fine else None,
            )
        self._made: dict[Role, tuple[frozenset[str], QuantizedNetwork]] = {}  # the last ones
        self._problem = Problem(
            blocks=[(role, b.name) for role, part in self._parts.items() for b in part.blocks],
            together=[blocks for blocks in self._named_parts().values() if len(blocks) > 1],
            deviation=self._deviation,
            cost=self._extra_time,
        )

    def findings(self, *, with_ladder: bool = True) -> Findings:
        """Measure every block, every tensor, and with a ladder what to leave in float first."""
        blocks: list[BlockFinding] = []
        tensors: list[TensorFinding] = []
        for role, part in self._parts.items():

            def report(done: int, total: int, role: Role = role) -> None:
                self._notify(f"measuring the blocks of {role}", done, total)

            for loss in part.losses(report):
                name = loss.block.name
                left = part.deviation(frozenset({name}))
                share = loss.block.macs / max(part.macs, 1)
                blocks.append(
                    BlockFinding(role, name, loss.block.part, share, loss.alone, left, loss.saved)
                )
            self._notify(f"measuring the tensors of {role}", 0, 0)
            tensors += [
                TensorFinding(role, item.name, item.kind, item.sqnr_db, item.saturated)
                for item in part.tensor_losses()
            ]
        return Findings(
            model=self._model,
            recipe=self._recipe,
            pictures=len(self._few),
            integer_mm={r: part.deviation(frozenset()) for r, part in self._parts.items()},
            blocks=tuple(sorted(blocks, key=lambda block: block.alone_mm, reverse=True)),
            tensors=tuple(tensors),
            ladder=tuple(map(self._step, self._ladder())) if with_ladder else (),
        )

    def within(self, max_mm: float) -> tuple[RecipeSpec, Budget]:
        """The fastest recipe found whose networks are within a budget, and what it comes to.

        They are quantized anew under the recipe, and within the budget at every stage that a report
        compares, first on the pictures that blocks are measured on and then on all.

        Raises
        ------
        UsageError
            No recipe is.
        """
        reached: dict[Choice, float] = {}

        def check(choice: Choice) -> float:
            found = 0.0
            for samples in (self._few, self._all):
                found = max(found, self._real(choice, max_mm, samples))
                if found > max_mm:
                    return found
            reached[choice] = found
            return found

        choice = within(self._problem, max_mm, check)
        recipe = self._written(choice, max_mm)
        budget = Budget(
            max_mm, f"{recipe.name}.toml", self._step(choice), reached[choice], len(self._all)
        )
        return recipe, budget

    # What is measured on.

    def _known(self, sample: Sample) -> Sample:
        """The sample as it says something about this model."""
        if "affinenet" not in self._networks:
            return self._atlases.with_coarse_map(sample)
        return sample if self._atlases.built_in else replace(sample, truth=None)

    def _fed(self, role: Role) -> _Fed:
        """The network's inputs for the few pictures, and the score of its answers."""
        pictures = np.stack([sample.picture for sample in self._few])
        affinenet = self._networks.get("affinenet")
        if affinenet is None:
            maps = np.stack([_map_of(sample) for sample in self._few])
        else:
            runner = TorchRunner(affinenet.module, affinenet.spec)
            answers = [runner({runner.input.name: one[None]}) for one in pictures]
            maps = np.concatenate([answer[runner.output.name] for answer in answers])
        scales = self._scales(self._atlases.coarse.read_vertices(maps))
        if role == "affinenet":
            return _Fed(pictures, _vertex_score(self._atlases.coarse, scales, lambda made: made))
        assert self._atlases.fine is not None
        chain = ChainSpec()
        bounds = chain.bounds(self._atlases.coarse.read_vertices(maps))
        return _Fed(
            chain.normalise(maps, bounds),
            _vertex_score(self._atlases.fine, scales, lambda made: chain.restore(made, bounds)),
        )

    def _scales(self, vertices: Float32) -> NDArray[np.float64]:
        """(N,) millimetres a map unit, as a report takes them."""
        template = self._atlases.coarse.template
        return np.array(
            [
                sample.truth.scale_mm
                if sample.truth is not None
                else float(metrics.similarity_scale(template, own))
                for sample, own in zip(self._few, vertices, strict=True)
            ]
        )

    # What the search asks.

    def _named_parts(self) -> dict[tuple[Role, str], Choice]:
        found: dict[tuple[Role, str], Choice] = {}
        for role, part in self._parts.items():
            for block in part.blocks:
                if block.part:
                    key = role, block.part
                    found[key] = found.get(key, frozenset()) | {(role, block.name)}
        return found

    def _deviation(self, choice: Choice) -> float:
        """Mean vertex deviation, mm; what the networks add is taken as independent."""
        values = [part.deviation(_own(choice, role)) for role, part in self._parts.items()]
        return math.hypot(*values)

    def _extra_time(self, choice: Choice) -> float:
        floats = sum(p.float_macs(_own(choice, r)) for r, p in self._parts.items())
        anyway = sum(p.float_macs(frozenset()) for p in self._parts.values())
        total = sum(part.macs for part in self._parts.values())
        integer = total + (FLOAT_COST - 1.0) * anyway
        return (FLOAT_COST - 1.0) * (floats - anyway) / max(integer, 1.0)

    def _float_share(self, choice: Choice) -> float:
        shares = (p.float_macs(_own(choice, r)) / max(p.macs, 1) for r, p in self._parts.items())
        return max(shares)

    def _ladder(self) -> list[Choice]:
        steps: list[Choice] = []
        most = self._deviation(frozenset())
        for choice in climb(self._problem):
            self._notify("trying what to leave in float", len(steps), 0)
            if self._extra_time(choice) > LADDER_TIME:
                break
            # What saves nothing by itself is a step on the way to what does.
            steps.append(choice)
            if self._deviation(choice) <= LADDER_MM * most:
                break
        return steps

    def _step(self, choice: Choice) -> Step:
        names = tuple(f"{role}: {name}" for role, name in self._in_parts(choice))
        share, time = self._float_share(choice), self._extra_time(choice)
        return Step(names, self._deviation(choice), time, share)

    def _in_parts(self, choice: Choice) -> dict[tuple[Role, str], Choice]:
        """The blocks of a choice by name; whole parts by theirs."""
        named = {key: own for key, own in self._named_parts().items() if own <= choice}
        of_part = {block: key for key, own in named.items() for block in own}
        found: dict[tuple[Role, str], Choice] = {}
        for block in self._problem.blocks:
            if block in choice:
                key = of_part.get(block, block)
                found[key] = named.get(key, frozenset({block}))
        return found

    # What is written.

    def _quantization(self, recipe: RecipeSpec) -> Quantization:
        return Quantization(self._networks, recipe, self._calibration, self._atlases)

    def _real(self, choice: Choice, max_mm: float, samples: Sequence[Sample]) -> float:
        """The deviation of the networks as an export would make them, at the worst stage."""
        quantization = self._quantization(self._written(choice, max_mm))
        parts = {}
        for role, network in self._networks.items():
            own = _own(choice, role)
            if role not in self._made or self._made[role][0] != own:
                self._made[role] = own, quantization.network(role, self._notify)
            made = self._made[role][1].module
            parts[role] = TorchRunner(made, network.spec, name="fake-quant")
        chain = Chain(
            parts.get("affinenet"),
            parts.get("srnet"),
            coarse=self._atlases.coarse,
            fine=self._atlases.fine,
            name="fake-quant",
        )

        def counted() -> Iterator[Sample]:
            for done, sample in enumerate(samples):
                self._notify(f"checking the recipe for {max_mm:g} mm", done, len(samples))
                yield sample

        pair = self._float.name, chain.name
        found = measure([self._float, chain], counted(), self._atlases, pairs=[pair], still=None)
        values = [
            m.value
            for m in found.measurements
            if m.metric == "vertex_mean_mm" and m.reference == self._float.name
        ]
        return max(value if math.isfinite(value) else math.inf for value in values)

    def _written(self, choice: Choice, max_mm: float) -> RecipeSpec:
        overrides = list(self._base.overrides)
        mm = self._deviation(choice)
        for (role, name), own in self._in_parts(choice).items():
            without = self._deviation(choice - own)
            time = self._extra_time(choice) - self._extra_time(choice - own)
            reason = (
                f"{without:.3f} mm off float with it in int8, {mm:.3f} mm with it in float (mean "
                f"over the vertices, {len(self._few)} pictures), for {100 * time:+.2f} % time, "
                "estimated."
            )
            overrides += self._overrides(role, name, own, reason)
        return replace(
            self._base,
            name=f"{self._model}-{max_mm:g}mm",
            description=f"INT8 within {max_mm:g} mm of the float networks of {self._model} (mean "
            f"over the vertices); from {self._recipe}, what is float found by measuring.",
            overrides=tuple(overrides),
            max_float_macs=math.ceil(self._float_share(choice) * 1e4) / 1e4,
        )

    def _overrides(self, role: Role, name: str, own: Choice, reason: str) -> Sequence[Override]:
        if (role, name) not in own:  # a whole part
            return [Override(part=name, network=role, reason=reason)]
        found = self._parts[role].overrides({block for _, block in own}, reason)
        beside = f"Read by {name} alone, which is float."
        return [o if o.match == name else replace(o, reason=beside) for o in found]


def _own(choice: Choice, role: Role) -> frozenset[str]:
    return frozenset(name for other, name in choice if other == role)


def _map_of(sample: Sample) -> Float32:
    assert sample.affinenet_map is not None
    return sample.affinenet_map


def _vertex_score(
    atlas: Atlas, scales: NDArray[np.float64], restored: Callable[[Float32], Float32]
) -> Callable[[Float32, Float32], float]:
    """Mean distance of the vertices read from two stacks of outputs, mm."""

    def score(reference: Float32, candidate: Float32) -> float:
        first, second = (atlas.read_vertices(restored(maps)) for maps in (reference, candidate))
        distances = metrics.distances(second, first) * scales[:, None]
        return float(distances.mean())

    return score


def _without_needs(recipe: RecipeSpec, networks: Mapping[Role, Network]) -> RecipeSpec:
    """The recipe without training, and without overrides of what could be integer."""
    if recipe.is_float:
        raise UsageError(
            f"the recipe {recipe.name} quantizes nothing, so there is nothing to analyse",
            remedy="name an integer recipe",
        )
    kept: list[Override] = []
    for role, network in networks.items():
        _, height, width, channels = network.spec.input.shape
        shape = (1, channels, height, width)
        for override in recipe.overrides:
            own = replace(recipe, overrides=(override,)).for_network(network.spec)
            if override.network not in ("*", role) or not own.overrides:
                continue
            if all(idle_overrides(network.module, shape, own, role)):
                kept.append(replace(override, network=role))
    return replace(recipe, overrides=tuple(kept), max_float_macs=1.0, training={})

"""Each network on its own: what it is fed with, and how far its answers are from the reference's.

A profile is of one network at a time, so the SRNet is fed with what the reference's AffineNet
gives, and an error of the candidate's AffineNet is not counted twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.atlases import ModelAtlases
from i2uv_edge.bundle import Bundle
from i2uv_edge.chain import ChainSpec, Posing
from i2uv_edge.data.evaluation import read_evaluation
from i2uv_edge.device.profiles import OffMm
from i2uv_edge.hand import metrics
from i2uv_edge.networks.checkpoint import load_checkpoint
from i2uv_edge.networks.registry import build, readout
from i2uv_edge.parity import Sample
from i2uv_edge.runners import Runner, TorchRunner
from i2uv_edge.spec import NetworkSpec, Role, seeing
from i2uv_edge.standpoints import as_taken, picture_size
from i2uv_edge.tally import PARITY_METRICS, Answer, Surface, Tally, score_parity

__all__ = ["SAMPLES", "Contents", "Stage", "bundle_samples", "bundle_stages", "stages"]

Array = NDArray[Any]
Float32 = NDArray[np.float32]

SAMPLES = 4  # the first of eval/, of which golden/ is made too


class Contents(Protocol):
    """What is needed of an opened bundle; a `comparison.Contents` is one."""

    @property
    def bundle(self) -> Bundle:
        """Verified."""

    @property
    def specs(self) -> Mapping[Role, NetworkSpec]:
        """The networks by role, in running order."""

    @property
    def atlases(self) -> ModelAtlases:
        """Of their maps."""

    @property
    def chain(self) -> ChainSpec:
        """What is between the networks."""


@dataclass(frozen=True)
class Stage:
    """One network with its samples.

    Attributes
    ----------
    spec : its contract
    ids : of the N samples
    feed : (N, H, W, C) float32, what the network takes, real values
    maps : (N, M, M, 3), the reference's answers in map units
    bounds : what takes an SRNet's answer back to map units, None for an AffineNet
    posed : what makes a map of the answer of a network of the role "hand", None for others
    scales : (N,) mm a map unit
    """

    spec: NetworkSpec
    ids: tuple[str, ...]
    feed: Float32
    maps: Float32
    scales: tuple[float, ...]
    surface: Surface
    chain: ChainSpec
    bounds: tuple[Float32, Float32] | None = None
    posed: Callable[[Float32], Float32] | None = None

    def off_mm(self, answers: Float32) -> OffMm:
        """Millimetres between what was answered, (N, M, M, 3) real values, and the reference.

        Raises
        ------
        ValueError
            An answer is not finite, or the shape is another one.
        """
        wanted = (len(self.ids), *self.spec.output.shape[1:])
        if answers.shape != wanted:
            raise ValueError(f"answers of shape {answers.shape} instead of {wanted}")
        if wrong := int(np.sum(~np.isfinite(answers))):
            raise ValueError(f"{wrong} of {answers.size} values answered are no numbers")
        maps = answers if self.bounds is None else self.chain.restore(answers, self.bounds)
        maps = maps if self.posed is None else self.posed(maps)
        tally = Tally()
        for number, name in enumerate(self.ids):
            reference, candidate = self.maps[number], maps[number]
            pair = (self._answer(reference), self._answer(candidate))
            tally.add(name, score_parity(self.surface, *pair, self.scales[number]))
        found = {metric: value for metric, value, _ in tally.finish(PARITY_METRICS, self.ids, None)}
        return OffMm(found["vertex_mean_mm"], found["vertex_p95_mm"])

    def _answer(self, uv_map: Float32) -> Answer:
        return Answer(uv_map, self.surface.atlas.read_vertices(uv_map))


def bundle_stages(contents: Contents) -> dict[Role, Stage]:
    """The networks of a bundle on the first of its own samples, the float ones as reference."""
    runners: dict[Role, Runner] = {}
    for role, spec in contents.specs.items():
        module = build(spec)
        load_checkpoint(module, contents.bundle.file(f"float/{role}.safetensors"))
        runners[role] = TorchRunner(module, spec)
    samples = bundle_samples(contents)
    return stages(runners, contents.specs, contents.atlases, contents.chain, samples)


def bundle_samples(contents: Contents) -> list[Sample]:
    """The first of a bundle's own samples."""
    samples = read_evaluation(contents.bundle.path / "eval", picture_size(contents.specs))
    return list(as_taken(islice(samples, SAMPLES), contents.specs, contents.atlases))


def stages(
    runners: Mapping[Role, Runner],
    specs: Mapping[Role, NetworkSpec],
    atlases: ModelAtlases,
    chain: ChainSpec,
    samples: list[Sample],
) -> dict[Role, Stage]:
    """Run the reference's networks and keep what went in and what came out.

    Parameters
    ----------
    runners
        The reference's.
    specs, atlases, chain
        Of the bundle.
    samples
        What to run on; for an SRNet alone they carry the coarse maps.
    """
    ids = tuple(sample.id for sample in samples)
    found: dict[Role, Stage] = {}
    spec, posed = seeing(specs), None
    if spec is not None:
        feed = np.stack([sample.taken for sample in samples]).astype(np.float32)
        coarse = runners[spec.role]({spec.input.name: feed})[spec.output.name]
        if spec.readout is not None:
            assert atlases.mano is not None
            posed = Posing(readout(spec, atlases.mano), atlases.coarse.size)
            coarse = posed(coarse)
    else:
        coarse = np.stack([_coarse_map(sample) for sample in samples])
    scales = tuple(
        _scale(sample, atlases, uv_map) for sample, uv_map in zip(samples, coarse, strict=True)
    )
    if spec is not None:
        surface = Surface(atlases.coarse)
        found[spec.role] = Stage(spec, ids, feed, coarse, scales, surface, chain, posed=posed)
    if "srnet" in runners and atlases.fine is not None:
        spec = specs["srnet"]
        bounds = chain.bounds(atlases.coarse.read_vertices(coarse))
        feed = chain.normalise(coarse, bounds)
        made = runners["srnet"]({spec.input.name: feed})[spec.output.name]
        fine, surface = chain.restore(made, bounds), Surface(atlases.fine)
        found["srnet"] = Stage(spec, ids, feed, fine, scales, surface, chain, bounds)
    return found


def _coarse_map(sample: Sample) -> Float32:
    if sample.affinenet_map is None:
        raise ValueError(f"sample {sample.id} carries no map")
    return sample.affinenet_map


def _scale(sample: Sample, atlases: ModelAtlases, uv_map: Float32) -> float:
    """Millimetres a map unit, from the truth or else from the reference's own answer."""
    if sample.truth is not None:
        return sample.truth.scale_mm
    vertices = atlases.coarse.read_vertices(uv_map)
    return float(metrics.similarity_scale(atlases.coarse.template, vertices))

"""Three-way parity inside the networks: float, fake-quant and the files, tensor by tensor.

Fake-quant is held against float by its signal to noise. A file is held against fake-quant in its
own runtime's arithmetic, integer by integer; one value in some thousand that is a step off behind a
resize is what runtimes do, and grows with depth. All are fed with the same: pictures, and SRNet
with the float AffineNet's maps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from i2uv_edge.comparison import Contents, float_network, quantized_networks
from i2uv_edge.convert.probes import OnnxProbe, TfliteProbe
from i2uv_edge.parity import Sample
from i2uv_edge.quantizer.fake_quant import Arithmetic
from i2uv_edge.quantizer.network import QuantizedNetwork, float_twin
from i2uv_edge.quantizer.tensors import (
    Rounded,
    rounded_tensors,
    source_values,
    unread_values,
)
from i2uv_edge.report.material import StepsApart, TensorParity, TensorTable
from i2uv_edge.runners import TorchRunner
from i2uv_edge.spec import Role, seeing

__all__ = ["tensor_table"]

Float32 = NDArray[np.float32]
Integer = NDArray[np.int32]

_ARITHMETICS: dict[str, Arithmetic] = {"tflite": "xnnpack", "onnx": "onnxruntime"}


def tensor_table(
    contents: Contents, samples: Sequence[Sample], formats: Sequence[str]
) -> TensorTable | None:
    """Compare every rounded tensor of a bundle's networks; None where nothing is rounded.

    Parameters
    ----------
    samples
        A few will do: one picture makes a million values.
    formats
        Kinds of files to take in, out of "tflite" and "onnx".

    Raises
    ------
    InputError
        A file of the bundle cannot be run.
    """
    if contents.recipe.is_float or not samples:
        return None
    found: list[TensorParity] = []
    for role, network in quantized_networks(contents).items():
        seen: dict[str, _Seen] = {}
        comparison = _Network(contents, role, network, formats)
        for feed in _feeds(contents, role, samples):
            comparison.add(feed, seen)
        found += [own.parity(role, name) for name, own in seen.items()]
    return TensorTable(len(samples), tuple(found))


def _feeds(contents: Contents, role: Role, samples: Sequence[Sample]) -> Iterator[Float32]:
    """(1, S, S, 3) what a network is fed with for each sample."""
    if seeing(contents.specs) is contents.specs[role]:
        yield from (sample.taken[None] for sample in samples)
        return
    runner, chain = None, contents.chain
    if "affinenet" in contents.specs:
        spec = contents.specs["affinenet"]
        runner = TorchRunner(float_network(contents, "affinenet"), spec)
    for sample in samples:
        if runner is not None:
            maps = runner({runner.input.name: sample.picture[None]})[runner.output.name]
        else:
            assert sample.affinenet_map is not None  # the samples of an SRNet alone have one
            maps = sample.affinenet_map[None]
        yield chain.normalise(maps, chain.bounds(contents.atlases.coarse.read_vertices(maps)))


class _Network:
    """One network in all its forms, ready to be run side by side."""

    def __init__(
        self, contents: Contents, role: Role, network: QuantizedNetwork, formats: Sequence[str]
    ) -> None:
        names, file = network.encodings.activations, contents.bundle.file
        self._float = float_twin(float_network(contents, role), network)
        fine = contents.atlases.fine if role == "srnet" else None
        self._unread = unread_values(self._float, fine.mask if fine else None)
        self._rounded = {
            arithmetic: network.module_in(arithmetic).graph_module
            for kind, arithmetic in _ARITHMETICS.items()
            if kind in formats or kind == "tflite"  # which the float one is held against, too
        }
        self._probes: dict[str, TfliteProbe | OnnxProbe] = {}
        if "tflite" in formats:
            self._probes["tflite"] = TfliteProbe(file(f"{role}.tflite"), names)
        if "onnx" in formats:
            self._probes["onnx"] = OnnxProbe(file(f"{role}.onnx"), names)
        # The grid of an input that files take as integers.
        own = names.get("input") if network.recipe.input == "int8" else None
        self._grid = None if own is None else (own.scale, own.zero_point)

    def add(self, feed: Float32, seen: dict[str, _Seen]) -> None:
        """Run all of them on one input and count what they give."""
        picture = torch.from_numpy(np.ascontiguousarray(feed.transpose(0, 3, 1, 2)))
        exact = source_values(self._float, picture)
        rounded = {
            arithmetic: rounded_tensors(graph, picture.double())
            for arithmetic, graph in self._rounded.items()
        }
        for name, own in rounded["xnnpack"].items():
            read = ~self._unread.get(own.source, np.zeros(len(own.steps), np.bool_))
            seen.setdefault(name, _Seen()).add_float(exact[own.source], own, read)
        for kind, probe in self._probes.items():
            _, integers = probe(self._stored(feed, kind))
            ours = rounded[_ARITHMETICS[kind]]
            for name, steps in integers.items():
                if name in ours and len(steps) == len(ours[name].steps):
                    seen[name].add_file(kind, ours[name], steps)

    def _stored(self, feed: Float32, kind: str) -> NDArray[Any]:
        """The input as a file of that kind takes it."""
        nchw = kind == "onnx"
        made: NDArray[Any] = feed
        if self._grid is not None:
            scale, zero = self._grid
            steps = np.clip(np.rint(feed.astype(np.float64) / scale) + zero, -128, 127)
            made = (steps + 128).astype(np.uint8) if nchw else steps.astype(np.int8)
        return np.ascontiguousarray(made.transpose(0, 3, 1, 2) if nchw else made)


@dataclass
class _Seen:
    """What was counted of one tensor so far."""

    values: int = 0
    read: int = 0  # of them, those that anybody does
    pictures: int = 0
    signal: float = 0.0
    noise: float = 0.0
    saturated: int = 0
    differing: dict[str, int] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)

    def add_float(self, exact: NDArray[Any], rounded: Rounded, read: NDArray[np.bool_]) -> None:
        wanted = exact[read].astype(np.float64)
        self.pictures += 1
        self.values += len(exact)
        self.read += len(wanted)
        self.signal += float(wanted @ wanted)
        off = rounded.real[read] - wanted
        self.noise += float(off @ off)
        self.saturated += int(rounded.beyond[read].sum())

    def add_file(self, kind: str, rounded: Rounded, steps: Integer) -> None:
        apart = np.abs(steps - rounded.steps)
        self.differing[kind] = self.differing.get(kind, 0) + int(np.count_nonzero(apart))
        self.most[kind] = max(self.most.get(kind, 0), int(apart.max(initial=0)))

    def parity(self, role: str, name: str) -> TensorParity:
        sqnr = math.inf
        if self.noise:
            sqnr = 10.0 * math.log10(self.signal / self.noise) if self.signal else -math.inf
        return TensorParity(
            role=role,
            name=name,
            values=self.values // self.pictures,
            sqnr_db=sqnr,
            saturated=self.saturated / max(self.read, 1),
            files={
                kind: StepsApart(count / self.values, self.most[kind])
                for kind, count in self.differing.items()
            },
        )

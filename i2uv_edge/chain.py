"""A model's networks, run as they run on the phone.

AffineNet and SRNet run one behind the other; the answer of a network of the role "hand" is read. On
anything that is a runner. What a phone has written down answers in its place, see
`i2uv_edge.dumps`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.errors import InputError
from i2uv_edge.networks.readouts import Readout
from i2uv_edge.runners import Runner, checked_output
from i2uv_edge.spec import TensorSpec

__all__ = ["Chain", "ChainSpec", "PosedRunner", "Posing", "VertexReader"]

Array = NDArray[Any]
Float32 = NDArray[np.float32]


class VertexReader(Protocol):
    """What reads vertices from a map; an `Atlas` is one."""

    def read_vertices(self, uv_map: Float32, /) -> Float32:
        """(..., M, M, 3) -> (..., V, 3)."""


@dataclass(frozen=True)
class ChainSpec:
    """How SRNet's input is made from AffineNet's output and its output is made a map again.

    Each axis of the map is taken from [low, low + span] to [0, 1], where low and low + span are the
    least and greatest coordinate of the vertices read from that map, and clipped to `clip`, which
    leaves room for the surface between vertices. SRNet's output is taken back by the same two
    numbers. A span below `minimum_span` (map units) is widened to it: a hand seen as flat stays
    flat and is not blown up to noise.

    Its fields go into the manifest under "chain": an app needs nothing else.
    """

    normalisation: str = "min-max of the read vertices, per axis"
    clip: tuple[float, float] = (-0.25, 1.25)
    minimum_span: float = 1e-3

    def bounds(self, vertices: Float32) -> tuple[Float32, Float32]:
        """(N, V, 3) vertices -> low and span, (N, 1, 1, 3) each."""
        low = vertices.min(-2)[:, None, None, :]
        span = vertices.max(-2)[:, None, None, :] - low
        return low, np.maximum(span, np.float32(self.minimum_span))

    def normalise(self, maps: Float32, bounds: tuple[Float32, Float32]) -> Float32:
        """(N, M, M, 3) map units -> what SRNet takes."""
        low, span = bounds
        return np.asarray(np.clip((maps - low) / span, *self.clip), np.float32)

    def restore(self, maps: Float32, bounds: tuple[Float32, Float32]) -> Float32:
        """(N, M, M, 3) what SRNet gives -> map units."""
        # A row of texels at a time: three numbers at a time take six times as long.
        low, span = (np.tile(values, (1, 1, 1, maps.shape[2])) for values in bounds)
        rows = maps.reshape(*maps.shape[:2], 1, -1)
        return np.asarray(rows * span + low, np.float32).reshape(maps.shape)

    def fields(self) -> dict[str, Any]:
        """Return what the manifest holds."""
        return {**asdict(self), "clip": list(self.clip)}

    @staticmethod
    def of_fields(fields: Mapping[str, Any]) -> ChainSpec:
        """Read what `fields` gave."""
        try:
            low, high = fields["clip"]
            spec = ChainSpec(
                str(fields["normalisation"]),
                (float(low), float(high)),
                float(fields["minimum_span"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"the chain of a bundle cannot be read: {dict(fields)}",
                expected=f"the keys {', '.join(ChainSpec().fields())}",
            ) from error
        if spec.normalisation != ChainSpec().normalisation:
            raise InputError(
                f"the chain normalises by {spec.normalisation!r}",
                expected=repr(ChainSpec().normalisation),
                remedy="use the version of i2uv-edge that wrote the bundle",
            )
        return spec


@dataclass(frozen=True)
class Posing:
    """Answers of a network of the role "hand" as maps of vertices, see `Atlas.of_vertices`.

    Row after row, one a texel, and what is left over of `size` * `size` is zero.
    """

    readout: Readout
    size: int

    def __call__(self, answers: Float32) -> Float32:
        """(N, H, W, C) -> (N, size, size, 3)."""
        vertices = self.readout.read(answers)
        maps = np.zeros((len(vertices), self.size * self.size, 3), np.float32)
        maps[:, : vertices.shape[1]] = vertices
        return maps.reshape(-1, self.size, self.size, 3)


class PosedRunner:
    """Runs a network of the role "hand" and reads its answers.

    Parameters
    ----------
    runner
        The network.
    posing
        Reads them.
    """

    def __init__(self, runner: Runner, posing: Posing) -> None:
        self.name = runner.name
        self.input = runner.input
        shape = (1, posing.size, posing.size, 3)
        self.output = TensorSpec("vertices", shape, "NHWC", runner.output.unit, (-1e3, 1e3))
        self._runner = runner
        self._posing = posing

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Float32]:
        """Run the network; see `Runner`."""
        answers = self._runner(feeds)[self._runner.output.name]
        return {self.output.name: checked_output(self, self._posing(answers), len(answers))}


class Chain:
    """AffineNet and, if there is one, SRNet behind it, run as they run on the phone.

    Parameters
    ----------
    affinenet
        Pictures -> coarse maps. Without it only `refine` works, for a model that is an SRNet alone.
        Or what else is fed with samples: a `PosedRunner`.
    srnet
        Normalised coarse maps -> fine maps.
    coarse, fine
        Read the vertices of the two maps.
    spec
        What is between the two networks.
    name
        How tables call the pair.
    first
        The role of the first network, by which its maps are called.
    """

    live = True

    def __init__(
        self,
        affinenet: Runner | None,
        srnet: Runner | None = None,
        *,
        coarse: VertexReader,
        fine: VertexReader | None = None,
        spec: ChainSpec | None = None,
        name: str = "",
        first: str = "affinenet",
    ) -> None:
        leading = affinenet or srnet
        if leading is None or (srnet is not None and fine is None):
            raise ValueError("a chain needs a network, and an srnet needs the reader `fine`")
        self.name = name or leading.name
        self._first = first
        self._affinenet = affinenet
        self._srnet = srnet
        self._coarse = coarse
        self._fine = fine
        self._spec = spec or ChainSpec()

    def __call__(self, pictures: Array, ids: Sequence[str] = ()) -> dict[str, Float32]:
        """Run the networks on pictures.

        Parameters
        ----------
        pictures
            (N, S, S, 3) float32 RGB, 0..1; or what else the first network is fed with.
        ids
            Not used here; a `DumpRunner` finds its samples by them.

        Returns
        -------
        dict
            "affinenet", or the first network's role -> (N, M, M, 3) maps in map units; with an
            SRNet "srnet" -> the fine maps; "vertices" -> (N, V, 3) of the last map.
        """
        if self._affinenet is None:
            return {}
        runner = self._affinenet
        maps = runner({runner.input.name: pictures})[runner.output.name]
        outputs = {self._first: maps}
        refined = self.refine(maps)
        if refined is None or self._fine is None:
            return {**outputs, "vertices": self._coarse.read_vertices(maps)}
        return {**outputs, "srnet": refined, "vertices": self._fine.read_vertices(refined)}

    def refine(self, maps: Float32) -> Float32 | None:
        """Run SRNet on coarse maps, (N, M, M, 3) in map units; None if there is no SRNet."""
        if self._srnet is None:
            return None
        # What is not finite stays so; parity reports it, a warning here would name no sample.
        with np.errstate(invalid="ignore", over="ignore"):
            bounds = self._spec.bounds(self._coarse.read_vertices(maps))
            feed = self._spec.normalise(maps, bounds)
            made = self._srnet({self._srnet.input.name: feed})[self._srnet.output.name]
            return self._spec.restore(made, bounds)

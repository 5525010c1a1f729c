"""SRNet's task: the map of the coarse mesh -> the map of the fine mesh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2uv_edge.chain import ChainSpec
from i2uv_edge.data.synthetic import (
    SceneSettings,
    render_sample,
    sample_frame,
    sample_parameters,
)
from i2uv_edge.errors import UsageError
from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.hand.model import FloatArray, HandModel, IntArray
from i2uv_edge.networks.model import open_checkpoint
from i2uv_edge.spec import NetworkSpec
from i2uv_edge.training.config import TrainingConfig
from i2uv_edge.training.losses import MapLoss, resize
from i2uv_edge.training.surface import Surface
from i2uv_edge.training.task import EVALUATION_SEED, Batch, Sample, array, pictures

SHARED_CELLS = 5  # a side, of the slowly varying errors that stand for a network's own
# Rounds of averaging over the mesh after which what is left of a network's error is what it has in
# common over four edges, two centimetres: where a finger is, and not how its surface runs.
SHARED_ROUNDS = 16


class SuperResolution:
    """Map of the fine mesh from that of the coarse one. Score: mean vertex error (MPVPE).

    Both maps are normalised by the coarse hand's extent, each axis by its own, as `ChainSpec` says.
    What a network's own map is off by is of two kinds: errors that vary slowly, which the fine map
    shares, since SRNet cannot know them, and errors from texel to texel, which it should take away.
    The inputs have both: an AffineNet's own, or made-up ones.

    Parameters
    ----------
    spec, config
        The network and the run.

    Raises
    ------
    UsageError
        The AffineNet's map is not of the size that this network takes.
    """

    def __init__(self, spec: NetworkSpec, config: TrainingConfig) -> None:
        model = HandModel.load()
        small, large = spec.input.shape[1], spec.output.shape[1]
        self.settings = SceneSettings(coarse_edges=config.coarse_edges)
        self.affinenet: nn.Module | None = None
        if config.affinenet:
            network = open_checkpoint(Path(config.affinenet))
            if network.spec.output.shape != spec.input.shape:
                raise UsageError(
                    f"{config.affinenet} gives maps of shape {list(network.spec.output.shape)}, "
                    f"{spec.name} takes {list(spec.input.shape)}",
                    expected="an AffineNet whose maps this SRNet takes",
                )
            self.affinenet = network.module.requires_grad_(False).eval()
            size = network.spec.input.shape[1]
            self.settings = SceneSettings(size=size, coarse_edges=config.coarse_edges)
        self.coarse = Surface(Atlas.of_mesh(model.coarse, small))
        self.under = Surface(Atlas.of_mesh(model.coarse, large))
        self.fine = Surface(Atlas.of_mesh(model.fine, large))
        self.shared = torch.from_numpy(shared_part(model.coarse.faces, SHARED_ROUNDS))
        self.map_loss = MapLoss.of(self.fine, config.loss)
        self.predicted = config.predicted_maps
        self.smoothing = config.smoothing

    def sample(self, seed: int, index: int) -> Sample:
        """One hand: ``coarse`` and ``fine`` vertices in map units, each ``scale_mm`` millimetres.

        With an AffineNet, ``picture`` is what it sees and ``seen`` whether it is to look at it;
        without, ``smooth`` and ``rough`` are errors in parts of the hand's extent.
        """
        rng = np.random.default_rng((seed, index))
        parameters = sample_parameters(rng, self.settings)
        off = seed < EVALUATION_SEED and rng.random() < self.predicted
        if self.affinenet is not None and off:
            rendered = render_sample(seed, index, self.settings)
            return {
                "coarse": rendered.coarse,
                "fine": rendered.fine,
                "scale_mm": np.asarray(rendered.frame.scale_mm, np.float32),
                "picture": rendered.picture,
                "seen": np.asarray(True),
            }
        hand = HandModel.load().pose(parameters)
        frame = sample_frame(rng, hand, self.settings)
        found: Sample = {
            "coarse": frame.to_map(hand.coarse),
            "fine": frame.to_map(hand.fine),
            "scale_mm": np.asarray(frame.scale_mm, np.float32),
        }
        if self.affinenet is not None:
            side = self.settings.size
            return {
                **found,
                "picture": np.zeros((side, side, 3), np.uint8),
                "seen": np.asarray(False),
            }
        size = self.coarse.size
        smooth = np.zeros((SHARED_CELLS, SHARED_CELLS, 3), np.float32)
        rough = np.zeros((size, size, 3), np.float32)
        if off:
            smooth = rng.normal(0, rng.uniform(0, 0.05), smooth.shape).astype(np.float32)
            rough = rng.normal(0, rng.uniform(0, 0.006), rough.shape).astype(np.float32)
        return {**found, "smooth": smooth, "rough": rough}

    def loss(self, module: nn.Module, batch: Batch, progress: float, coin: float) -> Tensor:
        """Loss against the fine surface, wherever the given map has it."""
        del progress, coin
        given, target = self.pair(batch)
        # In units of a hundredth of the hand: the relief is so small that the L1 of map units would
        # leave Adam's epsilon in charge.
        return 100.0 * self.map_loss.finest(module(given).float(), target)

    def score(self, module: nn.Module, batch: Batch) -> FloatArray:
        """Mean vertex error on true coarse maps."""
        self._move(batch)
        coarse, fine = batch["coarse"], batch["fine"]
        low, span = extent(coarse)
        given = self.coarse.rasterise((coarse - low) / span)
        vertices = self.fine.read_vertices(module(given).float())
        error = (vertices - (fine - low) / span) * span * batch["scale_mm"][:, None, None]
        return array(error.norm(dim=-1).mean(-1))

    def pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the network is given, and what it should make of it; both normalised."""
        self._move(batch)
        # Not under autocast: a bfloat16 map has steps of a millimetre.
        with torch.no_grad(), torch.autocast(batch["coarse"].device.type, enabled=False):
            return self._pair(batch)

    def _pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        coarse, fine = batch["coarse"], batch["fine"]
        maps, vertices, shared = self.coarse.rasterise(coarse), coarse, torch.zeros_like(coarse)
        if "seen" in batch and self.affinenet is not None:
            looks = batch["seen"]
            if bool(looks.any()):
                made = self.affinenet(pictures(batch["picture"][looks]))
                maps[looks] = made
                vertices = coarse.clone()
                vertices[looks] = self.coarse.read_vertices(made)
                shared = self.shared @ (vertices - coarse)
        low, span = extent(vertices)
        base = self.under.rasterise((coarse + shared - low) / span)
        relief = self.fine.rasterise(fine / span) - self.under.rasterise(coarse / span)
        target = base + self._smoothed(relief)
        given = (maps - _planes(low)) / _planes(span)
        if "smooth" in batch:
            smooth = batch["smooth"].permute(0, 3, 1, 2)
            given = given + resize(smooth, self.coarse.size)
            given = given + batch["rough"].permute(0, 3, 1, 2)
            target = target + resize(smooth, self.fine.size)
        return given.clamp(*ChainSpec().clip), target

    def _smoothed(self, relief: Tensor) -> Tensor:
        """The relief through a Gaussian over the surface's own texels.

        The relief and not the positions: beyond the border of a chart lie those of another part of
        the hand, decimetres away, while relief is everywhere a millimetre or two.
        """
        if not self.smoothing:
            return relief
        mask = self.fine.mask.to(relief)[None, None].expand(len(relief), 3, -1, -1)
        share = gaussian(mask, self.smoothing)
        blurred = gaussian(relief * mask, self.smoothing) / share.clamp(min=1e-6)
        return torch.where(mask > 0, blurred, relief)

    def _move(self, batch: Batch) -> None:
        device = batch["coarse"].device
        for part in (self.coarse, self.under, self.map_loss, self.affinenet):
            if part is not None:
                part.to(device)
        self.shared = self.shared.to(device)


def extent(vertices: Tensor) -> tuple[Tensor, Tensor]:
    """(N, V, 3) -> least coordinate and span, (N, 1, 3) each, as `ChainSpec.bounds`."""
    low = vertices.amin(1, keepdim=True)
    span = vertices.amax(1, keepdim=True) - low
    return low, span.clamp(min=ChainSpec().minimum_span)


def gaussian(maps: Tensor, sigma: float) -> Tensor:
    """(N, C, M, M) through a Gaussian of ``sigma`` texels; beyond the map is nothing."""
    reach = max(1, round(3 * sigma))
    offsets = torch.arange(-reach, reach + 1, device=maps.device, dtype=maps.dtype)
    weight = torch.exp(-0.5 * (offsets / sigma) ** 2)
    weight = (weight / weight.sum()).expand(maps.shape[1], 1, -1)
    columns = F.conv2d(maps, weight[:, :, None, :], padding=(0, reach), groups=maps.shape[1])
    return F.conv2d(columns, weight[:, :, :, None], padding=(reach, 0), groups=maps.shape[1])


def shared_part(faces: IntArray, rounds: int) -> FloatArray:
    """(V, V): each vertex becomes the mean of itself and its neighbours, ``rounds`` times."""
    count = int(faces.max()) + 1
    once = np.eye(count)
    for first, second in ((0, 1), (1, 2), (2, 0)):
        once[faces[:, first], faces[:, second]] = 1.0
        once[faces[:, second], faces[:, first]] = 1.0
    once /= once.sum(1, keepdims=True)
    return np.linalg.matrix_power(once, rounds).astype(np.float32)


def _planes(values: Tensor) -> Tensor:
    """(N, 1, 3) -> (N, 3, 1, 1)."""
    return values.transpose(1, 2)[..., None]


__all__ = ["SuperResolution", "extent", "gaussian", "shared_part"]

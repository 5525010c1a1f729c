"""Weights for the published networks, fitted just long enough to be judged.

With random weights the maps are noise, the warps that follow them are chaotic, and float32 differs
from float64 by a twentieth of the map: no comparison means anything. Some hundred steps towards
smooth maps end that.

AffineNet is not fitted to hands. Of hands seen from all sides such a network learns, in so few
steps, their mean, which is one point: its maps are constant and its warps fetch one pixel (measured
for ResNet-50: 180 steps, maps within 0.43..0.53, a fiftieth of the truth's variance). Instead it is
fitted to one open hand that the colours of the picture push about: maps that cover the crop, follow
the picture, and can be learned in minutes. It tracks no hand, and fails the gates on its own
accuracy, as it should. SRNet learns its task.

Networks that were trained keep what they know in few, strong and smooth features, those fitted for
minutes in many weak ones, which every rounding moves. So three things stand in for training: noise
on the features, small residual branches, and kernels that begin as blurs (`_smooth`).

`python benchmarks/fitted.py affinenet-r50` fits one, or says where it lies.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import published  # noqa: E402
from i2uv_edge.data.synthetic import SceneSettings, render_sample, sample_parameters  # noqa: E402
from i2uv_edge.hand.atlas import Atlas  # noqa: E402
from i2uv_edge.hand.model import MODEL_TO_CAMERA, HandModel  # noqa: E402
from i2uv_edge.networks.checkpoint import save_checkpoint  # noqa: E402
from i2uv_edge.spec import NetworkSpec, load_network  # noqa: E402

__all__ = ["FITS", "Fit", "Phase", "fit", "fitted", "resized", "wanted_maps"]

FOLDER = ROOT / "build" / "fitted"
SEED = 7 << 32  # of no training run and of no frozen set
WARM_UP = 15  # steps
PUSH = 0.3  # map units that the full range of a colour moves a texel
FEATURE_NOISE = 0.2  # standard deviations of a feature, behind each batch norm
RESIDUAL = 0.3  # gain of a residual branch at first: sums of many grow outliers that int8 pays for
RELIEF_NOISE = 0.02  # of SRNet's input: three steps of its int8 grid
Report = Callable[[str], None]
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Phase:
    """Optimiser steps on batches of `batch` inputs of side `side`."""

    side: int
    steps: int
    batch: int


@dataclass(frozen=True)
class Fit:
    """How a network is fitted.

    Attributes
    ----------
    phases : small pictures first; a convolution learns what it sees long before where it is, and a
        picture of half the side costs a quarter
    learning_rate : AdamW's at the peak; linear warm-up, then a cosine over all phases
    statistics : pictures of full size that the batch norms' running statistics are taken from
    """

    phases: tuple[Phase, ...]
    learning_rate: float
    statistics: int = 0


FITS = {
    "affinenet": Fit((Phase(128, 100, 4), Phase(256, 80, 2)), 1e-3, statistics=24),
    "srnet": Fit((Phase(64, 400, 8),), 2e-3),
}


def fitted(
    name: str, *, settings: Fit | None = None, folder: Path = FOLDER, report: Report | None = None
) -> Path:
    """Give the checkpoint of a fitted network, fitting it if it has not been.

    Parameters
    ----------
    name
        Of a network of the published families: "affinenet-r50", "srnet".
    settings
        `FITS` of its role, without.
    folder
        Where the files are kept, each named by its network and a hash of all that it depends on.
    """
    spec = load_network(name)
    settings = settings or FITS[spec.role]
    path = folder / f"{spec.name}-{_key(spec, settings)}.safetensors"
    if not path.is_file():
        save_checkpoint(
            fit(spec, settings, report), path, {"network": spec.name}, dtype=torch.float32
        )
    return path


def fit(spec: NetworkSpec, settings: Fit, report: Report | None = None) -> nn.Module:
    """Fit a network in its published form; its `state_dict` is that of the project's own."""
    torch.manual_seed(0)
    task = _Maps(spec) if spec.role == "affinenet" else _Relief(spec)
    network = task.network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), settings.learning_rate, betas=(0.9, 0.98))
    total = sum(phase.steps for phase in settings.phases)
    step, start, running = 0, time.monotonic(), math.nan
    for phase in settings.phases:
        for number in range(phase.steps):
            warm = min(1.0, (step + 1) / WARM_UP)
            cosine = 0.5 * (1.0 + math.cos(math.pi * step / total))
            optimizer.param_groups[0]["lr"] = settings.learning_rate * warm * (cosine + 0.01)
            batch = task.batch(phase, step)
            with torch.autocast("cpu", torch.bfloat16):
                loss = task.loss(*batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            value = float(loss.detach())
            if not math.isfinite(value):
                raise ArithmeticError(f"{spec.name}: the loss is {value} at step {step}")
            running = value if math.isnan(running) else 0.9 * running + 0.1 * value
            step += 1
            if report is not None and (step % 20 == 0 or number + 1 == phase.steps):
                report(
                    f"{spec.name} {step}/{total} loss {running:.4f} "
                    f"{time.monotonic() - start:.0f} s"
                )
    if settings.statistics:
        _take_statistics(network, task.pictures(settings.statistics, spec.input.shape[1]))
    return task.network.eval()


@torch.no_grad()
def _take_statistics(network: nn.Module, batches: Iterator[Tensor]) -> None:
    """Running statistics at full size, in float32; those of the fit are of another mixture."""
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
    for pictures in batches:
        network(pictures)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


class _Maps:
    """AffineNet: rendered pictures -> an open hand pushed about by their colours."""

    def __init__(self, spec: NetworkSpec) -> None:
        self.network = published.AffineNet(
            int(spec.architecture["resnet_depth"]),
            align_corners=bool(spec.architecture["align_corners"]),
            do_score=bool(spec.architecture.get("confidence", False)),
        )
        for layer in self.network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.register_forward_hook(_shaken)
            elif isinstance(layer, published.BasicBlock | published.Bottleneck):
                last = layer.bn2 if isinstance(layer, published.BasicBlock) else layer.bn3
                nn.init.constant_(last.weight, RESIDUAL)
        for layer in self.network.decoder.modules():
            if isinstance(layer, nn.Conv2d):
                _smooth(layer)

    def batch(self, phase: Phase, step: int) -> Batch:
        scene = SceneSettings(size=phase.side, coarse_edges=1.0)
        first = step * phase.batch
        samples = [render_sample(SEED, first + number, scene) for number in range(phase.batch)]
        pictures = _picture([sample.picture for sample in samples])
        return pictures, wanted_maps(pictures)

    def loss(self, pictures: Tensor, truth: Tensor) -> Tensor:
        total = torch.zeros(())
        for made in self.network.stages(pictures):
            total = total + (made[:, :3].float() - resized(truth, made.shape[-1])).abs().mean()
        return total

    def pictures(self, count: int, side: int) -> Iterator[Tensor]:
        scene = SceneSettings(size=side)
        for first in range(0, count, 4):
            numbers = range(first, min(first + 4, count))
            yield _picture([render_sample(SEED + 1, number, scene).picture for number in numbers])


@torch.no_grad()
def _smooth(conv: nn.Conv2d) -> None:
    """Start from kernels that blur, each tap in the proportions of a binomial.

    Most of a network fitted this shortly is still what it started from. Independent taps hand every
    rounding on at full strength, those that blur average it. With the former, files and fake-quant
    of a ResNet-50, one rounding in 100,000 apart behind the first warp, end 0.13 mm apart; with the
    latter 0.05. Training does the same in more steps.
    """
    size = conv.kernel_size[0]
    row = torch.tensor([float(math.comb(size - 1, tap)) for tap in range(size)])
    taps = torch.outer(row, row) / row.sum() ** 2
    conv.weight.copy_(conv.weight.sum((2, 3), keepdim=True) * taps)


def _shaken(norm: nn.Module, _: object, features: Tensor) -> Tensor | None:
    """Noise on what a batch norm gives, while the network is fitted.

    Without it a fit this short hangs by threads: int8 moves the vertices of ResNet-50 by 2 mm.
    """
    if not norm.training or norm.momentum is None:
        return None
    return features + FEATURE_NOISE * torch.randn_like(features)


def wanted_maps(pictures: Tensor) -> Tensor:
    """(N, 3, S, S) RGB 0..1 -> the maps AffineNet is fitted to, (N, 3, S, S), within 0..1.

    Each texel is pushed by the colour of the picture where the open hand has it: what an affine
    connection fetches.
    """
    side = pictures.shape[-1]
    hand = _nchw(_open_hand(side)[None])
    blurred = [
        cv2.GaussianBlur(picture, (0, 0), side / 8)
        for picture in pictures.permute(0, 2, 3, 1).numpy()
    ]
    places = (2.0 * hand[:, :2] - 1.0).permute(0, 2, 3, 1).expand(len(pictures), -1, -1, -1)
    colours = F.grid_sample(_nchw(np.stack(blurred)), places, align_corners=False)
    return hand + PUSH * (colours - 0.5)


@cache
def _open_hand(side: int) -> NDArray[np.float32]:
    """(S, S, 3) the hand at rest in the middle of the crop, smooth over its charts' borders."""
    mesh = HandModel.load().coarse
    seen = mesh.vertices @ MODEL_TO_CAMERA.T
    low, high = seen.min(0), seen.max(0)
    placed = (seen - (low + high) / 2) / (1.25 * (high - low).max()) + 0.5
    hand = Atlas.of_mesh(mesh, side).rasterise(placed.astype(np.float32), fill=True)
    return np.asarray(cv2.GaussianBlur(hand, (0, 0), 0.03 * side), np.float32)


def resized(maps: Tensor, side: int) -> Tensor:
    """(N, 3, S, S) at the same texture coordinates, (N, 3, side, side)."""
    made: Tensor = F.interpolate(maps, (side, side), mode="bilinear", align_corners=True)
    return made


class _Relief:
    """SRNet: maps of the coarse hand -> maps of the fine one, on squares cut out of them.

    A convolution of 9-5-5 sees 17 texels: a square of 64 teaches it what the whole map does.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        self.network = published.SRNet()
        for layer in (self.network.conv1, self.network.conv2, self.network.conv3):
            _smooth(layer)
        model = HandModel.load()
        self._coarse = Atlas.of_mesh(model.coarse, spec.input.shape[1])
        self._fine = Atlas.of_mesh(model.fine, spec.output.shape[1])

    def batch(self, phase: Phase, step: int) -> Batch:
        rng = np.random.default_rng((SEED, step))
        hand = HandModel.load().pose(sample_parameters(rng, SceneSettings()))
        low, high = hand.coarse.min(0), hand.coarse.max(0)
        given = self._coarse.rasterise((hand.coarse - low) / (high - low), fill=True)
        wanted = self._fine.rasterise((hand.fine - low) / (high - low), fill=True)
        corners = rng.integers(0, self._coarse.size - phase.side + 1, (phase.batch, 2))
        cut = [
            np.s_[row : row + phase.side, column : column + phase.side] for row, column in corners
        ]
        first, second = (np.stack([maps[square] for square in cut]) for maps in (given, wanted))
        noise = rng.normal(0, RELIEF_NOISE, first.shape).astype(np.float32)
        return _nchw(first + noise), _nchw(second)

    def loss(self, given: Tensor, wanted: Tensor) -> Tensor:
        edge = 8  # what zero padding has touched
        made: Tensor = self.network(given)
        error = (made.float() - wanted).abs()
        return 10.0 * error[..., edge:-edge, edge:-edge].mean()

    def pictures(self, count: int, side: int) -> Iterator[Tensor]:
        raise NotImplementedError("an SRNet has no batch norms")


def _picture(pictures: list[NDArray[np.uint8]]) -> Tensor:
    return _nchw(np.stack(pictures).astype(np.float32) / np.float32(255))


def _nchw(arrays: NDArray[np.float32]) -> Tensor:
    result: Tensor = torch.from_numpy(np.ascontiguousarray(arrays))
    return result.permute(0, 3, 1, 2)  # in memory, channels still come last


def _key(spec: NetworkSpec, settings: Fit) -> str:
    """Hash all that a fit depends on; of the code its syntax tree, so that comments may vary."""
    code = [ast.dump(ast.parse(Path(file).read_bytes())) for file in (__file__, published.__file__)]
    facts = [dict(spec.architecture), spec.input.shape, asdict(settings), *code]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]


def main() -> None:
    """Fit the networks named on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="+", help="affinenet-r18, affinenet-r50, srnet, ...")
    for name in parser.parse_args().networks:
        print(fitted(name, report=lambda line: print(line, file=sys.stderr)))


if __name__ == "__main__":
    main()

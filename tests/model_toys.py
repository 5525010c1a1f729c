"""A model small enough to be exported in seconds, with weights that draw a hand.

Its AffineNet (64 x 64 pictures, 16 x 16 maps) has learned eight pictures by heart. They are its
calibration and its evaluation set, so its predictions vary as the truth does, and it passes every
gate but that of flicker (`patient`), for which it would have to be a better network.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from i2uv_edge import cli, resources
from i2uv_edge.data.pictures import crop, list_pictures
from i2uv_edge.data.rendered_set import read_set, set_sha256
from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.hand.model import HandModel
from i2uv_edge.networks.affinenet_edge import AffineNetEdge
from i2uv_edge.networks.checkpoint import save_checkpoint
from i2uv_edge.networks.registry import build
from i2uv_edge.spec import GateSpec, load_network

PICTURES = 8
STEPS = 160

AFFINENET = """
role = "affinenet"
family = "affinenet_edge"
source = "a toy"

[input]
name = "image"
shape = [1, 64, 64, 3]
layout = "NHWC"
unit = "RGB, 1 = full intensity"
range = [0.0, 1.0]

[output]
name = "uv_map"
shape = [1, 16, 16, 3]
layout = "NHWC"
unit = "crop sides"
range = [-0.5, 1.5]

[parts]
heads = "*.head"
warps = "*.warp"
narrows = "*.narrow"
coarsest = "first.refine"
maps = "*.map"

[architecture]
stem = 8
encoder_widths = [16, 16, 32, 32, 48]
encoder_depths = [1, 1, 1, 1, 1]
decoder_widths = [24, 24, 24, 16]
lateral_widths = [8, 8, 8]
reduced = 16
code = 64
"""

SRNET = """
role = "srnet"
family = "srnet_edge"
source = "a toy"

[input]
name = "uv_map"
shape = [1, 16, 16, 3]
layout = "NHWC"
unit = "extent of the hand"
range = [-0.25, 1.25]

[output]
name = "uv_map_fine"
shape = [1, 64, 64, 3]
layout = "NHWC"
unit = "extent of the hand"
range = [-0.25, 1.25]

[architecture]
width = 8
depth = 2
factor = 4
"""


@dataclass(frozen=True)
class Ended:
    """What a command line came to."""

    code: int
    out: str
    err: str


def run(*arguments: str) -> Ended:
    """Run `i2uv-edge` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(list(arguments))
    return Ended(code, out.getvalue(), err.getvalue())


def patient(load: Callable[..., tuple[GateSpec, ...]]) -> Callable[..., tuple[GateSpec, ...]]:
    """Let flicker through; every other gate stays as it is."""

    def load_gates(*arguments: Any) -> tuple[GateSpec, ...]:
        gates = load(*arguments)
        return tuple(replace(g, limit=1.0) if g.metric == "flicker_mm" else g for g in gates)

    return load_gates


@dataclass(frozen=True)
class Toy:
    """Where everything lies; `data` takes the place of the bundled pictures."""

    model: Path
    affinenet: Path
    srnet: Path
    affinenet_weights: Path
    srnet_weights: Path
    data: Path

    @property
    def checkpoints(self) -> list[str]:
        """The options that hand the weights to `export`."""
        weights = (self.affinenet_weights, self.srnet_weights)
        return [part for path in weights for part in ("--checkpoint", str(path))]

    def export(self, output: Path, *options: str) -> Ended:
        """Run `i2uv-edge export` on the whole model."""
        return run("export", str(self.model), *self.checkpoints, "-o", str(output), *options)


def make_toy(folder: Path) -> Toy:
    """Write the toy's files and fit its weights: some seconds."""
    toy = Toy(
        model=folder / "toy.toml",
        affinenet=folder / "toy-affinenet.toml",
        srnet=folder / "toy-srnet.toml",
        affinenet_weights=folder / "toy-affinenet.safetensors",
        srnet_weights=folder / "toy-srnet.safetensors",
        data=folder / "data",
    )
    toy.affinenet.write_text(AFFINENET)
    toy.srnet.write_text(SRNET)
    toy.model.write_text(
        f'description = "a toy"\naffinenet = "{toy.affinenet}"\nsrnet = "{toy.srnet}"\n'
    )
    for name in ("pictures", "evaluation"):
        take(resources.calibration_data() / "evaluation", toy.data / name, PICTURES)
    torch.manual_seed(0)
    affinenet = build(load_network(toy.affinenet))
    assert isinstance(affinenet, AffineNetEdge)
    _learn(affinenet, toy.data / "evaluation")
    save_checkpoint(affinenet, toy.affinenet_weights, {"network": "toy-affinenet"})
    # Nearly the identity before any training.
    save_checkpoint(build(load_network(toy.srnet)), toy.srnet_weights, {"network": "toy-srnet"})
    return toy


def take(source: Path, target: Path, count: int) -> None:
    """The first few samples of a rendered set, as a set of its own."""
    target.mkdir(parents=True)
    for path in list_pictures(source)[0][:count]:
        shutil.copy(path, target)
    with np.load(source / "truth.npz", allow_pickle=False) as truth:
        arrays = {name: truth[name][:count] for name in truth.files}
    np.savez_compressed(target / "truth.npz", allow_pickle=False, **arrays)
    text = (source / "manifest.toml").read_text()
    sha256 = set_sha256([*list_pictures(target)[0], target / "truth.npz"])
    text = re.sub("count = .*", f"count = {count}", text)
    text = re.sub("sha256 = .*", f'sha256 = "{sha256}"', text)
    (target / "manifest.toml").write_text(text)


def _learn(network: AffineNetEdge, folder: Path) -> None:
    """Adam on all pictures at once, the losses of all stages alike."""
    samples = [sample for _, sample in read_set(folder)]
    atlas = Atlas.of_mesh(HandModel.load().coarse, 16)
    size = network.input_size
    pictures = np.stack([crop(sample.picture, size)[0] for sample in samples])
    maps = atlas.rasterise(np.stack([sample.coarse for sample in samples]), fill=True)
    given = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()
    truth = torch.from_numpy(maps).permute(0, 3, 1, 2).contiguous()
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, STEPS)
    network.train()
    for _ in range(STEPS):
        loss = torch.zeros(())
        for stage in network.stages(given):
            wanted = interpolate(truth, stage.shape[-1], mode="bilinear", align_corners=True)
            loss = loss + (stage - wanted).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()

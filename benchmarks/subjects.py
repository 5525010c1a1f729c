"""What is timed: networks built with fresh weights, quantized and converted by this project.

How long a network takes is set by its shapes, not by its weights, so none are loaded. Everything is
converted anew in each run: a figure is about the code as it is.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks import published
from i2uv_edge.convert.tflite import to_tflite
from i2uv_edge.data.synthetic import SceneSettings, render_sample
from i2uv_edge.errors import MissingDependencyError
from i2uv_edge.networks.layers import Warp
from i2uv_edge.networks.registry import build
from i2uv_edge.quantizer.network import quantize
from i2uv_edge.spec import NetworkSpec, RecipeSpec, load_network, load_recipe

__all__ = ["at_side", "float_file", "fresh", "int8_file", "published_file", "without_warps"]

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "benchmarks"
CALIBRATION = 2  # samples: ranges have to be there, not to be good
PEERS_REMEDY = "pip install -c constraints.txt -e '.[peers]'"


def at_side(name: str, side: int | None = None) -> NetworkSpec:
    """A network's spec, or that of the same network for inputs of another side."""
    spec = load_network(name)
    if side is None:
        return spec
    ratio = spec.output.shape[1] / spec.input.shape[1]
    return replace(
        spec,
        input=replace(spec.input, shape=(1, side, side, 3)),
        output=replace(spec.output, shape=(1, round(side * ratio), round(side * ratio), 3)),
    )


def fresh(spec: NetworkSpec) -> nn.Module:
    """The network with initial weights, the same ones each time."""
    torch.manual_seed(0)
    return build(spec)


def int8_file(
    spec: NetworkSpec, path: Path, *, module: nn.Module | None = None, recipe: str = "w8a8"
) -> Path:
    """Quantize as `i2uv-edge export` does, on a few samples, and convert."""
    chosen = load_recipe(recipe).for_network(spec)
    network = fresh(spec) if module is None else module
    if module is not None and not any(isinstance(layer, Warp) for layer in module.modules()):
        chosen = _without_part(chosen, spec, "warps")
    made = quantize(network, chosen, _samples(spec), network_role=spec.role)
    to_tflite(made, spec, path)
    return path


def float_file(spec: NetworkSpec, path: Path) -> Path:
    """Convert the network in its deploy form, in float."""
    to_tflite(fresh(spec), spec, path)
    return path


def published_file(spec: NetworkSpec) -> Path:
    """The published form converted by litert-torch as it stands, in float.

    A minute's work that nothing here has a part in, so it is kept, by what it depends on.

    Raises
    ------
    MissingDependencyError
        litert-torch is not installed.
    """
    try:
        made_with = version("litert-torch"), version("torch")
    except PackageNotFoundError as error:
        raise MissingDependencyError(
            "litert-torch, which converts the published form, is not installed",
            expected="the packages of the extra `peers`",
            remedy=PEERS_REMEDY,
        ) from error
    text = Path(published.__file__).read_bytes() + repr((spec, made_with)).encode()
    key = hashlib.sha256(text).hexdigest()[:8]
    path = CACHE / f"{spec.name}-published-{key}.tflite"
    if not path.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        depth, align = spec.architecture["resnet_depth"], spec.architecture["align_corners"]
        arguments = [str(depth), str(align), str(spec.input.shape[1]), str(partial)]
        # In a process of its own: the converter talks on standard output and changes torch.
        subprocess.run(
            [sys.executable, "-c", _CONVERT, *arguments],
            cwd=ROOT,
            stdout=sys.stderr,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        partial.replace(path)
    return path


_CONVERT = """
import sys
import litert_torch
import torch
from benchmarks.published import AffineNet

depth, align, side, path = sys.argv[1:]
torch.manual_seed(0)
network = AffineNet(int(depth), align_corners=align == "True").eval()
litert_torch.convert(network, (torch.zeros(1, 3, int(side), int(side)),)).export(path)
"""


def without_warps(spec: NetworkSpec) -> nn.Module:
    """The network with every warp handing its features on; heads that only warps read fall away."""
    module = fresh(spec)
    for name, layer in list(module.named_modules()):
        if isinstance(layer, Warp):
            parent, _, child = name.rpartition(".")
            setattr(module.get_submodule(parent), child, _HandedOn())
    return module


class _HandedOn(nn.Module):
    def forward(self, feature: Tensor, uv: Tensor) -> Tensor:
        return feature


def _without_part(recipe: RecipeSpec, spec: NetworkSpec, part: str) -> RecipeSpec:
    kept = tuple(item for item in recipe.overrides if item.match != spec.parts.get(part))
    return replace(recipe, overrides=kept)


def _samples(spec: NetworkSpec) -> list[NDArray[np.float32]]:
    side = spec.input.shape[1]
    if not spec.takes_pictures:
        rng = np.random.default_rng(0)
        return [rng.random(spec.input.shape, np.float32) for _ in range(CALIBRATION)]
    scene = SceneSettings(size=side)
    pictures = [render_sample(0, number, scene).picture for number in range(CALIBRATION)]
    return [picture[None].astype(np.float32) / np.float32(255) for picture in pictures]

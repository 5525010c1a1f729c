"""Networks of the real families, small enough to run and to learn in a blink."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from i2uv_edge.spec import NetworkSpec, TensorSpec

UNITS = {"picture": (0.0, 1.0), "map": (-0.5, 1.5)}


def tensor(name: str, size: int) -> TensorSpec:
    return TensorSpec(name, (1, size, size, 3), "NHWC", "toy units", UNITS[name])


AFFINENET = NetworkSpec(
    name="toy-affinenet",
    role="affinenet",
    family="affinenet_edge",
    input=tensor("picture", 64),
    output=tensor("map", 16),
    source="a toy",
    architecture={
        "stem": 4,
        "encoder_widths": [6, 8, 8, 12, 12],
        "encoder_depths": [1, 1, 1, 1, 1],
        "decoder_widths": [12, 8, 8, 8],
        "lateral_widths": [4, 4, 4],
        "reduced": 8,
        "code": 16,
    },
)
SRNET = NetworkSpec(
    name="toy-srnet",
    role="srnet",
    family="srnet_edge",
    input=tensor("map", 16),
    output=tensor("map", 32),
    source="a toy",
    architecture={"width": 6, "depth": 2, "factor": 2},
)


def with_architecture(spec: NetworkSpec, **changes: Any) -> NetworkSpec:
    return replace(spec, architecture={**spec.architecture, **changes})


def write_toml(spec: NetworkSpec, folder: Path) -> Path:
    """The file that `load_network` reads as `spec`."""
    lines = [f'role = "{spec.role}"', f'family = "{spec.family}"', f'source = "{spec.source}"']
    for table in (spec.input, spec.output):
        lines += [f"[{'input' if table is spec.input else 'output'}]", f'name = "{table.name}"']
        lines += [f"shape = {list(table.shape)}", f'layout = "{table.layout}"']
        lines += [f'unit = "{table.unit}"', f"range = {list(table.range)}"]
    lines += ["[architecture]", *(f"{key} = {v}" for key, v in spec.architecture.items())]
    path = folder / f"{spec.name}.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def smooth_map(size: int) -> torch.Tensor:
    """A (1, 3, size, size) map that wanders over the whole crop and a little beyond it."""
    v, u = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    return torch.stack([1.1 * u - 0.05, 0.5 + 0.55 * torch.sin(4 * v), u * v])[None]


def fitted(network: nn.Module, size: int, steps: int = 40) -> nn.Module:
    """The network, in evaluation mode, after a few steps towards `smooth_map` on soft pictures."""
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    network.train()
    for _ in range(steps):
        pictures = F.interpolate(torch.rand(4, 3, 8, 8), (size, size), mode="bilinear")
        made = network(pictures)
        loss = F.l1_loss(made, smooth_map(made.shape[-1]).expand_as(made))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def bilinear(feature: NDArray[Any], xy: NDArray[Any]) -> NDArray[np.float64]:
    """What a warp does, one texel at a time: (C, s, s), (2, m, m) in 0..1 -> (C, m, m)."""
    channels, height, width = feature.shape
    result = np.zeros((channels, *xy.shape[1:]))
    for row in range(xy.shape[1]):
        for column in range(xy.shape[2]):
            x = min(max(xy[0, row, column] * width - 0.5, 0.0), width - 1.0)
            y = min(max(xy[1, row, column] * height - 0.5, 0.0), height - 1.0)
            left, top = min(int(x), width - 2), min(int(y), height - 2)
            for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
                weight = (1 - abs(y - top - dy)) * (1 - abs(x - left - dx))
                result[:, row, column] += weight * feature[:, top + dy, left + dx]
    return result

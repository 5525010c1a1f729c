"""Weights for a network of the role "hand" that knows the frozen evaluation set by heart.

Parity between float and INT8 means something only for a network whose answers vary as hands do.
Minutes of training do not make one that sees; they make one that remembers two hundred pictures. So
what an export of such weights says of millimetres off float holds for the network and its size, and
what it says of accuracy is memory and nothing else.

    python benchmarks/by_heart.py s2hand -o build/by_heart/s2hand.safetensors --minutes 15
    i2uv-edge export s2hand --checkpoint build/by_heart/s2hand.safetensors
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from i2uv_edge.data.evaluation import bundled_samples
from i2uv_edge.networks.checkpoint import load_initial, save_checkpoint
from i2uv_edge.networks.registry import build
from i2uv_edge.spec import load_network
from i2uv_edge.standpoints import picture_size, seen_from
from i2uv_edge.training.config import load_config
from i2uv_edge.training.hands import PictureToHand, apart

BATCH = 20
RATE = 1e-3


def fit(name: str, output: Path, minutes: float, initial: Path | None) -> float:
    """Train for so many minutes on one thread; returns the last round's mean loss, cm."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    spec = load_network(name)
    assert spec.readout is not None
    network = build(spec)
    if initial is not None:
        load_initial(network, initial)
    task = PictureToHand(spec, load_config(spec.family))
    shown = [
        seen_from(spec.readout.origin, sample)
        for sample in bundled_samples(picture_size({"hand": spec}))
    ]
    truths = [item.truth for item in shown if item.truth is not None]
    pictures = torch.from_numpy(np.stack([item.picture for item in shown])).permute(0, 3, 1, 2)
    targets = torch.from_numpy(np.stack([truth.coarse for truth in truths]))
    units = torch.tensor([truth.scale_mm for truth in truths])
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.0)
    start, mean = time.monotonic(), float("nan")
    while (part := (time.monotonic() - start) / (60 * minutes)) < 1:
        losses = []
        for rows in torch.randperm(len(shown)).split(BATCH):
            for group in optimizer.param_groups:
                group["lr"] = RATE * max(0.01, 1 - part)
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                answer = network(pictures[rows].contiguous(memory_format=torch.channels_last))
            batch = {"target": targets[rows], "unit_mm": units[rows]}
            loss = apart(task.readout(answer.float()), batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            losses.append(loss.item())
        mean = float(np.mean(losses))
        print(f"{(time.monotonic() - start) / 60:.1f} min, loss {mean:.3f}", flush=True)
        save_checkpoint(network, output, {"network": spec.name}, dtype=torch.float32)
    return mean


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("network", help="its name or its TOML")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--initial", type=Path, help="weights to start from")
    given = parser.parse_args()
    fit(given.network, given.output, given.minutes, given.initial)


if __name__ == "__main__":
    main()

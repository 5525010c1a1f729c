"""HiFiHR's network, and its authors' checkpoints."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from i2uv_edge.data.stand_in import stand_in
from i2uv_edge.errors import UsageError
from i2uv_edge.networks.checkpoint import load_checkpoint
from i2uv_edge.networks.hands.hifihr import HiFiHr
from i2uv_edge.networks.registry import build
from i2uv_edge.spec import load_network


def flattened(state: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    return state[f"hand_encoder.{name}"].flatten(1)


@torch.no_grad()
def test_the_authors_checkpoint_fills_what_is_read(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = HiFiHr(input_size=64).eval()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.normal_(layer.bias, 0, 0.1)
    state = network.state_dict()
    hand = {
        key.removeprefix("hand_encoder."): value.flatten(1) if value.ndim == 4 else value
        for key, value in state.items()
        if key.startswith("hand_encoder.")
    }
    unread = {"trans_reg.0.weight": torch.zeros(128, 512), "scale_reg.3.bias": torch.zeros(1)}
    encoder = {
        f"encoder.{key.removeprefix('base_encoder.')}": value
        for key, value in state.items()
        if key.startswith("base_encoder.")
    }
    content = {
        "args": argparse.Namespace(hand_model="mano"),
        "scheduler": {"last_epoch": 3},
        "base_encoder": {**encoder, "encoder._fc.bias": torch.zeros(1000)},
        "hand_encoder": {**hand, **unread},
        "light_estimator": {"light_reg.0.weight": torch.zeros(64, 256)},
    }
    path = tmp_path / "texturehand.t7"
    torch.save(content, path)
    loaded = HiFiHr(input_size=64).eval()
    load_checkpoint(loaded, path)
    picture = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(loaded(picture), network(picture), atol=1e-6, rtol=0)


def test_answers_are_a_hand_about_its_middle_knuckle() -> None:
    hand = stand_in()
    answer = np.random.default_rng(2).normal(0, 0.3, 68).astype(np.float32)
    full = hand.full_pose(answer[:3], answer[3:48])
    posed = hand.pose(full, answer[48:58], fingertips=(0, 1, 2, 3, 4)).vertices
    expected = posed - hand.regressor[4] @ posed
    found = HiFiHr().readout(hand).read(answer.reshape(1, 1, 1, -1))
    np.testing.assert_allclose(found[0], expected, atol=2e-6)


def test_texture_moves_no_vertex() -> None:
    answers = np.zeros((2, 1, 1, 68), np.float32)
    answers[1, ..., 58:] = 3.0
    plain, textured = HiFiHr().readout(stand_in()).read(answers)
    np.testing.assert_array_equal(plain, textured)


def test_a_pose_that_is_not_manos_is_refused() -> None:
    spec = load_network("hifihr")
    assert spec.readout is not None
    nimble = {"pose": 60, "shape": 20, "texture": 10}
    changed = replace(
        spec,
        architecture=nimble,
        readout=replace(spec.readout, fields=nimble),
        output=replace(spec.output, shape=(1, 1, 1, 90)),
    )
    with pytest.raises(UsageError, match="a pose of 60 numbers is none of MANO's"):
        build(changed).readout(stand_in())  # type: ignore[operator]

"""Hand models as layers: the same numbers as their numpy forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from i2uv_edge.data.stand_in import stand_in
from i2uv_edge.networks.readouts import ManoLayer, Readout, rotations


def random_hand(seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.5, 48), rng.normal(0, 1, 10)


@pytest.mark.parametrize("seed", range(3))
def test_the_layer_poses_as_mano_does(seed: int) -> None:
    turns, shape = random_hand(seed)
    layer = ManoLayer(stand_in()).double()
    rows = [torch.from_numpy(value)[None] for value in (turns[:3], turns[3:], shape)]
    found = layer(*rows)[0].numpy()
    expected = stand_in().pose(turns, shape, fingertips=(0, 1, 2, 3, 4)).vertices
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)


def test_hands_of_a_batch_do_not_mix() -> None:
    layer = ManoLayer(stand_in())
    pairs = [random_hand(seed) for seed in range(3)]
    turns = torch.tensor(np.stack([pair[0] for pair in pairs]), dtype=torch.float32)
    shapes = torch.tensor(np.stack([pair[1] for pair in pairs]), dtype=torch.float32)
    together = layer(turns[:, :3], turns[:, 3:], shapes)
    alone = layer(turns[1:2, :3], turns[1:2, 3:], shapes[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-6, rtol=0)


def test_no_coefficients_are_the_mean_pose() -> None:
    fingers = ManoLayer(stand_in()).fingers(torch.zeros(1, 30))
    np.testing.assert_allclose(fingers[0].numpy(), stand_in().mean, atol=1e-6)


def test_a_rotation_by_nothing_has_a_gradient() -> None:
    vectors = torch.zeros(2, 3, requires_grad=True)
    rotations(vectors)[:, 0, 1].sum().backward()
    assert vectors.grad is not None
    torch.testing.assert_close(vectors.grad[0], torch.tensor([0.0, 0.0, -1.0]))


def test_rotations_keep_lengths_and_turn_as_they_say() -> None:
    turned = rotations(torch.tensor([[0.0, 0.0, torch.pi / 2]]))[0] @ torch.tensor([1.0, 0.0, 0.0])
    torch.testing.assert_close(turned, torch.tensor([0.0, 1.0, 0.0]), atol=1e-6, rtol=0)


def test_answers_are_read_from_the_layout_of_files() -> None:
    class First(Readout):
        def forward(self, output: torch.Tensor) -> torch.Tensor:
            return output.flatten(2).transpose(1, 2)

    answers = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)
    np.testing.assert_array_equal(First().read(answers), answers.reshape(1, 4, 3))

"""Batch norms that stay asleep, and statistics of a step taken in parts."""

from __future__ import annotations

import pytest
import torch
from network_toys import AFFINENET
from torch import nn

from i2uv_edge.errors import UsageError
from i2uv_edge.networks.registry import build
from i2uv_edge.training.norms import Statistics, freeze_norms


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))


def test_frozen_norm_outlives_train_of_all_that_is_around_it() -> None:
    module = network()
    assert freeze_norms(module, "0") == 1
    nn.Sequential(module).train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    pictures = torch.rand(4, 3, 5, 5) + 3
    assert module[2].training
    torch.testing.assert_close(module[0](pictures), pictures, atol=1e-4, rtol=1e-4)
    module(pictures).sum().backward()
    after = module.state_dict()
    assert torch.equal(after["0.running_mean"], before["0.running_mean"])
    assert not torch.equal(after["2.running_mean"], before["2.running_mean"])
    assert module[0].weight.grad is None
    assert module[1].weight.grad is not None


def test_norm_that_is_only_put_to_sleep_is_woken_by_train() -> None:
    module = network()
    module[0].eval()  # what the archive did
    module.train()
    module(torch.rand(4, 3, 5, 5) + 3)
    assert module.state_dict()["0.running_mean"].abs().max() > 0.1


def test_checkpoints_fit_as_before() -> None:
    frozen, plain = build(AFFINENET), build(AFFINENET)
    assert freeze_norms(frozen, "encoder.*") > 3
    plain.load_state_dict(frozen.state_dict())
    frozen.load_state_dict(plain.state_dict())


def test_pattern_that_fits_no_norm_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'enc\.\*' matches no batch norm of Sequential"):
        freeze_norms(network(), "enc.*")


def test_statistics_of_parts_are_averaged() -> None:
    module = network()[:1].train()
    statistics = Statistics(module)
    for value in statistics.parts(2):
        module(torch.full((2, 3, 2, 2), 10.0 * value))
    torch.testing.assert_close(module[0].running_mean, torch.full((3,), 0.1 * (0 + 10) / 2))
    (only,) = statistics.parts(1)
    assert only == 0


def test_statistics_go_through_one_vector_and_back() -> None:
    module = network()
    module(torch.rand(4, 3, 5, 5))
    statistics = Statistics(module)
    flat = statistics.flat
    assert flat.shape == (12,)
    statistics.put(flat * 2)
    torch.testing.assert_close(statistics.flat, flat * 2)
    torch.testing.assert_close(module[0].running_mean, flat[:3] * 2)

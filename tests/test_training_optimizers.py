"""Muon: what becomes of a gradient, and which parameters are whose."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from network_toys import AFFINENET
from torch import Tensor, nn
from training_toys import CONFIG

from i2uv_edge.networks.registry import build
from i2uv_edge.training.optimizers import MOMENTUM, Muon, make_optimizer, orthogonal


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 0.03)])
@pytest.mark.parametrize("shape", [(8, 8), (6, 40), (40, 6)])
def test_orthogonal_keeps_directions_and_makes_all_of_them_count_alike(
    shape: tuple[int, int], dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    uneven = left @ torch.diag(torch.logspace(0, -1.5, min(shape))) @ right
    made = orthogonal(uneven, dtype)
    assert made.dtype == torch.float32
    values = torch.linalg.svdvals(made)
    assert 0.6 < values.min() <= values.max() < 1.3
    torch.testing.assert_close(
        made, left @ torch.diag(torch.diag(left.T @ made @ right.T)) @ right, atol=tolerance, rtol=0
    )


def test_orthogonal_of_nothing_is_nothing() -> None:
    assert orthogonal(torch.zeros(4, 5)).abs().max() == 0


def test_first_step_of_a_convolution_is_orthogonal_and_of_adam_s_size() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(16, 8, 3, 3))
    before = weight.detach().clone()
    weight.grad = torch.randn(16, 8, 3, 3)
    Muon([weight], 0.1).step()
    step = (weight.detach() - before) / -0.1
    wanted = orthogonal(weight.grad.reshape(16, -1)) * 0.2 * 72**0.5
    torch.testing.assert_close(step.reshape(16, -1), wanted, atol=1e-4, rtol=1e-3)
    assert 0.1 < step.square().mean().sqrt() < 0.4  # Adam's are 1 at first, 0.2 to 0.4 later


def test_momentum_carries_on() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(8, 8, 1, 1))
    optimizer = Muon([weight], 1.0)
    gradients = [torch.randn(8, 8, 1, 1) for _ in range(2)]
    momentum = torch.zeros(8, 8)
    for gradient in gradients:
        before = weight.detach().clone()
        weight.grad = gradient
        optimizer.step()
        flat = gradient.reshape(8, 8)
        momentum = MOMENTUM * momentum + (1 - MOMENTUM) * flat
        ahead = (1 - MOMENTUM) * flat + MOMENTUM * momentum
        step = (before - weight.detach()).reshape(8, 8)
        torch.testing.assert_close(step, orthogonal(ahead) * 0.2 * 8**0.5, atol=1e-5, rtol=1e-4)


def test_all_else_is_adamw_s() -> None:
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(7)) for _ in range(2))
    muon = Muon([ours], 0.01, betas=(0.8, 0.9), weight_decay=0.1)
    adam = torch.optim.AdamW([theirs], 0.01, betas=(0.8, 0.9), weight_decay=0.1)
    for _ in range(5):
        ours.grad = torch.randn(7)
        theirs.grad = ours.grad.clone()
        muon.step()
        adam.step()
    torch.testing.assert_close(ours, theirs)


def test_convolutions_between_features_are_muon_s() -> None:
    network = build(AFFINENET)
    optimizer = make_optimizer(network, replace(CONFIG, optimizer="muon"))
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = {
        group["matrix"]: {names[id(parameter)] for parameter in group["params"]}
        for group in optimizer.param_groups
    }
    assert groups[True] | groups[False] == set(names.values())
    assert "encoder.stages.1.0.0.weight" in groups[True]
    assert "bridge.encode.weight" in groups[True]
    assert "encoder.stem.0.0.weight" in groups[False]  # it sees the picture
    assert "decoder.2.head.weight" in groups[False]  # it draws the map
    assert "first.place.constant" in groups[False]
    assert "encoder.stages.1.0.1.weight" in groups[False]


def test_parameters_that_are_not_trained_are_left_out() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1))
    network[0].requires_grad_(False)
    for name in ("adam", "muon"):
        optimizer = make_optimizer(network, replace(CONFIG, optimizer=name))
        kept: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
        assert {id(p) for p in kept} == {id(p) for p in network[1].parameters()}


def test_state_goes_on() -> None:
    def network() -> nn.Conv2d:
        torch.manual_seed(0)
        return nn.Conv2d(8, 8, 3)

    def step(module: nn.Conv2d, optimizer: Muon, seed: int) -> None:
        torch.manual_seed(seed)
        for parameter in module.parameters():
            parameter.grad = torch.randn(parameter.shape)
        optimizer.step()

    whole, broken = network(), network()
    one, two = Muon(whole.parameters(), 0.1), Muon(broken.parameters(), 0.1)
    step(whole, one, 1)
    step(broken, two, 1)
    again = Muon(broken.parameters(), 0.1)
    again.load_state_dict(two.state_dict())
    step(whole, one, 2)
    step(broken, again, 2)
    torch.testing.assert_close(whole.weight, broken.weight, atol=0, rtol=0)
    torch.testing.assert_close(whole.bias, broken.bias, atol=0, rtol=0)


def test_relative_steps_are_in_parts_of_a_tensor_s_size() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 3, 1, bias=False))
    with torch.no_grad():
        network[0].weight.fill_(2.0)
        network[1].weight.zero_()
    made = make_optimizer(network, replace(CONFIG, relative_steps=True))
    assert [group["factor"] for group in made.param_groups] == [2.0, 1e-3]


def test_ranges_have_a_rate_of_their_own_and_do_not_decay() -> None:
    network = nn.Conv2d(3, 4, 1)
    network.register_parameter("stretch", nn.Parameter(torch.zeros(())))
    weights, ranges = make_optimizer(network, replace(CONFIG, range_rate=0.1)).param_groups
    assert len(weights["params"]) == 2
    assert ranges["params"] == [network.stretch]
    assert (ranges["factor"], ranges["weight_decay"]) == (0.1, 0.0)

"""AffineNet as published: size, names, arithmetic against the published form, deploy form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from network_toys import smooth_map
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import published
from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.networks.affinenet import AffineNet
from i2uv_edge.networks.checkpoint import load_checkpoint
from i2uv_edge.networks.layers import deploy, macs
from i2uv_edge.networks.registry import build
from i2uv_edge.spec import load_network

SIZE = 64


def toy(**changes: Any) -> AffineNet:
    torch.manual_seed(0)
    arguments = {"input_size": SIZE, "resnet_depth": 18, "align_corners": True, **changes}
    return AffineNet(**arguments)


def pictures(count: int = 1, seed: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    soft = torch.rand(count, 3, 8, 8, generator=generator)
    return F.interpolate(soft, (SIZE, SIZE), mode="bilinear")


def fitted(network: AffineNet, steps: int = 30) -> AffineNet:
    """The network after a few steps of all six stages towards a smooth map.

    With random weights the warps are chaotic: float32 and float64 disagree by centimetres.
    """
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9)
    network.train()
    for step in range(steps):
        maps = network.stages(pictures(4, seed=step))
        goals = (smooth_map(stage.shape[-1]).clamp(0.0, 1.0) for stage in maps)
        pairs = zip(maps, goals, strict=True)
        loss = torch.stack(
            [F.mse_loss(stage[:, :3], goal.expand_as(stage[:, :3])) for stage, goal in pairs]
        ).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="module", params=[True, False], ids=["align_corners", "half-pixel"])
def learned(request: pytest.FixtureRequest) -> AffineNet:
    return fitted(toy(align_corners=request.param))


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs"),
    [
        # Measured on the published code.
        pytest.param("affinenet-r50", 43_950_000, 17.54, id="r50"),
        pytest.param("affinenet-r18", 19_900_000, 10.04, id="r18"),
    ],
)
def test_size_is_that_of_the_published_network(name: str, parameters: int, gmacs: float) -> None:
    network = build(load_network(name))
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(parameters, rel=2e-3)
    assert macs(network, 256) / 1e9 == pytest.approx(gmacs, abs=0.01)


@pytest.mark.parametrize("depth", published.DEPTHS)
@pytest.mark.parametrize("confidence", [False, True])
def test_state_has_the_names_and_shapes_of_the_published_network(
    depth: int, confidence: bool
) -> None:
    with torch.device("meta"):
        own = toy(resnet_depth=depth, confidence=confidence).state_dict()
        theirs = published.AffineNet(depth, align_corners=True, do_score=confidence).state_dict()
    assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in theirs.items()}


def oracle(network: AffineNet, **changes: Any) -> nn.Module:
    """The published form with the same weights."""
    align = network.decoder.warp5.sampling.align_corners
    confidence = network.decoder.out1_layer.conv1.out_channels > 3
    arguments = {"align_corners": align, "do_score": confidence, **changes}
    form = published.AffineNet(18, **arguments)
    form.load_state_dict(network.state_dict())
    return form.eval()


@torch.no_grad()
def test_result_is_that_of_the_published_form(learned: AffineNet) -> None:
    picture = pictures(2)
    made = learned(picture)
    torch.testing.assert_close(made, oracle(learned)(picture)[:, :3], atol=1e-6, rtol=0)
    assert (made[0] - made[1]).abs().max() > 1e-3  # it looks at the picture


@torch.no_grad()
def test_alignment_of_the_warps_matters(learned: AffineNet) -> None:
    align = learned.decoder.warp5.sampling.align_corners
    other = oracle(learned, align_corners=not align)
    assert (learned(pictures()) - other(pictures())).abs().max() > 1e-4


@torch.no_grad()
def test_deploy_form_agrees(learned: AffineNet) -> None:
    picture = pictures()
    deployed = deploy(learned)
    assert deployed.state_dict().keys() == learned.state_dict().keys()
    assert (deployed(picture) - learned(picture)).abs().max() <= 1e-5


@torch.no_grad()
def test_six_maps_come_coarse_to_fine(learned: AffineNet) -> None:
    maps = learned.stages(pictures())
    assert [stage.shape[-1] for stage in maps] == [4, 8, 8, 16, 32, 64]
    assert torch.equal(maps[-1], learned(pictures()))
    assert all(float(stage.min()) >= 0.0 and float(stage.max()) <= 1.0 for stage in maps)


@torch.no_grad()
def test_confidence_is_a_fourth_channel_that_the_map_goes_without() -> None:
    network = toy(confidence=True).eval()
    picture = pictures()
    assert {stage.shape[1] for stage in network.stages(picture)} == {4}
    assert network(picture).shape == (1, 3, SIZE, SIZE)
    assert torch.equal(network(picture), network.stages(picture)[-1][:, :3])


def test_published_checkpoint_loads(tmp_path: Path, learned: AffineNet) -> None:
    path = tmp_path / "checkpoint.pth"
    state = {f"module.{key}": value for key, value in oracle(learned).state_dict().items()}
    torch.save({"state": state, "optimizer": {"param_groups": [{"lr": 1e-4}]}}, path)
    network = toy().eval()
    load_checkpoint(network, path)
    assert torch.equal(
        network.decoder.iconv1.conv_base.weight, learned.decoder.iconv1.conv_base.weight
    )


def test_checkpoint_of_another_depth_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r34.pth"
    with torch.device("meta"):
        state = published.AffineNet(34, align_corners=True).state_dict()
    torch.save({"state": {k: torch.zeros(v.shape) for k, v in state.items()}}, path)
    with pytest.raises(InputError, match=r"encoder1\.2"):
        load_checkpoint(toy(), path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"resnet_depth": 20}, "resnet_depth 20 must be one of 18, 34, 50, 101, 152"),
        ({"input_size": 100}, "input_size 100 is not a multiple of 32"),
    ],
)
def test_unusable_sizes_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        toy(**changes)


def test_alignment_of_the_warps_must_be_stated() -> None:
    spec = load_network("affinenet-r18")
    with pytest.raises(UsageError, match="align_corners"):
        build(replace(spec, architecture={"resnet_depth": 18}))


# --- training -------------------------------------------------------------------------------------


def test_warps_follow_the_guides(learned: AffineNet) -> None:
    guides = [torch.rand(1, 3, side, side) for side in learned.guide_sizes(SIZE)]
    with torch.no_grad():
        free, own = learned.stages(pictures()), learned.stages(pictures(), None)
        guided = learned.stages(pictures(), guides)
        moved = [
            learned.stages(pictures(), [*guides[:at], guides[at].flip(-1), *guides[at + 1 :]])
            for at in range(4)
        ]
    assert all(torch.equal(one, other) for one, other in zip(free, own, strict=True))
    assert torch.equal(guided[0], free[0])  # nothing is fetched for it
    assert all(not torch.equal(one, other) for one, other in zip(guided[1:], free[1:], strict=True))
    for at, made in enumerate(moved):
        same = [torch.equal(one, other) for one, other in zip(made, guided, strict=True)]
        assert same == [True] * (at + 1) + [False] * (5 - at)


def test_guides_equal_to_the_own_maps_change_nothing(learned: AffineNet) -> None:
    with torch.no_grad():
        maps = learned.decoder(learned.encoder(pictures()))
        larger = [
            F.interpolate(uv, scale_factor=2, mode="bilinear", align_corners=True) for uv in maps
        ]
        guided = learned.stages(pictures(), [larger[0], larger[1], maps[2], larger[3]])
        free = learned.stages(pictures())
    for one, other in zip(guided, free, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_maps_are_exact_under_autocast_while_it_learns() -> None:
    network = toy().train()
    with torch.autocast("cpu", torch.bfloat16):
        maps = network.stages(pictures(2))
    assert {stage.dtype for stage in maps} == {torch.float32}
    steps = maps[-1].detach()
    assert not torch.equal(steps, steps.bfloat16().float())

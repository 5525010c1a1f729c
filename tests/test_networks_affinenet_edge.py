"""AffineNet: shapes, the budget of the bundled spec, its affine connections, its deploy form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from network_toys import AFFINENET, fitted, tensor, with_architecture
from torch import Tensor, nn
from torch.nn import functional as F

from i2uv_edge.errors import UsageError
from i2uv_edge.networks.affinenet_edge import AffineNetEdge
from i2uv_edge.networks.layers import Warp, deploy, macs
from i2uv_edge.networks.model import load_networks
from i2uv_edge.networks.registry import build
from i2uv_edge.spec import load_model, load_network

FIVE = {"decoder_widths": [12, 8, 8, 8, 6], "lateral_widths": [4, 4, 4, 3]}


def toy(**changes: Any) -> AffineNetEdge:
    torch.manual_seed(0)
    return AffineNetEdge(**{"input_size": 64, **AFFINENET.architecture, **changes})


@pytest.fixture(scope="module")
def learned() -> nn.Module:
    return fitted(toy(), 64)


def pictures(count: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return F.interpolate(torch.rand(count, 3, 8, 8, generator=generator), (64, 64), mode="bilinear")


def test_bundled_network_keeps_to_its_budget() -> None:
    spec = load_network("affinenet-edge")
    network = build(spec)
    assert macs(network, spec.input.shape[1]) <= 1.8e9
    assert sum(parameter.numel() for parameter in network.parameters()) <= 5e6


def test_bundled_network_has_the_shapes_of_its_spec() -> None:
    spec = load_network("affinenet-edge")
    _, height, width, channels = spec.input.shape
    with torch.no_grad():
        made = build(spec)(torch.rand(1, channels, height, width))
    assert made.shape == (1, 3, *spec.output.shape[1:3])


@pytest.mark.parametrize("size", [64, 128])
def test_map_is_a_quarter_of_the_picture(size: int) -> None:
    network = toy(input_size=size).eval()
    with torch.no_grad():
        maps = network.stages(torch.rand(2, 3, size, size))
        last = network(torch.rand(2, 3, size, size))
    assert [tuple(stage.shape) for stage in maps] == [
        (2, 3, size // part, size // part) for part in (32, 16, 8, 4)
    ]
    assert last.shape == maps[-1].shape
    assert network.output_size(size) == size // 4


def test_five_stages_make_a_map_of_half_the_picture() -> None:
    network = toy(**FIVE).eval()
    with torch.no_grad():
        maps = network.stages(torch.rand(2, 3, 64, 64))
    assert [stage.shape[-1] for stage in maps] == [2, 4, 8, 16, 32]
    assert network.output_size(64) == 32
    assert network.guide_sizes(32) == (4, 8, 16, 32)
    # The features of the last stage are those of the first convolution, at half the side.
    assert network.decoder[3].lateral[0].in_channels == network.encoder.stem[0][0].out_channels


def test_spec_of_five_stages_says_how_large_its_map_is() -> None:
    five = with_architecture(AFFINENET, **FIVE)
    assert isinstance(build(replace(five, output=tensor("map", 32))), AffineNetEdge)
    with pytest.raises(UsageError, match=r"\[1, 16, 16, 3\]"):
        build(five)


@pytest.mark.parametrize(("warps", "changes"), [(0, {}), (1, {}), (2, {}), (3, {}), (2, FIVE)])
def test_stages_without_a_warp_are_the_finest(warps: int, changes: dict[str, Any]) -> None:
    network = toy(warps=warps, **changes)
    has = [isinstance(stage.warp, Warp) for stage in network.decoder]
    assert has == [number < warps for number in range(len(has))]
    assert sum(isinstance(layer, Warp) for layer in network.modules()) == warps


def test_switching_warps_off_leaves_weights_and_keys_alone(learned: nn.Module) -> None:
    state = learned.state_dict()
    for warps in range(3):
        other = toy(warps=warps).eval()
        assert list(other.state_dict()) == list(state)
        other.load_state_dict(state)
        with torch.no_grad():
            free, fewer = learned.stages(pictures()), other.stages(pictures())  # type: ignore[operator]
        same = [torch.equal(one, two) for one, two in zip(free, fewer, strict=True)]
        assert same == [number <= warps for number in range(4)]


def test_stage_without_a_warp_sees_the_picture_where_it_lies(learned: nn.Module) -> None:
    stage = toy(warps=0).eval().decoder[2]
    stage.load_state_dict(learned.decoder[2].state_dict())  # type: ignore[union-attr, index]
    generator = torch.Generator().manual_seed(1)
    x, uv, image = (
        torch.rand(1, c, s, s, generator=generator) for c, s in ((8, 8), (3, 8), (6, 16))
    )
    elsewhere = image.clone()
    elsewhere[..., 12:, 12:] = 0.0
    with torch.no_grad():
        changed = (stage(x, uv, image)[0] != stage(x, uv, elsewhere)[0]).any(1)[0]
    assert changed[12:, 12:].any()
    assert not changed[:10, :10].any()  # two 3x3 convolutions reach two texels


def test_without_warps_guides_change_nothing(learned: nn.Module) -> None:
    network = toy(warps=0).eval()
    network.load_state_dict(learned.state_dict())
    guides = [torch.rand(1, 3, side, side) for side in (4, 8, 16)]
    with torch.no_grad():
        assert torch.equal(network.stages(pictures(), guides)[-1], network(pictures()))


@pytest.mark.bundled
def test_bundled_maps_are_those_of_the_network_before_it_had_switches() -> None:
    for model in ("edge", "tiny"):
        network = load_networks(load_model(model))["affinenet"].module
        assert isinstance(network, AffineNetEdge)
        size = network.input_size
        picture = F.interpolate(pictures(), (size, size), mode="bilinear")
        with torch.no_grad():
            assert torch.equal(network(picture), as_before(network, picture))


def as_before(network: AffineNetEdge, picture: Tensor) -> Tensor:
    """The first release's forward pass, written out over the modules."""
    x = network.encoder.stem(picture * 4.0 - 2.0)
    features = []
    for stage in network.encoder.stages:
        x = stage(x)
        features.append(x)
    x, uv = network.first(network.bridge(x))
    for stage, image in zip(network.decoder, features[2::-1], strict=True):
        coarse = stage.map.up(uv)
        fetched = stage.warp(stage.lateral(image), coarse)
        x = stage.place(stage.up(stage.narrow(x)))
        x = stage.refine(stage.mix(torch.cat((x, fetched), 1)))
        uv = coarse + stage.head(x)
    return uv


def test_fresh_network_starts_near_the_centre_of_the_crop() -> None:
    with torch.no_grad():
        made = toy().eval()(pictures())
    assert (made - 0.5).abs().max() < 0.2


def test_deploy_form_agrees_with_the_training_form(learned: nn.Module) -> None:
    deployed = deploy(learned)
    with torch.no_grad():
        for picture in pictures(4)[:, None]:
            expected = learned(picture)
            torch.testing.assert_close(deployed(picture), expected, atol=1e-4, rtol=0)
            assert expected.std() > 0.1  # it has learned something to agree on


def test_deploy_form_has_the_same_state(learned: nn.Module) -> None:
    own, other = learned.state_dict(), deploy(learned).state_dict()
    assert list(own) == list(other)
    assert all(torch.equal(own[key], other[key]) for key in own)


def test_map_depends_on_the_picture(learned: nn.Module) -> None:
    with torch.no_grad():
        one, other = learned(pictures(2))
    assert (one - other).abs().max() > 1e-3


def test_pictures_of_a_batch_do_not_see_each_other(learned: nn.Module) -> None:
    with torch.no_grad():
        both = learned(pictures(2))
        alone = learned(pictures(2)[1:])
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=0)


def test_warps_follow_the_guides(learned: nn.Module) -> None:
    assert isinstance(learned, AffineNetEdge)
    guides = [torch.rand(1, 3, side, side) for side in (4, 8, 16)]
    with torch.no_grad():
        free, own = learned.stages(pictures()), learned.stages(pictures(), None)
        guided = learned.stages(pictures(), guides)
    assert torch.equal(free[-1], own[-1])
    assert torch.equal(free[0], guided[0])  # the coarsest stage fetches nothing
    assert (free[-1] - guided[-1]).abs().max() > 1e-3


def test_guides_equal_to_the_upsampled_maps_change_nothing(learned: nn.Module) -> None:
    assert isinstance(learned, AffineNetEdge)
    with torch.no_grad():
        free = learned.stages(pictures())
        up = [F.interpolate(m, scale_factor=2, mode="bilinear", align_corners=True) for m in free]
        guided = learned.stages(pictures(), up[:3])
    torch.testing.assert_close(guided[-1], free[-1], atol=1e-6, rtol=0)


def test_no_gradient_passes_through_the_coordinates_of_a_warp() -> None:
    network = toy().train()
    seen: list[bool] = []
    for stage in network.decoder:
        stage.warp.register_forward_hook(
            lambda layer, inputs, output: seen.append(inputs[1].requires_grad)
        )
    network.stages(pictures(2))[-1].sum().backward()
    assert seen == [False, False, False]
    assert network.first.head.bias.grad.abs().min() > 0  # through the sum of the maps it does


def test_maps_stay_float32_under_autocast() -> None:
    network = toy().train()
    with torch.autocast("cpu", torch.bfloat16):
        maps = network.stages(pictures(2))
    assert {stage.dtype for stage in maps} == {torch.float32}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"input_size": 100}, "input_size 100 is not a multiple of 64"),
        ({"input_size": 0}, "input_size 0"),
        ({"encoder_widths": [8, 8, 8, 8]}, "encoder_widths .* must hold 5"),
        ({"encoder_depths": [1, 1, 0, 1, 1]}, "encoder_depths .* of at least 1"),
        ({"decoder_widths": [8, 8, 8]}, "decoder_widths .* must hold 4 or 5"),
        ({"decoder_widths": [8] * 6}, "decoder_widths .* must hold 4 or 5"),
        ({"decoder_widths": [8, 8, 0, 8]}, "decoder_widths .* of at least 1"),
        ({"lateral_widths": [8, 8, 8, 8]}, "lateral_widths .* must hold 3"),
        ({**FIVE, "lateral_widths": [8, 8, 8]}, "lateral_widths .* must hold 4"),
        ({"warps": -1}, r"warps -1 must lie in 0\.\.3"),
        ({"warps": 4}, r"warps 4 must lie in 0\.\.3"),
        ({**FIVE, "warps": 5}, r"warps 5 must lie in 0\.\.4"),
        ({"stem": 0}, "stem, reduced, code .* of at least 1"),
    ],
)
def test_unusable_sizes_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        toy(**changes)

"""The shared layers, in training and in deploy form, against plain references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from network_toys import bilinear
from torch import Tensor, nn
from torch.nn import functional as F

from i2uv_edge.networks.layers import (
    ConvBnRelu,
    DepthToSpace,
    FirstChannels,
    Sampling,
    Upsample,
    Warp,
    WarpCoordinates,
    deploy,
    macs,
)

SIZE = 12  # of the features


def feature() -> Tensor:
    return torch.randn(1, 5, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def maps(low: float, high: float) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return low + (high - low) * torch.rand(1, 3, 9, 9, generator=generator)


def at(x: float, y: float) -> Tensor:
    return torch.tensor([x, y, 0.0]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)


# --- warp -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "tolerance"),
    [
        pytest.param(0.5 / SIZE, 1 - 0.6 / SIZE, 1e-5, id="inside"),
        pytest.param(-0.5, 1.5, 2e-5, id="beyond the border"),
        pytest.param(-50.0, 50.0, 2e-5, id="far beyond"),
    ],
)
@pytest.mark.parametrize("form", ["training", "deploy"])
def test_warp_is_a_bilinear_sample_with_the_border_repeated(
    form: str, low: float, high: float, tolerance: float
) -> None:
    warp = Warp(SIZE) if form == "training" else deploy(Warp(SIZE))
    made = warp(feature(), maps(low, high))[0].numpy()
    expected = bilinear(feature()[0].numpy(), maps(low, high)[0, :2].numpy())
    np.testing.assert_allclose(made, expected, atol=1e-4 if form == "training" else tolerance)


@pytest.mark.parametrize("form", ["training", "deploy"])
def test_warp_is_grid_sample(form: str) -> None:
    warp = Warp(SIZE) if form == "training" else deploy(Warp(SIZE))
    where = maps(0.05, 0.94)
    grid = where[:, :2].permute(0, 2, 3, 1) * 2 - 1
    expected = F.grid_sample(feature(), grid, padding_mode="border", align_corners=False)
    torch.testing.assert_close(warp(feature(), where), expected, atol=1e-5, rtol=0)
    other = F.grid_sample(feature(), grid, padding_mode="border", align_corners=True)
    assert (expected - other).abs().max() > 0.1


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("low", "high"), [pytest.param(0.0, 1.0, id="inside"), pytest.param(-0.5, 1.5, id="beyond")]
)
@pytest.mark.parametrize("form", ["training", "deploy"])
def test_warp_with_zeros_is_the_published_one(
    form: str, low: float, high: float, align_corners: bool
) -> None:
    warp = Warp(SIZE, padding="zeros", align_corners=align_corners)
    warp = warp if form == "training" else deploy(warp)
    where = maps(low, high)
    where[0, :2, 0, :3] = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])  # the very corners
    grid = 2 * where[:, :2].clamp(0, 1).permute(0, 2, 3, 1) - 1
    expected = F.grid_sample(feature(), grid, padding_mode="zeros", align_corners=align_corners)
    torch.testing.assert_close(warp(feature(), where), expected, atol=2e-5, rtol=0)
    bordered = F.grid_sample(feature(), grid, padding_mode="border", align_corners=align_corners)
    differs = (expected - bordered).abs().max() > 0.1
    assert bool(differs) is not align_corners  # with corners nothing in 0..1 lies beyond


@pytest.mark.parametrize("form", ["training", "deploy"])
def test_warp_s_coordinate_0_is_the_left_edge_of_the_first_pixel(form: str) -> None:
    warp = Warp(SIZE) if form == "training" else deploy(Warp(SIZE))
    for column in (0, 4, 10):
        centre = warp(feature(), at((column + 0.5) / SIZE, 2.5 / SIZE))[0, :, 0, 0]
        torch.testing.assert_close(centre, feature()[0, :, 2, column], atol=1e-4, rtol=0)


@pytest.mark.parametrize("form", ["training", "deploy"])
def test_warp_takes_x_from_the_first_channel_and_ignores_the_third(form: str) -> None:
    warp = Warp(SIZE) if form == "training" else deploy(Warp(SIZE))
    where = maps(0.1, 0.9)
    deeper = where + torch.tensor([0.0, 0.0, 0.7]).reshape(1, 3, 1, 1)
    torch.testing.assert_close(warp(feature(), where), warp(feature(), deeper))
    assert (warp(feature(), where) - warp(feature(), where.flip(1))).abs().max() > 0.1


def test_deployed_warp_never_reads_beyond_the_feature() -> None:
    indices, weights = WarpCoordinates(SIZE, Sampling())(maps(-3.0, 4.0))
    rows = torch.stack(indices)
    assert rows.dtype == torch.int32
    assert rows.min() >= 0
    assert rows.max() < SIZE * SIZE
    torch.testing.assert_close(sum(weights), torch.ones(81, 1))


# --- depth to space, upsampling -------------------------------------------------------------------


@pytest.mark.parametrize(("block", "channels"), [(2, 3), (4, 3), (3, 1)])
def test_depth_to_space_is_tensorflow_s(block: int, channels: int) -> None:
    layer = DepthToSpace(block, channels)
    x = torch.randn(2, channels * block * block, 3, 5)
    made = layer(x).numpy()
    expected = np.zeros((2, channels, 3 * block, 5 * block), np.float32)
    for row, column in np.ndindex(3 * block, 5 * block):
        start = (row % block * block + column % block) * channels
        source = x[:, start : start + channels, row // block, column // block]
        expected[:, :, row, column] = source.numpy()
    np.testing.assert_array_equal(made, expected)
    assert not np.array_equal(made, F.pixel_shuffle(x, block).numpy()) or channels == 1


def test_first_channels_are_the_first() -> None:
    x = torch.randn(2, 5, 3, 4)
    assert torch.equal(FirstChannels(3)(x), x[:, :3])


def test_upsampled_map_keeps_its_place_in_the_uv_square() -> None:
    ramp = torch.linspace(0, 1, 5).expand(1, 1, 5, 5)
    made = Upsample(3)(ramp)
    torch.testing.assert_close(made, torch.linspace(0, 1, 15).expand(1, 1, 15, 15))


def test_upsampled_image_feature_keeps_its_pixels_half_offsets() -> None:
    centres = ((torch.arange(6) + 0.5) / 6).expand(1, 1, 6, 6)
    made = Upsample(2, corners=False)(centres)
    expected = ((torch.arange(12) + 0.5) / 12).expand(1, 1, 12, 12)
    torch.testing.assert_close(made[..., 1:-1], expected[..., 1:-1])


def test_training_under_autocast_keeps_the_precision_of_what_is_upsampled() -> None:
    layer = Upsample().train()
    with torch.autocast("cpu", torch.bfloat16):
        made = layer(torch.rand(1, 2, 4, 4, dtype=torch.bfloat16))
    assert made.dtype == torch.bfloat16


# --- convolutions, deploy, counting ---------------------------------------------------------------


def test_convolution_block_pads_normalises_and_rectifies() -> None:
    block = ConvBnRelu(3, 4, stride=2).eval()
    assert block(torch.randn(1, 3, 10, 10)).shape == (1, 4, 5, 5)
    assert block(torch.randn(1, 3, 10, 10)).min() == 0.0
    assert [type(layer) for layer in block] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert block[0].bias is None
    linear = ConvBnRelu(3, 4, kernel=1, relu=False).eval()
    assert linear(torch.randn(1, 3, 10, 10)).min() < 0.0


def test_deploy_is_a_copy_in_evaluation_mode_with_the_same_weights() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = ConvBnRelu(3, 3)
            self.warp = Warp(8)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.warp(self.conv(x), x)
            return result

    network = Both().train()
    deployed = deploy(network)
    assert network.training
    assert network.warp.sample is None
    assert not deployed.training
    assert deployed.warp.sample is not None
    own, other = network.state_dict(), deployed.state_dict()
    assert own.keys() == other.keys()
    assert all(torch.equal(own[key], other[key]) for key in own)
    with torch.no_grad():
        deployed.conv[0].weight.zero_()
    assert network.conv[0].weight.abs().max() > 0


def test_macs_are_output_texels_times_taps() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 4, 1)).train()
    assert macs(network, 16) == 8 * 8 * (8 * 27 + 4 * 8)
    assert network.training


def test_macs_of_grouped_convolutions_count_their_own_inputs() -> None:
    network = nn.Conv2d(3, 6, 3, padding=1, groups=3)
    assert macs(network, 4) == 16 * 6 * 9


def test_warp_looks_exactly_where_the_map_says_under_autocast() -> None:
    torch.manual_seed(0)
    feature, uv = torch.rand(1, 4, 64, 64).bfloat16(), torch.rand(1, 3, 16, 16)
    warp = Warp(64).train()
    exact = warp(feature.float(), uv)
    with torch.autocast("cpu", torch.bfloat16):
        made = warp(feature, uv).float()
    torch.testing.assert_close(made, exact, atol=1e-2, rtol=0)
    rounded = warp(feature.float(), ((uv * 2 - 1).bfloat16().float() + 1) / 2)
    assert (rounded - exact).abs().max() > 0.05  # a quarter of a pixel away


def test_warp_of_a_network_in_half_precision_runs() -> None:
    made = Warp(8)(torch.rand(1, 2, 8, 8).bfloat16(), torch.rand(1, 3, 4, 4))
    assert made.dtype == torch.bfloat16

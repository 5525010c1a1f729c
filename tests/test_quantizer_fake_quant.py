"""The layers that compute in float what integers will."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from i2uv_edge.networks.layers import Upsample
from i2uv_edge.quantizer.fake_quant import (
    ActivationQuantizer,
    QuantAdd,
    QuantConv2d,
    QuantUpsample,
    affine_parameters,
)


def quantizer(scale: float = 0.1, zero: int = 3, **options: object) -> ActivationQuantizer:
    made = ActivationQuantizer(**options).eval()  # type: ignore[arg-type]
    made.set_encoding(scale, zero)
    return made


def quantized_conv(*, per_channel: bool = True) -> QuantConv2d:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3, padding=1)
    made = QuantConv2d(conv, quantizer(0.02, -5), quantizer(0.05, 0), per_channel=per_channel)
    peak = made.weight.detach().abs().amax((1, 2, 3))
    made.set_scale((peak if per_channel else peak.max().expand(6)) / 127)
    return made.eval()


@pytest.mark.parametrize("zero", [-128, -7, 0, 127])
def test_activations_round_as_torch_rounds_them(zero: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(1000) * 20
    expected = torch.fake_quantize_per_tensor_affine(x, 0.1, zero, -128, 127)
    torch.testing.assert_close(quantizer(0.1, zero)(x), expected, atol=0, rtol=0)


def test_sixteen_bits_have_their_own_limits() -> None:
    x = torch.tensor([-1e6, 0.0, 1e6])
    made = quantizer(0.5, 0, bits=16, symmetric=True)(x)
    assert made.tolist() == [-16384.0, 0.0, 16383.5]


def test_weights_round_per_channel_as_torch_rounds_them() -> None:
    conv = quantized_conv()
    expected = torch.fake_quantize_per_channel_affine(
        conv.weight, conv.scale, torch.zeros(6, dtype=torch.int32), 0, -127, 127
    )
    made = torch.from_numpy(conv.integer_weight().astype(np.float32))
    made = made * conv.scale[:, None, None, None]
    torch.testing.assert_close(made, expected, atol=0, rtol=0)
    assert conv.integer_weight().min() >= -127


def test_a_convolution_is_integer_arithmetic() -> None:
    conv = quantized_conv()
    step, zero = conv.source.encoding
    integers = torch.randint(-128, 128, (1, 4, 9, 9))
    x = (integers - zero).float() * np.float32(step)
    weight = torch.from_numpy(conv.integer_weight().astype(np.float64))
    bias = torch.from_numpy(conv.integer_bias().astype(np.float64))
    sums = nn.functional.conv2d((integers - zero).double(), weight, bias, padding=1)
    expected = sums * torch.from_numpy(conv.bias_step())[:, None, None]
    torch.testing.assert_close(conv(x).double(), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(conv(x.double()), expected, atol=1e-6, rtol=1e-6)


def test_a_value_halfway_in_float32_is_a_tie_in_float64_too() -> None:
    made = quantizer(float(np.float32(0.3)), 0)
    step = made.encoding[0]
    ties = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, 63.5]).double() * step
    assert (made(ties) / step).round().tolist() == [0.0, 2.0, 2.0, 0.0, -2.0, 64.0]


def test_integers_are_resized_with_halves_rounded_up() -> None:
    step = 0.25
    layer = QuantUpsample(Upsample(corners=False), quantizer(step, 0)).eval()
    x = torch.tensor([0.0, 2.0, -3.0]).double()[None, None, None] * step
    # Weights 1/4 and 3/4; at the ends the border is repeated. Rows are all alike.
    exact = [0.0, 0.5, 1.5, 0.75, -1.75, -3.0]
    assert (layer(x)[0, 0, 0] / step).tolist() == [math.floor(value + 0.5) for value in exact]
    plain = layer(x.float())[0, 0, 0] / step
    assert plain.tolist() == pytest.approx(exact)


def test_integers_are_added_as_their_real_values_are() -> None:
    quantizers = quantizer(0.11, 3), quantizer(0.007, -9), quantizer(0.13, 1)
    layer = QuantAdd(*quantizers).eval()
    torch.manual_seed(0)
    x, y = (
        (torch.randint(-128, 128, (1, 2, 8, 8)) - item.encoding[1]).double() * item.encoding[0]
        for item in quantizers[:2]
    )
    made = layer(x, y)
    steps = made / quantizers[2].encoding[0]
    torch.testing.assert_close(steps, steps.round(), atol=1e-9, rtol=0)
    assert float((made - (x + y)).abs().max()) <= 0.5001 * quantizers[2].encoding[0]
    torch.testing.assert_close(layer(x.float(), y.float()), (x + y).float())


def test_in_real_arithmetic_quantizers_alone_round() -> None:
    step = 0.25
    resize = QuantUpsample(Upsample(corners=False), quantizer(step, 0)).eval()
    resize.arithmetic = "real"
    x = torch.tensor([0.0, 2.0, -3.0]).double()[None, None, None] * step
    assert (resize(x)[0, 0, 0] / step).tolist() == [0.0, 0.5, 1.5, 0.75, -1.75, -3.0]
    add = QuantAdd(quantizer(0.11, 3), quantizer(0.007, -9), quantizer(0.13, 1)).eval()
    add.arithmetic = "real"
    assert float(add(x, x)[0, 0, 0, 1]) == 1.0
    conv = quantized_conv()
    conv.arithmetic = "real"
    source = conv.source.encoding[0]
    weight = conv.integer_weight() * conv.scale.numpy().astype(np.float64)[:, None, None, None]
    # As files hold it: integers in steps that are float32.
    bias = conv.integer_bias() * conv.bias_step().astype(np.float32).astype(np.float64)
    y = torch.randint(-100, 100, (1, 4, 9, 9)).double() * source
    wanted = nn.functional.conv2d(y, torch.from_numpy(weight), torch.from_numpy(bias), padding=1)
    torch.testing.assert_close(conv(y), wanted, atol=1e-14, rtol=1e-14)
    conv.arithmetic = "xnnpack"
    assert float((conv(y) - wanted).abs().max()) > 1e-10


def test_per_tensor_weights_share_one_scale() -> None:
    conv = quantized_conv(per_channel=False)
    assert len(set(conv.scale.tolist())) == 1
    assert np.abs(conv.integer_weight()).max() == 127


def test_scales_are_exactly_float32_and_zero_is_exact() -> None:
    for low, high in [(-1.0, 2.0), (0.0, 1 / 3), (0.1, 0.2), (-0.3, -0.1), (0.0, 0.0)]:
        scale, zero = affine_parameters(low, high, bits=8, symmetric=False)
        assert scale == float(np.float32(scale)) > 0
        assert -128 <= zero <= 127
        assert float(quantizer(scale, zero)(torch.tensor(0.0))) == 0.0
    assert affine_parameters(-2.0, 1.0, bits=8, symmetric=True) == (float(np.float32(2 / 127)), 0)


def test_training_passes_gradients_straight_through_inside_the_range_only() -> None:
    made = quantizer(0.1, 0).train()
    x = torch.tensor([0.52, 40.0], requires_grad=True)
    made(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 0.0]


def test_a_trained_scale_reaches_evaluation() -> None:
    made = quantizer(0.1, 0).train()
    made.stretch.requires_grad_(True)
    made(torch.tensor([0.52, 40.0])).sum().backward()
    assert made.stretch.grad is not None
    assert float(made.stretch.grad) == pytest.approx(0.1 * (127 + (5 - 5.2)), abs=1e-4)
    with torch.no_grad():
        made.stretch.fill_(math.log(2.5))
    assert float(made.eval()(torch.tensor(0.6))) == 0.5
    assert made.encoding == (0.25, 0)
    assert float(made.eval().scale) == 0.25  # taken once


def test_training_and_evaluation_compute_the_same() -> None:
    conv = quantized_conv()
    x = conv.source(torch.randn(1, 4, 9, 9))
    trained = copy.deepcopy(conv).train()
    with torch.no_grad():
        difference = (trained(x) - conv(x)).abs().max()
    # Evaluation rounds the bias to its int32 steps as well.
    assert float(difference) <= float(conv.bias_step().max())


def test_trained_weights_reach_evaluation() -> None:
    conv = quantized_conv().train()
    with torch.no_grad():
        conv.bias.add_(1.0)
    before = conv.rounded_bias.clone()
    conv.eval()
    torch.testing.assert_close(conv.rounded_bias, before + 1.0, atol=1e-4, rtol=0)


def test_a_copy_of_a_network_keeps_its_convolutions_with_its_quantizers() -> None:
    conv = quantized_conv()
    network = copy.deepcopy(nn.ModuleList([conv.source, conv]))
    assert isinstance(network[1], QuantConv2d)
    assert network[1].source is network[0]
    assert network[1].source is not conv.source

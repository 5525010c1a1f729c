"""Weights rounded together."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from quantizer_toys import apply, guided, pictures, recipe, tiny_affinenet, tiny_srnet, toy
from torch import Tensor, nn

from i2uv_edge.quantizer import rounding
from i2uv_edge.quantizer.encodings import Encodings
from i2uv_edge.quantizer.network import QuantizedNetwork, QuantOptions, load_quantized, quantize
from i2uv_edge.quantizer.rounding import round_together
from i2uv_edge.spec import RecipeSpec

FLOATS = ("head*", "*warp*")


def together(made: RecipeSpec) -> RecipeSpec:
    return replace(made, weights=replace(made.weights, rounding="second-order"))


def quantized(
    network: nn.Module, made: RecipeSpec, size: int = 32, *, correct_bias: bool | None = None
) -> QuantizedNetwork:
    options = QuantOptions(correct_bias=correct_bias)
    batch = pictures(48, size)
    return quantize(network, made, [batch], network_role="affinenet", options=options)


def inputs(kinds: int, places: int, seed: int = 0) -> Tensor:
    """(K, places) values that move together, as those of neighbouring texels do."""
    generator = torch.Generator().manual_seed(seed)
    own = torch.randn(kinds, places, generator=generator, dtype=torch.float64)
    shared = torch.randn(1, places, generator=generator, dtype=torch.float64)
    return own + 3.0 * shared


def test_a_layers_output_is_nearer_than_with_the_nearest_integers() -> None:
    x = inputs(24, 4000)
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(5, 24, generator=generator, dtype=torch.float64)
    scale = torch.full((5,), 0.2, dtype=torch.float64)
    rounded = round_together(weight, x @ x.T, scale)
    nearest = (weight / scale[:, None]).round()
    held_out = inputs(24, 4000, seed=7)
    errors = [
        ((integers * scale[:, None] - weight) @ held_out).square().mean()
        for integers in (rounded, nearest)
    ]
    assert errors[0] < 0.2 * errors[1]
    # Not much further from the weights: within a step or two.
    assert (rounded - weight / scale[:, None]).abs().max() < 3.0


def test_inputs_that_know_nothing_of_one_another_get_the_nearest_integers() -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(4, 12, generator=generator, dtype=torch.float64)
    moments = torch.diag(torch.rand(12, generator=generator, dtype=torch.float64) + 0.1)
    scale = torch.full((4,), 0.05, dtype=torch.float64)
    assert torch.equal(round_together(weight, moments, scale), (weight / 0.05).round())


def test_integers_stay_in_range_and_inputs_that_are_always_zero_do_no_harm() -> None:
    weight = torch.tensor([[1.27, -1.27, 0.5], [3.0, -3.0, 0.1]], dtype=torch.float64)
    moments = torch.zeros(3, 3, dtype=torch.float64)
    rounded = round_together(weight, moments, torch.full((2,), 0.01, dtype=torch.float64))
    assert rounded.tolist() == [[127.0, -127.0, 50.0], [127.0, -127.0, 10.0]]


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
def test_a_network_is_nearer_to_float(granularity: str) -> None:
    network, batch = tiny_affinenet(), pictures(8, 64, seed=5)
    expected = apply(network, batch)
    nearest = recipe(*FLOATS, granularity=granularity)
    errors = []
    for made in (together(nearest), nearest):
        result = quantized(network, made, 64, correct_bias=False)
        errors.append(float(np.abs(apply(result.module, batch) - expected).mean()))
    assert errors[0] < 0.9 * errors[1]


@pytest.mark.parametrize(
    ("network", "size", "floats"),
    [(toy(), 32, ("head",)), (guided(), 16, FLOATS), (tiny_srnet(), 16, ())],
    ids=["toy", "guided", "srnet"],
)
def test_encodings_and_weights_give_the_same_network_again_bit_for_bit(
    network: nn.Module, size: int, floats: tuple[str, ...]
) -> None:
    made = together(recipe(*floats, ranges="mse"))
    first = quantized(network, made, size)
    assert first.tensors is not None
    encodings = Encodings.from_dict(json.loads(json.dumps(first.encodings.to_dict())))
    second = load_quantized(network, made, encodings, first.tensors)
    batch = pictures(2, size, seed=3)
    assert (apply(first.module, batch) == apply(second.module, batch)).all()
    assert encodings.options["rounding"] == "second-order"


def test_layers_of_many_columns_are_rounded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    network, batch = tiny_affinenet(), pictures(8, 64, seed=5)
    expected = apply(network, batch)
    nearest = recipe(*FLOATS, granularity="per-tensor")
    seen: list[int] = []

    def watched(weight: Tensor, moments: Tensor, scale: Tensor) -> Tensor:
        seen.append(len(moments))
        return round_together(weight, moments, scale)

    monkeypatch.setattr(rounding, "round_together", watched)
    monkeypatch.setattr(rounding, "_MOST_COLUMNS", 40)
    monkeypatch.setattr(rounding, "_PART", 20)
    errors = []
    for made in (together(nearest), nearest):
        result = quantized(network, made, 64, correct_bias=False)
        errors.append(float(np.abs(apply(result.module, batch) - expected).mean()))
    assert max(seen) <= 40
    assert errors[0] < errors[1]


def test_biases_are_corrected_beside_the_nearest_integers_alone() -> None:
    nearest = recipe("head")
    for made, corrected in ((nearest, True), (together(nearest), False)):
        encodings = quantized(toy(), made).encodings
        assert encodings.options["correct_bias"] is corrected
        assert bool(encodings.bias_correction) is corrected


def test_corrections_of_the_bias_go_into_the_weights_that_are_kept() -> None:
    made = together(recipe("head"))
    plain = quantized(toy(), made)
    result = quantized(toy(), made, correct_bias=True)
    assert plain.tensors is not None
    assert result.tensors is not None
    for layer, values in result.encodings.bias_correction.items():
        moved = result.tensors[f"{layer}.bias"] - plain.tensors[f"{layer}.bias"]
        torch.testing.assert_close(moved, torch.tensor(values), atol=1e-6, rtol=1e-4)
    assert plain.encodings.bias_correction == {}

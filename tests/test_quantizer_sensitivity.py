from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from quantizer_toys import apply, guided, pictures, recipe, relief, tiny_affinenet, toy
from torch import nn

from i2uv_edge.errors import InputError
from i2uv_edge.quantizer.network import Exact, QuantOptions, prepared, quantize
from i2uv_edge.quantizer.sensitivity import Sensitivity, idle_overrides
from i2uv_edge.spec import RecipeSpec

HELD_OUT = pictures(3, 32, seed=5)


def apart(reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> float:
    return float(np.abs(candidate - reference).mean())


def sensitivity(
    module: nn.Module,
    given: RecipeSpec | None = None,
    *,
    role: str = "affinenet",
    size: int = 32,
    **options: Any,
) -> Sensitivity:
    """Quantize a toy on some pictures, to be measured on others."""
    quantized = quantize(
        module, given or recipe(), [pictures(6, size)], network_role=role, **options
    )
    inputs = HELD_OUT if size == 32 else pictures(2, size, seed=5)
    mask = options.get("output_mask")
    return Sensitivity(module, quantized, inputs, apart, {"heads": "*head*"}, mask)


def as_tensor(batch: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(batch.transpose(0, 3, 1, 2).copy())


@pytest.mark.parametrize("rounding", ["nearest", "second-order"])
def test_with_nothing_in_float_it_is_the_fake_quant_network(rounding: Any) -> None:
    given = recipe()
    found = sensitivity(toy(), replace(given, weights=replace(given.weights, rounding=rounding)))
    batch = as_tensor(HELD_OUT)
    made = Exact(found.graph(frozenset()))(batch)
    assert torch.equal(made, found.quantized.module(batch))
    assert found.deviation(frozenset()) > 0.0


def test_with_everything_in_float_it_is_the_float_network() -> None:
    # As an SRNet, whose input is no picture and not rounded.
    module = toy()
    found = sensitivity(module, role="srnet")
    graph = prepared(module, found.quantized.encodings.input_shape, recipe(), "srnet")
    graph_outputs = Exact(graph)(as_tensor(HELD_OUT))
    module_outputs = Exact(found.graph(found.names))(as_tensor(HELD_OUT))
    # Channel scales are powers of nothing: they round weights by a last bit.
    torch.testing.assert_close(module_outputs, graph_outputs, rtol=1e-5, atol=1e-6)
    assert found.deviation(found.names) < 1e-6 < found.deviation(frozenset())
    unscaled = replace(found.quantized.encodings, equalization={})
    exact = Sensitivity(module, replace(found.quantized, encodings=unscaled), HELD_OUT, apart)
    made = Exact(exact.graph(exact.names))(as_tensor(HELD_OUT))
    assert torch.equal(made, graph_outputs)


def widen_head(module: Any) -> None:
    """One coordinate far from the others, so that all have the steps of a wide range."""
    module.head.bias[0] += 50.0


def widen_conv1(module: Any) -> None:
    """Loud weights on a channel that is always zero, so that the others share their wide steps."""
    norm = module.stem[1]
    norm.weight[0], norm.bias[0] = 0.0, -1.0
    module.block.conv1[0].weight[:, 0] *= 300.0


@pytest.mark.parametrize(("block", "widen"), [("head", widen_head), ("block.conv1", widen_conv1)])
def test_a_block_made_sensitive_comes_first(block: str, widen: Any) -> None:
    module = toy()
    with torch.no_grad():
        widen(module)
    unscaled = QuantOptions(equalize=None)
    found = sensitivity(module, recipe(granularity="per-tensor"), options=unscaled)
    first, second, *_ = found.losses()
    assert first.block.name == block
    assert first.alone > 2 * second.alone
    assert first.saved == max(loss.saved for loss in found.losses())


def test_one_block_alone_and_all_but_it_share_out_what_all_lose() -> None:
    found = sensitivity(toy())
    losses = found.losses()
    assert {loss.block.name for loss in losses} == found.names
    together = math.hypot(*(loss.alone for loss in losses))
    assert together == pytest.approx(found.deviation(frozenset()), rel=0.6)


@pytest.fixture(scope="module")
def affinenet() -> Sensitivity:
    return sensitivity(tiny_affinenet(), size=64)


@pytest.fixture(scope="module")
def residual() -> Sensitivity:
    return sensitivity(toy())


@pytest.mark.parametrize(
    ("fixture", "floats"),
    [
        pytest.param("residual", ("mix",), id="a concatenation in float"),
        pytest.param("residual", ("stem", "block.conv2"), id="a residual add in float"),
        pytest.param("affinenet", ("first.head", "decoder.1.narrow"), id="in two places"),
    ],
)
def test_what_is_measured_is_near_what_quantizing_anew_gives(
    fixture: str, floats: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    found: Sensitivity = request.getfixturevalue(fixture)
    given = replace(recipe(), overrides=found.overrides(floats))
    size = found.inputs.shape[1]
    anew = quantize(found.module, given, [pictures(6, size)], network_role="affinenet")
    real = apart(apply(found.module, found.inputs), apply(anew.module, found.inputs))
    assert found.deviation(frozenset(floats)) == pytest.approx(real, rel=0.35)
    share = found.float_macs(frozenset(floats)) / found.macs
    assert share == pytest.approx(anew.float_macs_share)


def test_every_block_of_a_network_can_be_left_in_float_and_out_of_it(
    affinenet: Sensitivity,
) -> None:
    for block in affinenet.blocks:
        own = frozenset({block.name})
        assert affinenet.float_macs(own) == block.macs
        assert affinenet.float_macs(affinenet.names - own) == affinenet.macs - block.macs
        affinenet.graph(own)


def test_a_deviation_that_is_no_number_is_refused() -> None:
    found = sensitivity(toy())
    found.score = lambda reference, candidate: math.nan
    with pytest.raises(InputError, match="nan off float"):
        found.deviation(frozenset({"head"}))


def test_each_quantized_tensor_is_measured_once() -> None:
    found = sensitivity(toy())
    encodings = found.quantized.encodings
    losses = {loss.name: loss for loss in found.tensor_losses()}
    assert set(losses) == {*encodings.activations, *encodings.weights}
    assert {losses[name].kind for name in encodings.weights} == {"weight"}
    assert all(loss.sqnr_db > 15.0 for loss in losses.values())


def test_clipped_values_are_saturated() -> None:
    wide = sensitivity(toy())
    narrow = sensitivity(toy(), recipe(ranges="percentile", percentile=90.0))
    assert sum(loss.saturated for loss in wide.tensor_losses()) < 0.05
    found = {loss.name: loss for loss in narrow.tensor_losses()}
    assert 0.02 < found["head"].saturated < 0.2
    assert found["head"].sqnr_db < {x.name: x for x in wide.tensor_losses()}["head"].sqnr_db
    assert found["head.weight"].saturated == 0.0


def test_texels_that_nobody_reads_count_for_no_tensor() -> None:
    module = relief()
    mask = np.zeros((64, 64), bool)
    mask[30:33, 30:33] = True
    read = sensitivity(module, role="srnet", output_mask=mask)
    read, every = (  # on the pictures that ranges are from, so that nothing read is beyond them
        Sensitivity(module, read.quantized, pictures(6, 32), apart, {}, given)
        for given in (mask, None)
    )
    saturated = [{x.name: x.saturated for x in s.tensor_losses()}["last"] for s in (read, every)]
    assert saturated[0] == 0.0 < saturated[1]


def test_overrides_of_what_is_float_anyway_are_told_from_those_that_keep_it_so() -> None:
    given = recipe("warp", "head1")
    assert idle_overrides(guided(), (1, 3, 16, 16), given, "affinenet") == (True, False)

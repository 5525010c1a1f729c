"""Layers as several copies that round apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from quantizer_toys import (
    apply,
    pictures,
    recipe,
    run_tflite,
    spec_of,
    tiny_affinenet,
    toy,
)
from torch import nn

from i2uv_edge.convert.tflite import to_tflite
from i2uv_edge.errors import UsageError
from i2uv_edge.quantizer.dither import COPIES
from i2uv_edge.quantizer.encodings import Encodings
from i2uv_edge.quantizer.network import (
    QuantizedNetwork,
    QuantOptions,
    load_quantized,
    prepared,
    quantize,
)
from i2uv_edge.spec import Override, RecipeSpec

MAPS = ("*.map", "*warp*")


def dithered(made: RecipeSpec, glob: str = "*head") -> RecipeSpec:
    finer = Override(match=glob, precision="dithered", reason="a test")
    return replace(made, overrides=(*made.overrides, finer))


def quantized(network: nn.Module, made: RecipeSpec, size: int = 64) -> QuantizedNetwork:
    # Without what is corrected for, so that steps alone count.
    options = QuantOptions(correct_bias=False)
    return quantize(network, made, [pictures(4, size)], network_role="affinenet", options=options)


def test_the_float_network_stays_the_same() -> None:
    network = tiny_affinenet()
    graph = prepared(network, (1, 3, 64, 64), dithered(recipe()), "affinenet")
    plain = prepared(network, (1, 3, 64, 64), recipe(), "affinenet")
    batch = pictures(2, 64)
    for one in (graph, plain):
        assert np.abs(apply(one, batch[:1]) - apply(network, batch[:1])).max() < 0.02
    assert np.abs(apply(graph, batch[:1]) - apply(plain, batch[:1])).max() < 1e-5


def test_copies_have_a_share_of_the_range_and_round_apart() -> None:
    network = toy()
    plain = quantized(network, recipe(), 32)
    finer = quantized(network, dithered(recipe(), "head"), 32)
    whole = plain.encodings.activations["head"].scale
    steps = {finer.encodings.activations[f"head.{n}"].scale for n in range(COPIES)}
    assert len(steps) == 1
    assert steps.pop() == pytest.approx(whole / COPIES, rel=1e-3)
    shifts = [finer.encodings.bias_correction[f"head.{n}"][0] for n in range(COPIES)]
    assert sum(shifts) == pytest.approx(0.0, abs=1e-9)
    assert np.diff(shifts) == pytest.approx(whole / COPIES**2, rel=1e-3)


def test_the_sum_is_nearer_to_a_float_layer_than_one_copy() -> None:
    network, batch = toy(), pictures(4, 32, seed=5)
    expected = apply(quantized(network, recipe("head"), 32).module, batch)
    errors = [
        float(np.abs(apply(quantized(network, made, 32).module, batch) - expected).mean())
        for made in (dithered(recipe(), "head"), recipe())
    ]
    assert errors[0] < 0.7 * errors[1]  # what is left is mostly that of the weights


def test_every_convolution_is_integer_and_encodings_give_the_network_again() -> None:
    made = dithered(recipe(*MAPS, max_float_macs=0.0))
    network, batch = tiny_affinenet(), pictures(2, 64, seed=3)
    first = quantize(network, made, [pictures(4, 64)], network_role="affinenet")
    assert first.float_macs_share == 0.0
    encodings = Encodings.from_dict(json.loads(json.dumps(first.encodings.to_dict())))
    again = load_quantized(network, made, encodings)
    assert (apply(first.module, batch) == apply(again.module, batch)).all()


def test_bias_correction_leaves_the_copies_apart() -> None:
    made = dithered(recipe(*MAPS))
    network = tiny_affinenet()
    result = quantize(network, made, [pictures(16, 64)], network_role="affinenet")
    layer = "decoder.2.head"
    steps = result.encodings.activations[f"{layer}.0"].scale
    values = np.array([result.encodings.bias_correction[f"{layer}.{n}"] for n in range(COPIES)])
    assert np.diff(values, axis=0) == pytest.approx(steps / COPIES, rel=0.5)


def test_the_file_computes_what_the_module_does(tmp_path: Path) -> None:
    made = dithered(recipe(*MAPS, max_float_macs=0.0))
    network = tiny_affinenet()
    result = quantize(network, made, [pictures(4, 64)], network_role="affinenet")
    to_tflite(result, spec_of(network, 64), tmp_path / "made.tflite")
    batch = pictures(3, 64, seed=8)
    answer = run_tflite(tmp_path / "made.tflite", batch)
    assert np.abs(answer - apply(result.module, batch)).max() < 0.01


def test_an_override_that_fits_no_convolution_is_refused() -> None:
    with pytest.raises(UsageError, match="no convolution of the affinenet to dither"):
        quantized(toy(), dithered(recipe(), "pool"), 32)

"""From network to checked file."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from quantizer_toys import (
    apply,
    guided,
    pictures,
    recipe,
    relief,
    run_tflite,
    spec_of,
    tiny_affinenet,
    tiny_srnet,
    toy,
)
from torch import nn

from i2uv_edge.convert.histogram import dtype_histogram
from i2uv_edge.convert.tflite import check_ranges, to_tflite
from i2uv_edge.errors import ConversionError, InputError
from i2uv_edge.quantizer.network import QuantizedNetwork, quantize
from i2uv_edge.runners import TfliteRunner
from i2uv_edge.spec import RecipeSpec


def quantized(network: nn.Module, made: RecipeSpec, size: int = 32) -> QuantizedNetwork:
    return quantize(network, made, [pictures(3, size)], network_role="affinenet")


@pytest.mark.parametrize(
    ("network", "size", "tolerance"),
    [
        (toy(), 32, 1e-5),
        (guided(), 16, 1e-5),
        (tiny_affinenet(), 64, 1e-5),
        (tiny_srnet(), 16, 1e-6),
    ],
    ids=["toy", "guided", "affinenet", "srnet"],
)
def test_a_float_file_equals_the_float_network(
    network: nn.Module, size: int, tolerance: float, tmp_path: Path
) -> None:
    path = tmp_path / "float.tflite"
    to_tflite(network, spec_of(network, size), path)
    sample = pictures(2, size)
    np.testing.assert_allclose(
        run_tflite(path, sample), apply(network, sample), atol=tolerance, rtol=0
    )
    assert not any("INT8" in name for name in dtype_histogram(path))


def test_input_and_output_are_named_by_the_spec(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    path = tmp_path / "toy.tflite"
    to_tflite(quantized(toy(), recipe("head")), spec_of(toy(), 32), path)
    interpreter = Interpreter(str(path))
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (source["name"], tuple(source["shape"])) == ("picture_in", (1, 32, 32, 3))
    assert (result["name"], tuple(result["shape"])) == ("map_out", (1, 16, 16, 3))
    assert source["dtype"] == result["dtype"] == np.float32
    signature = interpreter.get_signature_list()["serving_default"]
    assert signature == {"inputs": ["picture_in"], "outputs": ["map_out"]}


@pytest.mark.parametrize("ends", [("int8", "float"), ("float", "int8"), ("int8", "int8")])
def test_integer_ends_hold_the_same_numbers(ends: tuple[str, str], tmp_path: Path) -> None:
    network = toy()
    spec = spec_of(network, 32)
    made = quantized(network, recipe(input=ends[0], output=ends[1]))
    path = tmp_path / "toy.tflite"
    to_tflite(made, spec, path)
    sample = pictures(2, 32, seed=3)
    found = TfliteRunner(path, spec)({"picture_in": sample})["map_out"]
    step = made.encodings.activations["head"].scale
    assert np.abs(found - apply(made.module, sample)).max() <= 1.01 * step
    names = dtype_histogram(path)
    assert ("QUANTIZE FLOAT32>INT8" in names) is (ends[0] == "float")
    assert ("DEQUANTIZE INT8>FLOAT32" in names) is (ends[1] == "float")


_PROGRAM = """
import sys
from pathlib import Path
from quantizer_toys import pictures, recipe, spec_of, tiny_affinenet
from i2uv_edge.convert.tflite import to_tflite
from i2uv_edge.quantizer.network import quantize
network = tiny_affinenet()
made = quantize(network, recipe("head*"), [pictures(2, 64)], network_role="affinenet")
to_tflite(made, spec_of(network, 64), Path(sys.argv[1]))
"""


def test_another_process_in_another_folder_writes_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for name, seed in (("one", "1"), ("two", "2")):
        (tmp_path / name).mkdir()
        files.append(tmp_path / name / "net.tflite")
        subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(files[-1])],
            check=True,
            cwd=tmp_path / name,
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
        )
    assert files[0].read_bytes() == files[1].read_bytes()
    assert str(tmp_path).encode() not in files[0].read_bytes()


def test_a_range_that_differs_by_one_bit_is_named(tmp_path: Path) -> None:
    made = quantized(toy(), recipe("head"))
    path = tmp_path / "toy.tflite"
    to_tflite(made, spec_of(toy(), 32), path)
    entries = dict(made.encodings.activations)
    old = entries["mix.2"]
    scale = float(np.nextafter(np.float32(old.scale), np.float32(1)))
    entries["mix.2"] = replace(old, scale=scale)
    with pytest.raises(ConversionError, match=r"'mix\.2' has scale .* and zero point -128"):
        check_ranges(path, replace(made.encodings, activations=entries))
    entries["mix.2"] = replace(old, zero_point=-127)
    with pytest.raises(ConversionError, match=r"'mix\.2' has scale"):
        check_ranges(path, replace(made.encodings, activations=entries))


def test_a_weight_scale_that_differs_is_named_with_its_channel(tmp_path: Path) -> None:
    made = quantized(toy(), recipe("head"))
    path = tmp_path / "toy.tflite"
    to_tflite(made, spec_of(toy(), 32), path)
    entries = dict(made.encodings.weights)
    scales = list(entries["deep.0.weight"].scale)
    scales[5] *= 2.0
    entries["deep.0.weight"] = replace(entries["deep.0.weight"], scale=tuple(scales))
    with pytest.raises(ConversionError, match=r"'deep\.0\.weight' has scale .* at index 5"):
        check_ranges(path, replace(made.encodings, weights=entries))


def test_a_dropped_range_is_named(tmp_path: Path) -> None:
    made = quantized(toy(), recipe("head"))
    whole = quantized(toy(), recipe())
    path = tmp_path / "toy.tflite"
    to_tflite(made, spec_of(toy(), 32), path)
    with pytest.raises(ConversionError, match="activation 'head' is not an integer tensor"):
        check_ranges(path, whole.encodings)


def test_a_range_from_nowhere_is_named(tmp_path: Path) -> None:
    made = quantized(toy(), recipe())
    path = tmp_path / "toy.tflite"
    to_tflite(made, spec_of(toy(), 32), path)
    entries = {k: v for k, v in made.encodings.activations.items() if k != "mix.2"}
    with pytest.raises(ConversionError, match=r"tensor 'mix\.2' has a range that no encoding"):
        check_ranges(path, replace(made.encodings, activations=entries))


def test_a_module_whose_ranges_were_changed_behind_its_encodings_is_refused(
    tmp_path: Path,
) -> None:
    made = quantized(toy(), recipe())
    quantizer = made.graph.get_submodule("quantizers.2")
    quantizer.set_encoding(quantizer.encoding[0] * 1.5, quantizer.encoding[1])  # type: ignore[operator, index]
    with pytest.raises(ConversionError, match="differs from its encodings"):
        to_tflite(made, spec_of(toy(), 32), tmp_path / "toy.tflite")


def test_a_spec_of_another_shape_is_refused(tmp_path: Path) -> None:
    spec = spec_of(toy(), 32)
    wrong = replace(spec, output=replace(spec.output, shape=(1, 32, 32, 3)))
    with pytest.raises(ConversionError, match=r"the output has shape \[1, 16, 16, 3\]"):
        to_tflite(quantized(toy(), recipe()), wrong, tmp_path / "toy.tflite")


def test_nan_weights_are_refused_by_name(tmp_path: Path) -> None:
    network = relief()
    with torch.no_grad():
        network.last.weight[0, 0, 0, 0] = float("nan")  # type: ignore[index, operator]
    spec = spec_of(relief(), 16)
    with pytest.raises(InputError, match=r"last\.weight holds 1 of"):
        to_tflite(network, spec, tmp_path / "x.tflite")
    with pytest.raises(InputError, match=r"last\.weight holds 1 of"):
        quantized(network, recipe(), 16)
    assert not (tmp_path / "x.tflite").exists()

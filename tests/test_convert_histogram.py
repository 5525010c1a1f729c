"""What a file computes in which type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from quantizer_toys import pictures, recipe, toy

from i2uv_edge.convert.flatbuffer import ModelWriter, Quantization
from i2uv_edge.convert.histogram import check_histogram, dtype_histogram, macs_by_dtype
from i2uv_edge.convert.lowering import lower
from i2uv_edge.errors import ConversionError
from i2uv_edge.quantizer.network import quantize
from i2uv_edge.spec import RecipeSpec


def written(made: RecipeSpec, path: Path) -> Path:
    result = quantize(toy(), made, [pictures(2, 32)], network_role="affinenet")
    path.write_bytes(lower(result.graph, input_name="x", output_name="y"))
    return path


def check(path: Path, made: RecipeSpec) -> None:
    check_histogram(path, made, network_role="affinenet")


def test_operators_are_counted_by_type(tmp_path: Path) -> None:
    counts = dtype_histogram(written(recipe("head"), tmp_path / "toy.tflite"))
    assert counts["CONV_2D INT8>INT8"] == 5
    assert counts["CONV_2D FLOAT32>FLOAT32"] == 1
    assert next(iter(counts)) == "CONV_2D INT8>INT8"


def test_work_is_counted_by_type(tmp_path: Path) -> None:
    counts = macs_by_dtype(written(recipe("head"), tmp_path / "toy.tflite"))
    assert counts["FLOAT32"] == 8 * 3 * 9 * 16 * 16
    block = 8 * 8 * 9 * 256
    assert counts["INT8"] == 3 * 8 * 9 * 256 + 2 * block + block // 4 + 2 * block


def test_what_the_recipe_says_passes(tmp_path: Path) -> None:
    made = recipe("head")
    check(written(made, tmp_path / "toy.tflite"), made)


def test_a_layer_left_in_float_by_mistake_is_named(tmp_path: Path) -> None:
    path = written(recipe("head", "deep"), tmp_path / "toy.tflite")
    with pytest.raises(ConversionError, match=r"CONV_2D of layer 'deep\.0' is float, the recipe"):
        check(path, recipe("head"))


def test_a_layer_made_integer_by_mistake_is_named(tmp_path: Path) -> None:
    path = written(recipe(), tmp_path / "toy.tflite")
    with pytest.raises(ConversionError, match="CONV_2D of layer 'head' is integer, the recipe"):
        check(path, recipe("head"))


def test_an_integer_file_is_no_float_file(tmp_path: Path) -> None:
    from i2uv_edge.spec import ActivationSpec, WeightSpec

    made = RecipeSpec("float", "", WeightSpec(32), ActivationSpec(32), max_float_macs=1.0)
    with pytest.raises(ConversionError, match="is integer, the recipe says float"):
        check(written(recipe(), tmp_path / "toy.tflite"), made)


def test_too_much_float_work_fails(tmp_path: Path) -> None:
    path = written(recipe("head"), tmp_path / "toy.tflite")
    with pytest.raises(ConversionError, match=r"of the multiply-accumulates are float, at most 5"):
        check(path, recipe("head", max_float_macs=0.05))


def crafted(path: Path, *steps: str, names: tuple[str, ...] = ()) -> Path:
    """A chain of operators without parameters, float and int8 by turns as each needs."""
    writer = ModelWriter()
    grid = Quantization((0.5,), (0,))
    shape = (1, 4, 4, 3)
    first = last = writer.tensor("x", shape, "float32")
    for place, step in enumerate(steps):
        integer = step == "QUANTIZE"
        dtype, quantization = ("int8", grid) if integer else ("float32", None)
        name = names[place] if names else f"t{place}"
        following = writer.tensor(name, shape, dtype, quantization)
        writer.operator(step, [last], [following])
        last = following
    path.write_bytes(writer.to_bytes({"x": first}, {"y": last}))
    return path


def test_rounding_twice_for_nothing_is_named(tmp_path: Path) -> None:
    path = crafted(tmp_path / "m.tflite", "QUANTIZE", "DEQUANTIZE", "QUANTIZE")
    with pytest.raises(ConversionError, match="DEQUANTIZE at 't1' is undone by QUANTIZE at 't2'"):
        check(path, recipe())


@pytest.mark.parametrize("op", ["TRANSPOSE", "GATHER_ND"])
def test_operators_that_have_no_place_are_named(op: str, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=f"{op} at 't0' has no place"):
        check(crafted(tmp_path / "m.tflite", op), recipe())


@pytest.mark.parametrize("name", ["/home/someone/net.py", "layer at /tmp/x1/net"])
def test_paths_of_the_machine_are_found(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"it holds the path '/(home|tmp)"):
        check(crafted(tmp_path / "m.tflite", "RELU", names=(name,)), recipe())


def test_names_are_made_unique() -> None:
    """The fault worked round: tools that key ranges by name mix up two tensors of one name."""
    writer = ModelWriter()
    indices = [writer.tensor("same", (1,), "float32") for _ in range(3)]
    writer.rename(indices[2], "same")
    names = [writer.name(index) for index in indices]
    assert len(set(names)) == 3
    assert names[2] == "same"


def test_a_file_with_two_outputs_is_refused(tmp_path: Path) -> None:
    writer = ModelWriter()
    x = writer.tensor("x", (1, 2), "float32")
    y = writer.constant("y", np.zeros((1, 2), np.float32))
    path = tmp_path / "m.tflite"
    path.write_bytes(writer.to_bytes({"x": x}, {"x": x, "y": y}))
    with pytest.raises(ConversionError, match="not exactly one graph with one output"):
        check(path, recipe())

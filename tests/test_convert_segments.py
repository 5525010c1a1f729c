"""Where a network is cut, and what the files of the parts hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from plan_toys import Toy
from quantizer_toys import pictures, recipe, spec_of, tiny_affinenet, tiny_srnet

from i2uv_edge.convert.flatbuffer import read_model
from i2uv_edge.convert.histogram import macs_by_dtype, read_operators
from i2uv_edge.convert.segments import Segment, cut
from i2uv_edge.convert.tflite import to_tflite
from i2uv_edge.errors import ConversionError
from i2uv_edge.quantizer.network import quantize

STRICT = recipe("*warp", "*map", input="int8", output="int8")
FLOAT_HEADS = recipe("*warp", "*head")


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return affinenet(tmp_path_factory.mktemp("strict") / "a.tflite", STRICT)


@pytest.fixture(scope="module")
def float_heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return affinenet(tmp_path_factory.mktemp("heads") / "a.tflite", FLOAT_HEADS)


def affinenet(path: Path, made: object) -> Path:
    network = tiny_affinenet()
    quantized = quantize(network, made, [pictures(3, 64)], network_role="affinenet")  # type: ignore[arg-type]
    to_tflite(quantized, spec_of(network, 64), path)
    return path


def segments(path: Path) -> tuple[Segment, ...]:
    return cut(path.read_bytes())


def test_segments_of_the_dsp_are_int8_in_and_out_and_all_through(strict: Path) -> None:
    found = segments(strict)
    assert [segment.unit for segment in found] == ["DSP", "CPU"] * 4
    for segment in found[::2]:
        assert {str(port.dtype) for port in (*segment.inputs, *segment.outputs)} == {"int8"}
        assert all(port.scale != 1.0 for port in (*segment.inputs, *segment.outputs))
        graph = read_model(segment.data).subgraphs[0]
        computed = {int(i) for operator in graph.operators for i in operator.outputs}
        assert {graph.tensors[i].type for i in computed} == {graph.tensors[graph.inputs[0]].type}


def test_every_multiply_add_is_the_dsp_s_under_a_strict_recipe(strict: Path) -> None:
    found = segments(strict)
    assert sum(s.macs for s in found if s.unit == "DSP") == macs_by_dtype(strict)["INT8"]
    assert all(s.macs == 0 for s in found if s.unit == "CPU")
    assert found[1].layers == ("decoder.0.map.up", "decoder.0.warp")


def test_heads_that_a_recipe_leaves_in_float_are_the_cpu_s(float_heads: Path) -> None:
    found = segments(float_heads)
    macs = macs_by_dtype(float_heads)
    assert [s.unit for s in found] == ["CPU", *(["DSP", "CPU"] * 4)]
    assert sum(s.float_macs for s in found) == macs["FLOAT32"] > 0
    assert all(s.macs == s.float_macs for s in found if s.unit == "CPU")
    assert "first.head" in found[2].layers


def test_each_operator_is_in_one_segment(strict: Path, tmp_path: Path) -> None:
    parts = []
    for number, segment in enumerate(segments(strict)):
        path = tmp_path / f"{number}.tflite"
        path.write_bytes(segment.data)
        parts += read_operators(path)
    assert sorted(op.output for op in parts) == sorted(op.output for op in read_operators(strict))


def test_weights_are_stored_once(strict: Path) -> None:
    found = segments(strict)
    buffers = [buffer.data for buffer in read_model(strict.read_bytes()).buffers]
    large = [bytes(data) for data in buffers if data is not None and len(data) >= 256]
    assert len(large) > 10
    for data in large:
        assert sum(segment.data.count(data) for segment in found) == 1


def test_same_file_same_bytes(strict: Path) -> None:
    assert [s.data for s in segments(strict)] == [s.data for s in segments(strict)]


def test_a_feature_stays_int8_until_the_warp_that_reads_it(strict: Path) -> None:
    found = segments(strict)
    passed = [port for segment in found if segment.unit == "CPU" for port in segment.inputs]
    assert {port.name for port in passed if str(port.dtype) == "float32"} == {
        f"decoder.{stage}.map.up" for stage in range(3)
    }
    assert {f"decoder.{stage}.lateral.2" for stage in range(3)} <= {port.name for port in passed}


def test_a_network_of_integers_alone_is_one_segment(tmp_path: Path) -> None:
    network, made = tiny_srnet(), recipe(input="int8", output="int8")
    quantized = quantize(network, made, [pictures(3, 16)], network_role="srnet")
    path = tmp_path / "s.tflite"
    to_tflite(quantized, spec_of(network, 16, "srnet"), path)
    (segment,) = segments(path)
    assert segment.unit == "DSP"
    assert segment.data == path.read_bytes()


def test_what_only_joins_the_cpu_s_values_is_done_there(tmp_path: Path) -> None:
    toy = Toy().conv(name="a").to("float32")
    between = toy.last
    toy.plain("FLOOR").to("int8")
    blocks = toy.last
    toy.last, toy.dtype = between, "float32"
    toy.plain("CEIL").to("int8")
    toy._add("CONCATENATION", [blocks, toy.last], "joined", (1, 8, 8, 16)).conv(name="b")
    found = segments(toy.write(tmp_path / "m.tflite"))
    assert [segment.unit for segment in found] == ["DSP", "CPU", "DSP"]
    assert [port.name for port in found[2].inputs] == ["joined"]


def test_integers_without_a_multiply_add_are_not_worth_the_way(tmp_path: Path) -> None:
    toy = Toy().conv(name="a").to("float32").plain("FLOOR").to("int8").add().to("float32")
    found = segments(toy.write(tmp_path / "m.tflite"))
    assert [segment.unit for segment in found] == ["DSP", "CPU"]
    assert "add" in found[1].layers


def test_a_circle_is_refused(tmp_path: Path) -> None:
    toy = Toy().conv(name="a").add()
    toy.writer._operators[1].inputs[0] = toy.last
    with pytest.raises(ConversionError, match="'add' reads what no operator before it writes"):
        segments(toy.write(tmp_path / "m.tflite"))

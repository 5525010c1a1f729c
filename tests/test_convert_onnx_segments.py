"""The ONNX part of a segment computes what the segment computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from quantizer_toys import pictures, recipe, spec_of, tiny_affinenet

from i2uv_edge.convert.onnx import to_onnx
from i2uv_edge.convert.onnx_segments import part, ports
from i2uv_edge.convert.probes import OnnxProbe
from i2uv_edge.convert.segments import Segment, cut
from i2uv_edge.convert.tflite import to_tflite
from i2uv_edge.errors import ConversionError
from i2uv_edge.onnx_runner import open_session
from i2uv_edge.quantizer.network import quantize

STRICT = recipe("*warp", "*map", input="int8", output="int8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Segment, ...]]:
    folder = tmp_path_factory.mktemp("files")
    network = tiny_affinenet()
    quantized = quantize(network, STRICT, [pictures(3, 64)], network_role="affinenet")
    to_tflite(quantized, spec_of(network, 64), folder / "a.tflite")
    to_onnx(quantized, spec_of(network, 64), folder / "a.onnx")
    return folder / "a.onnx", cut((folder / "a.tflite").read_bytes())


def fields(ports: Any) -> list[dict[str, Any]]:
    return [port.fields() for port in ports]


def test_each_part_gives_the_integers_of_the_whole_file(
    made: tuple[Path, tuple[Segment, ...]],
) -> None:
    path, segments = made
    model = onnx.load(path)
    names = {port.name for s in segments for port in (*s.inputs, *s.outputs)}
    picture = np.rint(pictures(1, 64, seed=5) * 255).astype(np.uint8).transpose(0, 3, 1, 2)
    _, inside = OnnxProbe(path, names)(np.ascontiguousarray(picture))
    for segment in segments:
        if segment.unit == "CPU":
            continue
        takes, gives = fields(segment.inputs), fields(segment.outputs)
        own = part(model, takes, gives)
        onnx.checker.check_model(own, full_check=True)
        stored = ports(own, takes, gives)
        feed = {
            port["name"]: picture
            if mine["name"] == "picture_in"
            else nchw(inside[mine["name"]], mine["shape"])
            for port, mine in zip(stored["inputs"], takes, strict=True)
        }
        session = open_session(own.SerializeToString())
        for found, mine in zip(session.run(None, feed), gives, strict=True):
            np.testing.assert_array_equal(found, nchw(inside[mine["name"]], mine["shape"]))


def nchw(steps: Any, shape: list[int]) -> Any:
    return np.ascontiguousarray((steps.reshape(shape) + 128).astype(np.uint8).transpose(0, 3, 1, 2))


def test_parts_hold_integers_between_all_operations(
    made: tuple[Path, tuple[Segment, ...]],
) -> None:
    path, segments = made
    model = onnx.load(path)
    for segment in segments[::2]:
        own = part(model, fields(segment.inputs), fields(segment.outputs))
        for port in (*own.graph.input, *own.graph.output):
            assert port.type.tensor_type.elem_type == onnx.TensorProto.UINT8
        assert not {node.op_type for node in own.graph.node} & {"GridSample", "Sub", "Mul", "Clip"}


def test_ports_are_stored_in_uint8_and_nchw(made: tuple[Path, tuple[Segment, ...]]) -> None:
    path, (first, *_) = made
    takes, gives = fields(first.inputs), fields(first.outputs)
    (port,) = ports(part(onnx.load(path), takes, gives), takes, gives)["inputs"]
    assert (port["name"], port["dtype"], port["shape"]) == ("picture_in", "uint8", [1, 3, 64, 64])
    assert port["scale"] == takes[0]["scale"]
    assert port["zero_point"] == takes[0]["zero_point"] + 128 == 0


def test_what_hangs_on_other_tensors_is_refused(made: tuple[Path, tuple[Segment, ...]]) -> None:
    path, segments = made
    model = onnx.load(path)
    takes, gives = fields(segments[2].inputs), fields(segments[2].outputs)
    with pytest.raises(ConversionError, match="hang on 'picture_in'"):
        part(model, takes[:1], gives)
    with pytest.raises(ConversionError, match="has no integers of 'nothing'"):
        part(model, [{**takes[0], "name": "nothing"}, *takes[1:]], gives)

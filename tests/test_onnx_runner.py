from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from runner_toys import SIZE, ports

from i2uv_edge.errors import InputError, MissingDependencyError
from i2uv_edge.onnx_runner import OnnxRunner, open_session

Array = NDArray[Any]
Grid = tuple[float, int]


def pictures(count: int = 2, size: int = SIZE) -> Array:
    return np.random.default_rng(0).random((count, size, size, 3), np.float32)


def model(
    path: Path,
    *,
    takes: Grid | None = None,
    gives: Grid | None = None,
    shape: tuple[int, ...] = (1, 3, SIZE, SIZE),
    kind: int = TensorProto.FLOAT,
) -> Path:
    """Write a model that negates; on uint8 with the given grids, where there are some."""
    nodes, constants = [], []

    def grid(name: str, pair: Grid) -> list[str]:
        arrays = (np.array(pair[0], np.float32), np.array(pair[1], np.uint8))
        names = [f"{name}_scale", f"{name}_zero"]
        constants.extend(map(numpy_helper.from_array, arrays, names))
        return names

    source, result = "picture_in", "map_out"
    if takes:
        nodes.append(helper.make_node("DequantizeLinear", [source, *grid("in", takes)], ["real"]))
        source = "real"
    if gives:
        nodes.append(helper.make_node("Neg", [source], ["negative"]))
        nodes.append(
            helper.make_node("QuantizeLinear", ["negative", *grid("out", gives)], [result])
        )
    else:
        nodes.append(helper.make_node("Neg", [source], [result]))
    kinds = [TensorProto.UINT8 if pair else kind for pair in (takes, gives)]
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("picture_in", kinds[0], shape)],
        [helper.make_tensor_value_info(result, kinds[1], shape)],
        constants,
    )
    made = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20)])
    onnx.save(made, path)
    return path


def test_it_runs_a_float_model_for_each_sample_nhwc(tmp_path: Path) -> None:
    runner = OnnxRunner(model(tmp_path / "a.onnx"), ports())
    given = pictures(3)
    made = runner({"image": given})
    assert list(made) == ["uv_map"]
    assert made["uv_map"].dtype == np.float32
    assert made["uv_map"].flags["C_CONTIGUOUS"]
    assert np.array_equal(made["uv_map"], -given)
    assert runner.name == "onnx"


def test_it_quantizes_inputs_and_dequantizes_outputs(tmp_path: Path) -> None:
    path = model(tmp_path / "a.onnx", takes=(1 / 255, 0), gives=(0.02, 100))
    given = np.rint(pictures() * 255).astype(np.float32) / np.float32(255)
    made = OnnxRunner(path, ports())({"image": given})["uv_map"]
    assert made.dtype == np.float32
    assert np.abs(made + given).max() < 0.02  # a step of the output
    assert np.abs(made + given).max() > 0.002  # it did go through 8 bits


def test_it_clips_what_its_integers_cannot_hold(tmp_path: Path) -> None:
    path = model(tmp_path / "a.onnx", takes=(1 / 255, 0))
    given = np.full((1, SIZE, SIZE, 3), 7.0, np.float32)
    given[0, 0] = -7.0
    made = OnnxRunner(path, ports())({"image": given})["uv_map"]
    assert (made[0, 0] == 0).all()
    assert made[0, 1:] == pytest.approx(-1.0)


def test_it_tells_how_a_file_stores_its_tensors(tmp_path: Path) -> None:
    path = model(tmp_path / "a.onnx", takes=(0.5, 3), gives=(0.25, 100))
    takes, gives = OnnxRunner(path, ports()).tensors()
    stored = {"shape": [1, 3, SIZE, SIZE], "dtype": "uint8"}
    assert takes == {"name": "picture_in", "scale": 0.5, "zero_point": 3, **stored}
    assert gives == {"name": "map_out", "scale": 0.25, "zero_point": 100, **stored}
    plain = OnnxRunner(model(tmp_path / "b.onnx"), ports()).tensors()[1]
    assert (plain["dtype"], plain["scale"], plain["zero_point"]) == ("float32", 1.0, 0)


def test_an_integer_end_without_a_grid_is_refused(tmp_path: Path) -> None:
    nothing = helper.make_node("Identity", ["picture_in"], ["map_out"])
    sizes = (1, 3, SIZE, SIZE)
    graph = helper.make_graph(
        [nothing],
        "main",
        *(
            [helper.make_tensor_value_info(name, TensorProto.UINT8, sizes)]
            for name in ("picture_in", "map_out")
        ),
    )
    made = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20)])
    onnx.save(made, tmp_path / "a.onnx")
    with pytest.raises(InputError, match="no scale and zero point of 'picture_in'"):
        OnnxRunner(tmp_path / "a.onnx", ports())


def test_a_model_of_another_shape_or_type_is_refused(tmp_path: Path) -> None:
    path = model(tmp_path / "a.onnx", shape=(1, SIZE, SIZE, 3))
    with pytest.raises(InputError, match="inputs of shapes") as caught:
        OnnxRunner(path, ports())
    assert "(1, 3, 4, 4)" in caught.value.expected
    path = model(tmp_path / "b.onnx", kind=TensorProto.DOUBLE)
    with pytest.raises(InputError, match=r"types \['tensor\(double\)'\]"):
        OnnxRunner(path, ports())


@pytest.mark.parametrize("content", [None, b"", b"not a model" * 20])
def test_what_is_no_onnx_file_is_refused_and_nothing_else_is_said(
    tmp_path: Path, content: bytes | None, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.onnx cannot be run"):
        OnnxRunner(path, ports())
    assert capfd.readouterr().err == ""


def test_a_wrong_feed_is_refused_too(tmp_path: Path) -> None:
    runner = OnnxRunner(model(tmp_path / "a.onnx"), ports())
    with pytest.raises(InputError, match="nothing else"):
        runner({"x": pictures()})


def test_without_onnx_runtime_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(name: str) -> Any:
        raise ImportError(name)

    path = model(tmp_path / "a.onnx")
    monkeypatch.setattr("i2uv_edge.onnx_runner.importlib.import_module", nothing)
    with pytest.raises(MissingDependencyError, match="package onnxruntime cannot") as caught:
        OnnxRunner(path, ports())
    assert caught.value.exit_code == 4
    assert "pip install onnx onnxruntime onnxsim" in caught.value.remedy


def test_sums_that_16_bits_cannot_hold_are_right(tmp_path: Path) -> None:
    """What processors without VNNI get wrong unless told: 255 * 127 twice is more than 2**15."""
    sizes = (1, 64, 8, 8)
    scale, zero = np.float32(1.0), np.uint8(0)
    weight = np.full((16, 64, 3, 3), 127, np.int8)
    constants = {
        **{"scale": scale, "zero": zero, "weight": weight, "wzero": np.zeros(16, np.int8)},
        **{"wscale": np.full(16, 1.0, np.float32), "oscale": np.float32(2.0**17)},
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "scale", "zero"], ["real"]),
        helper.make_node("DequantizeLinear", ["weight", "wscale", "wzero"], ["kernel"], axis=0),
        helper.make_node("Conv", ["real", "kernel"], ["sum"]),
        helper.make_node("QuantizeLinear", ["sum", "oscale", "zero"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, sizes)],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, (1, 16, 6, 6))],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    made = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20)])
    session = open_session(made.SerializeToString())
    (found,) = session.run(None, {"x": np.full(sizes, 255, np.uint8)})
    assert (found == round(64 * 9 * 255 * 127 / 2**17)).all()

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from runner_toys import SIZE, ports

from i2uv_edge import runners
from i2uv_edge.errors import InputError, MissingDependencyError
from i2uv_edge.runners import Stored, TfliteRunner, TorchRunner

Array = NDArray[Any]


def pictures(count: int = 2, size: int = SIZE) -> Array:
    return np.random.default_rng(0).random((count, size, size, 3), np.float32)


# --- torch ----------------------------------------------------------------------------------------


class Swap(torch.nn.Module):
    """Swaps red and blue and turns rows into columns, so that a wrong layout shows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flip(1).transpose(2, 3) * 2


class Returns(torch.nn.Module):
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: torch.Tensor) -> Any:
        return self.value


def test_torch_runs_nhwc_in_and_nhwc_out() -> None:
    runner = TorchRunner(Swap(), ports(), name="float", threads=1)
    given = pictures(3)
    made = runner({"image": given})
    assert list(made) == ["uv_map"]
    assert made["uv_map"].dtype == np.float32
    assert np.array_equal(made["uv_map"], given[..., ::-1].transpose(0, 2, 1, 3) * 2)
    assert runner.name == "float"


def test_torch_runs_in_evaluation_mode_without_gradients() -> None:
    class Watch(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert not self.training
            assert not torch.is_grad_enabled()
            return x

    TorchRunner(Watch().train(), ports())({"image": pictures()})


def test_torch_threads_are_held_while_it_runs_only() -> None:
    seen = []

    class Watch(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(torch.get_num_threads())
            return x

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        TorchRunner(Watch(), ports(), threads=1)({"image": pictures()})
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "returned",
    [
        [torch.zeros(2, 3, 4, 4)],
        torch.zeros(2, 3),
        torch.zeros(2, 4, 4, 3),
        torch.zeros(1, 3, 4, 4),
    ],
)
def test_a_module_that_returns_something_else_is_refused(returned: Any) -> None:
    with pytest.raises(InputError, match="returned") as caught:
        TorchRunner(Returns(returned), ports())({"image": pictures(2)})
    assert "uv_map" in str(caught.value)


# --- feeds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("feeds", "said"),
    [
        ({}, "nothing"),
        ({"picture": pictures()}, "'picture'"),
        ({"image": pictures(), "more": pictures()}, "'more'"),
        ({"image": pictures().astype(np.float64)}, "float64"),
        ({"image": (pictures() * 255).astype(np.uint8)}, "uint8"),
        ({"image": pictures().tolist()}, "list"),
        ({"image": pictures()[0]}, "4, 4, 3"),
        ({"image": pictures().transpose(0, 3, 1, 2)}, "2, 3, 4, 4"),
        ({"image": pictures(2, 5)}, "2, 5, 5, 3"),
        ({"image": pictures(0)}, "0, 4, 4, 3"),
    ],
)
def test_a_wrong_feed_is_refused_by_name_type_and_shape(feeds: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        TorchRunner(Swap(), ports())(feeds)
    assert said in caught.value.what
    assert "'image'" in caught.value.expected


# --- tflite ---------------------------------------------------------------------------------------


def tflite(
    path: Path,
    *,
    dtype: type[np.generic] = np.float32,
    takes: tuple[float, int] = (0.0, 0),
    gives: tuple[float, int] = (0.0, 0),
    shape: tuple[int, ...] = (1, SIZE, SIZE, 3),
) -> Path:
    """Write a model of one operator: NEG of floats, or QUANTIZE from one int8 scale to another."""

    def tensor(name: str, quantization: tuple[float, int]) -> Any:
        made = schema.TensorT()
        made.name, made.shape, made.buffer = name, list(shape), 0
        kinds = {np.float32: schema.TensorType.FLOAT32, np.int8: schema.TensorType.INT8}
        made.type = kinds[dtype]  # type: ignore[index]
        if dtype is not np.float32:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [[n] for n in quantization]
        return made

    code = schema.OperatorCodeT()
    kind = schema.BuiltinOperator.NEG if dtype is np.float32 else schema.BuiltinOperator.QUANTIZE
    code.builtinCode = code.deprecatedBuiltinCode = kind
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0], [1]
    graph = schema.SubGraphT()
    graph.tensors = [tensor("serving_default_args_0:0", takes), tensor("Identity", gives)]
    graph.inputs, graph.outputs, graph.operators = [0], [1], [operator]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def test_tflite_runs_a_float_model_for_each_sample(tmp_path: Path) -> None:
    runner = TfliteRunner(tflite(tmp_path / "a.tflite"), ports())
    given = pictures(3)
    made = runner({"image": given})
    assert list(made) == ["uv_map"]
    assert made["uv_map"].dtype == np.float32
    assert np.array_equal(made["uv_map"], -given)
    assert runner.name == "tflite"


def test_tflite_quantizes_inputs_and_dequantizes_outputs(tmp_path: Path) -> None:
    path = tflite(tmp_path / "a.tflite", dtype=np.int8, takes=(1 / 255, -128), gives=(0.02, -100))
    given = np.rint(pictures() * 255).astype(np.float32) / np.float32(255)
    made = TfliteRunner(path, ports())({"image": given})["uv_map"]
    assert made.dtype == np.float32
    assert np.abs(made - given).max() < 0.02  # a step of the output
    assert np.abs(made - given).max() > 0.002  # it did go through 8 bits


def test_tflite_tells_how_a_file_stores_its_tensors(tmp_path: Path) -> None:
    path = tflite(tmp_path / "a.tflite", dtype=np.int8, takes=(0.5, -128), gives=(0.25, -100))
    takes, gives = TfliteRunner(path, ports()).tensors()
    stored = {"shape": [1, SIZE, SIZE, 3], "dtype": "int8"}
    name = "serving_default_args_0:0"
    assert takes == {"name": name, "scale": 0.5, "zero_point": -128, **stored}
    assert gives == {"name": "Identity", "scale": 0.25, "zero_point": -100, **stored}
    plain = TfliteRunner(tflite(tmp_path / "b.tflite"), ports()).tensors()[1]
    assert (plain["dtype"], plain["scale"], plain["zero_point"]) == ("float32", 1.0, 0)


def test_tflite_says_nothing_on_the_terminal_and_gives_it_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    TfliteRunner(tflite(tmp_path / "a.tflite"), ports())
    os.write(2, b"ours")
    with pytest.raises(InputError):
        TfliteRunner(tmp_path / "none.tflite", ports())
    os.write(2, b" again")
    assert capfd.readouterr().err == "ours again"


def test_tflite_clips_what_its_integers_cannot_hold(tmp_path: Path) -> None:
    path = tflite(
        tmp_path / "a.tflite", dtype=np.int8, takes=(1 / 255, -128), gives=(1 / 255, -128)
    )
    given = np.full((1, SIZE, SIZE, 3), 7.0, np.float32)
    given[0, 0] = -7.0
    made = TfliteRunner(path, ports())({"image": given})["uv_map"]
    assert (made[0, 0] == 0).all()
    assert made[0, 1:] == pytest.approx(1.0)


def test_tflite_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = tflite(tmp_path / "a.tflite", shape=(1, 3, SIZE, SIZE))
    with pytest.raises(InputError, match="inputs of shapes") as caught:
        TfliteRunner(path, ports())
    assert "(1, 4, 4, 3)" in caught.value.expected


@pytest.mark.parametrize("content", [None, b"", b"not a model" * 20])
def test_what_is_no_tflite_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.tflite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.tflite cannot be run"):
        TfliteRunner(path, ports())


def test_a_wrong_feed_of_tflite_is_refused_too(tmp_path: Path) -> None:
    runner = TfliteRunner(tflite(tmp_path / "a.tflite"), ports())
    with pytest.raises(InputError, match="nothing else"):
        runner({"x": pictures()})


def test_any_of_three_interpreters_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module("ai_edge_litert.interpreter")
    tried = []

    def only_tensorflow(name: str) -> Any:
        tried.append(name)
        if name != "tensorflow.lite":
            raise ImportError(name)
        return real

    monkeypatch.setattr(runners.importlib, "import_module", only_tensorflow)
    TfliteRunner(tflite(tmp_path / "a.tflite"), ports())({"image": pictures()})
    assert tried == ["ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow.lite"]


def test_without_an_interpreter_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(runners.importlib, "import_module", nothing)
    with pytest.raises(MissingDependencyError, match="pip install ai-edge-litert") as caught:
        TfliteRunner(tflite(tmp_path / "a.tflite"), ports())
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
def test_a_stored_tensor_gives_its_real_values(dtype: type[np.signedinteger[Any]]) -> None:
    stored = Stored(np.array([3, 5, 7], dtype), scale=0.5, zero_point=5)
    assert stored.real().dtype == np.float32
    assert stored.real().tolist() == [-1.0, 0.0, 1.0]
    assert Stored(np.array([1.5], np.float16)).real().tolist() == [1.5]

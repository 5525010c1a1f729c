"""QNN's emulated HTP in the place of TFLite for what is integer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from quantizer_toys import pictures, recipe, relief, spec_of, tiny_srnet
from torch import nn

from i2uv_edge.convert.onnx import to_onnx
from i2uv_edge.convert.tflite import to_tflite
from i2uv_edge.device import qnn, qnn_emulator
from i2uv_edge.device.parts import write_parts
from i2uv_edge.errors import InputError, MissingDependencyError, UsageError
from i2uv_edge.quantizer.network import quantize
from i2uv_edge.runners import Port, TfliteRunner
from i2uv_edge.spec import NetworkSpec, RecipeSpec

installed = pytest.mark.skipif(not qnn.available(), reason="onnxruntime-qnn is not installed")
STRICT = recipe(input="int8", output="int8")
FEED = {"picture_in": pictures(2, 16, seed=9)}


def bundle(
    folder: Path, network: nn.Module, made: RecipeSpec, *, split: bool
) -> tuple[NetworkSpec, dict[str, Any]]:
    quantized = quantize(network, made, [pictures(3, 16)], network_role="srnet")
    spec = spec_of(network, 16, "srnet")
    to_tflite(quantized, spec, folder / "srnet.tflite")
    to_onnx(quantized, spec, folder / "srnet.onnx")
    parts = write_parts(folder, {"srnet": spec}, split=split, notify=lambda *_: None)
    takes, gives = TfliteRunner(folder / "srnet.tflite", spec).tensors()
    ends = {"inputs": [takes], "outputs": [gives]}
    return spec, {"srnet": {**ends, **parts.entries.get("srnet", {})}}


@installed
@pytest.mark.parametrize(
    ("network", "made", "split"),
    [(tiny_srnet(), STRICT, False), (relief(), recipe("base"), True)],
    ids=["whole", "segments"],
)
def test_it_computes_the_same_integers_up_to_a_few_steps(
    network: nn.Module, made: RecipeSpec, split: bool, tmp_path: Path
) -> None:
    spec, networks = bundle(tmp_path, network, made, split=split)
    found = qnn_emulator.emulated_runners(tmp_path, {"srnet": spec}, networks, name="qnn")
    runner = found["srnet"]
    assert runner.name == "qnn"
    mine, whole = (
        one(FEED)["map_out"] for one in (runner, TfliteRunner(tmp_path / "srnet.tflite", spec))
    )
    entry = networks["srnet"]
    (port,) = entry["outputs"] if not split else entry["segments"][1]["outputs"]
    steps = np.abs(mine - whole) / port["scale"]
    assert np.ptp(whole) / port["scale"] > 50
    assert steps.max() < 4.5  # QNN rounds on its own terms; a wrong scale or layout would be tens
    assert (steps > 0.5).mean() < 0.5


def test_what_has_no_integer_part_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything else is asked for: no package would mend it."""
    monkeypatch.setattr(qnn, "available", lambda: False)
    spec, networks = bundle(tmp_path, relief(), recipe("base"), split=False)
    with pytest.raises(UsageError, match="cannot provide 'qnn'"):
        qnn_emulator.emulated_runners(tmp_path, {"srnet": spec}, networks, name="qnn")


def test_without_the_package_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qnn, "available", lambda: False)
    with pytest.raises(MissingDependencyError, match="not installed"):
        qnn_emulator.emulated_runners(tmp_path, {}, {}, name="qnn")


def sampler(path: Path, *, align_corners: int) -> dict[str, Any]:
    """Write a GridSample of 8-bit features at 8-bit coordinates; say what it takes and gives."""
    helper, values = onnx.helper, onnx.numpy_helper
    scales = {"x": (1 / 255, 0), "grid": (2 / 255, 128)}
    constants = [
        values.from_array(array, f"{name}_{what}")
        for name, (scale, zero) in scales.items()
        for what, array in (("scale", np.float32(scale)), ("zero", np.uint8(zero)))
    ]
    nodes = [
        helper.make_node("DequantizeLinear", [name, f"{name}_scale", f"{name}_zero"], [f"{name}_f"])
        for name in scales
    ]
    nodes.append(
        helper.make_node(
            "GridSample",
            ["x_f", "grid_f"],
            ["y_f"],
            mode="linear",
            padding_mode="zeros",
            align_corners=align_corners,
        )
    )
    nodes.append(helper.make_node("QuantizeLinear", ["y_f", "x_scale", "x_zero"], ["y"]))
    shapes = {"x": [1, 8, SIDE, SIDE], "grid": [1, SIDE, SIDE, 2], "y": [1, 8, SIDE, SIDE]}
    x, grid, y = (
        helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, shape)
        for name, shape in shapes.items()
    )
    graph = helper.make_graph(nodes, "sampler", [x, grid], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    ports = [{"name": name, "shape": shape, "dtype": "uint8"} for name, shape in shapes.items()]
    return {"onnx": {"file": path.name, "inputs": ports[:2], "outputs": ports[2:]}}


SIDE = 32


@installed
@pytest.mark.parametrize("align_corners", [0, 1])
def test_warps_themselves_are_not_where_the_emulator_differs(
    align_corners: int, tmp_path: Path
) -> None:
    """QNN samples a grid as ONNX Runtime does, to a step; a step of a coordinate is what it costs.

    Eight bits over the map are an eighth of a texel here and half a texel at 128. So two chains
    that round a coordinate in two ways fetch from two places, and differ by far more than they
    round.
    """
    part = sampler(tmp_path / "sampler.onnx", align_corners=align_corners)
    random = np.random.default_rng(3)
    features = random.integers(0, 256, (1, 8, SIDE, SIDE), np.uint8)
    at = np.linspace(20, 235, SIDE)
    smooth = np.stack(np.meshgrid(at, at + 8 * np.sin(at / 30)), axis=-1)[None]
    grid = smooth.round().astype(np.uint8)
    process = qnn_emulator._Process(tmp_path, [part])
    here = onnxruntime.InferenceSession(
        tmp_path / "sampler.onnx", providers=["CPUExecutionProvider"]
    )

    def noise(first: Any, second: Any) -> float:
        """Signal to noise in dB."""
        apart = first.astype(np.float64) - second
        return float(10 * np.log10(np.var(first) / np.mean(apart**2)))

    def theirs(grid: Any) -> Any:
        answer = process.ask(0, features.tobytes() + grid.tobytes(), features.size)
        return np.frombuffer(answer, np.uint8).reshape(features.shape)

    def ours(grid: Any) -> Any:
        (found,) = here.run(None, {"x": features, "grid": grid})
        return found

    assert np.abs(theirs(grid).astype(int) - ours(grid)).max() <= 1
    assert noise(ours(grid), theirs(grid)) > 40
    one_step = (grid + random.integers(-1, 2, grid.shape)).astype(np.uint8)
    assert noise(ours(grid), theirs(one_step)) < 15
    assert noise(ours(grid), theirs(one_step)) == pytest.approx(
        noise(ours(grid), ours(one_step)), abs=0.5
    )


PORT = Port("x", (1, 2, 2, 3), np.dtype(np.int8), 0.5, 3).fields()
STORED = {**PORT, "shape": [1, 3, 2, 2], "dtype": "uint8"}
PART = {
    "file": "a.tflite",
    "inputs": [PORT],
    "outputs": [{**PORT, "name": "y"}],
    "onnx": {"file": "a.onnx", "inputs": [STORED], "outputs": [STORED]},
}


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Python program in the place of the process."""
    real = subprocess.Popen

    def play(program: str) -> None:
        def popen(command: list[str], **options: Any) -> Any:
            assert command[2] == "i2uv_edge.device.qnn_emulator_guest"
            return real([sys.executable, "-c", program], **options)

        monkeypatch.setattr(qnn_emulator.subprocess, "Popen", popen)

    return play


def test_a_part_is_asked_in_uint8_and_nchw_and_answers_in_int8_and_nhwc(
    guest: Any, tmp_path: Path
) -> None:
    guest(
        "import sys\n"
        "sys.stdout.buffer.write(b'{}\\n'); sys.stdout.flush()\n"
        "number, content = sys.stdin.buffer.read(4), sys.stdin.buffer.read(12)\n"
        "assert number == bytes(4)\n"
        "sys.stdout.buffer.write(bytes(reversed(content)))\n"
    )
    part = qnn_emulator._Part(qnn_emulator._Process(tmp_path, [PART]), 0, PART)
    fed = np.arange(-6, 6, dtype=np.int8).reshape(1, 2, 2, 3)
    part.set_tensor("x", fed)
    part.invoke()
    nchw = fed.transpose(0, 3, 1, 2).ravel()[::-1].reshape(1, 3, 2, 2)
    np.testing.assert_array_equal(part.get_tensor("y"), nchw.transpose(0, 2, 3, 1))
    with pytest.raises(InputError, match="emulator ended with 0"):
        part.invoke()


def test_a_process_that_cannot_start_or_refuses_is_said(guest: Any, tmp_path: Path) -> None:
    guest("import sys; sys.exit(3)")
    with pytest.raises(MissingDependencyError, match="ended with 3"):
        qnn_emulator._Process(tmp_path, [PART])
    guest('print(\'{"error": "no such operation"}\')')
    with pytest.raises(InputError, match="no such operation"):
        qnn_emulator._Process(tmp_path, [PART])

"""What a bundle holds for a DSP, and how its manifest names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from model_toys import Toy, run
from quantizer_toys import pictures, recipe, relief, spec_of, tiny_srnet

from i2uv_edge.bundle import Bundle
from i2uv_edge.convert.onnx import to_onnx
from i2uv_edge.convert.tflite import to_tflite
from i2uv_edge.device import qnn
from i2uv_edge.device.parts import Parts, write_parts
from i2uv_edge.quantizer.network import quantize

installed = pytest.mark.skipif(not qnn.available(), reason="onnxruntime-qnn is not installed")
STRICT = recipe(input="int8", output="int8")


def parts(folder: Path, network: Any, made: Any, *, split: bool) -> Parts:
    quantized = quantize(network, made, [pictures(3, 16)], network_role="srnet")
    spec = spec_of(network, 16, "srnet")
    to_tflite(quantized, spec, folder / "srnet.tflite")
    to_onnx(quantized, spec, folder / "srnet.onnx")
    return write_parts(folder, {"srnet": spec}, split=split, notify=lambda *_: None)


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


@installed
def test_an_integer_network_gets_a_dlc_unasked(tmp_path: Path) -> None:
    found = parts(tmp_path, tiny_srnet(), STRICT, split=False)
    entry = found.entries["srnet"]
    assert entry["dlc"]["file"] == "srnet.dlc"
    assert entry["dlc"]["inputs"][0]["dtype"] == "uint8"
    assert "segments" not in entry
    assert found.parents == {"srnet.dlc": "srnet.onnx"}
    assert found.tools == qnn.versions()
    assert {"srnet.dlc", "qnn/run.sh"} <= files(tmp_path)


def test_without_qnn_and_without_segments_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qnn, "available", lambda: False)
    assert parts(tmp_path, tiny_srnet(), STRICT, split=False) == Parts()
    assert files(tmp_path) == {"srnet.tflite", "srnet.onnx"}


def test_a_network_that_is_partly_float_gets_no_dlc_of_the_whole(tmp_path: Path) -> None:
    found = parts(tmp_path, relief(), recipe("base"), split=False)
    assert found.entries.get("srnet", {}) == {}
    assert files(tmp_path) == {"srnet.tflite", "srnet.onnx"}


@installed
def test_a_segment_for_the_dsp_gets_an_onnx_file_and_a_dlc(tmp_path: Path) -> None:
    found = parts(tmp_path, relief(), recipe("base"), split=True)
    cpu, dsp, _ = found.entries["srnet"]["segments"]
    assert {"onnx", "dlc"}.isdisjoint(cpu)
    assert dsp["onnx"]["file"] == "segments/srnet.01.dsp.onnx"
    assert dsp["dlc"]["file"] == "segments/srnet.01.dsp.dlc"
    assert dsp["onnx"]["inputs"] == dsp["dlc"]["inputs"]
    model = onnx.load(tmp_path / dsp["onnx"]["file"])
    assert [port.name for port in model.graph.input] == [dsp["onnx"]["inputs"][0]["name"]]
    assert found.parents["segments/srnet.01.dsp.tflite"] == "srnet.tflite"
    assert found.parents["segments/srnet.01.dsp.onnx"] == "srnet.onnx"
    assert found.parents["segments/srnet.01.dsp.dlc"] == "segments/srnet.01.dsp.onnx"


@installed
@pytest.mark.slow
@pytest.mark.usefixtures("toy_world")
def test_a_strict_bundle_holds_all_of_it_and_gives_the_same_bytes_again(
    toy: Toy, tmp_path: Path
) -> None:
    bundles = [tmp_path / name for name in ("a", "b")]
    for bundle in bundles:
        # The toy misses a gate or two under this recipe; the bundle is written all the same.
        assert toy.export(bundle, "--recipe", "w8a8-strict", "--split").code in (0, 3)
    first, second = (Bundle.open(bundle) for bundle in bundles)
    assert first.sha256 == second.sha256
    kinds = [artifact.kind for artifact in first.artifacts]
    assert kinds.count("dlc") == 5  # four segments of AffineNet, and SRNet whole
    segments = first.manifest["networks"]["affinenet"]["segments"]
    assert all(s["macs"] == 0 for s in segments if s["unit"] == "CPU")
    ended = run("validate", str(bundles[0]), "--candidate", "split", "--reference", "fake-quant")
    assert "off fake-quant, mean mm         0.000" in ended.out

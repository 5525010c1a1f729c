"""DLC files: made by the real package where it is installed, and by stand-ins that fail."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import onnx
import pytest
from quantizer_toys import pictures, recipe, relief, spec_of, tiny_srnet

from i2uv_edge.convert.onnx import to_onnx
from i2uv_edge.convert.tflite import to_tflite
from i2uv_edge.device import qnn
from i2uv_edge.device.segments import whole_segment
from i2uv_edge.errors import ConversionError, MissingDependencyError
from i2uv_edge.quantizer.network import quantize

installed = pytest.mark.skipif(not qnn.available(), reason="onnxruntime-qnn is not installed")

STRICT = recipe(input="int8", output="int8")


def onnx_file(folder: Path, network: Any, made: Any = STRICT, role: str = "srnet") -> bytes:
    quantized = quantize(network, made, [pictures(3, 16)], network_role=role)
    spec = spec_of(network, 16, role)
    to_tflite(quantized, spec, folder / f"{role}.tflite")
    to_onnx(quantized, spec, folder / f"{role}.onnx")
    return (folder / f"{role}.onnx").read_bytes()


@installed
def test_an_integer_network_becomes_a_dlc_with_the_names_of_its_tensors(tmp_path: Path) -> None:
    path = tmp_path / "srnet.dlc"
    qnn.to_dlcs({path: onnx_file(tmp_path, tiny_srnet())})
    with zipfile.ZipFile(path) as archive:
        assert "model" in archive.namelist()
    assert b"picture_in" in path.read_bytes()
    assert b"map_out" in path.read_bytes()


@installed
def test_same_network_same_bytes_whenever_it_is_made(tmp_path: Path) -> None:
    model = onnx_file(tmp_path, tiny_srnet())
    paths = [tmp_path / f"{name}.dlc" for name in "abc"]
    qnn.to_dlcs(dict.fromkeys(paths[:2], model))
    qnn.to_dlcs({paths[2]: model})
    assert len({path.read_bytes() for path in paths}) == 1
    assert b"1980-01-01 00:00:00 UTC" in paths[0].read_bytes()


@installed
def test_a_float_operation_is_refused_by_name(tmp_path: Path) -> None:
    model = onnx_file(tmp_path, relief(), recipe("base"))
    with pytest.raises(ConversionError, match=r"s.dlc: QNN refuses .*base \(Resize\)") as raised:
        qnn.to_dlcs({tmp_path / "s.dlc": model})
    assert raised.value.exit_code == 5
    assert not (tmp_path / "s.dlc").exists()


def test_a_network_that_is_not_integer_has_no_segment_to_compile(tmp_path: Path) -> None:
    network = relief()
    onnx_file(tmp_path, network, recipe("base"))
    assert whole_segment(tmp_path, spec_of(network, 16, "srnet")) == []


# --- what can go wrong ---------------------------------------------------------------------------


def stand_in(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let a Python program be the process that compiles."""
    real = subprocess.run

    def run(command: list[str], **options: Any) -> Any:
        assert command[1:3] == ["-m", "i2uv_edge.device.qnn_guest"]
        return real([sys.executable, "-c", program, *command[3:]], **options)

    monkeypatch.setattr(qnn, "available", lambda: True)
    monkeypatch.setattr(qnn.subprocess, "run", run)


WRITES = """
import json, pathlib, sys
print("a line of a library")
for name in {files}:
    pathlib.Path(sys.argv[2], name).write_bytes(b'{{"timestamp": "2031-02-03 04:05:06 UTC"}}')
print(json.dumps({answer}))
"""


def test_without_the_package_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qnn, "available", lambda: False)
    with pytest.raises(MissingDependencyError, match="not installed") as raised:
        qnn.to_dlcs({tmp_path / "a.dlc": b""})
    assert "i2uv-edge[qnn]" in raised.value.remedy


def test_a_package_that_cannot_be_loaded_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, "import sys; sys.exit('OSError: libQnnIr.so: no such file')")
    with pytest.raises(MissingDependencyError, match=r"libQnnIr.so: no such file"):
        qnn.to_dlcs({tmp_path / "a.dlc": b""})


def test_times_are_taken_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, WRITES.format(files=["x.dlc"], answer={"elsewhere": []}))
    qnn.to_dlcs({tmp_path / "a.dlc": b""})
    assert (tmp_path / "a.dlc").read_bytes() == b'{"timestamp": "1980-01-01 00:00:00 UTC"}'


@pytest.mark.parametrize(
    ("files", "answer", "words"),
    [
        (["x.dlc"], {"elsewhere": ["head"]}, "a.dlc: QNN refuses head"),
        (["x.dlc", "y.dlc"], {"elsewhere": []}, "a.dlc: QNN wrote 2 DLC files"),
        ([], {"elsewhere": []}, "a.dlc: QNN wrote 0 DLC files"),
        ([], {"error": "out of memory\nmore"}, "QNN refuses it: out of memory"),
    ],
)
def test_what_is_not_whole_in_qnn_is_refused(
    files: list[str],
    answer: dict[str, Any],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in(monkeypatch, WRITES.format(files=files, answer=answer))
    with pytest.raises(ConversionError) as raised:
        qnn.to_dlcs({tmp_path / "a.dlc": b""})
    assert raised.value.what.endswith(words)
    assert not (tmp_path / "a.dlc").exists()


def test_a_process_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(qnn, "_SECONDS", 0.2)
    with pytest.raises(ConversionError, match=r"no \.dlc after"):
        qnn.to_dlcs({tmp_path / "a.dlc": b""})


def test_models_are_plain_onnx(tmp_path: Path) -> None:
    onnx.checker.check_model(onnx.load_model_from_string(onnx_file(tmp_path, tiny_srnet())))

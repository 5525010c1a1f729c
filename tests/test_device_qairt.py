"""The script for the QAIRT SDK, run with stand-ins for its tools: they record how they are called.

The real tools have never been run: what is tested is that they are called as documented.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from quantizer_toys import pictures, recipe, relief, spec_of

from i2uv_edge.convert.onnx import to_onnx
from i2uv_edge.convert.tflite import to_tflite
from i2uv_edge.device import qnn
from i2uv_edge.device.parts import Parts, write_parts
from i2uv_edge.quantizer.network import quantize

TOOLS = "bin/x86_64-linux-clang"
PUSHED = (
    "bin/aarch64-android/qnn-net-run",
    "lib/aarch64-android/libQnnDsp.so",
    "lib/aarch64-android/libQnnDspV66Stub.so",
    "lib/aarch64-android/libQnnModelDlc.so",
    "lib/aarch64-android/libQnnSystem.so",
    "lib/hexagon-v66/unsigned/libQnnDspV66Skel.so",
)

# Records its arguments, one call a line; makes the files that the real tool would make.
RECORDS = """#!/bin/sh
{ printf '%s' "$(basename "$0")"; printf '|%s' "$@"; echo; } >>"$RECORD"
"""
CONVERTS = RECORDS + 'while [ "$1" != "$FLAG" ]; do shift; done; echo made >"$2"\n'
ADB = RECORDS + 'if [ "$1" = pull ]; then cp -r "$ANSWERS" "$3/output"; fi\n'


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


class World:
    """A bundle's folder with one integer part, an SDK and a phone that record."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(qnn, "available", lambda: False)
        self.bundle, self.sdk, self.bin = folder / "bundle", folder / "sdk", folder / "bin"
        self.answers, self.record = folder / "answers", folder / "record"
        self.bundle.mkdir()
        network = relief()
        made = quantize(network, recipe("base"), [pictures(3, 16)], network_role="srnet")
        spec = spec_of(network, 16, "srnet")
        to_tflite(made, spec, self.bundle / "srnet.tflite")
        to_onnx(made, spec, self.bundle / "srnet.onnx")
        self.parts: Parts = write_parts(
            self.bundle, {"srnet": spec}, split=True, notify=lambda *_: None
        )
        for file in PUSHED:
            executable(self.sdk / file, "")
        flagged = CONVERTS.replace("$FLAG", "--output_path")
        executable(self.sdk / TOOLS / "qairt-converter", flagged)
        executable(self.sdk / TOOLS / "qairt-quantizer", CONVERTS.replace("$FLAG", "--output_dlc"))
        executable(self.bin / "adb", ADB)
        expected = next((self.bundle / "qnn" / "srnet.01.dsp").glob("expected.*.raw"))
        self.expected = expected
        name = expected.stem.removeprefix("expected.")
        result = self.answers / "Result_0" / f"{name}_native.raw"
        result.parent.mkdir(parents=True)
        self.result = result
        shutil.copy(expected, result)

    def run(self, *options: str, sdk: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "RECORD": str(self.record),
            "ANSWERS": str(self.answers),
            **({"QNN_SDK_ROOT": str(self.sdk)} if sdk else {}),
        }
        script = str(self.bundle / "qnn" / "run.sh")
        return subprocess.run(
            ["sh", script, *options], env=environment, capture_output=True, text=True, check=False
        )

    def calls(self) -> list[list[str]]:
        return [line.split("|") for line in self.record.read_text().splitlines()]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_the_sdk_converts_from_the_ranges_in_the_onnx_file(world: World) -> None:
    ended = world.run()
    assert ended.returncode == 0, ended.stderr
    converter, quantizer = (call for call in world.calls() if call[0].startswith("qairt-"))
    made = Path(f"{world.bundle}-qnn")
    onnx = world.bundle / "segments" / "srnet.01.dsp.onnx"
    encoded, final = made / "srnet.01.dsp.encoded.dlc", made / "srnet.01.dsp.dlc"
    assert converter[1:] == ["--input_network", str(onnx), "--output_path", str(encoded)]
    assert quantizer[1:5] == ["--input_dlc", str(encoded), "--output_dlc", str(final)]
    assert "--input_list" not in quantizer  # which would calibrate again
    assert onnx.exists()


def test_the_phone_gets_the_dsp_s_libraries_the_model_and_its_inputs(world: World) -> None:
    world.run()
    calls = world.calls()
    pushed = [call[2] for call in calls if call[:2] == ["adb", "push"]]
    assert [str(world.sdk / file) for file in PUSHED] == pushed[: len(PUSHED)]
    assert [Path(path).name for path in pushed[len(PUSHED) :]] == [
        "srnet.01.dsp.dlc",
        "inputs.txt",
        "input.0.raw",
    ]
    assert all(Path(path).is_file() for path in pushed)
    (command,) = (" ".join(call[2:]) for call in calls if "qnn-net-run --backend" in str(call))
    assert "--backend libQnnDsp.so --model libQnnModelDlc.so --dlc_path model.dlc" in command
    assert "--use_native_input_files --use_native_output_files" in command
    assert 'ADSP_LIBRARY_PATH="/data/local/tmp/i2uv-edge;/vendor/dsp/cdsp;' in command


def test_a_dlc_of_the_bundle_is_taken_as_it_is_unless_conversion_is_asked_for(world: World) -> None:
    own = world.bundle / "segments" / "srnet.01.dsp.dlc"
    own.write_bytes(b"dlc")
    assert world.run().returncode == 0
    assert [call for call in world.calls() if call[0].startswith("qairt-")] == []
    assert str(own) in world.record.read_text()
    world.record.unlink()
    assert world.run("--convert", str(world.bundle.parent / "there")).returncode == 0
    assert "qairt-converter" in world.record.read_text()
    assert (world.bundle.parent / "there" / "srnet.01.dsp.dlc").exists()


def test_what_comes_back_is_compared_with_tflite(world: World) -> None:
    name = world.expected.stem.removeprefix("expected.")
    size = world.expected.stat().st_size
    assert f"srnet.01.dsp {name}: 0 of {size} values differ\n" in world.run().stdout
    values = np.fromfile(world.result, np.uint8)
    values[:5] ^= 1
    values.tofile(world.result)
    assert f"srnet.01.dsp {name}: 5 of {size} values differ\n" in world.run().stdout
    values[:-1].tofile(world.result)
    assert "and the size differs" in world.run().stdout
    world.result.unlink()
    assert f"srnet.01.dsp {name}: no such output came back" in world.run().stdout


def test_expected_values_are_the_segment_s_and_inputs_are_in_order(world: World) -> None:
    (parts,) = [e for e in world.parts.entries["srnet"]["segments"] if e["unit"] == "DSP"]
    port = parts["onnx"]["outputs"][0]
    assert world.expected.stat().st_size == np.prod(port["shape"])
    assert np.ptp(np.fromfile(world.expected, np.uint8)) > 10
    folder = world.expected.parent
    assert (folder / "inputs.txt").read_text() == "input.0.raw\n"
    shape = parts["onnx"]["inputs"][0]["shape"]
    assert (folder / "input.0.raw").stat().st_size == np.prod(shape)


def test_without_the_sdk_the_message_says_what_to_do(world: World) -> None:
    ended = world.run(sdk=False)
    assert ended.returncode == 4
    assert "QNN_SDK_ROOT is not set" in ended.stderr
    assert "--dry-run" in ended.stderr
    assert not world.record.exists()


def test_an_sdk_without_v66_and_a_machine_without_adb_are_said(world: World) -> None:
    (world.bin / "adb").unlink()
    if shutil.which("adb") is None:
        assert "there is no adb" in world.run().stderr
    (world.sdk / PUSHED[-1]).unlink()
    ended = world.run()
    assert (ended.returncode, "libQnnDspV66Skel.so" in ended.stderr) == (4, True)


def test_commands_can_be_shown_without_the_sdk(world: World) -> None:
    ended = world.run("--dry-run", sdk=False)
    assert ended.returncode == 0
    assert (
        "'$QNN_SDK_ROOT/bin/x86_64-linux-clang/qairt-converter' '--input_network'" in ended.stdout
    )
    assert not world.record.exists()
    assert not Path(f"{world.bundle}-qnn").exists()
    assert world.run("--wrong").returncode == 2


def test_a_tool_that_fails_ends_the_script(world: World) -> None:
    executable(world.sdk / TOOLS / "qairt-converter", "#!/bin/sh\nexit 9\n")
    assert world.run().returncode == 9


def test_the_script_says_that_it_was_never_run(world: World) -> None:
    assert "NEVER RUN YET with a real SDK or phone" in (world.bundle / "qnn/run.sh").read_text()

"""The emulated processor: against a stand-in that records how it is called, and the real one."""

from __future__ import annotations

import json
import shutil
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from model_toys import Ended, run
from quantizer_toys import spec_of
from torch import nn

from i2uv_edge import comparison
from i2uv_edge.bundle import Bundle
from i2uv_edge.convert.histogram import macs_by_dtype
from i2uv_edge.convert.tflite import to_tflite
from i2uv_edge.device import arm64, arm64_root
from i2uv_edge.device.arm64 import (
    Emulated,
    count_instructions,
    emulated_runners,
    profile_on_arm64,
)
from i2uv_edge.device.arm64_root import Root
from i2uv_edge.device.profiles import Instructions, read_profile
from i2uv_edge.errors import InputError
from i2uv_edge.runners import TfliteRunner

# Runs the guest's program with the Python that runs this, and writes a log as qemu does where one
# is asked for: one block of two instructions, of which one is a dot product, run for each mark.
STAND_IN = """#!{python}
import json, os, subprocess, sys
arguments = sys.argv[1:]
with open({record!r}, "a") as file:
    file.write(json.dumps(arguments) + "\\n")
start = next(n for n, word in enumerate(arguments) if word.endswith("python3.11"))
logs = "-d" in arguments[:start]
program = [word for word in arguments[start + 1 :] if word not in ("-I", "-S")]
if not logs:
    os.execv(sys.executable, [sys.executable, "-I", *program])
ended = subprocess.Popen([sys.executable, "-I", *program], stderr=subprocess.PIPE)
err = os.fdopen(2, "wb", buffering=0, closefd=False)
err.write(b"IN: \\n0x5500000000:  4f80e090  .byte 1\\n0x5500000004:  d65f03c0  ret\\n\\n")
for line in ended.stderr:
    err.write(line)
    err.write(b"Trace 0: 0x7f [0000000000001001/0000005500000000/00000001/00080200] \\n")
sys.exit(ended.wait())
"""


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """Give a stand-in for what is fetched."""
    emulator = tmp_path / "qemu-aarch64-static"
    emulator.write_text(
        STAND_IN.format(python=sys.executable, record=str(tmp_path / "record.jsonl"))
    )
    emulator.chmod(0o755)
    return Root(emulator, tmp_path / "root", Path(sysconfig.get_path("purelib")))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = nn.Conv2d(3, 3, 3, padding=1).eval()
    path = tmp_path_factory.mktemp("files") / "one.tflite"
    to_tflite(network, spec_of(network, 8), path)
    return path


def recorded(root: Root) -> list[list[str]]:
    lines = (root.emulator.parent / "record.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_it_is_emulated_as_a_processor_with_dot_products(root: Root, path: Path) -> None:
    Emulated(root, path).close()
    (call,) = recorded(root)
    assert call[:4] == ["-cpu", "cortex-a76", "-L", str(root.root)]
    assert str(root.python) in call
    assert call[-2:] == [str(root.site), str(path)]


def test_it_answers_as_the_interpreter_here_does(root: Root, path: Path) -> None:
    contract = spec_of(nn.Conv2d(3, 3, 3, padding=1), 8)
    feeds = {contract.input.name: np.random.default_rng(0).random((3, 8, 8, 3), np.float32)}
    there = TfliteRunner(path, contract, name="arm64", interpreter=Emulated(root, path))
    here = TfliteRunner(path, contract)
    assert there.tensors() == here.tensors()
    np.testing.assert_array_equal(
        there(feeds)[contract.output.name], here(feeds)[contract.output.name]
    )


def test_instructions_of_a_warm_inference_are_counted(
    root: Root, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Emulated, "code", [[0x5500000000, 0x5500001000]])
    # Between two marks of the stand-in's log lies one run of its block.
    assert count_instructions(root, path) == (Instructions(2, 1), True)
    plain, logged = recorded(root)
    assert "-d" not in plain
    options = logged[logged.index("-d") :]
    assert options[:4] == ["-d", "in_asm,exec,nochain", "-dfilter", "0x5500000000..0x5500000fff"]


def test_a_runtime_that_never_lies_still_is_given_up(
    root: Root, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = iter(range(100))
    monkeypatch.setattr(Emulated, "code", property(lambda self: [[next(places), 1000]]))
    with pytest.raises(InputError, match="other addresses each time"):
        count_instructions(root, path)


def test_a_file_that_cannot_be_opened_there_is_named(root: Root, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no model")
    with pytest.raises(InputError, match=r"broken\.tflite cannot be run on the emulated"):
        Emulated(root, broken)


def test_an_emulator_that_ends_in_the_middle_is_told(root: Root, path: Path) -> None:
    emulated = Emulated(root, path)
    (detail,) = emulated.get_input_details()
    emulated.set_tensor(0, np.zeros(detail["shape"], np.float32))
    emulated._process.kill()
    emulated._process.wait()
    with pytest.raises(InputError, match="ended with -9"):
        emulated.invoke()


def test_a_profile_compares_with_this_machine_and_states_no_time(
    root: Root, exported: tuple[Ended, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Emulated, "code", [[0x5500000000, 0x5500001000]])
    contents = comparison.open_contents(Bundle.open(exported[1]))
    profile = profile_on_arm64(contents, lambda what, done, total: None, root)
    assert [own.role for own in profile.networks] == ["affinenet", "srnet"]
    for own in profile.networks:
        assert own.latency_ms is own.first_ms is own.memory_mb is None
        assert own.instructions == Instructions(2, 1)
        assert own.off_mm is not None
        assert own.off_mm.mean == 0.0
    assert sum("bit for bit" in note for note in profile.notes) == 2
    assert "865" in profile.device.stands_in_for


def test_the_verb_writes_the_profile_into_the_bundle(
    root: Root, exported: tuple[Ended, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Emulated, "code", [[0x5500000000, 0x5500001000]])
    monkeypatch.setattr(arm64, "prepare", lambda notify: root)
    bundle = tmp_path / "bundle"
    shutil.copytree(exported[1], bundle)
    ended = run("profile", str(bundle), "--on", "arm64")
    assert ended.code == 0, ended.err
    path = bundle / "profiles" / "arm64-emulated.json"
    assert str(path) in ended.out
    assert "where time means nothing" in ended.out
    assert read_profile(path).bundle == Bundle.open(bundle).sha256


def test_the_candidate_is_judged_by_the_gates(
    root: Root,
    toy_world: None,
    exported: tuple[Ended, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arm64, "prepare", lambda: root)
    ended = run("validate", str(exported[1]), "--candidate", "arm64", "--json")
    assert ended.code == 0, ended.err
    scores = json.loads(ended.out)["scores"]
    judged = {row["stage"] for row in scores if row["candidate"] == "arm64" and row["limit"]}
    assert judged == {"affinenet", "srnet", "chained"}
    assert not [row for row in scores if row["metric"] == "flicker_mm"]


@pytest.mark.slow
def test_the_real_processor_computes_and_counts(
    exported: tuple[Ended, Path], tmp_path: Path
) -> None:
    """Fetches some 100 MB the first time."""
    bundle = tmp_path / "bundle"
    shutil.copytree(exported[1], bundle)
    ended = run("profile", str(bundle), "--on", "arm64", "--json")
    assert ended.code == 0, ended.err
    profile = read_profile(bundle / "profiles" / "arm64-emulated.json")
    for own in profile.networks:
        assert own.off_mm is not None
        assert own.off_mm.mean < 0.1  # quantization/gates.toml, files against fake-quant
        macs = macs_by_dtype(bundle / own.file)["INT8"]
        assert own.instructions is not None
        # A dot product multiplies 16 pairs; kernels round rows and channels up.
        assert macs <= 16 * own.instructions.sdot <= 2 * macs
        assert own.instructions.sdot < own.instructions.total / 1.2
    assert not [note for note in profile.notes if "another number of instructions" in note]


@pytest.mark.slow
def test_integer_kernels_give_the_same_bits_on_the_real_processor(
    exported: tuple[Ended, Path],
) -> None:
    contents = comparison.open_contents(Bundle.open(exported[1]))
    root = arm64_root.prepare()
    spec = contents.specs["srnet"]
    there = emulated_runners(exported[1], {"srnet": spec}, root)["srnet"]
    here = TfliteRunner(contents.bundle.file("srnet.tflite"), spec)
    feed = {spec.input.name: np.random.default_rng(0).random(spec.input.shape, np.float32)}
    apart = np.abs(there(feed)[spec.output.name] - here(feed)[spec.output.name])
    # The last step adds in float, in another order.
    assert apart.max() < 1e-5

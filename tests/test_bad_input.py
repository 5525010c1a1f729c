"""Everything a user can get wrong: each is named, has its exit code and leaves nothing behind."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from model_toys import Ended, Toy, run
from safetensors.torch import load_file, save_file
from test_data_pictures import CMYK_JPEG

from i2uv_edge import assembly, reporting, spec
from i2uv_edge.bundle import Bundle
from i2uv_edge.dumps import DumpRunner, write_dump
from i2uv_edge.runners import Stored

pytestmark = pytest.mark.usefixtures("toy_world")

JPEG = Path(spec.resources.calibration_data() / "pictures" / "00000.jpg").read_bytes()


@pytest.fixture
def bundle(exported: tuple[Ended, Path], tmp_path: Path) -> Path:
    """Give a copy that may be damaged."""
    shutil.copytree(exported[1], tmp_path / "bundle")
    return tmp_path / "bundle"


def empty(folder: Path) -> bool:
    return list(folder.iterdir()) == []


# --- pictures -------------------------------------------------------------------------------------


def picture(
    suffix: str = ".png", shape: tuple[int, ...] = (40, 50, 3), kind: Any = np.uint8
) -> bytes:
    peak = np.iinfo(kind).max if np.dtype(kind).kind == "u" else 1.0
    rng = np.random.default_rng(0)
    array = (rng.random(shape) * peak).astype(kind)
    done, content = cv2.imencode(suffix, array)
    assert done
    return content.tobytes()


CONVERTED: dict[str, Callable[[], bytes]] = {
    "deep.png": lambda: picture(kind=np.uint16),
    "grey.png": lambda: picture(shape=(40, 50)),
    "alpha.png": lambda: picture(shape=(40, 50, 4)),
    "print.jpg": lambda: CMYK_JPEG,
    "plain.jpg": lambda: JPEG,
}
REFUSED: dict[str, Callable[[], bytes]] = {
    "short.jpg": lambda: JPEG[: len(JPEG) // 2],
    "short.png": lambda: picture()[:-200],
    "notes.jpg": lambda: b"these are notes",
    "nothing.png": lambda: b"",
    "float.tiff": lambda: picture(".tiff", kind=np.float32),
    "phone.heic": lambda: b"\0\0\0\x18ftypheic" + bytes(64),
}


def test_pictures_of_other_kinds_are_converted(toy: Toy, bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, content in CONVERTED.items():
        (folder / name).write_bytes(content())
    ended = toy.export(tmp_path / "out", "--calibration", str(folder), "--json")
    assert ended.code in (0, 3), ended.err  # so few pictures make poor ranges
    assert Bundle.open(tmp_path / "out").manifest["calibration"]["pictures"] == len(CONVERTED)
    validated = run("validate", str(bundle), "--images", str(folder), "--json")
    assert json.loads(validated.out)["samples"] == len(CONVERTED)


@pytest.mark.parametrize("name", REFUSED)
def test_a_picture_that_cannot_be_read_is_named(
    toy: Toy, bundle: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(JPEG)
    (folder / name).write_bytes(REFUSED[name]())
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    commands = {
        "export": ["--checkpoint", str(toy.affinenet_weights), "--calibration", str(folder)],
        "validate": ["--images", str(folder)],
        "calibrate": ["-o", str(outputs / "set")],
    }
    subjects = {"export": toy.affinenet, "validate": bundle, "calibrate": folder}
    commands["export"] += ["-o", str(outputs / "out")]
    for verb, options in commands.items():
        ended = run(verb, str(subjects[verb]), *options)
        assert ended.code == 2, verb
        assert str(folder / name) in ended.err, verb
        assert "to do: " in ended.err
        assert ended.out == ""
    assert empty(outputs)


@pytest.mark.parametrize("content", ["missing", "empty", "no picture", "a file"])
def test_a_folder_without_pictures_is_named(
    toy: Toy, bundle: Path, tmp_path: Path, content: str
) -> None:
    folder = tmp_path / "pictures"
    if content == "a file":
        folder.write_bytes(JPEG)
    elif content != "missing":
        folder.mkdir()
    if content == "no picture":
        (folder / "notes.txt").write_text("no picture")
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    for ended in (
        toy.export(outputs / "out", "--calibration", str(folder)),
        run("validate", str(bundle), "--images", str(folder)),
        run("calibrate", str(folder), "-o", str(outputs / "set")),
    ):
        assert ended.code == 2
        assert str(folder) in ended.err
        assert "expected: " in ended.err
    assert empty(outputs)


@pytest.mark.parametrize(("recipe", "role"), [("float", "affinenet"), ("w8a8", "srnet")])
def test_pictures_nobody_would_look_at_are_refused(
    toy: Toy, tmp_path: Path, recipe: str, role: str
) -> None:
    network = toy.affinenet if role == "affinenet" else toy.srnet
    options = ["--recipe", recipe, "--calibration", str(toy.data / "pictures")]
    ended = run("export", str(network), *options, "-o", str(tmp_path / "out"))
    assert ended.code == 2
    assert "drop --calibration" in ended.err


# --- names and TOML -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("export egde", ["unknown model 'egde'", "edge", "srnet-edge", "did you mean 'edge'?"]),
        ("export --recipe w8a9", ["unknown recipe 'w8a9'", "float, w8a8"]),
        ("export --target sd999", ["unknown target 'sd999'", "sd865"]),
        ("train srnet-egde", ["unknown network 'srnet-egde'", "srnet-edge"]),
        ("export no/such/model.toml", ["there is no file no/such/model.toml"]),
        ("train srnet-edge --config no/such/run.toml", ["there is no file no/such/run.toml"]),
    ],
)
def test_an_unknown_name_lists_the_known_ones(
    tmp_path: Path, arguments: str, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = run(*arguments.split())
    assert ended.code == 2
    assert all(part in ended.err for part in said), ended.err
    assert empty(tmp_path)


@pytest.mark.parametrize("kind", ["model", "network", "architecture", "recipe", "target", "run"])
def test_an_unknown_key_of_a_toml_lists_the_known_ones(toy: Toy, tmp_path: Path, kind: str) -> None:
    bundled = {
        "recipe": spec.resources.quantization_data() / "recipes" / "w8a8.toml",
        "target": spec.resources.export_data() / "targets" / "sd865.toml",
        "run": spec.resources.export_data() / "training" / "srnet-edge.toml",
        "model": toy.model,
        "network": toy.srnet,
        "architecture": toy.srnet,
    }
    text = bundled[kind].read_text()
    mine = tmp_path / "mine.toml"
    mine.write_text(f"{text}\nwdith = 8\n" if kind == "architecture" else f"wdith = 8\n{text}")
    out = tmp_path / "outputs" / "out"
    command = {
        "model": ["export", str(mine)],
        "network": ["export", str(mine)],
        "architecture": ["export", str(mine)],
        "recipe": ["export", "--recipe", str(mine)],
        "target": ["export", "--target", str(mine)],
        "run": ["train", "srnet-edge", "--config", str(mine)],
    }[kind]
    ended = run(*command, "-o", str(out))
    assert ended.code == 2
    assert "'wdith'" in ended.err
    assert "expected: one of " in ended.err
    if kind == "architecture":
        assert "did you mean 'width'?" in ended.err
    assert not out.exists()


# --- checkpoints ----------------------------------------------------------------------------------


class Trap:
    """Pickled code that would run when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def changed(weights: Path, path: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    state = load_file(weights)
    change(state)
    save_file(state, path)
    return path


def test_nan_weights_are_named(toy: Toy, tmp_path: Path) -> None:
    path = tmp_path / "nan.safetensors"
    changed(toy.srnet_weights, path, lambda state: state["last.bias"].fill_(float("nan")))
    ended = run("export", str(toy.srnet), "--checkpoint", str(path), "-o", str(tmp_path / "out"))
    assert ended.code == 2
    assert str(path) in ended.err
    assert "last.bias hold NaN" in ended.err
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_another_network_lists_what_differs(toy: Toy, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    changed(toy.srnet_weights, path, lambda state: state.update(extra=state.pop("last.bias")))
    ended = run("export", str(toy.srnet), "--checkpoint", str(path), "-o", str(tmp_path / "out"))
    assert ended.code == 2
    assert "1 missing: last.bias" in ended.err
    assert "1 unexpected: extra" in ended.err


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"garbage" * 100])
def test_a_checkpoint_that_cannot_be_read_is_named(
    toy: Toy, tmp_path: Path, suffix: str, content: bytes | None
) -> None:
    path = tmp_path / f"weights{suffix}"
    if content is not None:
        path.write_bytes(content)
    for ended in (
        run("export", str(toy.srnet), "--checkpoint", str(path), "-o", str(tmp_path / "out")),
        run("evaluate", str(path)),
    ):
        assert ended.code == 2
        assert str(path) in ended.err
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_would_run_code_is_refused_and_does_not(toy: Toy, tmp_path: Path) -> None:
    marker, path = tmp_path / "it-ran", tmp_path / "trap.pth"
    torch.save({"state": Trap(marker)}, path)
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Trap(marker)))
    for trap in (path, tmp_path / "bare.pth"):
        ended = run("export", str(toy.srnet), "--checkpoint", str(trap), "-o", str(tmp_path / "o"))
        assert ended.code == 2
        assert str(trap) in ended.err
    assert not marker.exists()


def test_two_checkpoints_for_one_network_are_refused(toy: Toy, tmp_path: Path) -> None:
    twice = [*toy.checkpoints[:2], *toy.checkpoints[:2]]
    ended = run("export", str(toy.model), *twice, "-o", str(tmp_path / "out"))
    assert ended.code == 2
    assert "both weights of affinenet" in ended.err


def test_a_model_without_weights_says_how_to_get_some(toy: Toy, tmp_path: Path) -> None:
    ended = run("export", str(toy.model), "-o", str(tmp_path / "out"))
    assert ended.code == 2
    assert "--checkpoint" in ended.err


# --- bundles --------------------------------------------------------------------------------------

SEALED = (
    "affinenet.tflite",
    "srnet.tflite",
    "affinenet.onnx",
    "float/affinenet.safetensors",
    "encodings.json",
    "atlas.npz",
    "eval/truth.npz",
    "golden/dump.json",
)


@pytest.mark.parametrize("verb", ["validate", "evaluate"])
@pytest.mark.parametrize("name", SEALED)
def test_a_damaged_file_of_a_bundle_is_named(bundle: Path, name: str, verb: str) -> None:
    path = bundle / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    ended = run(verb, str(bundle), "--json")
    assert (ended.code, ended.out) == (6, "")
    assert name in ended.err


def test_a_missing_file_of_a_bundle_is_named(bundle: Path) -> None:
    (bundle / "srnet.tflite").unlink()
    ended = run("validate", str(bundle))
    assert ended.code == 6
    assert "srnet.tflite is missing" in ended.err


def test_swapped_files_of_a_bundle_are_named(bundle: Path) -> None:
    (bundle / "affinenet.tflite").rename(bundle / "x")
    (bundle / "srnet.tflite").rename(bundle / "affinenet.tflite")
    (bundle / "x").rename(bundle / "srnet.tflite")
    ended = run("validate", str(bundle))
    assert ended.code == 6
    assert "affinenet.tflite has" in ended.err
    assert "this is the content of srnet.tflite" in ended.err


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.pop("networks"),
        lambda manifest: manifest.pop("model"),
        lambda manifest: manifest.update(recipe=[]),
        lambda manifest: manifest.update(networks={}),
        lambda manifest: manifest["chain"].pop("clip"),
        lambda manifest: manifest["networks"]["srnet"].pop("spec"),
        lambda manifest: manifest["networks"]["srnet"]["spec"].update(role="affine"),
        lambda manifest: manifest["recipe"].update(unknown=1),
    ],
    ids=["networks", "model", "recipe", "no network", "chain", "spec", "role", "key"],
)
def test_a_manifest_that_was_tampered_with_is_named(
    bundle: Path, change: Callable[[Any], Any]
) -> None:
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    ended = run("validate", str(bundle))
    assert ended.code == 6
    assert str(path) in ended.err


def test_a_manifest_cut_short_is_named(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_bytes(path.read_bytes()[:100])
    ended = run("validate", str(bundle))
    assert ended.code == 6
    assert str(path) in ended.err


@pytest.mark.parametrize("verb", ["validate", "evaluate"])
def test_a_bundle_that_is_not_there_is_named(tmp_path: Path, verb: str) -> None:
    ended = run(verb, str(tmp_path / "none"))
    assert ended.code == 2
    assert str(tmp_path / "none") in ended.err


# --- dumps ----------------------------------------------------------------------------------------


def change_dump(folder: Path, change: Callable[[Any], Any]) -> str:
    path = folder / "dump.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return str(folder)


@pytest.fixture
def dump(bundle: Path, tmp_path: Path) -> Path:
    shutil.copytree(bundle / "golden", tmp_path / "dump")
    return tmp_path / "dump"


def test_a_dump_of_another_bundle_is_refused(bundle: Path, dump: Path) -> None:
    change_dump(dump, lambda document: document.update(bundle="ab" * 32))
    ended = run("validate", str(bundle), "--candidate", str(dump))
    assert ended.code == 6
    assert "made with another bundle" in ended.err


def test_a_dump_of_unknown_samples_is_refused(bundle: Path, dump: Path) -> None:
    change_dump(dump, lambda document: document["samples"][0].update(id="selfie"))
    ended = run("validate", str(bundle), "--candidate", str(dump))
    assert ended.code == 2
    assert "selfie" in ended.err


def test_a_dump_without_samples_does_not_pass(bundle: Path, dump: Path) -> None:
    change_dump(dump, lambda document: document.update(samples=[]))
    ended = run("validate", str(bundle), "--candidate", str(dump))
    assert ended.code == 3
    assert "nothing was compared" in ended.err


def test_a_dump_that_lacks_a_map_does_not_pass(bundle: Path, dump: Path) -> None:
    change_dump(dump, lambda document: document["samples"][1].pop("srnet"))
    ended = run("validate", str(bundle), "--candidate", str(dump))
    assert ended.code == 3
    assert "is no number" in ended.err


def test_a_dump_as_a_phone_writes_it_is_compared(bundle: Path, tmp_path: Path) -> None:
    """Bytes for the picture, numbers for the rest, the bundle's own sha256."""
    golden = DumpRunner(bundle / "golden")
    folder = tmp_path / "phone"
    write_dump(folder, phone_samples(golden), source="phone", bundle=Bundle.open(bundle).sha256)
    ended = run("validate", str(bundle), "--candidate", str(folder))
    assert ended.code in (0, 3), ended.err  # four pictures pass no gate of a whole set for sure
    assert "is no number" not in ended.err
    assert str(folder) in ended.out
    assert "crops were not compared" not in ended.err


def test_a_dump_whose_vertices_are_not_those_of_its_map_is_refused(
    bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "phone"
    samples = [
        (name, {**tensors, "vertices": tensors["vertices"][:, ::-1]})
        for name, tensors in phone_samples(DumpRunner(bundle / "golden"))
    ]
    write_dump(folder, samples, source="phone", bundle=Bundle.open(bundle).sha256)
    ended = run("validate", str(bundle), "--candidate", str(folder))
    assert ended.code == 2
    assert "from those of its own map" in ended.err


def test_what_a_dump_does_not_say_is_noted(bundle: Path, dump: Path) -> None:
    change_dump(dump, lambda document: document["samples"][0].pop("input"))
    ended = run("validate", str(bundle), "--candidate", str(dump))
    assert "names no bundle" in ended.err
    assert "no input of 1 samples" in ended.err


def phone_samples(golden: DumpRunner) -> list[tuple[str, Any]]:
    made = []
    for name in golden.ids:
        tensors: dict[str, Any] = {key: value[None] for key, value in golden.sample(name).items()}
        levels = np.rint(tensors["input"] * 255).astype(np.uint8)
        made.append((name, {**tensors, "input": Stored(levels, 1 / 255)}))
    return made


# --- outputs --------------------------------------------------------------------------------------


def test_an_existing_output_is_replaced_with_force_only(toy: Toy, bundle: Path) -> None:
    before = Bundle.open(bundle).sha256
    ended = toy.export(bundle)
    assert ended.code == 2
    assert "--force" in ended.err
    assert Bundle.open(bundle).sha256 == before
    assert toy.export(bundle, "--force", "--recipe", "float").code == 0
    assert Bundle.open(bundle).manifest["recipe"]["name"] == "float"


def test_a_folder_that_is_no_bundle_is_not_replaced(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    assert toy.export(tmp_path / "thesis", "--force").code == 2
    assert (tmp_path / "thesis" / "chapter1.tex").exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (assembly, "to_tflite"),
        (assembly, "to_onnx"),
        (assembly, "seal"),
        (reporting, "write_json"),
        (reporting, "write_text"),
    ],
    ids=["tflite", "onnx", "sealing", "scores", "page"],
)
def test_a_disk_that_fills_up_leaves_nothing(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, name, full)
    options = ["--checkpoint", str(toy.srnet_weights), "-o", str(tmp_path / "outputs" / "out")]
    ended = run("export", str(toy.srnet), *options)
    assert ended.code == 2
    assert "the disk is full" in ended.err
    assert empty(tmp_path / "outputs")


KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
from i2uv_edge import assembly, cli
make = assembly.seal
def seal(*arguments, **options):
    make(*arguments, **options)
    print("sealed", flush=True)
    sys.stdin.read()
assembly.seal = seal
cli.main(sys.argv[2:])
"""


def test_an_export_that_is_killed_leaves_nothing_under_the_final_name(
    toy: Toy, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    command = ["export", str(toy.srnet), "--checkpoint", str(toy.srnet_weights)]
    command += ["--recipe", "float", "-o", str(outputs / "out")]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(Path(__file__).parent), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "sealed\n"  # all but the report is written
        process.kill()
        assert process.wait(timeout=30) == -signal.SIGKILL
    assert not (outputs / "out").exists()
    assert run(*command).code == 0
    assert [path.name for path in outputs.iterdir()] == ["out"]

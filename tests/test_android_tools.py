"""The app's tools where they need nothing but Python."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import aars
import build_apk
import numpy as np
import place_bundle
import pytest
import toolchain
from android_toys import write_toy_bundle
from golden_vectors import one_euro
from place_bundle import place

from i2uv_edge.bundle import MANIFEST
from i2uv_edge.errors import (
    DamagedError,
    GateError,
    InputError,
    MissingDependencyError,
    UsageError,
)

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "android_demo"


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_what_the_app_needs_of_a_bundle_is_placed_and_nothing_else(tmp_path: Path) -> None:
    bundle = write_toy_bundle(tmp_path / "bundle")
    placed = place(bundle, tmp_path / "assets", pictures=1)
    expected = [
        *("affinenet.tflite", "atlas.npz", "eval/00000.jpg", "golden/0000.input.bin"),
        *("golden/0000.vertices.bin", "golden/dump.json", MANIFEST, "srnet.tflite"),
    ]
    assert files(tmp_path / "assets" / "bundle") == sorted(placed) == expected
    for name in expected:
        assert (tmp_path / "assets" / "bundle" / name).read_bytes() == (bundle / name).read_bytes()


def test_a_second_bundle_takes_the_place_of_the_first(tmp_path: Path) -> None:
    bundle = write_toy_bundle(tmp_path / "bundle")
    place(bundle, tmp_path / "assets", pictures=2)
    place(bundle, tmp_path / "assets", pictures=0)
    assert not (tmp_path / "assets" / "bundle" / "eval").exists()


def test_what_is_no_bundle_is_not_removed(tmp_path: Path) -> None:
    bundle = write_toy_bundle(tmp_path / "bundle")
    (tmp_path / "assets" / "bundle").mkdir(parents=True)
    (tmp_path / "assets" / "bundle" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError):
        place(bundle, tmp_path / "assets")
    assert files(tmp_path / "assets" / "bundle") == ["mine.txt"]


def test_a_damaged_bundle_is_refused_and_what_was_placed_stays(tmp_path: Path) -> None:
    bundle = write_toy_bundle(tmp_path / "bundle")
    place(bundle, tmp_path / "assets")
    before = files(tmp_path / "assets" / "bundle")
    (bundle / "srnet.tflite").write_text("another")
    with pytest.raises(DamagedError, match=r"srnet\.tflite"):
        place(bundle, tmp_path / "assets")
    assert files(tmp_path / "assets" / "bundle") == before


@pytest.mark.parametrize("passed", [False, None])
def test_a_bundle_that_failed_or_was_never_judged_is_refused(
    tmp_path: Path, passed: bool | None
) -> None:
    bundle = write_toy_bundle(tmp_path / "bundle", passed=passed)
    with pytest.raises(GateError) as raised:
        place(bundle, tmp_path / "assets")
    assert raised.value.exit_code == 3
    assert not (tmp_path / "assets").exists()


def test_the_command_says_where_and_ends_with_the_error_s_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place_bundle.place, "__defaults__", (tmp_path / "assets", 3))
    assert place_bundle.main([str(write_toy_bundle(tmp_path / "bundle"))]) == 0
    assert "placed  9 files" in capsys.readouterr().out
    assert place_bundle.main([str(tmp_path / "nowhere")]) == 2
    assert "there is no bundle at" in capsys.readouterr().err


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None)
    with pytest.raises(MissingDependencyError) as raised:
        toolchain.require()
    assert "apt-get install aapt" in str(raised.value)
    assert raised.value.exit_code == 4


def test_the_older_packages_are_pinned_by_both_hashes() -> None:
    pins = tomllib.loads(toolchain.PINS.read_text())["debian"]
    assert len(pins) == 2
    for pin in pins:
        assert re.fullmatch(r"[0-9a-f]{64}", pin["sha256"])
        assert re.fullmatch(r"[0-9a-f]{40}", pin["sha1"])
        assert pin["only"].endswith(".jar")


def test_a_folder_without_aars_names_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no AAR") as raised:
        aars.unpack(tmp_path, tmp_path)
    assert "org.tensorflow:tensorflow-lite" in str(raised.value)


def test_what_is_no_aar_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "x.aar").write_bytes(b"not found")
    with pytest.raises(DamagedError, match=r"x\.aar is no AAR"):
        aars.unpack(tmp_path, tmp_path)


def test_the_filter_of_the_vectors_lets_a_still_value_be_and_slows_a_jump() -> None:
    values = np.zeros((40, 2))
    values[20:, 1] = 1
    made = one_euro(values, np.arange(40) / 30, min_cutoff=1.0, beta=0.0)
    assert (made[:, 0] == 0).all()
    assert 0 < made[20, 1] < 0.3
    assert made[39, 1] > 0.9


def imports(path: Path) -> set[str]:
    return set(re.findall(r"^import (?:static )?([\w.]+);", path.read_text(), re.MULTILINE))


@pytest.mark.parametrize(
    ("layer", "allowed"),
    [
        ("core", ("java.", "i2uv.edge.core.")),
        (
            "engine",
            (
                *("java.", "i2uv.edge.core.", "i2uv.edge.engine."),
                *("org.tensorflow.lite.", "com.qualcomm.qti."),
            ),
        ),
    ],
)
def test_a_layer_imports_what_is_below_it_alone(layer: str, allowed: tuple[str, ...]) -> None:
    found = sorted((DEMO / layer / "src" / "main").rglob("*.java"))
    assert found
    strange = {
        f"{path.name}: {name}"
        for path in found
        for name in imports(path)
        if not name.startswith(allowed)
    }
    assert strange == set()


def test_the_tools_print_where_a_command_ends_alone() -> None:
    for path in sorted((DEMO / "tools").glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name not in ("main", "ended"):
                called = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
                assert "print" not in called, f"{path.name}: {node.name}"


def test_gradle_builds_the_same_app() -> None:
    text = (DEMO / "app" / "build.gradle").read_text()
    said = dict(re.findall(r"^\s*(\w+) = '?([\w.]+)'?$", text, re.MULTILINE))
    assert said["namespace"] == said["applicationId"] == build_apk.PACKAGE
    assert int(said["minSdk"]) == build_apk.LEAST_API
    assert int(said["targetSdk"]) == build_apk.TARGET_API
    assert said["versionName"] == version("i2uv-edge")
    assert {f"../{folder}/java" for folder in build_apk.CODE[:2]} <= set(
        re.findall(r"'(\S+)'", text)
    )
    assert f"src/{place_bundle.ASSETS.name}" in text


def test_java_lines_fit() -> None:
    for path in sorted(DEMO.rglob("*.java")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            assert len(line) <= 100, f"{path.name}:{number}"
            assert line == line.rstrip().replace("\t", " "), f"{path.name}:{number}"


def test_no_library_of_others_is_in_the_repository() -> None:
    kinds = {".aar", ".apk", ".dex", ".jar", ".so", ".class", ".keystore", ".tflite"}
    ours = DEMO / "app" / "src" / "placed"
    found = [
        path
        for path in DEMO.rglob("*")
        if path.suffix in kinds and not path.is_relative_to(ours) and path.is_file()
    ]
    assert found == []

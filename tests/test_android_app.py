"""The sample app without a phone: built, looked into, and its code run on a JVM.

It needs Debian's packages and a bundle in `build/sd865`; `make android-test` sees to both.
"""

from __future__ import annotations

import json
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import build_apk
import check_apk
import cv2
import host
import numpy as np
import place_bundle
import pytest
import toolchain
from android_gles import Screen
from android_toys import write_aars
from check_apk import check
from model_toys import Toy
from model_toys import run as run_cli

from i2uv_edge.cli import main as cli
from i2uv_edge.dumps import DumpRunner
from i2uv_edge.errors import InputError, MissingDependencyError
from i2uv_edge.hand.metrics import vertex_normals

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "build" / "sd865"
SHADERS = sorted((toolchain.DEMO / "app/src/main/assets/shaders").iterdir())
BUILD_SECONDS = 60.0
UNIT_MM = 250.0  # more than a crop ever is wide

pytestmark = pytest.mark.android


@pytest.fixture(scope="module")
def tools() -> toolchain.Fetched:
    """Give what builds the app, or skip."""
    try:
        toolchain.require(to_test=True)
        return toolchain.fetched()
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def bundle() -> Path:
    """Give the bundle that was exported, or skip."""
    if not (BUNDLE / "report.json").is_file():
        pytest.skip(f"no bundle in {BUNDLE}: make export")
    return BUNDLE


@pytest.fixture(scope="module")
def assets(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the bundle placed in it, so that the user's own stays where it is."""
    folder = tmp_path_factory.mktemp("assets")
    place_bundle.place(bundle, folder)
    return folder


@pytest.fixture(scope="module")
def apk(
    tools: toolchain.Fetched, assets: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, float]:
    """Build the app without a runtime; the APK, and how long that took."""
    output = tmp_path_factory.mktemp("apk") / "hand-no-runtime.apk"
    start = time.monotonic()
    build_apk.build(output=output, key=output.with_name("key"), assets=assets)
    return output, time.monotonic() - start


@pytest.fixture(scope="module")
def code(tools: toolchain.Fetched) -> Iterator[host.Code]:
    with host.compiled() as made:
        yield made


def test_the_app_is_built_in_time_and_is_as_it_should_be(apk: tuple[Path, float]) -> None:
    path, seconds = apk
    assert seconds < BUILD_SECONDS
    checked = check(path)
    assert checked.faults == []
    assert not checked.has_runtime
    assert len(checked.done) == 7


def changed(apk: Path, target: Path, **contents: bytes | None) -> Path:
    """The APK with the files whose names end so exchanged, or compressed where None is given."""
    with zipfile.ZipFile(apk) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            ending = Path(info.filename).name.replace(".", "_")
            content = contents.get(ending, old.read(info))
            kind = info.compress_type if ending not in contents else zipfile.ZIP_DEFLATED
            new.writestr(info.filename, content or old.read(info), kind)
    return target


def test_an_app_that_was_changed_is_found_out_in_every_way(
    apk: tuple[Path, float], tmp_path: Path
) -> None:
    other = changed(apk[0], tmp_path / "x.apk", affinenet_tflite=None, srnet_tflite=b"another")
    faults = "\n".join(check(other).faults)
    assert "signature: " in faults
    assert "affinenet.tflite is compressed" in faults
    assert "srnet.tflite is not what the manifest lists" in faults
    assert check_apk.main([str(other)]) == 5


def test_with_aars_the_runtime_is_packaged_and_the_label_says_nothing_of_it(
    apk: tuple[Path, float], assets: Path, tools: toolchain.Fetched, tmp_path: Path
) -> None:
    """The AARs are toys: real ones are nowhere that a test could fetch them from."""
    libraries = write_aars(tmp_path / "aars", tools)
    output = build_apk.build(
        libraries, tmp_path / "hand.apk", key=apk[0].with_name("key"), assets=assets
    )
    checked = check(output)
    assert checked.faults == []
    assert checked.has_runtime
    with zipfile.ZipFile(output) as archive:
        packed = [name for name in archive.namelist() if name.startswith("lib/")]
        assert len(packed) == 6
        assert b"Lcom/qualcomm/qti/QnnDelegate;" in archive.read("classes.dex")


def test_stubs_are_never_packaged(apk: tuple[Path, float], tmp_path: Path) -> None:
    with zipfile.ZipFile(apk[0]) as archive:
        text = toolchain.run(["dexdump", archive.extract("classes.dex", tmp_path)])
    defined = [line for line in text.splitlines() if "Class descriptor" in line]
    assert len(defined) > 50
    assert not [line for line in defined if "tensorflow" in line or "qualcomm" in line]


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("tensorflow-lite-2.16.1", "org.tensorflow:tensorflow-lite"),
        ("qnn-runtime", r"libQnnDspV66Skel\.so is not"),
    ],
)
def test_aars_that_are_not_enough_are_named(
    tools: toolchain.Fetched, assets: Path, tmp_path: Path, lost: str, message: str
) -> None:
    libraries = write_aars(tmp_path / "aars", tools)
    (libraries / f"{lost}.aar").unlink()
    with pytest.raises(InputError, match=message):
        build_apk.build(libraries, tmp_path / "hand.apk", assets=assets)


def test_an_app_without_qualcomm_s_delegate_is_built_all_the_same(
    apk: tuple[Path, float], assets: Path, tools: toolchain.Fetched, tmp_path: Path
) -> None:
    libraries = write_aars(tmp_path / "aars", tools)
    for name in ("qnn-runtime", "qnn-litert-delegate"):
        (libraries / f"{name}.aar").unlink()
    output = build_apk.build(
        libraries, tmp_path / "hand.apk", key=apk[0].with_name("key"), assets=assets
    )
    assert check(output).faults == []


def test_without_a_bundle_nothing_is_built(tools: toolchain.Fetched, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"place_bundle\.py BUNDLE"):
        build_apk.build(output=tmp_path / "x.apk", assets=tmp_path)


@pytest.mark.parametrize("shader", SHADERS, ids=lambda path: path.name)
def test_shaders_are_valid(tools: toolchain.Fetched, shader: Path) -> None:
    toolchain.run(["glslangValidator", shader])


def test_a_broken_shader_would_be_found(tools: toolchain.Fetched, tmp_path: Path) -> None:
    broken = tmp_path / "mesh.frag"
    broken.write_text(SHADERS[0].read_text().replace("normalize", "normalise"))
    with pytest.raises(toolchain.ConversionError, match="normalise"):
        toolchain.run(["glslangValidator", broken])


def test_the_shaders_link_to_each_other(tools: toolchain.Fetched) -> None:
    for name in ("mesh", "picture"):
        toolchain.run(["glslangValidator", "-l", *(p for p in SHADERS if p.stem == name)])


def test_the_java_code_computes_what_python_does(code: host.Code, bundle: Path) -> None:
    assert "\nOK (" in host.junit(code, bundle)


def test_the_code_that_ships_computes_the_same(
    code: host.Code, bundle: Path, apk: tuple[Path, float]
) -> None:
    assert "\nOK (" in host.junit(code, bundle, dex=apk[0])


def test_the_shaders_draw_what_the_preview_draws(
    code: host.Code, bundle: Path, tmp_path: Path
) -> None:
    """Mesa stands for the phone's OpenGL; the mesh comes of Python, the preview's of Java."""
    name, side, width, height = "00002", 256, 360, 420
    host.preview(code, bundle, tmp_path / "p.png")
    preview = cv2.imread(str(tmp_path / "p.png"))[:height, 2 * width : 3 * width, ::-1]
    sample = DumpRunner(bundle / "golden").sample(name)
    with np.load(bundle / "atlas.npz") as atlas:
        faces = atlas["faces"]
    placed = (sample["vertices"] - (0, 0, 0.5)) * side
    zoom = min(width / side, height / side)
    scale = (2 * zoom / width, -2 * zoom / height, 1 / side)
    shift = (-scale[0] * side / 2, -scale[1] * side / 2)
    picture = np.rint(sample["input"] * 255).astype(np.uint8)
    normals = vertex_normals(placed, faces)
    screen = Screen(width, height, SHADERS[0].parent)
    drawn = screen.draw(picture, placed, normals, faces, (scale, shift))
    apart = np.abs(drawn.astype(int) - preview).mean(-1)[40:380, 4:-4]  # not the text, the frame
    assert np.median(apart) < 1
    assert np.percentile(apart, 95) < 6
    turned = screen.draw(picture, placed, -normals[:, ::-1], faces, (scale, shift))
    assert np.percentile(np.abs(turned.astype(int) - preview).mean(-1), 95) > 10


@pytest.fixture(scope="module")
def dumped(code: host.Code, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a dump by the app's own code, with the networks run by this machine's LiteRT."""
    output = tmp_path_factory.mktemp("dump") / "dump"
    host.dump(code, bundle, output, 200)
    return output


def test_a_dump_of_the_app_passes_validate(dumped: Path, bundle: Path) -> None:
    assert cli(["validate", str(bundle), "--candidate", str(dumped)]) == 0


def test_a_dump_says_the_same_as_the_golden_outputs(dumped: Path, bundle: Path) -> None:
    """But for the JPEG decoder: the golden pictures were decoded by another one."""
    golden, ours = DumpRunner(bundle / "golden"), DumpRunner(dumped)
    for name in golden.ids:
        wanted, made = golden.sample(name), ours.sample(name)
        assert np.abs(wanted["input"] - made["input"]).max() <= 6 / 255
        apart = np.linalg.norm(wanted["vertices"] - made["vertices"], axis=1).mean()
        assert apart * UNIT_MM < 0.5


def off_golden_mm(code: host.Code, bundle: Path, scratch: Path) -> float:
    """How far the vertices of Java and this machine's LiteRT are from the golden ones at most."""
    host.dump(code, bundle, scratch / "dump", 0)
    golden, ours = DumpRunner(bundle / "golden"), DumpRunner(scratch / "dump")
    assert golden.ids == ours.ids
    worst = 0.0
    for name in golden.ids:
        wanted, made = golden.sample(name), ours.sample(name)
        assert wanted.keys() == made.keys()
        assert np.array_equal(wanted["input"], made["input"])
        worst = max(worst, float(np.abs(wanted["vertices"] - made["vertices"]).max()) * UNIT_MM)
    return worst


def test_golden_pictures_come_out_of_java_and_litert_as_of_python(
    code: host.Code, bundle: Path, tmp_path: Path
) -> None:
    assert off_golden_mm(code, bundle, tmp_path) < 0.01


@pytest.mark.usefixtures("toy_world")
@pytest.mark.parametrize("kind", ["int8 outside, other sizes", "no SRNet"])
def test_bundles_of_other_kinds_need_no_other_code(
    code: host.Code, toy: Toy, tmp_path: Path, kind: str
) -> None:
    other = tmp_path / "bundle"
    if kind == "no SRNet":
        weights = ("--checkpoint", str(toy.affinenet_weights))
        run_cli("export", str(toy.affinenet), *weights, "-o", str(other))
    else:
        toy.export(other, "--recipe", "w8a8-strict")
    assert off_golden_mm(code, other, tmp_path) < 0.01


def test_a_dump_of_another_bundle_is_refused(dumped: Path, bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(dumped, other)
    document = json.loads((other / "dump.json").read_text())
    (other / "dump.json").write_text(json.dumps({**document, "bundle": "0" * 64}))
    assert cli(["validate", str(bundle), "--candidate", str(other)]) != 0


def test_the_preview_shows_a_mesh_over_each_picture(
    code: host.Code, bundle: Path, tmp_path: Path
) -> None:
    sheet = tmp_path / "preview.png"
    host.preview(code, bundle, sheet)
    drawn = cv2.imread(str(sheet))
    assert drawn.shape == (840, 1080, 3)
    for row in range(2):
        for column in range(3):
            tile = drawn[420 * row : 420 * (row + 1), 360 * column : 360 * (column + 1)]
            blue, red = tile[..., 0].astype(int), tile[..., 2].astype(int)
            share = (blue - red > 40).mean()
            assert 0.08 < share < 0.8, (row, column, share)

"""A user's networks on a user's mesh: export, validate, and evaluate on FreiHAND."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import move_in
from dataset_toys import mano_arrays, strip, subdivided, write_freihand, write_mano, write_obj
from model_toys import PICTURES, Ended, Toy, run

from i2uv_edge.bundle import Bundle, sha256_of
from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.hand.model import HandModel

pytestmark = pytest.mark.usefixtures("toy_world")

MESHES = """
[meshes]
coarse = "meshes/HandRightUV.obj"
fine = "meshes/HandRightUV_3K.obj"
mano = "meshes/MANO_RIGHT.pkl"
"""


def write_user_files(folder: Path, toy: Toy) -> Path:
    """The toy's networks with meshes named relative to the model; the mesh lies on the toy's hand.

    So that what the toy draws is a hand of that mesh as well.
    """
    hand = Atlas.of_mesh(HandModel.load().coarse, 64)
    uv_map = hand.rasterise(hand.template, fill=True)
    _, faces, uv = strip()
    at = np.stack([uv[:, 0] * 63, (1 - uv[:, 1]) * 63], axis=1).astype(np.float32)
    points = cv2.remap(uv_map, at[:, None], None, cv2.INTER_LINEAR)[:, 0].astype(np.float64)
    meshes = folder / "meshes"
    meshes.mkdir()
    write_obj(meshes / "HandRightUV.obj", points, faces, uv)
    write_obj(meshes / "HandRightUV_3K.obj", *subdivided(points, faces, uv))
    write_mano(meshes / "MANO_RIGHT.pkl", {**mano_arrays(), "v_template": points})
    path = folder / "mine.toml"
    path.write_text(toy.model.read_text() + MESHES)
    return path


@pytest.fixture(scope="module")
def exported_own(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path, Path]:
    folder = tmp_path_factory.mktemp("own")
    model = write_user_files(folder, toy)
    with pytest.MonkeyPatch.context() as patch:
        move_in(toy, patch)
        ended = run("export", str(model), *toy.checkpoints, "-o", str(folder / "out"))
    return ended, folder / "out", folder


def rows(document: Any, **wanted: str) -> list[dict[str, Any]]:
    return [s for s in document["scores"] if all(s[key] == value for key, value in wanted.items())]


def test_parity_is_compared_and_nothing_else(exported_own: tuple[Ended, Path, Path]) -> None:
    ended, bundle, _ = exported_own
    assert ended.code in (0, 3), ended.err
    document = json.loads((bundle / "report.json").read_text())
    assert document["samples"] == PICTURES
    assert document["scale"]["origin"] == "template"
    assert 100 < document["scale"]["median_mm"] < 500
    assert {score["metric"] for score in rows(document, reference="truth")} == {"flicker_mm"}
    assert rows(document, reference="float", candidate="tflite", stage="chained")
    (mean,) = rows(
        document, reference="float", candidate="tflite", stage="chained", metric="vertex_mean_mm"
    )
    assert 0 < mean["value"] < 10
    assert not (bundle / "eval" / "truth.npz").exists()
    assert (bundle / "report.html").stat().st_size > 1000


def test_the_bundle_holds_the_users_atlas_and_says_of_what(
    exported_own: tuple[Ended, Path, Path],
) -> None:
    _, path, folder = exported_own
    bundle = Bundle.open(path)
    with np.load(path / "atlas.npz", allow_pickle=False) as arrays:
        assert len(arrays["template"]) == 2331
        assert len(arrays["affinenet_template"]) == 778
        assert arrays["joint_regressor"].shape == (21, 2331)
    meshes = {key: value for key, value in bundle.sources.items() if key.startswith("mesh.")}
    assert meshes == {
        "mesh.coarse": sha256_of(folder / "meshes" / "HandRightUV.obj"),
        "mesh.fine": sha256_of(folder / "meshes" / "HandRightUV_3K.obj"),
        "mesh.mano": sha256_of(folder / "meshes" / "MANO_RIGHT.pkl"),
    }
    (atlas,) = [item for item in bundle.artifacts if item.path == "atlas.npz"]
    assert atlas.parent == meshes["mesh.coarse"]


def test_nothing_sealed_tells_where_the_meshes_lie(
    exported_own: tuple[Ended, Path, Path],
) -> None:
    _, path, folder = exported_own
    for file in (item for item in path.rglob("*") if item.is_file()):
        if file.name not in ("report.json", "report.html"):
            assert str(folder).encode() not in file.read_bytes(), file


def test_the_bundle_is_validated_again(exported_own: tuple[Ended, Path, Path]) -> None:
    ended, bundle, _ = exported_own
    again = run("validate", str(bundle), "--json")
    assert again.code == ended.code
    assert json.loads(again.out) == json.loads((bundle / "report.json").read_text())


def test_it_is_evaluated_on_freihand_float_and_integer_side_by_side(
    exported_own: tuple[Ended, Path, Path], tmp_path: Path
) -> None:
    _, bundle, _ = exported_own
    data = write_freihand(tmp_path / "f")
    command = ["evaluate", str(bundle), str(data), "--dataset", "freihand"]
    ended = run(*command, "--predictions", str(tmp_path / "p"), "--json")
    assert (ended.code, ended.err) == (0, "")
    document = json.loads(ended.out)
    assert document["samples"] == 2
    assert {score["candidate"] for score in document["scores"]} == {
        *("float", "tflite", "onnx", "fake-quant")
    }
    for stage in ("affinenet", "chained"):
        for metric in ("official_mpvpe_mm", "official_pa_mpjpe_auc", "official_pa_f15"):
            assert len(rows(document, stage=stage, metric=metric)) == 4
    for name in ("float", "tflite"):
        joints, vertices = json.loads((tmp_path / "p" / name / "pred.json").read_text())
        assert np.array(joints).shape == (2, 21, 3)
        assert np.array(vertices).shape == (2, 778, 3)
    shown = run(*command).out
    assert "PA-MPJPE, mm" in shown
    assert "AUC of vertices, PA" in shown


@pytest.mark.slow
def test_processes_of_torchrun_say_together_what_one_says(
    exported_own: tuple[Ended, Path, Path], tmp_path: Path
) -> None:
    _, bundle, _ = exported_own
    data = write_freihand(tmp_path / "f", rows=5)
    command = ["-m", "i2uv_edge", "evaluate", str(bundle), str(data), "--dataset", "freihand"]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ended = []
    for name, start in (("one", []), ("two", launch)):
        whole = [sys.executable, *start, *command, "--json", "--predictions", str(tmp_path / name)]
        ended.append(subprocess.run(whole, capture_output=True, text=True, check=True).stdout)
    assert json.loads(ended[1]) == json.loads(ended[0])
    for runner in ("float", "tflite"):
        files = [tmp_path / name / runner / "pred.json" for name in ("one", "two")]
        assert files[0].read_bytes() == files[1].read_bytes()
        assert len(json.loads(files[1].read_text())[0]) == 5


def test_rendered_hands_are_another_hand(exported_own: tuple[Ended, Path, Path]) -> None:
    ended = run("evaluate", str(exported_own[1]))
    assert ended.code == 2
    assert "not of the built-in hand" in ended.err


def test_an_srnet_alone_with_its_own_meshes_is_refused(
    exported_own: tuple[Ended, Path, Path], toy: Toy, tmp_path: Path
) -> None:
    folder = exported_own[2]
    (folder / "alone.toml").write_text(f'description = "alone"\nsrnet = "{toy.srnet}"\n' + MESHES)
    weights = ["--checkpoint", str(toy.srnet_weights), "-o", str(tmp_path / "out")]
    ended = run("export", str(folder / "alone.toml"), *weights)
    assert ended.code == 2
    assert "there are no maps to feed it with" in ended.err
    assert not (tmp_path / "out").exists()


def test_a_missing_mesh_leaves_no_bundle(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(toy.model.read_text() + MESHES)
    model = ["export", str(tmp_path / "mine.toml"), *toy.checkpoints]
    ended = run(*model, "-o", str(tmp_path / "out"))
    assert ended.code == 2
    assert str(tmp_path / "meshes" / "HandRightUV.obj") in ended.err
    assert not (tmp_path / "out").exists()

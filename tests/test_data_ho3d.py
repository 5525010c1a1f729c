from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_toys import CAMERA, OPENGL, hand, picture, write_ho3d, write_mano, write_picture

from i2uv_edge.data.ho3d import Ho3d
from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.hand.camera import project
from i2uv_edge.hand.mano import FINGERTIPS, Mano


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ho3d(tmp_path_factory.mktemp("data") / "HO3D_v2")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """Give a copy that may be damaged."""
    shutil.copytree(whole, tmp_path / "HO3D_v2")
    return tmp_path / "HO3D_v2"


def change(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    content = pickle.loads(path.read_bytes())
    edit(content)
    path.write_bytes(pickle.dumps(content, protocol=2))


def meta(folder: Path, split: str = "train") -> Path:
    return folder / split / "ABC0" / "meta" / "0000.pkl"


def test_joints_are_in_freihands_order_and_camera_axes(whole: Path) -> None:
    training = Ho3d(whole)
    assert (training.name, training.topology, len(training)) == ("ho3d", "mano", 2)
    sample = training[1]
    assert sample.id == "ABC1/0001"
    assert np.allclose(sample.joints, hand(1)[1], atol=1e-6)  # type: ignore[arg-type]
    assert np.array_equal(sample.picture, picture(1, 80, 60))
    assert np.allclose(sample.intrinsics, CAMERA)  # type: ignore[arg-type]
    assert np.allclose(sample.root, hand(1)[1][0], atol=1e-6)  # type: ignore[arg-type]
    assert sample.vertices is None
    assert sample.box is not None
    seen = project(sample.joints, sample.intrinsics) - sample.box[:2]  # type: ignore[arg-type]
    assert seen.min() == pytest.approx(0, abs=1e-3)
    assert seen.max() == pytest.approx(sample.box[2], abs=1e-3)


def test_vertices_come_from_the_users_hand_model(folder: Path, tmp_path: Path) -> None:
    mano = Mano.load(write_mano(tmp_path / "MANO_RIGHT.pkl"))
    change(meta(folder), lambda m: m.update(handTrans=np.array([0.0, 0.1, -0.9])))
    stored = pickle.loads(meta(folder).read_bytes())
    pose = stored["handPose"], stored["handBeta"], stored["handTrans"]
    expected = mano.pose(*pose, fingertips=FINGERTIPS["ho3d"])
    sample = Ho3d(folder, mano=mano)[0]
    assert np.allclose(sample.vertices, expected.vertices * OPENGL, atol=1e-6)  # type: ignore[arg-type]


def test_the_evaluation_split_has_a_box_and_the_wrist(whole: Path) -> None:
    evaluation = Ho3d(whole, "evaluation")
    sample = evaluation[0]
    assert not evaluation.annotated
    assert (sample.joints, sample.vertices, sample.scale) == (None, None, None)
    assert sample.box == (10.0, 17.0, 30.0)  # of 10, 20, 40, 44
    assert np.allclose(sample.root, hand(0)[1][0], atol=1e-6)  # type: ignore[arg-type]


def test_the_truth_of_the_evaluation_split_is_used_where_it_is(tmp_path: Path) -> None:
    evaluation = Ho3d(write_ho3d(tmp_path / "h", truth=True), "evaluation")
    assert evaluation.annotated
    sample = evaluation[1]
    vertices, joints = hand(1)
    assert np.allclose(sample.joints, joints, atol=1e-6)  # type: ignore[arg-type]
    assert np.allclose(sample.vertices, vertices, atol=1e-6)  # type: ignore[arg-type]


def test_truth_of_another_version_is_refused(tmp_path: Path) -> None:
    folder = write_ho3d(tmp_path / "h", count=3, truth=True)
    names = (folder / "evaluation.txt").read_text().split()[:2]
    (folder / "evaluation.txt").write_text("\n".join(names))
    with pytest.raises(InputError, match=r"xyz\.json has 3 rows, .*evaluation\.txt lists 2"):
        Ho3d(folder, "evaluation")


def test_pictures_of_version_3_are_jpeg(folder: Path) -> None:
    path = folder / "train" / "ABC0" / "rgb" / "0000.png"
    path.unlink()
    write_picture(path.with_suffix(".jpg"), picture(0, 80, 60))
    assert Ho3d(folder)[0].picture.shape == (60, 80, 3)


def test_it_goes_to_other_processes(whole: Path) -> None:
    there = pickle.loads(pickle.dumps(Ho3d(whole)))
    assert np.array_equal(there[0].picture, Ho3d(whole)[0].picture)


def test_nothing_in_an_annotation_is_run(folder: Path, tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'made'}",)

    meta(folder).write_bytes(pickle.dumps({"camMat": Attack()}, protocol=2))
    with pytest.raises(InputError, match=r"0000\.pkl names \w+\.system"):
        Ho3d(folder)[0]
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: m.pop("camMat"), "no camMat"),
        (lambda m: m.update(handJoints3D=None), "no handJoints3D, so its hand is not annotated"),
        (lambda m: m.update(handJoints3D=np.zeros((20, 3))), r"handJoints3D of shape \(20, 3\)"),
        (lambda m: m.update(camMat=np.full((3, 3), np.nan)), "of finite numbers"),
        (lambda m: m.update(camMat="none"), "camMat of no numbers"),
        (lambda m: m.update(handJoints3D=np.zeros((21, 3))), "not in front of the camera"),
    ],
)
def test_a_wrong_annotation_names_itself(
    folder: Path, edit: Callable[[dict[str, Any]], Any], message: str
) -> None:
    change(meta(folder), edit)
    with pytest.raises(InputError, match=message) as raised:
        Ho3d(folder)[0]
    assert str(meta(folder)) in str(raised.value)


def test_a_box_without_an_area_names_its_file(folder: Path) -> None:
    path = meta(folder, "evaluation")
    change(path, lambda m: m.update(handBoundingBox=[10, 20, 10, 44]))
    with pytest.raises(InputError, match="without an area"):
        Ho3d(folder, "evaluation")[0]
    change(path, lambda m: m.pop("handBoundingBox"))
    assert Ho3d(folder, "evaluation")[0].box is None


@pytest.mark.parametrize("part", ["meta/0000.pkl", "rgb/0000.png"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_missing_or_damaged_file_names_itself(folder: Path, part: str, damage: str) -> None:
    path = folder / "train" / "ABC0" / part
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:80])
    else:
        path.unlink()
    training = Ho3d(folder)
    training[1]
    with pytest.raises(InputError) as raised:
        training[0]
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("text", ["", "ABC0\n", "../../x/y\n", "ABC0/\n", "../0000\n"])
def test_a_damaged_list_names_itself(folder: Path, text: str) -> None:
    (folder / "train.txt").write_text(text)
    with pytest.raises(InputError, match=r"train\.txt"):
        Ho3d(folder)


def test_a_folder_that_is_not_ho3d_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.txt cannot be read"):
        Ho3d(tmp_path)
    with pytest.raises(UsageError, match="no split 'test'"):
        Ho3d(tmp_path, "test")


@pytest.mark.parametrize("index", [-1, 2])
def test_there_is_nothing_behind_the_last_sample(whole: Path, index: int) -> None:
    with pytest.raises(IndexError, match="2 samples"):
        Ho3d(whole)[index]

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from dataset_toys import CAMERA, hand, picture, write_freihand

from i2uv_edge.data.freihand import FreiHand
from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.hand.camera import project


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_freihand(tmp_path_factory.mktemp("data") / "FreiHAND", rows=3, versions=2)


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """Give a copy that may be damaged."""
    shutil.copytree(whole, tmp_path / "FreiHAND")
    return tmp_path / "FreiHAND"


def test_every_version_of_a_picture_has_the_annotation_of_its_row(whole: Path) -> None:
    training = FreiHand(whole)
    assert (training.name, training.topology, len(training)) == ("freihand", "mano", 6)
    for index in (1, 4):
        sample = training[index]
        vertices, joints = hand(201)
        assert sample.id == f"{index:08d}"
        assert np.abs(sample.picture.astype(int) - picture(index)).mean() < 4  # JPEG
        assert np.allclose(sample.vertices, vertices, atol=1e-6)  # type: ignore[arg-type]
        assert np.allclose(sample.joints, joints, atol=1e-6)  # type: ignore[arg-type]
        assert np.allclose(sample.intrinsics, CAMERA)  # type: ignore[arg-type]
        assert sample.scale == pytest.approx(np.linalg.norm(joints[9] - joints[10]))
        assert sample.mask is not None
        assert sample.mask[20, 30]
        assert not sample.mask[60, 60]


def test_the_box_holds_what_the_camera_sees(whole: Path) -> None:
    sample = FreiHand(whole)[2]
    assert sample.box is not None
    left, top, side = sample.box
    seen = project(sample.vertices, sample.intrinsics) - (left, top)  # type: ignore[arg-type]
    assert seen.min() == pytest.approx(0, abs=1e-3)
    assert seen.max() == pytest.approx(side, abs=1e-3)


def test_the_number_of_versions_is_that_of_the_files(folder: Path) -> None:
    for index in (3, 4, 5):
        (folder / "training" / "rgb" / f"{index:08d}.jpg").unlink()
    assert len(FreiHand(folder)) == 3


def test_the_evaluation_split_is_read_with_its_truth_or_without(
    whole: Path, tmp_path: Path
) -> None:
    full = FreiHand(whole, "evaluation")
    assert (len(full), full.annotated, full[0].mask) == (3, True, None)
    bare = FreiHand(write_freihand(tmp_path / "b", truth=False), "evaluation")
    sample = bare[1]
    assert not bare.annotated
    assert (sample.vertices, sample.joints, sample.box) == (None, None, None)
    assert sample.scale == pytest.approx(full[1].scale)
    assert sample.intrinsics is not None


def test_a_set_without_masks_or_scales_does_without(folder: Path) -> None:
    expected = FreiHand(folder)[0].scale
    shutil.rmtree(folder / "training" / "mask")
    (folder / "training_scale.json").unlink()
    sample = FreiHand(folder)[0]
    assert sample.mask is None
    assert sample.scale == pytest.approx(expected)


def test_it_goes_to_other_processes(whole: Path) -> None:
    there = pickle.loads(pickle.dumps(FreiHand(whole)))
    assert np.array_equal(there[5].picture, FreiHand(whole)[5].picture)


@pytest.mark.parametrize("index", [-1, 6])
def test_there_is_nothing_behind_the_last_picture(whole: Path, index: int) -> None:
    with pytest.raises(IndexError, match="6 pictures"):
        FreiHand(whole)[index]


@pytest.mark.parametrize("name", ["K", "xyz", "verts"])
def test_a_missing_annotation_names_itself(folder: Path, name: str) -> None:
    (folder / f"training_{name}.json").unlink()
    with pytest.raises(InputError, match=f"training_{name}.json"):
        FreiHand(folder)


@pytest.mark.parametrize("name", ["K", "xyz", "verts", "scale"])
def test_a_damaged_annotation_names_itself(folder: Path, name: str) -> None:
    path = folder / f"training_{name}.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(InputError, match=f"training_{name}.json"):
        FreiHand(folder)


def test_annotations_of_different_downloads_are_refused(folder: Path) -> None:
    path = folder / "training_xyz.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:2]))
    with pytest.raises(InputError, match=r"xyz\.json has 2 rows, .*K\.json has 3"):
        FreiHand(folder)


def test_a_missing_picture_names_itself(folder: Path) -> None:
    (folder / "training" / "rgb" / "00000004.jpg").unlink()
    with pytest.raises(InputError, match=r"00000004\.jpg is missing: there are 5 pictures"):
        FreiHand(folder)


@pytest.mark.parametrize("part", ["rgb", "mask"])
def test_a_damaged_picture_names_itself(folder: Path, part: str) -> None:
    path = folder / "training" / part / "00000001.jpg"
    path.write_bytes(path.read_bytes()[:200])
    training = FreiHand(folder)
    training[0]
    with pytest.raises(InputError, match=f"{part}/00000001.jpg"):
        training[1]


def test_a_folder_that_is_not_freihand_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training_K\.json"):
        FreiHand(tmp_path)
    write_freihand(tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "training" / "rgb")
    with pytest.raises(InputError, match="rgb cannot be read"):
        FreiHand(tmp_path / "b")


def test_a_hand_behind_the_camera_is_an_error_and_no_crop(folder: Path) -> None:
    path = folder / "training_verts.json"
    rows = np.array(json.loads(path.read_text())) * (1, 1, -1)
    path.write_text(json.dumps(rows.tolist()))
    with pytest.raises(InputError, match="not in front of the camera"):
        FreiHand(folder)[0]


def test_an_unknown_split_lists_the_known(whole: Path) -> None:
    with pytest.raises(UsageError, match="no split 'test'") as raised:
        FreiHand(whole, "test")
    assert "training, evaluation" in str(raised.value)

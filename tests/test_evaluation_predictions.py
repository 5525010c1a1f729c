from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from dataset_toys import FROM_FREIHAND, OPENGL, hand

from i2uv_edge.errors import GateError, UsageError
from i2uv_edge.evaluation.predictions import Predictions
from i2uv_edge.evaluation.sharing import Shard
from i2uv_edge.evaluation.subjects import Subject
from i2uv_edge.hand.mano import to_freihand_order
from i2uv_edge.hand.official_metrics import Hand

COUNT = 5


def subject(index: int) -> Subject:
    return Subject(index, f"s{index}", np.zeros((4, 4, 3), np.float32))


def answer(index: int) -> Hand:
    vertices, joints = hand(index, 30)
    return Hand(vertices * 1000, joints * 1000)


def write(folder: Path, dataset: str, shards: int = 1) -> tuple[Path, ...]:
    made = [
        Predictions(folder, dataset, ["float", "tflite"], Shard(r, shards)) for r in range(shards)
    ]
    for predictions, rank in zip(made, range(shards), strict=True):
        with predictions:
            for index in Shard(rank, shards).of(COUNT):
                for name in ("float", "tflite"):
                    predictions.keep(name, subject(index), answer(index))
    made[0].finish()
    return made[0].files


def test_the_file_is_joints_and_vertices_in_metres(tmp_path: Path) -> None:
    files = write(tmp_path / "p", "freihand")
    assert [path.relative_to(tmp_path).as_posix() for path in files] == [
        "p/float/pred.json",
        "p/tflite/pred.json",
    ]
    for path in files:
        joints, vertices = json.loads(path.read_text())
        assert (len(joints), len(vertices)) == (COUNT, COUNT)
        for index in range(COUNT):
            assert np.allclose(joints[index], hand(index, 30)[1], atol=1e-6)
            assert np.allclose(vertices[index], hand(index, 30)[0], atol=1e-6)


def test_ho3d_takes_its_own_axes_and_order(tmp_path: Path) -> None:
    joints, vertices = json.loads(write(tmp_path / "p", "ho3d")[0].read_text())
    expected = hand(2, 30)
    assert np.allclose(joints[2], (expected[1] * OPENGL)[FROM_FREIHAND], atol=1e-6)
    assert np.allclose(to_freihand_order(joints[2]) * OPENGL, expected[1], atol=1e-6)
    assert np.allclose(vertices[2], expected[0] * OPENGL, atol=1e-6)
    assert np.all(np.array(vertices)[..., 2] < 0)  # its own check of the axes


@pytest.mark.parametrize("shards", [2, 5, 7])
def test_processes_write_the_same_file_as_one(tmp_path: Path, shards: int) -> None:
    alone, together = write(tmp_path / "a", "ho3d"), write(tmp_path / "b", "ho3d", shards)
    for ours, theirs in zip(alone, together, strict=True):
        assert ours.read_bytes() == theirs.read_bytes()
        assert [path.name for path in theirs.parent.iterdir()] == ["pred.json"]


def test_a_part_that_was_written_elsewhere_is_missed_by_name(tmp_path: Path) -> None:
    first = Predictions(tmp_path / "p", "freihand", ["float"], Shard(0, 2))
    with first:
        first.keep("float", subject(0), answer(0))
    with pytest.raises(UsageError, match="process 1 cannot be read") as raised:
        first.finish()
    assert "shared folder" in str(raised.value)


@pytest.mark.parametrize(
    "hand_", [Hand(np.full((3, 3), np.nan), np.zeros((21, 3))), Hand(np.zeros((3, 3)), None)]
)
def test_what_is_no_hand_is_not_written(tmp_path: Path, hand_: Hand) -> None:
    with (
        pytest.raises(GateError, match="sample s0"),
        Predictions(tmp_path / "p", "freihand", ["float"], Shard()) as predictions,
    ):
        predictions.keep("float", subject(0), hand_)
    assert list((tmp_path / "p" / "float").iterdir()) == []


def test_what_lies_there_is_not_written_over(tmp_path: Path) -> None:
    path = write(tmp_path / "p", "freihand")[0]
    with pytest.raises(UsageError, match=r"pred\.json exists already"):
        Predictions(tmp_path / "p", "freihand", ["float"], Shard())
    assert json.loads(path.read_text())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("a file")
    with pytest.raises(UsageError, match="cannot be written into"):
        Predictions(tmp_path / "p", "freihand", ["float"], Shard())

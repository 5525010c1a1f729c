from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from model_toys import take

from i2uv_edge import resources
from i2uv_edge.data.catalogue import open_dataset
from i2uv_edge.data.rendered_hands import FrozenHands, RenderedHands
from i2uv_edge.data.rendered_set import read_set
from i2uv_edge.data.synthetic import SceneSettings, render_sample
from i2uv_edge.errors import DamagedError
from i2uv_edge.hand.camera import project, to_map_units
from i2uv_edge.hand.metrics import distances

SMALL = SceneSettings(size=64, supersampling=1)


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set") / "evaluation"
    take(resources.calibration_data() / "evaluation", folder, 3)
    return folder


def test_a_sample_is_drawn_when_it_is_asked_for() -> None:
    dataset = RenderedHands(seed=5, count=10, settings=SMALL)
    assert (dataset.name, dataset.topology, len(dataset)) == ("rendered", "built-in", 10)
    there = pickle.loads(pickle.dumps(dataset))
    expected = render_sample(5, 7, SMALL)
    for each in (dataset, there):
        assert np.array_equal(each[7].picture, expected.picture)
    with pytest.raises(IndexError, match="10 samples"):
        dataset[10]


@pytest.mark.parametrize("index", range(4))
def test_its_camera_sees_the_hand_where_the_map_says(index: int) -> None:
    drawn = render_sample(5, index, SMALL)
    sample = RenderedHands(seed=5, settings=SMALL)[index]
    assert sample.vertices is not None
    assert sample.intrinsics is not None
    assert sample.joints is not None
    assert (
        np.abs(project(sample.vertices, sample.intrinsics) - drawn.coarse[:, :2] * 64).max() < 0.2
    )
    mapped, unit = to_map_units(sample.vertices, sample.intrinsics, (0.0, 0.0, 64.0))
    assert np.abs(mapped - drawn.coarse).max() < 0.003
    assert unit == pytest.approx(drawn.frame.scale_mm, rel=1e-3)
    assert sample.scale == pytest.approx(np.linalg.norm(sample.joints[9] - sample.joints[10]))
    # A hand, in metres.
    assert 0.08 < distances(sample.joints[:1], sample.joints[12:13])[0] < 0.3


def test_the_frozen_set_has_its_pictures_and_its_truth(frozen: Path) -> None:
    dataset = FrozenHands(frozen)
    assert len(dataset) == 3
    for (name, expected), index in zip(read_set(frozen), range(3), strict=True):
        sample = dataset[index]
        assert sample.id == name
        assert np.array_equal(sample.picture, expected.picture)
        assert sample.vertices is not None
        assert sample.intrinsics is not None
        square = (0.0, 0.0, float(len(sample.picture)))
        mapped, _ = to_map_units(sample.vertices, sample.intrinsics, square)
        assert np.abs(mapped - expected.coarse).max() < 0.003


def test_pictures_of_the_frozen_set_are_not_kept(frozen: Path) -> None:
    dataset = FrozenHands(frozen)
    picture = dataset[0].picture
    assert len(pickle.dumps(dataset)) < picture.nbytes


def test_a_changed_set_is_refused(frozen: Path, tmp_path: Path) -> None:
    shutil.copytree(frozen, tmp_path / "e")
    path = tmp_path / "e" / "00001.jpg"
    path.write_bytes(path.read_bytes()[:-9] + b"\xff\xd9")
    with pytest.raises(DamagedError, match="not the frozen set"):
        len(FrozenHands(tmp_path / "e"))


def test_training_is_drawn_and_evaluation_is_frozen(frozen: Path) -> None:
    assert isinstance(open_dataset("rendered"), RenderedHands)
    assert isinstance(open_dataset("rendered", split="evaluation"), FrozenHands)
    assert open_dataset("rendered", frozen)[0].id == "00000"

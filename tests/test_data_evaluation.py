"""Pictures to compare runners on: the frozen set, a bundle's copy of it, a folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from i2uv_edge import resources
from i2uv_edge.data.evaluation import (
    bundled_samples,
    folder_samples,
    read_evaluation,
    write_evaluation,
)
from i2uv_edge.data.rendered_set import TRUTH, read_set, write_set
from i2uv_edge.data.synthetic import SceneSettings
from i2uv_edge.errors import InputError
from i2uv_edge.parity import Sample, Truth


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In the place of the bundled pictures, three small ones."""
    folder = tmp_path_factory.mktemp("calibration_data")
    write_set(folder / "evaluation", 12, 3, SceneSettings(size=48, supersampling=1))
    return folder


@pytest.fixture(autouse=True)
def _bundled(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "calibration_data", lambda: data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_evaluation(tmp_path / "eval")
    return tmp_path / "eval"


def truth_of(sample: Sample) -> Truth:
    assert sample.truth is not None
    return sample.truth


def assert_same(first: Sample, second: Sample) -> None:
    assert first.id == second.id
    np.testing.assert_array_equal(first.picture, second.picture)
    one, other = truth_of(first), truth_of(second)
    assert one.scale_mm == other.scale_mm
    for name in ("coarse", "fine", "joints"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_bundled_samples_are_the_frozen_set(data: Path) -> None:
    samples = list(bundled_samples(48))
    for sample, (name, frozen) in zip(samples, read_set(data / "evaluation"), strict=True):
        assert sample.id == name
        np.testing.assert_array_equal(np.rint(sample.picture * 255), frozen.picture)
        np.testing.assert_array_equal(truth_of(sample).coarse, frozen.coarse)
        assert truth_of(sample).scale_mm == frozen.frame.scale_mm


@pytest.mark.parametrize("size", [32, 48, 64])
def test_pictures_are_made_the_size_of_the_network(size: int) -> None:
    sample = next(bundled_samples(size))
    assert sample.picture.shape == (size, size, 3)
    assert sample.picture.dtype == np.float32
    assert 0 <= sample.picture.min() < 0.3 < sample.picture.max() <= 1


def test_copy_in_a_bundle_gives_the_same_samples(folder: Path) -> None:
    read = list(read_evaluation(folder, 48))
    assert len(read) == 3
    for one, other in zip(read, bundled_samples(48), strict=True):
        assert_same(one, other)


def test_copy_in_a_bundle_has_the_same_bytes_every_time(folder: Path, tmp_path: Path) -> None:
    write_evaluation(tmp_path / "again")
    files = sorted(path.name for path in folder.iterdir())
    assert files == ["00000.jpg", "00001.jpg", "00002.jpg", TRUTH]
    for name in files:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda folder: (folder / "00001.jpg").unlink(), id="a picture is missing"),
        pytest.param(
            lambda folder: shutil.copy(folder / "00001.jpg", folder / "00003.jpg"), id="one more"
        ),
        pytest.param(
            lambda folder: (folder / "00001.jpg").rename(folder / "x.jpg"), id="another name"
        ),
    ],
)
def test_pictures_and_truth_that_differ_are_refused(
    folder: Path, change: Callable[[Path], object]
) -> None:
    change(folder)
    with pytest.raises(InputError, match="differ") as raised:
        next(read_evaluation(folder, 48))
    assert str(folder) in raised.value.what


def test_truth_goes_with_its_picture_whatever_the_order(folder: Path) -> None:
    with np.load(folder / TRUTH) as truth:
        arrays = {name: array[::-1] for name, array in truth.items()}
    np.savez(folder / TRUTH, allow_pickle=False, **arrays)
    by_id = {sample.id: sample for sample in read_evaluation(folder, 48)}
    for sample in bundled_samples(48):
        assert_same(by_id[sample.id], sample)


def test_folder_of_pictures_has_no_truth(data: Path) -> None:
    samples = list(folder_samples(data / "evaluation", 32))
    assert [sample.id for sample in samples] == ["00000.jpg", "00001.jpg", "00002.jpg"]
    assert all(sample.truth is None for sample in samples)
    assert samples[0].picture.shape == (32, 32, 3)


def test_pictures_of_a_folder_are_read_when_they_are_asked_for(folder: Path) -> None:
    samples = folder_samples(folder, 32)
    next(samples)
    (folder / "00001.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match=r"00001\.jpg"):
        next(samples)


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no picture"):
        next(folder_samples(tmp_path, 32))

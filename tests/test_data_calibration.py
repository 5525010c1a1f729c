"""Calibration sets: order, hash, streaming, and making one of a folder of pictures."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from i2uv_edge.data.calibration import CalibrationSet, write_calibration
from i2uv_edge.data.pictures import read_picture
from i2uv_edge.errors import InputError, UsageError


def write(path: Path, level: int = 100, size: tuple[int, int] = (20, 30)) -> Path:
    """A picture whose left half has the grey `level` and whose right half is red."""
    rgb = np.full((*size, 3), level, np.uint8)
    rgb[:, size[1] // 2 :] = (200, 0, 0)
    assert cv2.imwrite(str(path), np.ascontiguousarray(rgb[:, :, ::-1]))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    for name, level in (("c.png", 30), ("a.png", 10), ("b.png", 20)):
        write(path / name, level)
    return path


def levels(batches: list[NDArray[np.float32]]) -> list[int]:
    return [round(float(batch[0, 8, 2, 1]) * 255) for batch in batches]


# --- a folder as a set ----------------------------------------------------------------------------


def test_pictures_come_in_the_order_of_their_names(folder: Path) -> None:
    made = CalibrationSet.of_folder(folder)
    assert [path.name for path in made.paths] == ["a.png", "b.png", "c.png"]
    assert levels(list(made.batches(16))) == [10, 20, 30]


def test_batches_are_what_a_network_takes(folder: Path) -> None:
    (first, *_) = CalibrationSet.of_folder(folder).batches(16)
    assert first.shape == (1, 16, 16, 3)
    assert first.dtype == np.float32
    assert first[0, 8, 12].tolist() == pytest.approx([200 / 255, 0, 0])
    assert not first[0, 0].any()  # the whole picture in its square, black above and below


def test_pictures_are_read_when_they_are_asked_for(folder: Path) -> None:
    batches = CalibrationSet.of_folder(folder).batches(16)
    next(batches)
    (folder / "b.png").unlink()
    with pytest.raises(InputError, match=r"b\.png"):
        next(batches)


def test_memory_does_not_grow_with_the_set(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        folder = tmp_path / f"of{count}"
        folder.mkdir()
        for index in range(count):
            write(folder / f"{index}.png", index, (200, 200))
        tracemalloc.start()
        for batch in CalibrationSet.of_folder(folder).batches(200):
            del batch
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(12) < peak(3) + 200 * 200 * 3 * 4


def test_set_can_be_gone_through_twice(folder: Path) -> None:
    made = CalibrationSet.of_folder(folder)
    assert levels(list(made.batches(16))) == levels(list(made.batches(16)))


def test_other_files_are_counted(folder: Path) -> None:
    (folder / "notes.txt").write_text("x")
    made = CalibrationSet.of_folder(folder)
    assert (len(made.paths), made.skipped) == (3, 1)


def test_hash_is_of_names_and_contents(folder: Path) -> None:
    before = CalibrationSet.of_folder(folder).sha256
    assert CalibrationSet.of_folder(folder).sha256 == before
    (folder / "notes.txt").write_text("no picture, no change")
    assert CalibrationSet.of_folder(folder).sha256 == before
    write(folder / "b.png", 21)
    changed = CalibrationSet.of_folder(folder).sha256
    write(folder / "b.png", 20)
    assert CalibrationSet.of_folder(folder).sha256 == before
    (folder / "b.png").rename(folder / "d.png")
    assert len({before, changed, CalibrationSet.of_folder(folder).sha256}) == 3


def test_picture_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:60])
    with pytest.raises(InputError, match=r"b\.png"):
        list(CalibrationSet.of_folder(folder).batches(16))


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir], ids=["missing", "empty"])
def test_folder_without_pictures_is_refused(tmp_path: Path, make: object) -> None:
    assert callable(make)
    make(tmp_path / "none")
    with pytest.raises(InputError, match=r"none (does not exist|holds no picture)"):
        CalibrationSet.of_folder(tmp_path / "none")


# --- making a set ---------------------------------------------------------------------------------


def test_made_set_holds_square_crops_of_every_picture(folder: Path, tmp_path: Path) -> None:
    (folder / "notes.txt").write_text("x")
    made = write_calibration(folder, tmp_path / "out", 16)
    assert [path.name for path in made.paths] == ["a.png.png", "b.png.png", "c.png.png"]
    assert made.skipped == 1
    assert read_picture(made.paths[0]).shape == (16, 16, 3)
    assert made.sha256 == CalibrationSet.of_folder(tmp_path / "out").sha256


def test_made_set_feeds_the_network_what_the_pictures_would(folder: Path, tmp_path: Path) -> None:
    made = write_calibration(folder, tmp_path / "out", 16)
    own = CalibrationSet.of_folder(folder).batches(16)
    for one, other in zip(made.batches(16), own, strict=True):
        np.testing.assert_array_equal(one, other)


def test_pictures_that_differ_in_their_suffix_are_two(folder: Path, tmp_path: Path) -> None:
    write(folder / "a.jpg", 90)
    assert len(write_calibration(folder, tmp_path / "out", 16).paths) == 4


def test_damaged_picture_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    (folder / "c.png").write_bytes((folder / "c.png").read_bytes()[:60])
    with pytest.raises(InputError, match=r"c\.png"):
        write_calibration(folder, tmp_path / "out", 16)
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_set_that_is_there_is_kept_without_force(folder: Path, tmp_path: Path) -> None:
    first = write_calibration(folder, tmp_path / "out", 16)
    write(folder / "a.png", 99)
    with pytest.raises(UsageError, match="out exists already"):
        write_calibration(folder, tmp_path / "out", 16)
    assert CalibrationSet.of_folder(tmp_path / "out").sha256 == first.sha256


def test_set_that_is_there_is_replaced_with_force(folder: Path, tmp_path: Path) -> None:
    write_calibration(folder, tmp_path / "out", 16)
    (folder / "a.png").unlink()
    made = write_calibration(folder, tmp_path / "out", 16, force=True)
    assert sorted((tmp_path / "out").iterdir()) == list(made.paths)
    assert len(made.paths) == 2


def test_damaged_picture_leaves_the_old_set_in_spite_of_force(folder: Path, tmp_path: Path) -> None:
    first = write_calibration(folder, tmp_path / "out", 16)
    (folder / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match=r"c\.png"):
        write_calibration(folder, tmp_path / "out", 16, force=True)
    assert CalibrationSet.of_folder(tmp_path / "out").sha256 == first.sha256


@pytest.mark.parametrize("inside", ["notes.txt", "sub/a.png"])
def test_force_replaces_nothing_but_a_set(folder: Path, tmp_path: Path, inside: str) -> None:
    precious = tmp_path / "home" / inside
    precious.parent.mkdir(parents=True)
    precious.write_text("precious")
    with pytest.raises(
        UsageError, match="home is a folder with files that this command did not write"
    ):
        write_calibration(folder, tmp_path / "home", 16, force=True)
    assert precious.read_text() == "precious"


def test_force_does_not_replace_the_pictures_themselves(folder: Path) -> None:
    with pytest.raises(UsageError, match="did not write"):
        write_calibration(folder, folder, 16, force=True)
    assert len(list(folder.iterdir())) == 3

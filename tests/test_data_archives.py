from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_toys import encoded, picture, write_archives, write_pairs

from i2uv_edge.data.archives import MapPairs, PictureArchives
from i2uv_edge.errors import InputError


def rewrite(path: Path, **changes: Any) -> None:
    with np.load(path) as stored:
        arrays = {**stored, **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def test_a_sample_is_its_picture_with_its_map(tmp_path: Path) -> None:
    archives = PictureArchives(write_archives(tmp_path / "a"))
    sample = archives[1]
    assert (archives.topology, len(archives), sample.id) == ("mano", 2, "001")
    assert np.array_equal(sample.picture, picture(1))
    assert sample.uv_map is not None
    assert sample.uv_map.shape == (16, 16, 3)
    assert sample.uv_map.any(-1).sum() == 48
    assert sample.mask is not None
    assert sample.mask.sum() == 300
    assert sample.box == (0.0, 0.0, 64.0)


def test_pictures_may_be_stored_as_bytes_or_as_pixels(tmp_path: Path) -> None:
    folder = write_archives(tmp_path / "a")
    rewrite(folder / "000.npz", rgb=np.array(encoded(picture(5)).tobytes()), mask=None)
    rewrite(folder / "001.npz", rgb=picture(6))
    archives = PictureArchives(folder)
    assert np.array_equal(archives[0].picture, picture(5))
    assert archives[0].mask is None
    assert np.array_equal(archives[1].picture, picture(6))


def test_a_pair_is_two_maps_and_what_undoes_their_normalisation(tmp_path: Path) -> None:
    pairs = MapPairs(write_pairs(tmp_path / "p"))
    pair = pairs[1]
    assert (len(pairs), pair.id) == (2, "001")
    assert pair.coarse.shape == pair.fine.shape == (16, 16, 3)
    assert pair.low == pytest.approx([-0.1, -0.2, -0.1])
    assert pair.span == pytest.approx([0.2, 0.4, 0.4])


def test_they_go_to_other_processes(tmp_path: Path) -> None:
    archives = PictureArchives(write_archives(tmp_path / "a"))
    pairs = MapPairs(write_pairs(tmp_path / "p"))
    assert np.array_equal(pickle.loads(pickle.dumps(archives))[0].picture, picture(0))
    assert np.array_equal(pickle.loads(pickle.dumps(pairs))[0].fine, pairs[0].fine)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"uvz": None}, "lacks uvz; it holds"),
        ({"rgb": None}, "lacks rgb"),
        ({"rgb": np.zeros(9, np.uint8)}, "rgb cannot be decoded"),
        ({"rgb": np.zeros(0, np.uint8)}, "rgb cannot be decoded"),
        ({"rgb": np.array("text")}, "rgb cannot be decoded"),
        ({"mask": np.zeros(9, np.uint8)}, "mask cannot be decoded"),
        ({"rgb": encoded(picture(0, 40, 50))}, "40 x 50 pixels, not square"),
        ({"uvz": np.zeros((16, 16))}, r"uvz is of shape \(16, 16\)"),
        ({"uvz": np.zeros((16, 16, 3))}, "uvz is empty"),
        ({"uvz": np.full((16, 16, 3), np.nan)}, "not finite"),
        ({"uvz": np.full((16, 16, 3), 120.0)}, "no map units"),
        ({"uvz": np.full((16, 16, 3), -0.6)}, "no map units"),
    ],
)
def test_a_wrong_sample_names_itself(tmp_path: Path, changes: Any, message: str) -> None:
    folder = write_archives(tmp_path / "a")
    rewrite(folder / "000.npz", **changes)
    with pytest.raises(InputError, match=message) as raised:
        PictureArchives(folder)[0]
    assert str(folder / "000.npz") in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_min": None}, "lacks max_min"),
        ({"max_min": np.zeros(5)}, "max_min is of shape"),
        ({"uvz_3k": np.ones((8, 8, 3))}, "maps of shapes"),
    ],
)
def test_a_wrong_pair_names_itself(tmp_path: Path, changes: Any, message: str) -> None:
    folder = write_pairs(tmp_path / "p")
    rewrite(folder / "000.npz", **changes)
    with pytest.raises(InputError, match=message):
        MapPairs(folder)[0]


def test_pairs_are_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lacks rgb, uvz; it holds max_min, uvz_778, uvz_3k"):
        PictureArchives(write_pairs(tmp_path / "p"))[0]


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x93NUMPY\x01\x00v\x00"])
def test_a_damaged_archive_names_itself(tmp_path: Path, content: bytes) -> None:
    folder = write_archives(tmp_path / "a")
    (folder / "000.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"000\.npz"):
        PictureArchives(folder)[0]


def test_arrays_of_objects_are_not_unpickled(tmp_path: Path) -> None:
    folder = write_archives(tmp_path / "a")
    rewrite(folder / "000.npz", rgb=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="allow_pickle"):
        PictureArchives(folder)[0]


def test_a_folder_without_samples_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no \.npz file"):
        MapPairs(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        PictureArchives(tmp_path / "missing")


def test_there_is_nothing_behind_the_last_sample(tmp_path: Path) -> None:
    with pytest.raises(IndexError, match="2 samples"):
        PictureArchives(write_archives(tmp_path / "a"))[2]

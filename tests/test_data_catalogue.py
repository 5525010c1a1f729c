from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dataset_toys import (
    picture,
    write_archives,
    write_freihand,
    write_ho3d,
    write_mano,
    write_pairs,
    write_picture,
    write_video,
)

from i2uv_edge.data.catalogue import KINDS, open_dataset, open_pairs
from i2uv_edge.errors import UsageError
from i2uv_edge.hand.mano import Mano


def make(kind: str, folder: Path) -> Path:
    if kind == "folder":
        write_picture(folder / "a.png", picture(0))
        return folder
    if kind == "video":
        return write_video(folder.with_suffix(".avi"))
    writers = {"freihand": write_freihand, "ho3d": write_ho3d, "i2uv-archive": write_archives}
    return writers[kind](folder)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"rendered"}))
@pytest.mark.parametrize("side", ["right", "left"])
def test_every_kind_opens_by_its_name(tmp_path: Path, kind: str, side: str) -> None:
    path = make(kind, tmp_path / "data")
    opened = open_dataset(kind, path, hand=side)  # type: ignore[arg-type]
    assert opened.name == kind
    sample = opened[len(opened) - 1]
    assert sample.picture.dtype == np.uint8
    assert sample.picture.shape[2] == 3
    if side == "left":
        right = open_dataset(kind, path)[len(opened) - 1]
        assert np.array_equal(sample.picture[:, ::-1], right.picture)


def test_the_split_and_the_hand_model_are_passed_on(tmp_path: Path) -> None:
    path = write_ho3d(tmp_path / "h")
    assert open_dataset("ho3d", path, split="evaluation")[0].joints is None
    mano = Mano.load(write_mano(tmp_path / "m.pkl"))
    assert open_dataset("ho3d", path)[0].vertices is None
    vertices = open_dataset("ho3d", path, mano=mano)[0].vertices
    assert vertices is not None
    assert vertices.shape == (778, 3)


def test_pairs_have_an_interface_of_their_own(tmp_path: Path) -> None:
    assert open_pairs(write_pairs(tmp_path / "p"))[0].fine.shape == (16, 16, 3)


def test_an_unknown_kind_lists_the_known() -> None:
    with pytest.raises(UsageError, match="unknown kind of data set 'freihands'") as raised:
        open_dataset("freihands")
    assert "did you mean 'freihand'?" in str(raised.value)
    assert all(kind in str(raised.value) for kind in KINDS)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"rendered"}))
def test_a_kind_that_lies_somewhere_asks_where(kind: str) -> None:
    with pytest.raises(UsageError, match=f"the data set {kind} needs a path"):
        open_dataset(kind)

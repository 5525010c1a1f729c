"""Pictures that are kept are the pictures that would be drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from i2uv_edge.errors import InputError
from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.training import kept
from i2uv_edge.training.config import KeypointWeights, TrainingConfig
from i2uv_edge.training.kept import KeptPictures
from i2uv_edge.training.picture_to_map import RenderedPictures, picture_source
from i2uv_edge.training.task import EVALUATION_SEED, Sample


class Draws:
    """Numbers in the place of pictures, and how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def atlas(self, size: int) -> Atlas:
        raise AssertionError(size)

    def sample(self, seed: int, index: int) -> Sample:
        self.asked.append((seed, index))
        rng = np.random.default_rng((seed, index))
        return {
            "picture": rng.integers(0, 256, (4, 4, 3), dtype=np.uint8),
            "scale_mm": np.asarray(rng.random(), np.float32),
        }


@pytest.fixture(autouse=True)
def forget() -> None:
    kept._records.cache_clear()


def same(first: Sample, second: Sample) -> bool:
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and np.array_equal(first[name], second[name])
        for name in first
    )


def test_a_sample_is_drawn_once_and_read_back_as_it_was(tmp_path: Path) -> None:
    numbers = [(0, 3), (EVALUATION_SEED, 3), (0, kept.BLOCK + 3), (0, 4)]
    first = KeptPictures(Draws(), tmp_path, "a")
    for seed, index in numbers:
        assert same(first.sample(seed, index), Draws().sample(seed, index))
    kept._records.cache_clear()
    again = Draws()
    for seed, index in numbers:
        read = KeptPictures(again, tmp_path, "a").sample(seed, index)
        assert same(read, Draws().sample(seed, index))
    assert again.asked == []


def test_other_pictures_are_kept_apart(tmp_path: Path) -> None:
    KeptPictures(Draws(), tmp_path, "a").sample(0, 0)
    other = Draws()
    KeptPictures(other, tmp_path, "b").sample(0, 0)
    assert other.asked == [(0, 0)]


def test_what_was_half_written_is_drawn_again(tmp_path: Path) -> None:
    class Dies(Draws):
        def sample(self, seed: int, index: int) -> Sample:
            made = super().sample(seed, index)
            return {**made, "picture": made["picture"][:3]} if index else made

    source = KeptPictures(Dies(), tmp_path, "a")
    source.sample(0, 0)
    with pytest.raises(ValueError, match="broadcast"):
        source.sample(0, 1)
    assert same(KeptPictures(Draws(), tmp_path, "a").sample(0, 1), Draws().sample(0, 1))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    source = KeptPictures(Draws(), tmp_path, "a")
    source.sample(0, 0)
    kept._records.cache_clear()
    (path,) = source.folder.glob("*.bin")
    path.write_bytes(b"short")
    with pytest.raises(InputError, match=path.name):
        source.sample(0, 0)


def test_a_run_keeps_the_pictures_that_it_would_draw(tmp_path: Path) -> None:
    config = TrainingConfig(steps=1, batch=2, learning_rate=1e-3, kept=str(tmp_path))
    made = picture_source(config, 32).sample(0, 5)
    drawn = picture_source(TrainingConfig(steps=1, batch=2, learning_rate=1e-3), 32)
    assert isinstance(drawn, RenderedPictures)
    assert same(made, drawn.sample(0, 5))
    assert same(picture_source(config, 32).sample(0, 5), made)
    assert len(list(tmp_path.rglob("*.bin"))) == 1


def test_pictures_with_keypoints_are_kept_apart_from_those_without(tmp_path: Path) -> None:
    config = TrainingConfig(steps=1, batch=2, learning_rate=1e-3, kept=str(tmp_path))
    jointed = replace(config, keypoints=KeypointWeights(length=1.0))
    assert "keypoints" not in picture_source(config, 32).sample(0, 5)
    for _ in range(2):  # drawn, then read
        assert picture_source(jointed, 32).sample(0, 5)["keypoints"].shape == (21, 3)
    assert len(list(tmp_path.rglob("*.bin"))) == 2

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from dataset_toys import SIZE, write_video

from i2uv_edge.data.video import VideoFrames
from i2uv_edge.errors import InputError


def shade(frames: VideoFrames, index: int) -> float:
    return float(frames[index].picture.mean())


@pytest.fixture
def frames(tmp_path: Path) -> VideoFrames:
    return VideoFrames(write_video(tmp_path / "v.avi"))


def test_frames_come_in_any_order(frames: VideoFrames) -> None:
    assert (len(frames), frames[0].picture.shape, frames[3].id) == (5, (SIZE, SIZE, 3), "000003")
    for index in (0, 1, 4, 2, 2, 3):
        assert shade(frames, index) == pytest.approx(20 + 40 * index, abs=3)


def test_it_goes_to_other_processes(frames: VideoFrames) -> None:
    frames[2]
    there = pickle.loads(pickle.dumps(frames))
    assert shade(there, 1) == shade(frames, 1)


def test_there_are_no_frames_behind_the_last(frames: VideoFrames) -> None:
    with pytest.raises(IndexError, match="5 frames"):
        frames[5]


def test_what_is_no_video_names_itself(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no video"):
        VideoFrames(tmp_path / "v.avi")
    (tmp_path / "v.avi").write_bytes(b"no video")
    with pytest.raises(InputError, match=r"v\.avi: no frame can be decoded"):
        VideoFrames(tmp_path / "v.avi")

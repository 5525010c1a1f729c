from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from tracking_toys import clip, write_clip, write_png

from i2uv_edge.errors import InputError
from i2uv_edge.tracking.sources import open_source
from i2uv_edge.tracking.video import VideoWriter


def test_a_picture_is_one_frame_that_has_no_rate(tmp_path: Path) -> None:
    path = write_png(tmp_path / "hand.png", clip()[0].picture)
    source = open_source(str(path))
    assert (source.kind, source.name, source.total, source.fps) == ("picture", "hand", 1, 0.0)
    (frame,) = source
    assert frame.name == "hand.png"
    np.testing.assert_array_equal(frame.picture, clip()[0].picture)


def test_a_folder_s_pictures_come_by_name_and_other_files_are_counted(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        write_png(tmp_path / name, clip()[0].picture)
    (tmp_path / "notes.txt").write_text("x")
    source = open_source(str(tmp_path))
    assert (source.kind, source.total, source.skipped) == ("folder", 2, 1)
    assert [frame.name for frame in source] == ["a.png", "b.png"]


def test_a_video_s_frames_come_in_order_with_their_times(tmp_path: Path) -> None:
    source = open_source(str(write_clip(tmp_path / "clip.mp4")))
    assert (source.kind, source.name, source.total, source.fps) == ("video", "clip", 4, 30.0)
    frames = list(source)
    assert [frame.name for frame in frames] == ["000000", "000001", "000002", "000003"]
    assert [frame.time for frame in frames] == pytest.approx([0, 1 / 30, 2 / 30, 3 / 30])
    apart = np.abs(frames[0].picture.astype(int) - clip()[0].picture)
    assert apart.mean() < 6  # compressed, and its colours in the right order
    assert source.note == ""
    source.close()


def test_a_video_that_ends_early_says_so(tmp_path: Path) -> None:
    source = open_source(str(write_clip(tmp_path / "clip.mp4")))
    source.total = 40
    assert len(list(source)) == 4
    assert "ends early: 4 of 40 frames" in source.note


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absent.mp4", "there is no"),
        ("text.mp4", "neither a picture nor a video"),
        ("camera:97", "camera 97 gives no picture"),
        ("camera:front", "no camera"),
    ],
)
def test_what_cannot_be_opened_is_named(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    where = name if name.startswith("camera") else str(tmp_path / name)
    with pytest.raises(InputError, match=said) as caught:
        open_source(where)
    assert caught.value.exit_code == 2
    assert caught.value.expected


def test_a_damaged_picture_is_refused_by_name(tmp_path: Path) -> None:
    path = write_png(tmp_path / "hand.png", clip()[0].picture)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"hand\.png is cut short"):
        list(open_source(str(path)))


def test_a_video_of_odd_size_is_written_and_one_of_changing_size_is_not(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "odd.mp4", 30.0) as video:
        video.write(np.zeros((33, 47, 3), np.uint8))
        with pytest.raises(InputError, match="one size"):
            video.write(np.zeros((32, 47, 3), np.uint8))
    (frame,) = open_source(str(tmp_path / "odd.mp4"))
    assert frame.picture.shape == (32, 46, 3)


# --- cameras --------------------------------------------------------------------------------------


class Camera:
    """Gives three blue pictures, then none."""

    def __init__(self, number: int) -> None:
        self.left = 3

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def get(self, what: int) -> float:
        return 0.0  # as drivers do that cannot say

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return (
            self.left >= 0,
            np.full((8, 8, 3), (255, 0, 0), np.uint8) if self.left >= 0 else None,
        )

    def release(self) -> None:
        self.left = 0


def test_a_camera_s_pictures_come_with_the_time_they_were_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    source = open_source("camera:0")
    assert (source.kind, source.name, source.total, source.fps) == ("camera", "camera-0", 0, 30.0)
    frames = list(source)
    assert len(frames) == 3
    assert frames[0].picture[0, 0].tolist() == [0, 0, 255]
    assert frames[0].time <= frames[1].time <= frames[2].time
    assert "camera 0 stopped giving pictures after 3" in source.note

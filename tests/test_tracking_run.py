"""`i2uv-edge run` from end to end, on the toy bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from model_toys import Ended, run
from tracking_toys import clip, contents, write_clip, write_png

from i2uv_edge import pipeline
from i2uv_edge.data.pictures import list_pictures, read_picture, whole
from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.hand.metrics import similarity_scale
from i2uv_edge.requests import RunRequest
from i2uv_edge.tracking import run as tracking
from i2uv_edge.tracking.reader import HandReader
from i2uv_edge.tracking.records import JOINT_NAMES


@pytest.fixture(scope="module")
def bundle(exported: tuple[Ended, Path]) -> Path:
    return exported[1]


@pytest.fixture(scope="module")
def picture(bundle: Path) -> Path:
    """Give a picture that the toy knows by heart."""
    return list_pictures(bundle / "eval")[0][0]


def watched(bundle: Path, source: object, output: Path, *options: str) -> Any:
    ended = run("run", str(bundle), str(source), "-o", str(output), "--json", *options)
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


# --- pictures -------------------------------------------------------------------------------------


def test_a_picture_gives_overlay_mesh_texture_map_and_joints(
    bundle: Path, picture: Path, tmp_path: Path
) -> None:
    document = watched(bundle, picture, tmp_path / "out")
    stem = picture.stem
    names = {path.name.replace(stem, "NAME") for path in (tmp_path / "out").iterdir()}
    assert names == {
        *("NAME-overlay.jpg", "NAME.obj", "NAME.mtl", "NAME-texture.png", "NAME.glb"),
        *("NAME-map.png", "NAME-map.npz", "NAME-joints.json", "frames.jsonl", "run.json"),
    }
    (row,) = document["frames"]
    assert row["found"]
    assert row["joints"] == f"{stem}-joints.json"
    assert set(row["ms"]) >= {"crop", "affinenet", "srnet", "gather", "overlay"}
    assert document["frames_seen"] == 1
    shown = read_picture(tmp_path / "out" / f"{stem}-overlay.jpg")
    assert shown.shape == read_picture(picture).shape
    assert np.abs(shown.astype(int) - read_picture(picture)).max() > 40


def test_the_files_agree_with_the_bundle_s_own_answer(
    bundle: Path, picture: Path, tmp_path: Path
) -> None:
    (row,) = watched(bundle, picture, tmp_path / "out")["frames"]
    opened = contents(bundle)
    reader = HandReader(opened, "tflite")
    pixels = read_picture(picture)
    from i2uv_edge.data.pictures import Box

    look = reader.look(pixels, Box(*row["box"]))
    with np.load(tmp_path / "out" / f"{picture.stem}-map.npz") as stored:
        np.testing.assert_array_equal(stored["uv_map"], look.map)
        assert stored["box"].tolist() == row["box"]
        scale = float(stored["mm_per_unit"])
    assert scale == pytest.approx(float(similarity_scale(reader.atlas.template, look.vertices)))
    mesh = Atlas.from_obj(tmp_path / "out" / f"{picture.stem}.obj", 64)
    expected = look.vertices - look.vertices.mean(0)
    metres = expected * np.array([1, -1, -1]) * scale / 1000
    np.testing.assert_allclose(mesh.template, metres, atol=2e-6)
    joints = json.loads((tmp_path / "out" / f"{picture.stem}-joints.json").read_text())["joints"]
    assert joints["names"] == list(JOINT_NAMES)
    assert len(joints["names"]) == 21
    regressed = reader.atlas.joint_regressor @ look.pixels
    np.testing.assert_allclose(joints["pixels"], regressed[:, :2], atol=0.01)
    assert joints["mm"][0] == [0, 0, 0]


def test_a_left_hand_is_the_mirrored_right_one(bundle: Path, picture: Path) -> None:
    opened, pixels = contents(bundle), read_picture(picture)
    box = whole(pixels)
    right = HandReader(opened, "tflite").look(pixels, box)
    reader = HandReader(opened, "tflite", hand="left")
    left = reader.look(np.ascontiguousarray(pixels[:, ::-1]), box)
    np.testing.assert_allclose(left.vertices[:, 0], 1 - right.vertices[:, 0], atol=1e-6)
    np.testing.assert_array_equal(left.vertices[:, 1:], right.vertices[:, 1:])
    np.testing.assert_allclose(left.map[..., 0], 1 - right.map[..., 0], atol=1e-6)
    assert left.disagreement_mm == right.disagreement_mm
    own = HandReader(opened, "tflite")
    assert reader.scale_mm(left.vertices) == pytest.approx(own.scale_mm(right.vertices))
    np.testing.assert_array_equal(reader.faces, own.faces[:, ::-1])


def test_a_folder_has_a_folder_for_each_picture_and_counts_what_is_none(
    bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "hands"
    folder.mkdir()
    for path in list_pictures(bundle / "eval")[0][:2]:
        shutil.copy(path, folder)
    (folder / "notes.txt").write_text("x")
    ended = run("run", str(bundle), str(folder), "-o", str(tmp_path / "out"))
    assert ended.code == 0, ended.err
    assert ended.err == f"skipped 1 file that is no picture in {folder}\n"
    for path in list_pictures(folder)[0]:
        assert (tmp_path / "out" / path.name / f"{path.stem}.glb").is_file()
    assert "pictures  2, a hand in" in ended.out


def test_compare_shows_three_pictures_and_says_how_far_apart_they_are(
    bundle: Path, picture: Path, tmp_path: Path
) -> None:
    document = watched(bundle, picture, tmp_path / "out", "--compare")
    height, width = read_picture(picture).shape[:2]
    shown = read_picture(tmp_path / "out" / f"{picture.stem}-overlay.jpg")
    assert shown.shape == (height, 3 * width, 3)
    assert 0 < document["difference_mm"]["mean"] < document["difference_mm"]["max"]


def test_the_float_networks_answer_where_they_are_asked_for(
    bundle: Path, picture: Path, tmp_path: Path
) -> None:
    maps = {}
    for name, options in (("int8", ()), ("float", ("--float",))):
        document = watched(bundle, picture, tmp_path / name, "--box", "0,0,50,50", *options)
        assert document["runner"] == {"int8": "tflite", "float": "float"}[name]
        with np.load(tmp_path / name / f"{picture.stem}-map.npz") as stored:
            maps[name] = stored["uv_map"]
    apart = np.abs(maps["int8"] - maps["float"])
    assert apart.max() > 0
    assert apart.mean() < 0.05


# --- videos ---------------------------------------------------------------------------------------


def test_a_video_gives_a_video_and_a_line_for_each_frame(bundle: Path, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mp4")
    document = watched(bundle, source, tmp_path / "out")
    assert [row["name"] for row in document["frames"]] == [f"{n:06d}" for n in range(4)]
    capture = cv2.VideoCapture(str(tmp_path / "out" / "clip.mp4"))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    assert len(frames) == 4
    assert frames[0].shape == (96, 96, 3)
    assert (frames[0][:4] < 90).all()  # the strip of the readout
    assert document["fps"] > 0
    assert 0 < document["pre_post_share"] < 1


def test_steadying_is_measured_before_and_after(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "doubtful_mm", lambda contents: float("inf"))
    source = write_clip(tmp_path / "clip.mp4", 12)
    box = ("--box", "24,24,48,48")
    smooth = ("--steady", "--cutoff", "0.5", "--beta", "0.1")
    document = watched(bundle, source, tmp_path / "out", *smooth, *box)
    jitter = document["jitter"]
    assert 0 < jitter["after_mm"] < jitter["before_mm"]
    assert 0 < jitter["after_px"] < jitter["before_px"]
    assert "jitter" not in watched(bundle, source, tmp_path / "plain", *box)


def test_a_video_may_be_stopped_after_some_frames(bundle: Path, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mp4")
    document = watched(bundle, source, tmp_path / "out", "--frames", "2")
    assert document["frames_seen"] == len(document["frames"]) == 2


def test_an_interrupted_run_keeps_what_was_seen(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_clip(tmp_path / "clip.mp4")

    def stop(what: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    result = pipeline.run(RunRequest(bundle, str(source), tmp_path / "out"), stop)
    assert result.summary["ended"] == "interrupted"
    assert result.summary["frames_seen"] == 3
    assert (tmp_path / "out" / "clip.mp4").stat().st_size > 0


def test_a_frame_without_a_hand_has_no_mesh_drawn(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "doubtful_mm", lambda contents: 0.0)
    document = watched(bundle, write_clip(tmp_path / "clip.mp4"), tmp_path / "out")
    assert document["found"] == 0
    assert all("disagrees with itself" in row["doubt"] for row in document["frames"])
    assert not (tmp_path / "out" / "best").exists()


def test_what_is_doubtful_is_told_by_the_bundle_s_golden_maps(bundle: Path) -> None:
    limit = tracking.doubtful_mm(contents(bundle))
    assert 1.0 < limit < 100.0


# --- what can go wrong ----------------------------------------------------------------------------


def test_an_output_is_replaced_with_force_only_and_other_folders_never(
    bundle: Path, picture: Path, tmp_path: Path
) -> None:
    arguments = ("run", str(bundle), str(picture), "-o", str(tmp_path / "out"))
    assert run(*arguments).code == 0
    refused = run(*arguments)
    assert refused.code == 2
    assert "--force" in refused.err
    assert run(*arguments, "--force").code == 0
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    assert (
        run("run", str(bundle), str(picture), "-o", str(tmp_path / "thesis"), "--force").code == 2
    )
    assert (tmp_path / "thesis" / "chapter1.tex").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--box", "1,2,3"], "four numbers"),
        (["--box", "1,2,nan,4"], "four numbers"),
        (["--box", "10,10,0,5"], "above 0"),
        (["--box", "5000,5000,40,40"], "holds nothing of a picture"),
        (["--detector", "absent.tflite"], "absent.tflite cannot be read"),
    ],
)
def test_a_wrong_option_leaves_nothing_behind(
    bundle: Path, picture: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    ended = run("run", str(bundle), str(picture), "-o", str(tmp_path / "out"), *options)
    assert ended.code == 2
    assert said in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_picture_of_a_folder_is_named_and_nothing_is_left(
    bundle: Path, picture: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "hands"
    folder.mkdir()
    write_png(folder / "a.png", clip()[0].picture)
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:300])
    ended = run("run", str(bundle), str(folder), "-o", str(tmp_path / "out"))
    assert ended.code == 2
    assert "b.png is cut short" in ended.err
    assert not (tmp_path / "out").exists()


def test_a_damaged_bundle_is_refused_and_a_failed_one_is_noted(
    bundle: Path, picture: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    report = json.loads((copy / "report.json").read_text())
    (copy / "report.json").write_text(json.dumps({**report, "passed": False}))
    ended = run("run", str(copy), str(picture), "-o", str(tmp_path / "out"))
    assert ended.code == 0
    assert "failed its gates" in ended.err
    (copy / "srnet.tflite").write_bytes(b"x")
    ended = run("run", str(copy), str(picture), "-o", str(tmp_path / "other"))
    assert ended.code == 6
    assert "srnet.tflite" in ended.err


def test_memory_does_not_grow_with_frames(bundle: Path, tmp_path: Path) -> None:
    """Of what grows with a video nothing is kept: a hundred bytes a frame would be a leak.

    Ten thousand frames of the bundled model are run by `benchmarks/tracking.py --frames 10000`;
    these hundreds take one second of them, and see what would grow there by a megabyte.
    """
    import tracemalloc

    from tracking_toys import CLIP

    source = tmp_path / "clip.mp4"
    frames = [sample.picture for sample in clip()] * 100
    from i2uv_edge.tracking.video import VideoWriter

    with VideoWriter(source, CLIP.fps) as video:
        for frame in frames:
            video.write(frame)
    held: dict[int, int] = {}

    def notify(what: str, done: int, total: int) -> None:
        if done in (100, 400):
            held[done] = tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        pipeline.run(RunRequest(bundle, str(source), tmp_path / "out"), notify)
    finally:
        tracemalloc.stop()
    # The last frames' times are remembered, up to 4096 of them: some 32 bytes for each stage.
    assert held[400] - held[100] < 300 * 1000

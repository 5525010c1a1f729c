from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from i2uv_edge import bundle
from i2uv_edge.bundle import Bundle, seal, write_bundle, write_json
from i2uv_edge.errors import DamagedError, InputError, UsageError

FILES = {
    "affinenet.tflite": b"first network",
    "srnet.tflite": b"second network",
    "float/affinenet.safetensors": b"weights",
    "encodings.json": b"{}",
    "eval/000.png": b"picture",
}
SOURCES = {"checkpoint": "0" * 64}


def fill(folder: Path) -> None:
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    parents = {
        "affinenet.tflite": "float/affinenet.safetensors",
        "float/affinenet.safetensors": "checkpoint",
    }
    seal(folder, {"model": "toy", "sources": SOURCES}, parents=parents)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    destination = tmp_path / "made"
    with write_bundle(destination) as folder:
        fill(folder)
    return destination


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- sealing and opening -----------------------------------------------------------------------


def test_a_sealed_bundle_opens_and_gives_its_files(made: Path) -> None:
    opened = Bundle.open(made)
    assert opened.file("srnet.tflite").read_bytes() == b"second network"
    assert opened.manifest["model"] == "toy"
    assert [artifact.path for artifact in opened.artifacts] == sorted(FILES)


def test_the_manifest_records_kind_hash_size_and_parent(made: Path) -> None:
    found = {artifact.path: artifact for artifact in Bundle.open(made).artifacts}
    network, weights = found["affinenet.tflite"], found["float/affinenet.safetensors"]
    assert (network.kind, network.bytes) == ("tflite", len(b"first network"))
    assert network.sha256 == bundle.sha256_of(made / "affinenet.tflite")
    assert network.parent == weights.sha256
    assert weights.parent == SOURCES["checkpoint"]
    assert found["encodings.json"].parent is None


def test_the_same_content_gives_the_same_bundle(tmp_path: Path, made: Path) -> None:
    with write_bundle(tmp_path / "again") as folder:
        fill(folder)
    assert Bundle.open(tmp_path / "again").sha256 == Bundle.open(made).sha256


def test_another_content_gives_another_bundle(tmp_path: Path, made: Path) -> None:
    with write_bundle(tmp_path / "other") as folder:
        fill(folder)
        (folder / "eval" / "000.png").write_bytes(b"another picture")
        seal(folder, {"model": "toy"})
    assert Bundle.open(tmp_path / "other").sha256 != Bundle.open(made).sha256


def test_asking_for_a_file_the_bundle_lacks_lists_what_it_has(made: Path) -> None:
    with pytest.raises(InputError, match=r"no srnet\.onnx") as caught:
        Bundle.open(made).file("srnet.onnx")
    assert "srnet.tflite" in caught.value.expected


def test_reports_and_profiles_stay_outside_the_seal(made: Path) -> None:
    before = Bundle.open(made).sha256
    (made / "profiles").mkdir()
    for name in ("report.json", "report.html", "profiles/host.json"):
        (made / name).write_text("anything")
    opened = Bundle.open(made)
    assert opened.sha256 == before
    assert [artifact.path for artifact in opened.artifacts] == sorted(FILES)


def test_a_report_written_before_the_seal_is_not_sealed(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}")
    seal(tmp_path, {})
    assert Bundle.open(tmp_path).artifacts == ()


def test_a_file_of_no_known_kind_cannot_be_sealed(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"notes\.txt"):
        seal(tmp_path, {})


def test_the_parts_that_seal_writes_cannot_be_given(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="artifacts"):
        seal(tmp_path, {"artifacts": []})


# --- damage ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(FILES))
def test_any_changed_file_is_named_with_both_hashes(made: Path, name: str) -> None:
    listed = bundle.sha256_of(made / name)
    content = bytearray((made / name).read_bytes())
    content[0] ^= 1
    (made / name).write_bytes(content)
    with pytest.raises(DamagedError) as caught:
        Bundle.open(made)
    message = str(caught.value)
    assert all(part in message for part in (name, listed, bundle.sha256_of(made / name)))
    assert caught.value.exit_code == 6


def test_a_missing_file_is_named(made: Path) -> None:
    (made / "srnet.tflite").unlink()
    with pytest.raises(DamagedError, match=r"srnet\.tflite is missing"):
        Bundle.open(made)


def test_a_truncated_file_is_named(made: Path) -> None:
    (made / "srnet.tflite").write_bytes(b"second")
    with pytest.raises(DamagedError, match=r"srnet\.tflite has 6 bytes"):
        Bundle.open(made)


def test_exchanged_files_are_named_with_what_they_hold(made: Path) -> None:
    (made / "srnet.tflite").rename(made / "x")
    (made / "affinenet.tflite").rename(made / "srnet.tflite")
    (made / "x").rename(made / "affinenet.tflite")
    with pytest.raises(DamagedError) as caught:
        Bundle.open(made)
    assert "this is the content of affinenet.tflite" in str(caught.value)
    assert "this is the content of srnet.tflite" in str(caught.value)


def test_a_file_of_the_sealed_part_that_is_not_listed_is_named(made: Path) -> None:
    (made / "srnet.onnx").write_bytes(b"smuggled in")
    with pytest.raises(DamagedError, match=r"srnet\.onnx is not listed"):
        Bundle.open(made)


def test_all_damage_is_told_at_once(made: Path) -> None:
    (made / "srnet.tflite").unlink()
    (made / "encodings.json").write_bytes(b"{ }")
    with pytest.raises(DamagedError, match=r"(?s)encodings\.json.*srnet\.tflite"):
        Bundle.open(made)


def edit_manifest(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    write_json(folder / "manifest.json", {**manifest, **changes})


def test_a_file_made_from_something_unknown_is_named(made: Path) -> None:
    edit_manifest(made, sources={})
    with pytest.raises(DamagedError, match=r"float/affinenet\.safetensors was made from 0000"):
        Bundle.open(made)


@pytest.mark.parametrize("path", ["../outside.tflite", "/etc/hostname"])
def test_a_manifest_cannot_reach_outside_the_bundle(made: Path, path: str) -> None:
    entry = {"path": path, "kind": "tflite", "sha256": "0", "bytes": 1, "parent": None}
    edit_manifest(made, artifacts=[entry])
    with pytest.raises(DamagedError, match="outside the bundle"):
        Bundle.open(made)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": 1}', "\xff"])
def test_a_manifest_that_is_none_is_damage(made: Path, text: str) -> None:
    (made / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DamagedError, match=r"manifest\.json"):
        Bundle.open(made)


def test_a_missing_manifest_is_damage(made: Path) -> None:
    (made / "manifest.json").unlink()
    with pytest.raises(DamagedError, match=r"manifest\.json"):
        Bundle.open(made)


def test_a_later_schema_is_no_damage(made: Path) -> None:
    edit_manifest(made, schema=2)
    with pytest.raises(InputError, match="schema 2"):
        Bundle.open(made)


def test_a_folder_that_is_not_there_is_unreadable_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no bundle at"):
        Bundle.open(tmp_path / "absent")


# --- writing -----------------------------------------------------------------------------------


def test_nothing_has_the_final_name_before_the_end(tmp_path: Path) -> None:
    with write_bundle(tmp_path / "out") as folder:
        fill(folder)
        assert not (tmp_path / "out").exists()
    assert names(tmp_path) == ["out"]


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyError), write_bundle(tmp_path / "out") as folder:
        fill(folder)
        raise KeyError("a bug")
    assert names(tmp_path) == []


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), write_bundle(tmp_path / "out") as folder:
        fill(folder)
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_an_existing_output_is_refused_and_force_is_named(made: Path) -> None:
    with pytest.raises(UsageError, match="--force"), write_bundle(made):
        pytest.fail("the block must not run")
    Bundle.open(made)


def test_force_replaces_the_whole_bundle(made: Path) -> None:
    with write_bundle(made, force=True) as folder:
        (folder / "atlas.npz").write_bytes(b"atlas")
        seal(folder, {})
        assert len(Bundle.open(made).artifacts) == len(FILES)
    assert names(made) == ["atlas.npz", "manifest.json"]
    assert names(made.parent) == ["made"]


def test_force_keeps_the_old_bundle_when_the_new_one_fails(made: Path) -> None:
    with pytest.raises(KeyError), write_bundle(made, force=True):
        raise KeyError("a bug")
    assert len(Bundle.open(made).artifacts) == len(FILES)
    assert names(made.parent) == ["made"]


def test_force_replaces_no_folder_that_is_not_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    with (
        pytest.raises(UsageError, match="did not write"),
        write_bundle(tmp_path / "thesis", force=True),
    ):
        pytest.fail("the block must not run")
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "years of work"


def test_an_output_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists already"), write_bundle(tmp_path / "out"):
        (tmp_path / "out").mkdir()
    assert names(tmp_path) == ["out"]


def test_an_output_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UsageError, match="cannot be written"),
        write_bundle(tmp_path / "file" / "b"),
    ):
        pytest.fail("the block must not run")


def test_missing_folders_on_the_way_are_made(tmp_path: Path) -> None:
    with write_bundle(tmp_path / "a" / "b" / "out") as folder:
        fill(folder)
    Bundle.open(tmp_path / "a" / "b" / "out")


def test_a_second_run_to_the_same_output_is_refused(tmp_path: Path) -> None:
    with write_bundle(tmp_path / "out") as folder:
        fill(folder)
        with pytest.raises(UsageError, match="another run"), write_bundle(tmp_path / "out"):
            pytest.fail("the block must not run")
    Bundle.open(tmp_path / "out")


# --- a full disk -------------------------------------------------------------------------------


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="the disk is full"),
        write_bundle(tmp_path / "out") as folder,
    ):
        (folder / "affinenet.tflite").symlink_to("/dev/full")
        (folder / "affinenet.tflite").write_bytes(b"weights")
    assert names(tmp_path) == []


def test_a_full_disk_is_told_when_a_library_loses_the_error_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = os.statvfs_result((4096, 4096, 100, 0, 0, 100, 100, 100, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    with pytest.raises(UsageError, match="the disk is full"), write_bundle(tmp_path / "out"):
        raise RuntimeError("I/O error")


def test_other_failures_are_not_blamed_on_the_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nope") as caught, write_bundle(tmp_path / "out"):
        raise OSError(errno.EACCES, "nope")
    assert not isinstance(caught.value, UsageError)


# --- a killed run ------------------------------------------------------------------------------

WRITER = """
import pathlib, sys, time
from i2uv_edge.bundle import seal, write_bundle
with write_bundle(sys.argv[1], force=True) as folder:
    (folder / "affinenet.tflite").write_bytes(b"half")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Give a process that is in the middle of writing `tmp_path / "made"`."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "made")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    assert process.wait(timeout=30) == -signal.SIGKILL


def test_a_killed_run_leaves_nothing_under_the_final_name(
    tmp_path: Path, writer: subprocess.Popen[str]
) -> None:
    kill(writer)
    assert names(tmp_path) == [f".made.partial-{writer.pid}"]


def test_a_killed_run_leaves_the_old_bundle(made: Path, writer: subprocess.Popen[str]) -> None:
    kill(writer)
    assert len(Bundle.open(made).artifacts) == len(FILES)


def test_the_next_run_removes_what_a_killed_one_left(
    tmp_path: Path, writer: subprocess.Popen[str]
) -> None:
    kill(writer)
    with write_bundle(tmp_path / "made") as folder:
        fill(folder)
    assert names(tmp_path) == ["made"]


def test_a_run_that_lives_is_left_alone(tmp_path: Path, writer: subprocess.Popen[str]) -> None:
    with pytest.raises(UsageError, match=str(writer.pid)), write_bundle(tmp_path / "made"):
        pytest.fail("the block must not run")
    assert names(tmp_path) == [f".made.partial-{writer.pid}"]


def test_a_run_to_a_like_named_output_does_not_mind(
    tmp_path: Path, writer: subprocess.Popen[str]
) -> None:
    with write_bundle(tmp_path / "made2") as folder:
        fill(folder)
    assert names(tmp_path) == [f".made.partial-{writer.pid}", "made2"]


def test_a_replacement_killed_between_its_two_renames_is_undone(made: Path) -> None:
    made.rename(made.with_name(".made.replaced-1"))
    with pytest.raises(UsageError, match="exists already"), write_bundle(made):
        pytest.fail("the block must not run")
    assert len(Bundle.open(made).artifacts) == len(FILES)


def test_a_replacement_killed_before_it_removed_the_old_bundle_is_finished(made: Path) -> None:
    shutil.copytree(made, made.with_name(".made.replaced-1"))
    with write_bundle(made, force=True) as folder:
        fill(folder)
    assert names(made.parent) == ["made"]


def test_a_rename_that_fails_puts_the_old_bundle_back(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def fail_into_place(self: Path, target: Path) -> Path:
        if ".partial-" in self.name:
            raise OSError(errno.EIO, "bad sector")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_into_place)
    with pytest.raises(OSError, match="bad sector"), write_bundle(made, force=True) as folder:
        fill(folder)
    monkeypatch.undo()
    assert len(Bundle.open(made).artifacts) == len(FILES)
    assert names(made.parent) == ["made"]


# --- JSON --------------------------------------------------------------------------------------


def test_json_is_the_same_whatever_the_order_of_the_keys(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [0.1, None]})
    write_json(tmp_path / "b.json", {"a": [0.1, None], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert names(tmp_path) == ["a.json", "b.json"]


def test_json_refuses_what_is_no_number_and_keeps_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"value": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"value": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"value": 1}
    assert names(tmp_path) == ["a.json"]

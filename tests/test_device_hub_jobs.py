"""Jobs on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from i2uv_edge.device.hub_jobs import JOBS, Journal, Run
from i2uv_edge.device.profiles import FOLDER
from i2uv_edge.errors import DamagedError, UsageError

RUN = Run("b" * 64, "https://hub", "Galaxy Tab S7", "11", "865+", "865")
KEY = "inference affinenet.tflite"


def began(folder: Path, run: Run = RUN) -> Journal:
    journal = Journal(folder)
    journal.begin(run)
    return journal


def resumed(folder: Path, device: str = "") -> Journal:
    journal = Journal(folder)
    journal.resume(RUN.bundle, RUN.server, device)
    return journal


def test_a_job_is_on_disk_before_it_is_submitted(tmp_path: Path) -> None:
    record = began(tmp_path).announce(KEY, "inference", model="m1")
    (found,) = resumed(tmp_path).run.jobs
    assert found == record
    assert (found.id, found.model) == ("", "m1")


def test_names_are_unique_and_say_what_they_are_for(tmp_path: Path) -> None:
    journal = began(tmp_path)
    first, second = (journal.announce(KEY, "inference").name for _ in range(2))
    assert first != second
    assert "affinenet.tflite" in first


def test_what_became_of_a_job_is_on_disk_and_keeps_its_place(tmp_path: Path) -> None:
    journal = began(tmp_path)
    record = journal.announce(KEY, "inference")
    journal.announce("inference srnet.tflite", "inference")
    journal.note(record, id="j1", status="CREATED")
    first, _ = resumed(tmp_path).run.jobs
    assert (first.key, first.id, first.status) == (KEY, "j1", "CREATED")


def test_a_failed_job_is_due_again_and_any_other_is_not(tmp_path: Path) -> None:
    journal = began(tmp_path)
    record = journal.announce(KEY, "inference")
    assert journal.job(KEY) == record
    journal.note(record, status="FAILED")
    assert journal.job(KEY) is None
    assert journal.job("inference srnet.tflite") is None


def test_a_refused_job_leaves_nothing_behind(tmp_path: Path) -> None:
    journal = began(tmp_path)
    journal.forget(journal.announce(KEY, "inference"))
    assert resumed(tmp_path).run.jobs == ()


@pytest.mark.parametrize("status", ["", "CREATED", "RUNNING_INFERENCE"])
def test_open_jobs_are_in_the_way_of_a_new_run(tmp_path: Path, status: str) -> None:
    journal = began(tmp_path)
    journal.note(journal.announce(KEY, "inference"), id="j1", status=status)
    with pytest.raises(UsageError, match=r"not finished: j1\n.*--resume"):
        began(tmp_path)
    began(tmp_path, replace(RUN, device="Galaxy S23"))


@pytest.mark.parametrize("status", ["SUCCESS", "FAILED"])
def test_a_new_run_takes_the_place_of_one_that_ended(tmp_path: Path, status: str) -> None:
    journal = began(tmp_path)
    journal.note(journal.announce(KEY, "inference"), id="j1", status=status)
    began(tmp_path)
    assert resumed(tmp_path).run.jobs == ()


def test_runs_on_several_devices_are_kept_apart(tmp_path: Path) -> None:
    began(tmp_path).announce(KEY, "inference")
    began(tmp_path, replace(RUN, device="Galaxy S23"))
    assert resumed(tmp_path).run.device == "Galaxy S23"  # the latest
    assert len(resumed(tmp_path, "galaxy tab s7").run.jobs) == 1


@pytest.mark.parametrize("key", ["bundle", "server", "device"])
def test_jobs_of_something_else_are_not_resumed(tmp_path: Path, key: str) -> None:
    began(tmp_path, replace(RUN, **{key: "another"}))
    with pytest.raises(UsageError, match="no jobs of this bundle"):
        resumed(tmp_path, RUN.device)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 2, "runs": []}', '{"schema": 1}'])
def test_a_file_that_is_no_journal_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / JOBS).write_text(text)
    with pytest.raises(DamagedError, match=JOBS):
        Journal(tmp_path)


def test_a_bundle_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file where the folder should be")
    with pytest.raises((UsageError, DamagedError), match="cannot be"):
        began(tmp_path)

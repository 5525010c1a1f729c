"""Profiling on Qualcomm AI Hub, by its own client, unmodified, against a server on 127.0.0.1."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hub_server import GALAXY, TOKEN, Fault, HubServer, serving

from i2uv_edge import comparison
from i2uv_edge.bundle import Bundle, sha256_of
from i2uv_edge.device.hub import HubOptions, profile_on_hub
from i2uv_edge.device.hub_jobs import JOBS, Journal
from i2uv_edge.device.profiles import FOLDER, Profile, read_profile, write_profile
from i2uv_edge.errors import HubError, MissingDependencyError, UsageError

if TYPE_CHECKING:
    from model_toys import Ended

JOB = "^api/v1/jobs$"
FILE = "hub-samsung-galaxy-tab-s7-invented.json"
SOON = 5.0  # s: what counts as at once, on a busy machine


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A server."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as made:
        yield made


@pytest.fixture
def config(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The client's file, which names that server."""
    path = tmp_path / "client.ini"
    path.write_text(
        f"[api]\napi_url = {server.url}\nweb_url = {server.url}\napi_token = {TOKEN}\n"
        "verbose = true\n"
    )
    monkeypatch.setenv("QAIHUB_CLIENT_INI", str(path))
    return path


@pytest.fixture
def bundle(exported: tuple[Ended, Path], tmp_path: Path) -> Path:
    """A bundle of one's own."""
    return Path(shutil.copytree(exported[1], tmp_path / "bundle"))


def nobody(what: str, done: int, total: int) -> None:
    """Tell nobody."""


def profile(bundle: Path, notify: Callable[[str, int, int], None] = nobody, **own: Any) -> Profile:
    """Profile with little patience."""
    options = HubOptions(**{"poll_s": 0.01, "answer_s": 20.0, **own})
    return profile_on_hub(comparison.open_contents(Bundle.open(bundle)), options, notify)


def interrupting(word: str) -> Callable[[str, int, int], None]:
    """What presses Ctrl-C when it is told of something."""

    def notify(what: str, done: int, total: int) -> None:
        if word in what:
            raise KeyboardInterrupt

    return notify


def submitted(server: HubServer) -> int:
    return server.state.log.count(("POST", "api/v1/jobs"))


def texts(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


# Success.


def test_a_bundle_is_profiled(server: HubServer, config: Path, bundle: Path) -> None:
    made = profile(bundle)
    assert [item.role for item in made.networks] == ["affinenet", "srnet"]
    first = made.networks[0]
    assert first.latency_ms is not None
    assert (first.latency_ms.median, first.latency_ms.least, first.latency_ms.runs) == (
        pytest.approx(11.9),
        pytest.approx(11.875),
        3,
    )
    assert first.first_ms == pytest.approx(250 + 11.9)
    assert first.memory_mb == pytest.approx(3.5)
    assert [(item.unit, item.ms, item.share) for item in first.layers] == [
        ("NPU", 9.0, 0.75),
        ("CPU", 3.0, 0.25),
    ]
    assert made.tools["tflite"] == "2.17.0"
    assert {"qai-hub", "AI Hub"} <= made.tools.keys()
    assert made.device.chipset == GALAXY[2]
    assert "865+" in made.device.stands_in_for
    assert [job.status for job in made.jobs] == ["SUCCESS", "SUCCESS"]


def test_the_files_reach_the_hub_as_they_are(server: HubServer, config: Path, bundle: Path) -> None:
    made = profile(bundle)
    for item, job in zip(made.networks, server.state.made("inference_job"), strict=True):
        assert server.state.blobs[job.model.model_id] == (bundle / item.file).read_bytes()
        assert item.sha256 == sha256_of(bundle / item.file)
        assert job.is_profiling_on


def test_what_the_device_answers_is_compared_with_the_float_networks(
    server: HubServer, config: Path, bundle: Path
) -> None:
    right = profile(bundle)
    server.state.outputs = lambda arrays: [array + np.float32(0.05) for array in arrays]
    wrong = profile(bundle)
    for good, bad in zip(right.networks, wrong.networks, strict=True):
        assert good.off_mm is not None
        assert bad.off_mm is not None
        # Here the same runtime computes on both sides.
        here = f"{good.file} in LiteRT on this machine is {good.off_mm.mean:.3f} mm off float"
        assert here in right.notes
        assert bad.off_mm.mean > good.off_mm.mean + 2.0


def test_what_the_hub_compiles_is_profiled_beside_it(
    server: HubServer, config: Path, bundle: Path
) -> None:
    twins = {
        (bundle / f"{role}.onnx").read_bytes(): (bundle / f"{role}.tflite").read_bytes()
        for role in ("affinenet", "srnet")
    }
    server.state.compiled = twins.__getitem__
    made = profile(bundle, compiled=True)
    assert [item.file for item in made.networks] == [
        *("affinenet.tflite", "srnet.tflite"),
        *("affinenet.onnx", "srnet.onnx"),
    ]
    assert "compiled by AI Hub" in made.networks[2].runtime
    assert made.networks[2].off_mm == made.networks[0].off_mm
    assert made.networks[2].sha256 == made.networks[0].sha256
    (job, _) = server.state.made("compile_job")
    assert "--target_runtime tflite" in job.options


# Nothing invented passes for measured.


def test_figures_of_another_server_are_called_invented(
    server: HubServer, config: Path, bundle: Path
) -> None:
    made = profile(bundle)
    assert made.notes[0] == "from a server at 127.0.0.1: invented"
    assert made.device.name == "Samsung Galaxy Tab S7 (invented)"
    path = write_profile(bundle, made)
    assert path.name == FILE
    assert read_profile(path) == made


# Interruptions.


def test_an_interrupted_run_is_resumed_and_nothing_is_paid_twice(
    server: HubServer, config: Path, bundle: Path
) -> None:
    with pytest.raises(KeyboardInterrupt, match="--resume"):
        profile(bundle, interrupting("measuring performance"))
    assert submitted(server) == 2
    made = profile(bundle, resume=True)
    assert submitted(server) == 2
    assert [job.id for job in made.jobs] == list(server.state.jobs)


def test_a_run_without_resume_does_not_pay_for_jobs_that_still_run(
    server: HubServer, config: Path, bundle: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        profile(bundle, interrupting("measuring performance"))
    with pytest.raises(UsageError, match=r"not finished: .*\n.*--resume") as caught:
        profile(bundle)
    assert all(name in str(caught.value) for name in server.state.jobs)
    assert submitted(server) == 2


def test_a_job_whose_id_was_lost_is_found_again(
    server: HubServer, config: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(journal: Journal, record: Any, **changes: str) -> Any:
        if "id" in changes:
            raise KeyboardInterrupt
        return note(journal, record, **changes)

    note = Journal.note
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Journal, "note", killed)
        profile(bundle)
    assert submitted(server) == 1
    made = profile(bundle, resume=True)
    assert submitted(server) == 2
    assert [job.id for job in made.jobs] == list(server.state.jobs)


def test_a_job_that_never_reached_the_hub_is_submitted_with_the_model_that_did(
    server: HubServer, config: Path, bundle: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        profile(bundle, interrupting("affinenet.tflite: submitting"))
    profile(bundle, resume=True)
    assert (submitted(server), len(server.state.models)) == (2, 2)


def test_a_finished_run_can_be_read_again_for_nothing(
    server: HubServer, config: Path, bundle: Path
) -> None:
    first = profile(bundle)
    assert profile(bundle, resume=True) == first
    assert submitted(server) == 2


def test_there_may_be_nothing_to_resume(server: HubServer, config: Path, bundle: Path) -> None:
    with pytest.raises(UsageError, match="no jobs of this bundle"):
        profile(bundle, resume=True)


# Refusals and failures.


def test_a_wrong_token_is_said_at_once_and_not_shown(
    server: HubServer, config: Path, bundle: Path
) -> None:
    config.write_text(config.read_text().replace(TOKEN, "wr0ngwr0ng"))
    start = time.monotonic()
    with pytest.raises(HubError, match="does not accept the API token") as caught:
        profile(bundle)
    assert time.monotonic() - start < SOON
    assert str(config) in str(caught.value)
    assert "wr0ngwr0ng" not in str(caught.value)


def test_a_token_that_is_withdrawn_on_the_way_is_said(
    server: HubServer, config: Path, bundle: Path
) -> None:
    server.state.faults.append(Fault("POST", "^api/v1/models$", 401))
    with pytest.raises(HubError, match="does not accept the API token"):
        profile(bundle)
    server.state.faults.clear()
    assert len(profile(bundle).networks) == 2  # nothing is in the way


def test_a_hub_that_cannot_serve_is_said(server: HubServer, config: Path, bundle: Path) -> None:
    server.state.faults.append(Fault("GET", "auth/user", 503))
    with pytest.raises(HubError, match=r"cannot serve now: .* answers 503\n.*--resume"):
        profile(bundle)


def test_a_busy_moment_is_waited_for(server: HubServer, config: Path, bundle: Path) -> None:
    server.state.faults.append(Fault("POST", JOB, 429, times=1))
    assert len(profile(bundle).networks) == 2
    assert submitted(server) == 3


def test_a_hub_that_stays_busy_is_not_waited_for(
    server: HubServer, config: Path, bundle: Path
) -> None:
    server.state.faults.append(Fault("GET", "auth/user", 429))
    with pytest.raises(HubError, match="too many requests"):
        profile(bundle)


def test_a_job_that_failed_is_named_with_its_reason_and_resume_repeats_only_that_one(
    server: HubServer, config: Path, bundle: Path
) -> None:
    server.state.states = ("JOB_STATE_CREATED", "JOB_STATE_FAILED")
    with pytest.raises(HubError, match=r"failed on Samsung.*ran out of memory") as caught:
        profile(bundle)
    assert caught.value.exit_code == 7
    server.state.states = ("JOB_STATE_DONE",)
    profile(bundle, resume=True)
    assert submitted(server) == 3


def test_a_job_that_takes_too_long_is_left_to_run(
    server: HubServer, config: Path, bundle: Path
) -> None:
    server.state.states = ("JOB_STATE_PROVISIONING_DEVICE",)
    with pytest.raises(HubError, match=r"still PROVISIONING_DEVICE after .* s\n.*--resume"):
        profile(bundle, job_s=0.05)
    server.state.states = ("JOB_STATE_DONE",)
    assert len(profile(bundle, resume=True).networks) == 2
    assert submitted(server) == 2


def test_a_server_that_is_not_there_is_said_at_once(
    server: HubServer, config: Path, bundle: Path
) -> None:
    server.stop()
    start = time.monotonic()
    with pytest.raises(HubError, match="out of reach"):
        profile(bundle)
    assert time.monotonic() - start < SOON


def test_a_server_that_goes_away_is_said_soon(
    server: HubServer, config: Path, bundle: Path
) -> None:
    def notify(what: str, done: int, total: int) -> None:
        if "provisioning" in what and not server.state.stopped.is_set():
            server.stop()

    with pytest.raises(HubError, match=r"out of reach.*\n.*--resume"):
        profile(bundle, notify, answer_s=0.5)


def test_a_server_that_does_not_answer_is_not_waited_for(
    server: HubServer, config: Path, bundle: Path
) -> None:
    server.state.faults.append(Fault("GET", "^api/v1/jobs/", "silent"))
    start = time.monotonic()
    with pytest.raises(HubError, match=r"no answer within 0.5 s\n.*--resume"):
        profile(bundle, answer_s=0.5)
    assert time.monotonic() - start < SOON


def test_a_download_that_breaks_off_is_repeated(
    server: HubServer, config: Path, bundle: Path
) -> None:
    server.state.faults.append(Fault("GET", "^blob/", "cut", times=1))
    assert len(profile(bundle).networks) == 2


def test_a_model_that_arrived_in_part_is_not_run(
    server: HubServer, config: Path, bundle: Path
) -> None:
    server.state.faults.append(Fault("GET", "^blob/m", "half"))
    with pytest.raises(HubError, match=r"holds another file than the affinenet.tflite"):
        profile(bundle)
    assert submitted(server) == 0


def test_outputs_that_arrive_in_part_are_refused(
    server: HubServer, config: Path, bundle: Path
) -> None:
    server.state.faults.append(Fault("GET", "^blob/d", "half"))
    with pytest.raises(HubError, match="downloading the outputs failed"):
        profile(bundle)


def test_answers_that_are_no_numbers_are_refused(
    server: HubServer, config: Path, bundle: Path
) -> None:
    server.state.outputs = lambda arrays: [array * np.float32(np.nan) for array in arrays]
    with pytest.raises(HubError, match="are no numbers"):
        profile(bundle)


def test_missing_answers_are_refused(server: HubServer, config: Path, bundle: Path) -> None:
    server.state.outputs = lambda arrays: arrays[:-1]
    with pytest.raises(HubError, match="expected: one output with 4 samples"):
        profile(bundle)


def test_a_device_that_is_gone_is_said_and_nothing_is_left_open(
    server: HubServer, config: Path, bundle: Path
) -> None:
    def notify(what: str, done: int, total: int) -> None:
        if "submitting" in what:
            server.state.devices.remove(GALAXY)

    with pytest.raises(HubError, match="no longer offers Samsung Galaxy Tab S7"):
        profile(bundle, notify)
    assert "888" in profile(bundle).device.chipset  # no job of the first run is in the way


def test_another_device_can_be_named(server: HubServer, config: Path, bundle: Path) -> None:
    made = profile(bundle, device="samsung galaxy s23")
    assert made.device.name.startswith("Samsung Galaxy S23")
    assert "chosen with --device" in made.device.stands_in_for


def test_a_device_that_is_not_listed_is_a_usage_error_with_near_names(
    server: HubServer, config: Path, bundle: Path
) -> None:
    with pytest.raises(UsageError, match=r"near ones: .*Samsung Galaxy S23"):
        profile(bundle, device="Galaxy S23")
    assert not (bundle / FOLDER / JOBS).exists()


# What is needed, and the token.


def test_no_configuration(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QAIHUB_CLIENT_INI", str(tmp_path / "none.ini"))
    with pytest.raises(HubError, match=r"no configuration of Qualcomm AI Hub at .*none.ini"):
        profile(bundle)


@pytest.mark.parametrize("text", [f"api_token = {TOKEN}\n", f"[api]\napi_token = {TOKEN}\n"])
def test_a_configuration_that_cannot_be_read_is_not_quoted(
    config: Path, bundle: Path, text: str
) -> None:
    config.write_text(text)
    with pytest.raises(HubError, match=r"client.ini cannot be read") as caught:
        profile(bundle)
    assert TOKEN not in str(caught.value)
    assert caught.value.__suppress_context__


def test_the_package_may_be_missing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qai_hub", None)
    with pytest.raises(MissingDependencyError, match=r"i2uv-edge\[hub\]") as caught:
        profile(bundle)
    assert caught.value.exit_code == 4


def test_the_token_is_in_no_file_and_no_output(
    server: HubServer, config: Path, bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server.state.states = ("JOB_STATE_CREATED", "JOB_STATE_FAILED")
    server.state.failure = f"somebody sent {TOKEN}"
    with pytest.raises(HubError) as caught:
        profile(bundle)
    server.state.states = ("JOB_STATE_DONE",)
    write_profile(bundle, profile(bundle, resume=True))
    out, err = capfd.readouterr()
    assert any(f"token {TOKEN}" in head for head in server.state.heads)  # it was in use
    assert TOKEN not in str(caught.value) + out + err
    assert TOKEN.encode() not in texts(bundle)
    assert out == ""  # the client prints, and we print one JSON document


# The command.


def command(bundle: Path, *options: str) -> Ended:
    from model_toys import run

    return run("profile", str(bundle), "--on", "hub", *options)


def test_the_command_shows_and_writes_what_was_found(
    server: HubServer, config: Path, bundle: Path
) -> None:
    server.state.states = ("JOB_STATE_DONE",)
    ended = command(bundle)
    assert (ended.code, ended.err) == (0, "")
    heading = ended.out.splitlines()[0]
    assert heading.startswith("hub: Samsung Galaxy Tab S7 (invented) (qualcomm-snapdragon-865+)")
    assert heading.endswith("from a server at 127.0.0.1: invented")
    assert "Qualcomm AI Hub" not in ended.out  # nothing was reported by it
    for word in ("11.900", "NPU", *server.state.jobs):
        assert word in ended.out
    assert Bundle.open(bundle).sha256  # still sound
    again = command(bundle, "--resume", "--json")
    assert json.loads(again.out) == json.loads((bundle / FOLDER / FILE).read_text())
    assert submitted(server) == 2


def test_the_command_ends_with_the_code_of_what_went_wrong(
    server: HubServer, config: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(bundle, "--device", "no such").code == 2
    assert command(bundle, "--resume").code == 2
    server.state.states = ("JOB_STATE_FAILED",)
    assert command(bundle).code == 7
    config.write_text(config.read_text().replace(TOKEN, "wrong"))
    assert command(bundle).code == 7
    monkeypatch.setitem(sys.modules, "qai_hub", None)
    assert command(bundle).code == 4


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_is_ended_while_it_waits_is_resumed(
    server: HubServer, config: Path, bundle: Path, how: signal.Signals
) -> None:
    server.state.states = ("JOB_STATE_PROVISIONING_DEVICE",)
    ended = subprocess.Popen(
        [sys.executable, "-m", "i2uv_edge", "profile", str(bundle), "--on", "hub"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with ended:
        while not any(re.search("jobs/j", path) for _, path in list(server.state.log)):
            assert ended.poll() is None
            time.sleep(0.05)
        ended.send_signal(how)
        out, err = ended.communicate(timeout=60)
    if how == signal.SIGINT:
        assert (ended.returncode, out) == (130, "")
        assert "--resume" in err
    server.state.states = ("JOB_STATE_DONE",)
    assert len(profile(bundle, resume=True).networks) == 2
    assert submitted(server) == 2

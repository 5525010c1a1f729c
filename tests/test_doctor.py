"""What `doctor` finds: packages, real runs that may crash, and settings that hold secrets."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from model_toys import run

from i2uv_edge import resources
from i2uv_edge.diagnosis import examine as examination
from i2uv_edge.diagnosis import packages, probes, settings
from i2uv_edge.diagnosis.guest import ANSWER
from i2uv_edge.diagnosis.probes import GROUPS, Probe, ProbeError, all_probes
from i2uv_edge.diagnosis.results import Check, Diagnosis
from i2uv_edge.errors import InputError

TOKEN = "s3cr3t-token-of-somebody"


def check(state: Any = "works", *, required: bool = False, **changes: Any) -> Check:
    fields = {"group": "real runs", "name": "TFLite", "detail": "1.0", "remedy": "pip install it"}
    return Check(**{**fields, **changes}, state=state, required=required)


# --- what is said -------------------------------------------------------------------------------


def test_only_what_is_required_is_a_fault() -> None:
    checks = (check(), check("broken", name="HTP"), check("missing", required=True, name="ONNX"))
    found = Diagnosis(checks, 1.0)
    assert [fault.name for fault in found.faults] == ["ONNX"]
    assert found.fields()["works"] is False
    assert "required and not working: ONNX; 1 optional thing not" in found.text()


def test_the_table_says_what_to_do_for_what_does_not_work_and_nothing_else() -> None:
    text = Diagnosis((check(), check("missing", name="ONNX", remedy="do this")), 1.0).text()
    assert text.count("to do:") == 1
    assert "to do: do this" in text
    assert "everything that is required works" in text


def test_lines_keep_to_the_width_but_commands_stay_whole() -> None:
    remedy = "pip install " + "x" * 90
    text = Diagnosis((check("broken", detail="word " * 40, remedy=remedy),), 1.0).text(60)
    *lines, verdict = text.splitlines()
    long = [line for line in lines if len(line) > 60]
    assert verdict.startswith("everything")
    assert [remedy in line for line in long] == [True]


# --- packages -----------------------------------------------------------------------------------


def package(name: str) -> Check:
    (found,) = (own for own in packages.package_checks({}) if own.name == name)
    return found


def test_every_requirement_is_looked_at() -> None:
    names = {own.name for own in packages.package_checks({}) if own.required}
    assert {"python", "torch", "ai-edge-litert", "click"} <= names
    extras = {own.name for own in packages.package_checks({}) if own.group == "extras"}
    assert {"hub", "qnn"} <= extras
    assert "dev" not in extras


def test_a_package_that_is_not_there_is_named_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name in ("numba", "onnxruntime-qnn"):
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(packages.metadata, "version", version)
    own = package("numba")
    assert (own.state, own.required) == ("missing", True)
    assert own.remedy == "pip install 'numba>=0.60'"
    extra = package("qnn")
    assert (extra.state, extra.required) == ("missing", False)
    assert extra.remedy == "pip install 'i2uv-edge[qnn]'"


def test_a_version_that_is_not_asked_for_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version
    monkeypatch.setattr(
        packages.metadata, "version", lambda name: "1.0" if name == "numpy" else real(name)
    )
    assert package("numpy").state == "broken"
    assert "1.0, where >=2.0 is needed" in package("numpy").detail


def test_another_version_than_the_tested_one_is_told(tmp_path: Path) -> None:
    file = tmp_path / "constraints.txt"
    file.write_text(f"# pins\nClick==0.0.1\ntorch=={metadata.version('torch').split('+')[0]}\n")
    found = {own.name: own for own in packages.package_checks(packages.pins(file))}
    assert found["click"].detail.endswith("; tested was 0.0.1")
    assert found["click"].state == "works"
    assert "tested was" not in found["torch"].detail  # a local label is no other version
    assert packages.pins(tmp_path / "nowhere.txt") == {}


# --- what is configured, and what is secret -----------------------------------------------------


def named(found: list[Check], name: str) -> Check:
    (own,) = (own for own in found if own.name == name)
    return own


def configured(path: Path, text: str) -> Check:
    path.write_text(text)
    return named(settings.setting_checks({"QAIHUB_CLIENT_INI": str(path)}), "AI Hub token")


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (f"[api]\napi_token = {TOKEN}\n", "works"),
        (f"[api]\napi_token = %{TOKEN}\n", "works"),
        ("[api]\napi_token =\n", "broken"),
        ("[other]\n", "broken"),
        (f"api_token {TOKEN} without a section", "broken"),
    ],
    ids=["token", "percent", "empty", "no section", "no form"],
)
def test_a_token_is_seen_and_never_shown(text: str, state: str, tmp_path: Path) -> None:
    own = configured(tmp_path / "client.ini", text)
    assert own.state == state
    assert TOKEN not in json.dumps(Diagnosis((own,), 0.0).fields())
    assert TOKEN not in Diagnosis((own,), 0.0).text()


def test_without_a_token_it_is_said_where_one_comes_from(tmp_path: Path) -> None:
    found = settings.setting_checks({"QAIHUB_CLIENT_INI": str(tmp_path / "none.ini")})
    own = named(found, "AI Hub token")
    assert (own.state, own.required) == ("missing", False)
    assert "qai-hub configure" in own.remedy


def test_an_sdk_must_hold_what_the_dsp_of_an_865_needs(tmp_path: Path) -> None:
    def state(root: Path | str) -> str:
        return named(settings.setting_checks({"QNN_SDK_ROOT": str(root)}), "QAIRT SDK").state

    assert state("") == "missing"
    assert state(tmp_path / "nowhere") == "broken"
    assert state(tmp_path) == "broken"
    (tmp_path / settings.SKELETON).parent.mkdir(parents=True)
    (tmp_path / settings.SKELETON).touch()
    assert state(tmp_path) == "works"


@pytest.mark.parametrize(("program", "state"), [("echo adb 1.2", "works"), ("exit 3", "broken")])
def test_adb_is_asked_for_its_version(program: str, state: str, tmp_path: Path) -> None:
    (tmp_path / "adb").write_text(f"#!/bin/sh\n{program}\n")
    (tmp_path / "adb").chmod(0o755)
    own = named(settings.setting_checks({"PATH": str(tmp_path)}), "adb")
    assert own.state == state
    assert named(settings.setting_checks({"PATH": ""}), "adb").state == "missing"


# --- processes that crash or hang ---------------------------------------------------------------


def stand_in(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let a Python program be the process that runs probes."""
    real = subprocess.run

    def run(command: list[str], **options: Any) -> Any:
        assert command[1:3] == ["-m", "i2uv_edge.diagnosis.guest"]
        return real([sys.executable, "-c", program, *command[3:]], **options)

    monkeypatch.setattr(examination.subprocess, "run", run)


def nothing(folder: Path) -> str:
    return ""


TWO = (Probe("one", nothing, required=True), Probe("two", nothing, remedy="install it"))
ANSWERED = (
    f"import json, os, signal, sys, time\n"
    f"print({ANSWER!r} + json.dumps({{'name': 'one', 'state': 'works', 'detail': 'fine', "
    f"'remedy': ''}}), flush=True)\n"
)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "the process crashed: SIGSEGV"),
        ("sys.exit('a library said this')", "the process ended: a library said this"),
        ("time.sleep(60)", "no answer within 1 s"),
    ],
    ids=["crash", "exit", "hang"],
)
def test_what_a_process_did_not_live_to_answer_is_broken(
    end: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, ANSWERED + end)
    monkeypatch.setattr(examination, "SECONDS", 1.0)
    first, second = examination._probed(TWO, tmp_path)
    assert (first.state, first.detail, first.required) == ("works", "fine", True)
    assert (second.state, second.detail, second.remedy) == ("broken", said, "install it")


def test_a_real_process_answers_for_each_probe_whatever_a_library_prints(tmp_path: Path) -> None:
    found = examination._probed(GROUPS["pictures"], tmp_path)
    assert [own.name for own in found] == ["pictures", "video", "cameras"]
    assert [own.state for own in found[:2]] == ["works", "works"], found
    assert "jpg, png" in found[0].detail


def test_a_probe_that_lacks_the_files_of_another_says_so(tmp_path: Path) -> None:
    (found,) = examination._probed([all_probes()["DLC files"]], tmp_path)
    assert found.state in ("broken", "missing")
    if found.state == "broken":
        assert (found.detail, found.remedy) == (
            "ONNX gave no file to try it with",
            "mend ONNX first",
        )


# --- what probes find ---------------------------------------------------------------------------


def test_weights_that_are_damaged_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in resources.checkpoints().glob("*.safetensors"):
        (tmp_path / path.name).write_bytes(path.read_bytes()[:-5])
    monkeypatch.setattr(resources, "checkpoints", lambda: tmp_path)
    with pytest.raises(InputError):
        probes.bundled_model(tmp_path)


def test_a_model_that_answers_nonsense_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "MOST_OFF_MM", 0.5)
    with pytest.raises(ProbeError, match="mm off the truth"):
        probes.bundled_model(tmp_path)


def test_a_runtime_that_rounds_wrongly_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from i2uv_edge.runners import TfliteRunner

    real = TfliteRunner.__call__
    monkeypatch.setattr(
        TfliteRunner,
        "__call__",
        lambda self, feeds: {name: made + 0.1 for name, made in real(self, feeds).items()},
    )
    with pytest.raises(ProbeError, match="steps off fake-quant"):
        probes.tflite(tmp_path)


# --- the command --------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "code"), [("works", 0), ("missing", 4), ("broken", 4)])
def test_the_command_ends_with_4_where_something_required_does_not_work(
    state: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Diagnosis((check(state, required=True), check("missing", name="HTP")), 1.0)
    monkeypatch.setattr(examination, "doctor", lambda notify: made)
    ended = run("doctor")
    assert ended.code == code
    assert "HTP" in ended.out
    assert ("TFLite" in ended.err) == bool(code)
    document = json.loads(run("doctor", "--json").out)
    assert document == made.fields()


def test_it_needs_nothing_heavy_itself() -> None:
    """So it answers where packages are missing."""
    heavy = ("numpy", "torch", "cv2", "onnx", "scipy", "numba")
    program = (
        f"import sys, i2uv_edge.diagnosis.examine; print(*(set({heavy!r}) & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == []


@pytest.mark.slow
@pytest.mark.bundled
def test_here_everything_that_is_required_works_within_20_seconds_of_computing() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(
        [sys.executable, "-m", "i2uv_edge", "doctor", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "QAIHUB_CLIENT_INI": "/nowhere.ini"},
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    document = json.loads(ended.stdout)
    assert ended.returncode == 0, document
    runs = {own["name"]: own["state"] for own in document["checks"] if own["group"] == "real runs"}
    assert set(runs) == set(all_probes())
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < 20.0

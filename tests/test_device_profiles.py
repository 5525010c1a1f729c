"""The one schema of profiles: what is written is read again, and nothing else is taken for one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from i2uv_edge.device.profiles import (
    Against,
    Device,
    Instructions,
    Job,
    Latency,
    Layer,
    NetworkProfile,
    OffMm,
    Profile,
    parse_profile,
    read_profile,
    read_profiles,
    write_profile,
)
from i2uv_edge.errors import DamagedError, InputError, UsageError


def profile(**changes: Any) -> Profile:
    full = NetworkProfile(
        "affinenet",
        "affinenet.tflite",
        "ab" * 32,
        "xnnpack",
        latency_ms=Latency(1.5, 1.25, 2.0, 25),
        first_ms=20.0,
        memory_mb=12.0,
        instructions=Instructions(100, 50),
        layers=(Layer("stem.0", "CONV_2D", "CPU", 0.5, 0.25), Layer("body", "CONV_2D", "NPU")),
        off_mm=OffMm(0.1, 0.2),
        against=(Against("PyTorch", 6.0, 0.25),),
    )
    bare = NetworkProfile("srnet", "srnet.tflite", "cd" * 32, "qnn-dsp")
    made = Profile(
        "hub",
        "12" * 32,
        Device("Samsung Galaxy Tab S7", "qualcomm-snapdragon-865+", "a Snapdragon 865"),
        {"qai-hub": "0.56.0"},
        (full, bare),
        jobs=(Job("j1", "inference", "SUCCESS", "https://x/j1"),),
        notes=("one",),
    )
    return replace(made, **changes)


def document(**changes: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(profile().fields())), **changes}


def with_network(**changes: Any) -> dict[str, Any]:
    found = document()
    found["networks"][0].update(changes)
    return found


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = write_profile(tmp_path, profile())
    assert path == tmp_path / "profiles" / "hub-samsung-galaxy-tab-s7.json"
    assert read_profile(path) == profile()
    assert json.loads(path.read_text())["schema"] == 1


def test_a_machine_of_which_there_is_one_is_not_in_the_file_s_name() -> None:
    assert profile(source="host").file_name == "host.json"
    assert profile(source="arm64-emulated").file_name == "arm64-emulated.json"
    assert profile(device=Device("Ä/../x")).file_name == "hub-x.json"


def test_a_later_profile_replaces_the_earlier_one_of_its_source(tmp_path: Path) -> None:
    write_profile(tmp_path, profile())
    write_profile(tmp_path, profile(notes=("two",)))
    write_profile(tmp_path, profile(source="host"))
    found = read_profiles(tmp_path)
    assert [(own.source, own.notes) for own in found] == [("host", ("one",)), ("hub", ("two",))]


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    write_profile(tmp_path, profile())
    (tmp_path / "profiles" / "jobs.json").write_text("[]")
    assert len(read_profiles(tmp_path)) == 1
    assert read_profiles(tmp_path / "nowhere") == ()


@pytest.mark.parametrize(
    ("found", "named"),
    [
        pytest.param([], "no profile", id="no object"),
        pytest.param(document(source="dream"), "source", id="source"),
        pytest.param(document(extra=1), "extra", id="unknown key"),
        pytest.param(
            {k: v for k, v in document().items() if k != "networks"}, "networks", id="less"
        ),
        pytest.param(with_network(threads="1"), "threads", id="type"),
        pytest.param(with_network(threads=0), "threads", id="no thread"),
        pytest.param(with_network(first_ms=-1.0), "first_ms", id="negative"),
        pytest.param(with_network(latency_ms={"median": 1.0}), "least", id="half a latency"),
        pytest.param(
            with_network(latency_ms={"median": 1.0, "least": 2.0, "p90": 3.0, "runs": 1}),
            "least <= median",
            id="no order",
        ),
        pytest.param(
            with_network(instructions={"total": 1, "sdot": 2}), "sdot", id="more than all"
        ),
        pytest.param(
            with_network(layers=[{"name": "a", "type": "b", "unit": "CPU", "share": 1.5}]),
            "above 1",
            id="share",
        ),
        pytest.param(
            with_network(layers=[{"name": "a", "type": "b", "unit": "FPGA"}]), "unit", id="unit"
        ),
    ],
)
def test_what_is_no_profile_is_refused_by_the_name_of_the_key(found: object, named: str) -> None:
    with pytest.raises(DamagedError, match=named):
        parse_profile(found, where="x.json")


def test_another_schema_names_the_version_that_is_needed() -> None:
    with pytest.raises(InputError, match="schema 2"):
        parse_profile(document(schema=2), where="x.json")


def test_a_file_that_is_cut_short_or_gone_is_named(tmp_path: Path) -> None:
    path = write_profile(tmp_path, profile())
    path.write_text(path.read_text()[:100])
    with pytest.raises(DamagedError, match="hub-samsung"):
        read_profiles(tmp_path)
    with pytest.raises(InputError, match="no profile"):
        read_profile(tmp_path / "none.json")


def test_a_bundle_that_cannot_be_written_to_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "profiles").write_text("in the way")
    with pytest.raises(UsageError, match="cannot be written"):
        write_profile(tmp_path, profile())

"""The verb `plan` and its command, from files of the project's own writer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from model_toys import Ended, run
from plan_toys import Toy

from i2uv_edge import planning
from i2uv_edge.bundle import seal
from i2uv_edge.errors import DamagedError, InputError, UsageError
from i2uv_edge.requests import PlanRequest


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A file with a float part in the middle."""
    toy = Toy((1, 32, 32, 8)).conv(name="a").to("float32").plain("FLOOR", "warp").to("int8")
    return toy.conv(name="b").write(tmp_path / "mixed.tflite")


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A file that the DSP takes whole."""
    return Toy((1, 32, 32, 8)).conv().add().write(tmp_path / "whole.tflite")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    Toy((1, 32, 32, 8)).conv().write(folder / "affinenet.tflite")
    Toy((1, 32, 32, 8)).conv().to("float32").write(folder / "srnet.tflite")
    seal(folder, {"sources": {}})
    return folder


def test_segments_say_unit_work_time_and_reason(mixed: Path) -> None:
    plan = planning.plan(PlanRequest(mixed, runtime="qnn"))
    first, middle, last = plan.segments
    assert [segment.unit for segment in plan.segments] == ["DSP", "CPU", "DSP"]
    assert first.gmac == pytest.approx(9 * 8 * 8 * 1024 / 1e9)
    assert first.reason == last.reason == "taken by qnn"
    assert (middle.ops, middle.offender) == (3, "warp")  # not the change of type before it
    assert middle.reason == "FLOOR is FLOAT32, only INT8, UINT8 are taken (documented)"
    assert all(one.ms_low <= one.ms <= one.ms_high for one in plan.segments)
    assert plan.crossings == 2


def test_a_bundle_is_both_networks_one_after_the_other(bundle: Path) -> None:
    plan = planning.plan(PlanRequest(bundle, runtime="qnn"))
    parts = [(segment.network, segment.unit) for segment in plan.segments]
    assert parts == [("affinenet", "DSP"), ("srnet", "DSP"), ("srnet", "CPU")]
    assert plan.crossings == 1  # between networks the app has the data in any case


def test_a_damaged_bundle_is_refused(bundle: Path) -> None:
    with (bundle / "srnet.tflite").open("ab") as stream:
        stream.write(b"!")
    with pytest.raises(DamagedError):
        planning.plan(PlanRequest(bundle))


def test_a_bundle_without_tflite_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "encodings.json").write_text("{}")
    seal(tmp_path, {"sources": {}})
    with pytest.raises(InputError, match="holds no TFLite file"):
        planning.plan(PlanRequest(tmp_path))


def test_without_a_runtime_the_best_that_is_advisable_is_taken(mixed: Path) -> None:
    plan = planning.plan(PlanRequest(mixed))
    assert not plan.asked
    others = {other.runtime: other for other in plan.alternatives}
    assert {plan.runtime, *others} == {"xnnpack", "qnn", "hexagon", "gpu"}
    assert not others["hexagon"].advisable
    assert not others["gpu"].advisable  # what it is in parts was never measured
    assert "no network was measured that the GPU ran in part" in others["gpu"].note
    assert all(plan.ms_high <= other.ms_high for other in others.values() if other.advisable)


def test_a_cut_graph_is_slower_than_the_cpu_alone(mixed: Path) -> None:
    assert planning.plan(PlanRequest(mixed)).runtime == "xnnpack"


def test_much_work_goes_to_the_dsp(tmp_path: Path) -> None:
    toy = Toy((1, 64, 64, 256))
    for number in range(10):
        toy.conv(channels=256, name=f"c{number}")
    plan = planning.plan(PlanRequest(toy.write(tmp_path / "m.tflite")))
    assert (plan.runtime, plan.crossings) == ("qnn", 0)


def test_time_around_the_networks_is_the_caller_s_to_say(whole: Path) -> None:
    slow = planning.plan(PlanRequest(whole, pre_post_ms=100.0))
    assert slow.fps < 10.0
    with pytest.raises(UsageError, match="before and after"):
        PlanRequest(whole, pre_post_ms=-1.0)


# --- the command -------------------------------------------------------------------------------


def plan(*arguments: object) -> Ended:
    return run("plan", *map(str, arguments))


def test_the_command_prints_one_document(whole: Path) -> None:
    ended = plan(whole, "--runtime", "qnn", "--json")
    document = json.loads(ended.out)
    assert ended.code == 0
    assert document["target"] == "sd865"
    assert document["segments"][0]["unit"] == "DSP"
    assert document["fps_low"] <= document["fps"]


@pytest.mark.parametrize(
    ("gate", "value", "whole_code", "mixed_code"),
    [
        ("--fail-on-fallback", None, 0, 3),
        ("--max-crossings", 1, 0, 3),
        ("--max-crossings", 2, 0, 0),
        ("--min-fps", 30, 0, 0),
        ("--min-fps", 1000, 3, 3),
    ],
)
def test_gates_end_with_3(
    gate: str, value: int | None, whole_code: int, mixed_code: int, whole: Path, mixed: Path
) -> None:
    arguments = [gate] if value is None else [gate, value]
    for path, code in ((whole, whole_code), (mixed, mixed_code)):
        ended = plan(path, "--runtime", "qnn", *arguments)
        assert ended.code == code, ended.err
        assert ("the plan does not pass" in ended.err) == (code == 3)
        assert "crossings" in ended.out  # the plan is shown all the same


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--runtime", "qmm"], ["unknown runtime 'qmm'", "gpu, hexagon, qnn, xnnpack"]),
        (["--target", "sd999"], ["unknown target 'sd999'", "sd865, sd888, sd8gen2"]),
        (["--target", "sd888"], ["nothing is measured on sd888"]),
        (["--evidence"], ["--evidence judges the model, not a file"]),
    ],
)
def test_wrong_usage_ends_with_2_and_lists_what_is_known(
    arguments: list[str], words: list[str], whole: Path
) -> None:
    ended = plan(whole, *arguments)
    assert ended.code == 2
    assert all(word in ended.err for word in words), ended.err


def test_a_file_that_is_not_there_ends_with_2(tmp_path: Path) -> None:
    assert plan(tmp_path / "no.tflite").code == 2
    assert "no file to plan" in plan().err


def test_evidence_is_printed_row_by_row() -> None:
    ended = plan("--evidence", "--runtime", "qnn")
    assert ended.code == 0
    for name in ("ResNet-18", "QuickSRNetSmall", "FCN-ResNet50", "U-Net"):
        assert f"\n{name} " in ended.out
    assert "median error" in ended.out
    rows = json.loads(plan("--evidence", "--json").out)
    assert [one["runtime"] for one in rows] == ["xnnpack", "qnn", "hexagon", "gpu"]


def test_a_plan_needs_none_of_what_the_other_verbs_import(whole: Path) -> None:
    """It answers at once, which torch would not let it."""
    program = (
        "import sys; from i2uv_edge import cli; cli.main(['plan', sys.argv[1]]);"
        "sys.exit(sorted({'torch', 'cv2', 'numba', 'onnx'} & set(sys.modules)) or 0)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(whole)], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr

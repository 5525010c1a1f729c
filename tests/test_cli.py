from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import i2uv_edge
from i2uv_edge import cli, errors, requests

Score = dict[str, Any]


def score(**changes: Any) -> Score:
    base = {
        "reference": "float",
        "candidate": "tflite",
        "stage": "chained",
        "metric": "vertex_mean_mm",
        "value": 0.25,
        "limit": 1.0,
        "passed": True,
        "worst_sample": "017",
    }
    return {**base, **changes}


def report(*scores: Score) -> dict[str, Any]:
    passed = all(row["passed"] for row in scores)
    return {"schema": 1, "passed": passed, "model": "toy", "samples": 8, "scores": list(scores)}


class FakePipeline(types.ModuleType):
    """Records each request; answers with `answer`, or raises it if it is an exception."""

    def __init__(self) -> None:
        super().__init__("i2uv_edge.pipeline")
        self.requests: list[Any] = []
        self.answer: Any = None

    def __getattr__(self, verb: str) -> Callable[[Any], Any]:
        if verb not in ("export", "validate", "evaluate", "train", "calibrate"):
            raise AttributeError(verb)

        def answer(request: Any) -> Any:
            self.requests.append(request)
            if isinstance(self.answer, BaseException):
                raise self.answer
            return self.answer

        return answer


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> FakePipeline:
    fake = FakePipeline()
    monkeypatch.setitem(sys.modules, "i2uv_edge.pipeline", fake)
    monkeypatch.setattr(i2uv_edge, "pipeline", fake, raising=False)
    return fake


# --- requests ----------------------------------------------------------------------------------


def test_export_asks_for_the_contract_s_defaults(pipeline: FakePipeline) -> None:
    pipeline.answer = requests.ExportResult(Path("build/sd865"), report(score()))
    assert cli.main(["export"]) == 0
    (request,) = pipeline.requests
    assert request == requests.ExportRequest()
    assert request.model == "edge"
    assert request.destination == Path("build/sd865")


def test_export_passes_every_option_on(pipeline: FakePipeline) -> None:
    pipeline.answer = requests.ExportResult(Path("out"), report(score()))
    arguments = "export tiny --checkpoint a.pth --checkpoint b.safetensors --target phone.toml"
    arguments += " --recipe float --calibration pictures -o out --force"
    assert cli.main(arguments.split()) == 0
    assert pipeline.requests == [
        requests.ExportRequest(
            model="tiny",
            checkpoints=(Path("a.pth"), Path("b.safetensors")),
            target="phone.toml",
            recipe="float",
            calibration=Path("pictures"),
            output=Path("out"),
            force=True,
        )
    ]


def test_validate_passes_every_option_on(pipeline: FakePipeline, tmp_path: Path) -> None:
    pipeline.answer = report(score())
    arguments = "validate b --images d --reference fake-quant --candidate tflite --candidate"
    assert cli.main([*arguments.split(), str(tmp_path)]) == 0
    assert pipeline.requests == [
        requests.ValidateRequest(Path("b"), Path("d"), "fake-quant", ("tflite", str(tmp_path)))
    ]


def test_evaluate_takes_the_folder_of_a_data_set(pipeline: FakePipeline) -> None:
    pipeline.answer = report(score(reference="truth"))
    assert cli.main(["evaluate", "b", "--dataset", "freihand", "data"]) == 0
    assert pipeline.requests == [requests.EvaluateRequest(Path("b"), "freihand", Path("data"))]


def test_train_prints_the_checkpoint(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.answer = requests.TrainResult(Path("c.safetensors"), {"pa_mpvpe_mm": 9.5})
    assert cli.main("train srnet-edge --config c.toml --steps 5 -o o --resume".split()) == 0
    assert pipeline.requests == [
        requests.TrainRequest("srnet-edge", Path("c.toml"), 5, Path("o"), resume=True)
    ]
    assert "c.safetensors" in capsys.readouterr().out


def test_calibrate_counts_what_it_skipped(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.answer = requests.CalibrateResult(Path("set"), 12, 3, "ab")
    assert cli.main(["calibrate", "pictures"]) == 0
    assert pipeline.requests == [requests.CalibrateRequest(Path("pictures"))]
    assert "12 pictures in set, 3 files skipped" in capsys.readouterr().out


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(requests.TrainRequest("nets/mine.toml"), id="train"),
        pytest.param(requests.CalibrateRequest(Path("a/mine")), id="calibrate"),
        pytest.param(requests.ExportRequest(target="t/mine.toml"), id="export"),
    ],
)
def test_the_default_output_is_named_after_the_input(request_: Any) -> None:
    assert request_.destination.name.startswith("mine")
    assert request_.destination.suffix == ""


# --- output ------------------------------------------------------------------------------------


def test_the_table_shows_millimetres_limit_and_verdict(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.answer = report(score(), score(metric="pa_mpvpe_mm", value=9.876, limit=None))
    assert cli.main(["validate", "b"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == "tflite float chained vertex_mean_mm 0.250 1.000 pass".split()
    assert lines[2].split() == "tflite float chained pa_mpvpe_mm 9.876 -".split()
    assert lines[3] == "toy, 8 pictures: 1 gates, all passed"


def test_the_table_keeps_to_the_last_stage_but_hides_no_failure(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.answer = report(
        score(),
        score(stage="affinenet", metric="vertex_p95_mm"),
        score(stage="srnet", value=2.0, passed=False),
    )
    assert cli.main(["validate", "b"]) == 3
    out = capsys.readouterr().out
    assert "vertex_p95_mm" not in out
    assert "srnet" in out
    assert "3 gates, 1 FAILED" in out


def test_export_says_where_bundle_and_report_are(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.answer = requests.ExportResult(Path("build/sd865"), report(score()))
    cli.main(["export"])
    assert "build/sd865/report.json" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["export", "validate", "evaluate", "train", "calibrate"])
def test_json_is_one_document_and_nothing_else(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    answers = {
        "export": requests.ExportResult(Path("b"), report(score())),
        "train": requests.TrainResult(Path("c"), {"loss": 1.0}),
        "calibrate": requests.CalibrateResult(Path("set"), 12, 3, "ab"),
    }
    pipeline.answer = answers.get(verb, report(score()))
    assert cli.main([verb, "x", "--json"]) == 0
    captured = capsys.readouterr()
    assert isinstance(json.loads(captured.out), dict)
    assert captured.err == ""


# --- exit codes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.UsageError, 2),
        (errors.InputError, 2),
        (errors.MissingDependencyError, 4),
        (errors.ConversionError, 5),
        (errors.DamagedError, 6),
        (errors.HubError, 7),
    ],
)
def test_an_error_is_told_on_stderr_and_gives_its_exit_code(
    pipeline: FakePipeline,
    capsys: pytest.CaptureFixture[str],
    kind: type[errors.I2uvError],
    code: int,
) -> None:
    pipeline.answer = kind("it broke", remedy="mend it")
    assert cli.main(["validate", "b", "--json"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "i2uv-edge: it broke\nto do: mend it\n"


@pytest.mark.parametrize("value", [2.0, None])
def test_a_failed_gate_exits_3_and_names_value_limit_and_worst_sample(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str], value: float | None
) -> None:
    pipeline.answer = requests.ExportResult(
        Path("out"), report(score(), score(value=value, passed=False))
    )
    assert cli.main(["export", "--json"]) == 3
    captured = capsys.readouterr()
    assert json.loads(captured.out)["passed"] is False
    shown = "-" if value is None else "2.000"
    assert f"vertex_mean_mm of tflite against float at chained is {shown}" in captured.err
    assert "its limit 1.000; the worst sample is 017" in captured.err
    assert "the bundle out stays" in captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["exprot"],
        ["export", "--no-such-option"],
        ["validate"],
        ["validate", "b", "--reference", "truth"],
        ["validate", "b", "--candidate", "no-such-runner"],
        ["evaluate", "b", "--dataset", "mnist"],
        ["evaluate", "b", "--dataset", "freihand"],
        ["train", "edge", "--steps", "0"],
        [],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2_and_says_so_on_stderr(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err != ""
    assert pipeline.requests == []


def test_a_bug_passes_through_with_its_traceback(pipeline: FakePipeline) -> None:
    pipeline.answer = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        cli.main(["validate", "b"])


def test_an_interrupt_exits_130(pipeline: FakePipeline) -> None:
    pipeline.answer = KeyboardInterrupt()
    assert cli.main(["validate", "b"]) == 130


# --- as a process ------------------------------------------------------------------------------


def start(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "i2uv_edge", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_exit_code_reaches_the_shell() -> None:
    ended = start("validate", "b", "--candidate", "no-such-runner")
    assert ended.returncode == 2
    assert "tflite, onnx, qnn" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_reader_that_goes_away_gives_no_traceback() -> None:
    program = f"{sys.executable} -m i2uv_edge --help"
    reader, closed = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        program.split(), stdout=closed, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(closed)
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


def test_help_answers_in_less_than_half_a_second() -> None:
    def seconds() -> float:
        begin = time.perf_counter()
        ended = start("--help")
        assert ended.returncode == 0
        assert "export" in ended.stdout
        return time.perf_counter() - begin

    assert statistics.median(seconds() for _ in range(3)) < 0.5

from __future__ import annotations

import contextlib
import json
import math
import os
import pty
import resource
import statistics
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import i2uv_edge
from i2uv_edge import cli, errors, requests
from i2uv_edge.device.profiles import Device, Profile
from i2uv_edge.scores import Report, Score


def score(**changes: Any) -> Score:
    row = Score("float", "tflite", "chained", "vertex_mean_mm", 0.25, 1.0, True, "017")
    return replace(row, **changes)


def report(*scores: Score) -> Report:
    return Report("toy", 8, scores)


class FakePipeline(types.ModuleType):
    """Records each request; answers with `answer`, or raises it if it is an exception."""

    def __init__(self) -> None:
        super().__init__("i2uv_edge.pipeline")
        self.requests: list[Any] = []
        self.answer: Any = None

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        if verb not in ("export", "validate", "evaluate", "train", "calibrate", "profile", "run"):
            raise AttributeError(verb)

        def answer(request: Any, notify: Any = None) -> Any:
            self.requests.append(request)
            if notify is not None:
                notify("working", 1, 4)
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
    pipeline.answer = requests.ValidateResult(report(score()))
    arguments = "validate b --images d --reference fake-quant --candidate tflite --candidate"
    assert cli.main([*arguments.split(), str(tmp_path), "--report", "r", "--force"]) == 0
    chosen = (Path("d"), "fake-quant", ("tflite", str(tmp_path)))
    assert pipeline.requests == [
        requests.ValidateRequest(Path("b"), *chosen, report=Path("r"), force=True)
    ]


def test_validate_says_where_a_report_was_written(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.answer = requests.ValidateResult(report(score()), page=Path("b/report.html"))
    cli.main(["validate", "b"])
    assert capsys.readouterr().out.endswith("\nreport  b/report.html\n")
    pipeline.answer = requests.ValidateResult(report(score()))
    cli.main(["validate", "b"])
    assert "report  " not in capsys.readouterr().out


def ran(**changes: Any) -> requests.RunResult:
    summary = {
        "source": {"name": "clip", "kind": "video", "fps": 30.0},
        **{"frames_seen": 90, "found": 88, "frame_ms": 5.2, "pre_post_share": 0.36, "fps": 95.0},
        **{"ended": "no more frames", **changes},
    }
    return requests.RunResult(Path("build/run/clip"), summary)


def test_run_passes_every_option_on(pipeline: FakePipeline) -> None:
    pipeline.answer = ran()
    arguments = "run b clip.mp4 -o out --box 1,2,30,40 --hand left --float --compare --steady"
    arguments += " --cutoff 0.5 --beta 2 --frames 9 --detector palm.tflite --force"
    assert cli.main(arguments.split()) == 0
    assert pipeline.requests == [
        requests.RunRequest(
            bundle=Path("b"),
            source="clip.mp4",
            output=Path("out"),
            box=(1.0, 2.0, 30.0, 40.0),
            hand="left",
            float_network=True,
            compare=True,
            steady=True,
            cutoff=0.5,
            beta=2.0,
            frames=9,
            detector=Path("palm.tflite"),
            force=True,
        )
    ]


def test_run_says_what_came_of_it(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    jitter = {"before_mm": 2.2, "after_mm": 1.1, "before_px": 2.0, "after_px": None}
    pipeline.answer = ran(jitter=jitter, difference_mm={"mean": 0.4, "max": 2.0})
    assert cli.main(["run", "b", "clip.mp4"]) == 0
    said = capsys.readouterr().out
    assert "90, a hand in 88" in said
    assert "2.20 before the filter, 1.10 behind it" in said
    assert "too few frames to say" in said
    assert "0.40 mm on average" in said
    assert said.endswith("folder  build/run/clip\n")


def test_a_video_that_was_interrupted_ends_so_and_a_camera_does_not(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.answer = ran(ended="interrupted")
    assert cli.main(["run", "b", "clip.mp4"]) == 130
    assert "what was seen until then is in build/run/clip" in capsys.readouterr().err
    camera = {"name": "camera-0", "kind": "camera", "fps": 30.0}
    pipeline.answer = ran(ended="interrupted", source=camera)
    assert cli.main(["run", "b", "camera:0"]) == 0


def test_evaluate_takes_a_bundle_or_a_checkpoint(pipeline: FakePipeline) -> None:
    pipeline.answer = requests.EvaluateResult(report(score(reference="truth")))
    assert cli.main(["evaluate", "b", "--dataset", "rendered"]) == 0
    assert pipeline.requests == [requests.EvaluateRequest(Path("b"), "rendered")]


def test_evaluate_passes_every_option_on_and_names_the_predictions(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    files = (Path("p/float/pred.json"),)
    pipeline.answer = requests.EvaluateResult(report(score(reference="truth")), files)
    arguments = "evaluate b data --dataset ho3d --split training --mano m.pkl --margin 1.5"
    assert cli.main([*arguments.split(), "--predictions", "p"]) == 0
    chosen = (Path("data"), "training", Path("m.pkl"), 1.5, Path("p"))
    assert pipeline.requests == [requests.EvaluateRequest(Path("b"), "ho3d", *chosen)]
    assert capsys.readouterr().out.endswith("\npredictions  p/float/pred.json\n")


def test_of_several_processes_the_first_one_shows_the_result(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = report(score(reference="truth", value=math.nan, passed=False))
    pipeline.answer = requests.EvaluateResult(failing, leads=False)
    assert cli.main(["evaluate", "b"]) == 0
    assert capsys.readouterr().out == ""
    pipeline.answer = requests.EvaluateResult(failing)
    assert cli.main(["evaluate", "b"]) == 3


def test_train_passes_every_option_on_and_prints_the_checkpoint(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.answer = requests.TrainResult(Path("c.safetensors"), {"pa_mpvpe_mm": 9.5})
    arguments = "train srnet-edge --config c.toml --steps 5 --batch 4 --learning-rate 0.01 --seed 7"
    arguments += " --workers 0 --threads 2 --initial w.pth -o o --resume --device cpu"
    arguments += " --dataset freihand --data f --atlas a.obj --teacher t --images i --tensorboard"
    arguments += " --set loss.seam=1 --set ema=0"
    assert cli.main(arguments.split()) == 0
    assert pipeline.requests == [
        requests.TrainRequest(
            "srnet-edge",
            config=Path("c.toml"),
            steps=5,
            batch=4,
            learning_rate=0.01,
            seed=7,
            workers=0,
            threads=2,
            device="cpu",
            dataset="freihand",
            data=Path("f"),
            atlas=Path("a.obj"),
            teacher=Path("t"),
            images=Path("i"),
            tensorboard=True,
            settings=("loss.seam=1", "ema=0"),
            initial=Path("w.pth"),
            output=Path("o"),
            resume=True,
        )
    ]
    assert "c.safetensors" in capsys.readouterr().out


def test_train_prints_nothing_where_another_process_does(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.answer = requests.TrainResult(Path("c.safetensors"), {}, leads=False)
    assert cli.main(["train", "srnet-edge"]) == 0
    assert capsys.readouterr().out == ""


def test_profile_passes_every_option_on_and_names_the_file(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Profile("hub", "ab", Device("a phone"), {}, (), notes=("a note",))
    pipeline.answer = requests.ProfileResult(found, Path("b/profiles/hub-a-phone.json"))
    options = ["--on", "hub", "--device", "a phone", "--resume", "--compiled"]
    assert cli.main(["profile", "b", *options]) == 0
    asked = requests.ProfileRequest(Path("b"), "hub", "a phone", resume=True, compiled=True)
    assert pipeline.requests == [asked]
    text = capsys.readouterr().out
    assert "hub: a phone" in text
    assert "note: a note" in text
    assert "profile  b/profiles/hub-a-phone.json" in text
    assert cli.main(["profile", "b", "--on", "host", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(found.fields()))


def test_options_of_the_hub_are_wrong_usage_elsewhere(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["profile", "b", "--on", "host", "--resume"]) == 2
    assert "--resume beside --on host" in capsys.readouterr().err
    assert cli.main(["profile", "b", "--on", "moon"]) == 2
    assert cli.main(["profile", "b"]) == 2
    assert pipeline.requests == []


def test_calibrate_counts_what_it_took_and_what_it_skipped(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.answer = requests.CalibrateResult(Path("set"), 12, 3, "ab")
    assert cli.main(["calibrate", "pictures"]) == 0
    assert pipeline.requests == [requests.CalibrateRequest(Path("pictures"))]
    captured = capsys.readouterr()
    assert captured.out == "12 pictures in set\n"
    assert captured.err == "skipped 3 files that are no pictures in pictures\n"


# --- output ------------------------------------------------------------------------------------


def test_export_says_where_bundle_and_report_are(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.answer = requests.ExportResult(Path("build/sd865"), report(score()))
    cli.main(["export"])
    assert "build/sd865/report.html" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["export", "validate", "evaluate", "train", "calibrate"])
def test_json_is_one_document_and_nothing_else(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    answers = {
        "export": requests.ExportResult(Path("b"), report(score())),
        "validate": requests.ValidateResult(report(score())),
        "evaluate": requests.EvaluateResult(report(score())),
        "train": requests.TrainResult(Path("c"), {"loss": 1.0}),
        "calibrate": requests.CalibrateResult(Path("set"), 12, 0, "ab"),
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


@pytest.mark.parametrize(
    ("value", "shown"),
    [(2.0, "is 2, and may be at most 1; a limit of 2 would pass"), (math.nan, "is no number")],
)
def test_a_failed_gate_exits_3_and_names_value_limit_and_worst_sample(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str], value: float, shown: str
) -> None:
    failing = score(value=value, passed=False)
    pipeline.answer = requests.ExportResult(Path("out"), report(score(), failing))
    assert cli.main(["export", "--json"]) == 3
    captured = capsys.readouterr()
    assert json.loads(captured.out)["passed"] is False
    assert "1 of 2 numbers failed" in captured.err
    assert f"chained: tflite against float, vertex_mean_mm {shown}" in captured.err
    assert "worst sample 017" in captured.err
    assert "the bundle out stays" in captured.err


def test_many_failures_are_counted_and_the_first_are_shown(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = [score(value=2.0, passed=False)] * 40
    pipeline.answer = requests.ValidateResult(report(*failing))
    assert cli.main(["validate", "b"]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) < 20
    assert lines[0] == "i2uv-edge: 40 of 40 numbers failed"
    assert lines[-1].strip() == "and 28 more"


def test_a_comparison_of_nothing_does_not_pass(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.answer = requests.ValidateResult(Report("toy", 0, ()))
    assert cli.main(["validate", "b"]) == 3
    assert "nothing was compared" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["exprot"],
        ["export", "--no-such-option"],
        ["validate"],
        ["validate", "b", "--reference", "truth"],
        ["validate", "b", "--candidate", "no-such-runner"],
        ["evaluate", "b", "--dataset", "mnist"],
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


# --- progress ----------------------------------------------------------------------------------


@contextlib.contextmanager
def terminal() -> Iterator[Callable[[], str]]:
    """Make stderr a terminal for the block; give what was written to it."""
    ours, theirs = pty.openpty()
    with (
        pytest.MonkeyPatch.context() as patch,
        open(theirs, "w", encoding="utf-8") as stream,  # noqa: PTH123
    ):
        patch.setattr(sys, "stderr", stream)

        def written() -> str:
            stream.write("<end>")  # the kernel hands things on when it likes
            stream.flush()
            shown = ""
            while not shown.endswith("<end>"):
                shown += os.read(ours, 10_000).decode()
            return shown.removesuffix("<end>")

        yield written
    os.close(ours)


def test_progress_is_one_line_that_is_wiped_before_anything_else_is_said(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.answer = requests.ValidateResult(report(score()), skipped=2)
    with terminal() as written:
        assert cli.main(["validate", "b", "--images", "d", "--json"]) == 0
        shown = written()
    assert json.loads(capsys.readouterr().out)
    parts = shown.split("\r\x1b[K")
    assert parts[:2] == ["", "starting"]
    assert parts[-1] == "skipped 2 files that are no pictures in d\r\n"
    assert shown.count("\n") == 1


def test_progress_is_wiped_before_an_error_is_told(pipeline: FakePipeline) -> None:
    pipeline.answer = errors.InputError("it broke")
    with terminal() as written:
        assert cli.main(["validate", "b"]) == 2
        assert written().endswith("\r\x1b[Ki2uv-edge: it broke\r\n")


def test_progress_shows_how_much_is_done() -> None:
    with terminal() as written, cli._Progress() as progress:
        progress("comparing", 50, 100)  # too soon after the first line to be worth showing
        progress("comparing", 100, 100)
        shown = written()
    assert f"[{'#' * 24}] comparing 100/100" in shown
    assert "50/100" not in shown


def test_progress_is_no_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((20, 5)))
    with terminal() as written, cli._Progress() as progress:
        progress("x" * 100, 0, 0)
        parts = written().split("\r\x1b[K")
    assert [len(part) for part in parts] == [0, 8, 19]


def test_nothing_is_shown_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with cli._Progress() as progress:
        progress("comparing", 200, 200)
    assert capsys.readouterr().err == ""


# --- as a process ------------------------------------------------------------------------------


def start(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "i2uv_edge", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_exit_code_reaches_the_shell() -> None:
    ended = start("validate", "b", "--candidate", "no-such-runner")
    assert ended.returncode == 2
    assert "tflite, onnx, fake-quant" in ended.stderr
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
    """Of the processor's time: what else runs on the machine must not make it fail."""

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = start("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert ended.returncode == 0
        assert "export" in ended.stdout
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert statistics.median(seconds() for _ in range(3)) < 0.5

"""The command line: the only module that prints or ends the process.

Every command makes a request, hands it to `pipeline` and prints what comes back. `pipeline` brings
seconds of imports with it, so it is imported after the request was found in order.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from i2uv_edge.device.profile_table import profile_table
from i2uv_edge.errors import GateError, I2uvError, MissingDependencyError, UsageError
from i2uv_edge.plans import PRE_POST_MS
from i2uv_edge.requests import (
    CANDIDATES,
    DATASETS,
    PROFILED_ON,
    AnalyzeRequest,
    CalibrateRequest,
    EvaluateRequest,
    ExportRequest,
    PlanRequest,
    ProfileRequest,
    QuantizeRequest,
    RunRequest,
    TrainRequest,
    ValidateRequest,
)
from i2uv_edge.scores import Report
from i2uv_edge.table import table
from i2uv_edge.tracking.run_table import run_table

__all__ = ["commands", "main", "run"]

PATH = click.Path(path_type=Path)
SHOWN_FAILURES = 12
as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)
force = click.option("--force", is_flag=True, help="Replace what lies at the output.")
checkpoints_option = click.option(
    "--checkpoint",
    "checkpoints",
    type=PATH,
    multiple=True,
    metavar="FILE",
    help="Weights to use instead of the bundled ones; one for each network.",
)
calibration_option = click.option(
    "--calibration",
    type=PATH,
    metavar="DIR",
    help="Pictures to take ranges from.  [default: the bundled ones]",
)
settings_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any key of the settings, like loss.seam=0.1; may be repeated.",
)
resume_option = click.option(
    "--resume", is_flag=True, help="Go on from the last checkpoint in the output."
)


def run() -> None:
    """Run the command line of this process and end it."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; an unexpected exception passes through."""
    try:
        commands.main(list(arguments), prog_name="i2uv-edge", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except I2uvError as error:
        click.echo(f"i2uv-edge: {error}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as stopped:
        # click puts an Abort in the place of Ctrl-C; what can be gone on with said how in that one.
        how = str(stopped.__cause__ or "")
        click.echo(f"i2uv-edge: interrupted{how and f': {how}'}", err=True)
        return 130
    except BrokenPipeError:
        # Who reads our output has seen enough; Python must not fail again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="i2uv-edge", prog_name="i2uv-edge")
def commands() -> None:
    """Bring a hand-mesh network onto a phone in INT8, with the error stated in millimetres.

    Exit codes: 0 done, 1 a bug, 2 wrong usage or unreadable input, 3 a gate failed, 4 an optional
    package is missing, 5 conversion failed, 6 a file is damaged, 7 AI Hub.
    """


@commands.command()
@click.argument("model", default="edge")
@checkpoints_option
@click.option("--target", default="sd865", show_default=True, help="The device.")
@click.option(
    "--recipe",
    default="",
    metavar="NAME",
    help="How to quantize.  [default: w8a8-qat with weights trained under it, else w8a8]",
)
@calibration_option
@click.option(
    "--split", is_flag=True, help="Cut the networks into segments for DSP and CPU as well."
)
@click.option(
    "-o", "--output", type=PATH, metavar="DIR", help="The bundle to write.  [default: build/TARGET]"
)
@force
@as_json
def export(as_json: bool, checkpoints: tuple[Path, ...], **options: Any) -> None:
    """Quantize, convert and validate MODEL.

    MODEL is the name of a model or of a network, or a path to its TOML.
    """
    request = ExportRequest(checkpoints=checkpoints, **options)
    with _Progress() as progress:
        from i2uv_edge import pipeline

        result = pipeline.export(request, progress)
    _note_skipped(result.skipped, request.calibration)
    _note(result.note)
    if as_json:
        _print_json(result.report.fields())
    else:
        click.echo(table(result.report, result.sizes))
        for line in result.segments:
            click.echo(f"split   {line}")
        click.echo(f"bundle  {result.bundle}")
        click.echo(f"report  {result.page}")
    _judge(result.report, f"the bundle {result.bundle} stays, marked as failed in its report.json")


@commands.command()
@click.argument("bundle", type=PATH)
@click.option(
    "--images",
    type=PATH,
    metavar="DIR",
    help="Pictures to compare on.  [default: the bundle's own]",
)
@click.option(
    "--reference",
    type=click.Choice(["float", "fake-quant"]),
    help="What to compare against.  [default: both]",
)
@click.option(
    "--candidate",
    "candidates",
    multiple=True,
    metavar="NAME|DUMP_DIR",
    help=f"{', '.join(CANDIDATES)}, or a folder dumped by a device; may be repeated.  "
    "[default: what the bundle holds]",
)
@click.option(
    "--report",
    type=PATH,
    metavar="DIR",
    help="Folder for report.json and report.html.  [default: BUNDLE, if nothing else is chosen; "
    "else none]",
)
@click.option(
    "--analysis",
    type=PATH,
    metavar="FILE",
    help="An analysis.json for the report to show (quantize --analyze); a copy is put beside it.  "
    "[default: the one in BUNDLE, if any]",
)
@force
@as_json
def validate(as_json: bool, **options: Any) -> None:
    """Compare what BUNDLE holds and judge it by the gates.

    Without options the bundle's report is written anew. A comparison of something else is only
    printed, unless --report names a folder for it.
    """
    request = ValidateRequest(**options)
    with _Progress() as progress:
        from i2uv_edge import pipeline

        result = pipeline.validate(request, progress)
    _note_skipped(result.skipped, request.images)
    _note(result.note)
    if as_json:
        _print_json(result.report.fields())
    else:
        click.echo(table(result.report, result.sizes))
        if result.page:
            click.echo(f"report  {result.page}")
    _judge(result.report)


@commands.command()
@click.argument("bundle", type=PATH)
@click.option(
    "--on",
    type=click.Choice(PROFILED_ON),
    required=True,
    help="This machine, an emulated Arm processor, or a phone of Qualcomm AI Hub.",
)
@click.option(
    "--device",
    default="",
    metavar="NAME",
    help="Of the Hub.  [default: the one nearest to the bundle's target]",
)
@click.option("--resume", is_flag=True, help="Go on with the jobs that the Hub was given before.")
@click.option("--compiled", is_flag=True, help="Profile what the Hub compiles, too.")
@as_json
def profile(as_json: bool, **options: Any) -> None:
    """Measure the networks of BUNDLE and write the figures into its profiles/.

    Its report.html shows them from the next validate on.
    """
    request = ProfileRequest(**options)
    with _Progress() as progress:
        from i2uv_edge import pipeline

        result = pipeline.profile(request, progress)
    if as_json:
        _print_json(result.profile.fields())
        return
    click.echo(profile_table(result.profile))
    click.echo(f"profile  {result.file}")


@commands.command()
@click.argument("subject", type=PATH, metavar="BUNDLE|CHECKPOINT")
@click.argument("path", type=PATH, required=False)
@click.option(
    "--dataset",
    type=click.Choice(DATASETS),
    default="rendered",
    show_default=True,
    help="The ground truth; PATH is where it lies.",
)
@click.option(
    "--split", default="evaluation", show_default=True, help="Part of it: evaluation or training."
)
@click.option("--mano", type=PATH, metavar="FILE", help="MANO_RIGHT.pkl, for HO-3D's vertices.")
@click.option(
    "--margin",
    type=click.FloatRange(min=0.1),
    help="Side of the crop over the box around the hand.  [default: as trained]",
)
@click.option(
    "--predictions",
    type=PATH,
    metavar="DIR",
    help="Write RUNNER/pred.json for the data set's server.",
)
@as_json
def evaluate(as_json: bool, **options: Any) -> None:
    """State the accuracy against ground truth.

    Of a BUNDLE, everything in it; of a CHECKPOINT, the network that it says it belongs to. No gate
    judges the numbers (see validate); only what is no number fails. Several processes or machines:
    torchrun --nproc-per-node N -m i2uv_edge evaluate BUNDLE ...
    """
    request = EvaluateRequest(**options)
    with _Progress() as progress:
        from i2uv_edge import pipeline

        result = pipeline.evaluate(request, progress)
    if not result.leads:
        return
    if as_json:
        _print_json(result.report.fields())
    else:
        click.echo(table(result.report))
        for path in result.predictions:
            click.echo(f"predictions  {path}")
    _judge(result.report)


@commands.command()
@click.argument("network")
@click.option("--config", type=PATH, metavar="FILE", help="Settings of the run as TOML.")
@click.option("--steps", type=click.IntRange(min=1), help="Optimiser steps.")
@click.option("--batch", type=click.IntRange(min=2), help="Samples a step.")
@click.option("--learning-rate", type=float, help="Peak learning rate.")
@click.option("--seed", type=click.IntRange(min=0), help="Of weights, order and samples.")
@click.option("--workers", type=click.IntRange(min=0), help="Processes that render samples.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the trainer.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="What trains.")
@click.option("--dataset", metavar="KIND", help="rendered, freihand, ho3d, i2uv-archive, ...")
@click.option("--data", type=PATH, metavar="PATH", help="Where the data set lies.")
@click.option("--atlas", type=PATH, metavar="OBJ", help="Texture coordinates of its mesh.")
@click.option("--teacher", type=PATH, metavar="FILE", help="Weights of an AffineNet to learn from.")
@click.option("--images", type=PATH, metavar="DIR", help="Pictures to learn from it on.")
@click.option("--tensorboard", is_flag=True, default=None, help="Write TensorBoard's logs too.")
@settings_option
@click.option(
    "--initial",
    type=PATH,
    metavar="FILE",
    help="Weights to start from; a torchvision ResNet's go to the encoder.",
)
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="DIR",
    help="Folder of checkpoints.  [default: build/train/NETWORK]",
)
@resume_option
@as_json
def train(as_json: bool, **options: Any) -> None:
    """Train NETWORK on rendered hands, on a data set, or on what a teacher makes of pictures.

    NETWORK is a name or a path to a TOML. Several GPUs or machines:
    torchrun --nproc-per-node N -m i2uv_edge train NETWORK ...
    """
    request = TrainRequest(**options)
    with _Progress() as progress:
        from i2uv_edge import pipeline

        result = pipeline.train(request, progress)
    if not result.leads:
        return
    if as_json:
        _print_json({"checkpoint": str(result.checkpoint), "metrics": dict(result.metrics)})
        return
    for name, value in result.metrics.items():
        click.echo(f"{name:16} {value:.4g}")
    click.echo(f"checkpoint  {result.checkpoint}")


@commands.command()
@click.argument("model", default="edge")
@click.option(
    "--recipe",
    default="",
    metavar="NAME",
    help="How to quantize.  [default: w8a8-qat; w8a8 to analyze]",
)
@click.option(
    "--analyze", is_flag=True, help="Train nothing; say which blocks cost how many millimetres."
)
@click.option(
    "--max-mm",
    "budgets",
    type=click.FloatRange(min=0, min_open=True),
    multiple=True,
    metavar="X",
    help="Train nothing; write the fastest recipe found that is within X mm of float; may be "
    "repeated.",
)
@checkpoints_option
@calibration_option
@click.option(
    "--images",
    type=PATH,
    metavar="DIR",
    help="Pictures to train on; they need no annotations.  [default: rendered hands]",
)
@settings_option
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="DIR",
    help="Folder for the weights and the run.  [default: build/quantized/MODEL]",
)
@resume_option
@as_json
def quantize(
    as_json: bool,
    recipe: str,
    analyze: bool,
    budgets: tuple[float, ...],
    checkpoints: tuple[Path, ...],
    settings: tuple[str, ...],
    **options: Any,
) -> None:
    """Train MODEL to answer in integers as it does in float, or say where its millimetres go.

    What training writes goes to: i2uv-edge export MODEL --recipe RECIPE --checkpoint FILE; what
    --max-mm writes to: i2uv-edge export MODEL --recipe FILE
    """
    if recipe:
        options["recipe"] = recipe
    if analyze or budgets:
        images, resume = options.pop("images"), options.pop("resume")
        given = {"--images": images, "--set": settings, "--resume": resume}
        if of_training := [name for name, value in given.items() if value]:
            raise UsageError(
                f"{', '.join(of_training)} beside --analyze or --max-mm, which train nothing",
                remedy="drop one or the other",
            )
        request = AnalyzeRequest(
            checkpoints=checkpoints, budgets=budgets, ladder=analyze, **options
        )
        _analyze(request, as_json)
    else:
        _train_quantized(
            QuantizeRequest(checkpoints=checkpoints, settings=settings, **options), as_json
        )


def _analyze(request: AnalyzeRequest, as_json: bool) -> None:
    with _Progress() as progress:
        from i2uv_edge import pipeline

        result = pipeline.analyze(request, progress)
    if as_json:
        files = [str(path) for path in result.files]
        _print_json({**result.findings.fields(), "files": files})
        return
    click.echo(result.findings.text())
    for path in result.files:
        click.echo(f"{'recipe' if path.suffix == '.toml' else 'analysis'}  {path}")


def _train_quantized(request: QuantizeRequest, as_json: bool) -> None:
    with _Progress() as progress:
        from i2uv_edge import pipeline

        result = pipeline.quantize(request, progress)
    if not result.leads:
        return
    if as_json:
        files = [str(path) for path in result.files]
        _print_json({"files": files, "off_float_mm": dict(result.off_float_mm)})
        return
    for name, value in result.off_float_mm.items():
        click.echo(f"{name:16} {value:.3f} mm off float (mean over the vertices)")
    for path in result.files:
        click.echo(f"weights  {path}")


@commands.command()
@click.argument("images", type=PATH, metavar="DIR")
@click.option(
    "-o", "--output", type=PATH, metavar="DIR", help="The set to write.  [default: DIR-calibration]"
)
@force
@as_json
def calibrate(as_json: bool, **options: Any) -> None:
    """Make a calibration set out of the pictures in DIR."""
    request = CalibrateRequest(**options)
    from i2uv_edge import pipeline

    result = pipeline.calibrate(request)
    _note_skipped(result.skipped, request.images)
    if as_json:
        _print_json({**asdict(result), "folder": str(result.folder)})
    else:
        click.echo(f"{result.pictures} pictures in {result.folder}")


@commands.command()
@click.argument("subject", type=PATH, metavar="BUNDLE|TFLITE", required=False)
@click.option("--target", default="sd865", show_default=True, help="The device.")
@click.option(
    "--runtime",
    default="",
    metavar="NAME",
    help="What runs the files, like xnnpack, qnn, hexagon or gpu.  [default: the best]",
)
@click.option(
    "--pre-post",
    "pre_post_ms",
    type=click.FloatRange(min=0),
    default=PRE_POST_MS,
    show_default=True,
    metavar="MS",
    help="What a frame takes before and after the networks.",
)
@click.option("--split", is_flag=True, help="The segments of BUNDLE, each a model of its own.")
@click.option("--fail-on-fallback", is_flag=True, help="Fail if anything is left to the CPU.")
@click.option("--max-crossings", type=click.IntRange(min=0), help="Fail above so many crossings.")
@click.option("--min-fps", type=float, help="Fail if the pessimistic frame rate is lower.")
@click.option(
    "--evidence", is_flag=True, help="Show what the times rest on: each network left out in turn."
)
@as_json
def plan(
    as_json: bool,
    subject: Path | None,
    evidence: bool,
    fail_on_fallback: bool,
    max_crossings: int | None,
    min_fps: float | None,
    **options: Any,
) -> None:
    """Predict where BUNDLE or TFLITE runs on a device and how fast, from public measurements.

    With --fail-on-fallback, --max-crossings or --min-fps it ends with 3 if the plan does not pass.
    """
    from i2uv_edge import planning

    gates: dict[str, Any] = {
        "fail_on_fallback": fail_on_fallback,
        "max_crossings": max_crossings,
        "min_fps": min_fps,
    }
    if evidence:
        if subject is not None or any(value not in (None, False) for value in gates.values()):
            raise UsageError("--evidence judges the model, not a file", remedy="name no file")
        checks = planning.check(PlanRequest(Path(), **options))
        if as_json:
            _print_json([check.fields() for check in checks])
        else:
            click.echo("\n\n".join(check.text() for check in checks))
        return
    if subject is None:
        raise UsageError("no file to plan", expected="a bundle or a .tflite file")
    found = planning.plan(PlanRequest(subject, **options))
    if as_json:
        _print_json(found.fields())
    else:
        click.echo(found.text())
    if failures := found.failures(**gates):
        raise GateError("the plan does not pass:\n  " + "\n  ".join(failures))


def _rectangle(
    context: click.Context, option: click.Parameter, value: str | None
) -> tuple[float, ...] | None:
    """Left, top, width and height, parted by commas."""
    if value is None:
        return None
    try:
        numbers = tuple(float(part) for part in value.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise click.BadParameter(f"{value!r} is not four numbers like 120,40,200,220")
    return numbers


@commands.command("run")
@click.argument("bundle", type=PATH)
@click.argument("source", metavar="PICTURE|FOLDER|VIDEO|camera:N")
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="DIR",
    help="Folder to write.  [default: build/run/NAME]",
)
@click.option(
    "--box",
    callback=_rectangle,
    metavar="X,Y,W,H",
    help="What the hand fills, in pixels; of a video, in its first frame.  [default: it is looked "
    "for]",
)
@click.option("--hand", type=click.Choice(["right", "left"]), default="right", show_default=True)
@click.option("--float", "float_network", is_flag=True, help="Run the float networks.")
@click.option("--compare", is_flag=True, help="Show float, int8 and their difference.")
@click.option("--steady", is_flag=True, help="Smooth a video's hand with a One-Euro filter.")
@click.option(
    "--cutoff",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    metavar="HZ",
    help="Of that filter, at rest; lower trembles less.",
)
@click.option(
    "--beta",
    type=click.FloatRange(min=0),
    default=5.0,
    show_default=True,
    help="By how much it rises with speed; higher lags less.",
)
@click.option("--frames", type=click.IntRange(min=1), metavar="N", help="Stop after so many.")
@click.option(
    "--detector",
    type=PATH,
    metavar="FILE",
    help="MediaPipe's palm detector (.tflite, .task), to find small hands.",
)
@force
@as_json
def run_bundle(as_json: bool, **options: Any) -> None:
    """Read the hand in a picture, a folder, a video or a camera's picture with BUNDLE.

    Writes the pictures with the mesh over them, of a picture also the mesh (.obj, .glb) with its
    texture, the UV map and the joints; of a video an .mp4. A camera runs until Ctrl-C.
    """
    request = RunRequest(**options)
    with _Progress() as progress:
        from i2uv_edge import pipeline

        result = pipeline.run(request, progress)
    _note_skipped(result.skipped, Path(request.source))
    _note(result.note)
    if as_json:
        _print_json(result.fields())
    else:
        click.echo(run_table(result.summary))
        click.echo(f"folder  {result.folder}")
    if result.summary["ended"] == "interrupted" and result.summary["source"]["kind"] != "camera":
        raise click.Abort from KeyboardInterrupt(f"what was seen until then is in {result.folder}")


@commands.command()
@as_json
def doctor(as_json: bool) -> None:
    """Say what is installed and what works, and what to install for the rest.

    Every backend does a small run; nothing is sent anywhere, and no token is shown. Ends with 4 if
    something that is required does not work.
    """
    with _Progress() as progress:
        from i2uv_edge.diagnosis import examine

        found = examine.doctor(progress)
    if as_json:
        _print_json(found.fields())
    else:
        click.echo(found.text())
    if found.faults:
        names = ", ".join(check.name for check in found.faults)
        raise MissingDependencyError(
            f"required and not working: {names}", remedy="see the table for each"
        )


class _Progress:
    """One line on stderr that says what is being done, wiped when it is; nothing off a terminal."""

    def __init__(self) -> None:
        self._shows = sys.stderr.isatty()
        self._shown = 0.0

    def __enter__(self) -> _Progress:
        self("starting", 0, 0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._write("")

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if total and done < total and now - self._shown < 0.1:
            return
        self._shown = now
        bar = 24 * done // total if total else 0
        self._write(f"[{'#' * bar:.<24}] {what} {done}/{total}" if total else what)

    def _write(self, line: str) -> None:
        if self._shows:
            # A line that wraps could not be wiped again; "\x1b[K" clears what the last one left.
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80  # 0: it cannot say
            click.echo(f"\r\x1b[K{line[: columns - 1]}", err=True, nl=False)


def _note(text: str) -> None:
    if text:
        click.echo(text, err=True)


def _note_skipped(count: int, folder: Path | None) -> None:
    if count:
        files = "file that is no picture" if count == 1 else "files that are no pictures"
        click.echo(f"skipped {count} {files} in {folder}", err=True)


def _print_json(document: object) -> None:
    click.echo(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False))


def _judge(report: Report, note: str = "") -> None:
    """Raise the error of a report that did not pass; `note` says what became of the result."""
    if report.passed:
        return
    failures = report.failures()
    lines = [f"{len(failures)} of {len(report.scores)} numbers failed", *failures[:SHOWN_FAILURES]]
    if len(failures) > SHOWN_FAILURES:
        lines.append(f"and {len(failures) - SHOWN_FAILURES} more")
    raise GateError("\n  ".join(lines), remedy=note)

"""The command line: the only module that prints or ends the process.

Every command makes a request, hands it to `pipeline` and prints what comes back. `pipeline` brings
seconds of imports with it, so it is imported after the request was found in order.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from i2uv_edge.errors import GateError, I2uvError
from i2uv_edge.requests import (
    CANDIDATES,
    DATASETS,
    CalibrateRequest,
    EvaluateRequest,
    ExportRequest,
    TrainRequest,
    ValidateRequest,
)

__all__ = ["commands", "main", "run"]

PATH = click.Path(path_type=Path)
as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)
force = click.option("--force", is_flag=True, help="Replace what lies at the output.")


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
    except (click.Abort, KeyboardInterrupt):
        click.echo("i2uv-edge: interrupted", err=True)
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
@click.option(
    "--checkpoint",
    "checkpoints",
    type=PATH,
    multiple=True,
    metavar="FILE",
    help="Weights to use instead of the bundled ones; one for each network.",
)
@click.option("--target", default="sd865", show_default=True, help="The device.")
@click.option("--recipe", help="How to quantize.  [default: the model's best]")
@click.option(
    "--calibration",
    type=PATH,
    metavar="DIR",
    help="Pictures to take ranges from.  [default: the bundled ones]",
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
    from i2uv_edge import pipeline

    result = pipeline.export(request)
    _show(result.report, as_json=as_json)
    if not as_json:
        click.echo(f"bundle  {result.bundle}")
        click.echo(f"report  {result.bundle / 'report.json'}")
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
    "[default: tflite, onnx, fake-quant]",
)
@as_json
def validate(as_json: bool, **options: Any) -> None:
    """Compare what BUNDLE holds and judge it by the gates."""
    request = ValidateRequest(**options)
    from i2uv_edge import pipeline

    report = pipeline.validate(request)
    _show(report, as_json=as_json)
    _judge(report)


@commands.command()
@click.argument("subject", type=PATH, metavar="BUNDLE|CHECKPOINT")
@click.option(
    "--dataset",
    type=click.Choice(DATASETS),
    default="rendered",
    show_default=True,
    help="The ground truth.",
)
@as_json
def evaluate(as_json: bool, **options: Any) -> None:
    """State the accuracy against ground truth."""
    request = EvaluateRequest(**options)
    from i2uv_edge import pipeline

    report = pipeline.evaluate(request)
    _show(report, as_json=as_json)
    _judge(report)


@commands.command()
@click.argument("network")
@click.option("--config", type=PATH, metavar="FILE", help="Settings of the run as TOML.")
@click.option("--steps", type=click.IntRange(min=1), help="Optimiser steps.")
@click.option("--batch", type=click.IntRange(min=2), help="Samples a step.")
@click.option("--learning-rate", type=float, help="Peak learning rate.")
@click.option("--seed", type=click.IntRange(min=0), help="Of weights, order and samples.")
@click.option("--workers", type=click.IntRange(min=0), help="Processes that render samples.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the trainer.")
@click.option("--initial", type=PATH, metavar="FILE", help="Weights to start from.")
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="DIR",
    help="Folder of checkpoints.  [default: build/train/NETWORK]",
)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in the output.")
@as_json
def train(as_json: bool, **options: Any) -> None:
    """Train NETWORK on rendered hands.

    NETWORK is a name or a path to a TOML.
    """
    request = TrainRequest(**options)
    from i2uv_edge import pipeline

    result = pipeline.train(request)
    if as_json:
        _print_json({"checkpoint": str(result.checkpoint), "metrics": dict(result.metrics)})
        return
    for name, value in result.metrics.items():
        click.echo(f"{name:16} {value:.4g}")
    click.echo(f"checkpoint  {result.checkpoint}")


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
    if as_json:
        _print_json({**asdict(result), "folder": str(result.folder)})
        return
    skipped = f", {result.skipped} files skipped that are no pictures" if result.skipped else ""
    click.echo(f"{result.pictures} pictures in {result.folder}{skipped}")


def _progress() -> Callable[[str, int, int], None]:
    """One line on a terminal that says what is being done; silent where nobody watches."""
    if not sys.stderr.isatty():
        return lambda what, done, total: None
    width = 0

    def show(what: str, done: int, total: int) -> None:
        nonlocal width
        line = f"{what} {done}/{total}" if total else what
        if total:
            filled = 24 * done // total
            line = f"[{'#' * filled}{'.' * (24 - filled)}] {line}"
        finished = total > 0 and done >= total
        click.echo(f"\r{line.ljust(width)}", err=True, nl=finished)
        width = 0 if finished else len(line)

    return show


def _print_json(document: object) -> None:
    click.echo(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False))


def _show(report: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        _print_json(report)
    else:
        click.echo(_table(report))


def _judge(report: Mapping[str, Any], note: str = "") -> None:
    """Raise the error of a report that did not pass; `note` says what became of the result."""
    if report["passed"]:
        return
    failed = [score for score in report["scores"] if not score["passed"]]
    lines = [f"{len(failed)} of {len(report['scores'])} checks failed"]
    for score in failed:
        names = "{metric} of {candidate} against {reference} at {stage}".format_map(score)
        value, limit = _number(score["value"]), _number(score["limit"])
        worst = score["worst_sample"]
        lines.append(f"  {names} is {value}, its limit {limit}; the worst sample is {worst}")
    raise GateError("\n".join([*lines, note] if note else lines))


def _table(report: Mapping[str, Any]) -> str:
    """Lay out what was judged at the last stage, and whatever failed elsewhere."""
    scores = report["scores"]
    ran = {score["stage"] for score in scores}
    last = next((stage for stage in ("chained", "srnet", "affinenet") if stage in ran), "")
    rows = [_row(s) for s in scores if not s["passed"] or (s["stage"] == last and _is_shown(s))]
    header = ("candidate", "against", "stage", "metric", "value", "limit", "")
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if column in (4, 5) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    ]
    judged = sum(score["limit"] is not None for score in scores)
    failed = sum(not score["passed"] for score in scores)
    verdict = f"{failed} FAILED" if failed else "all passed"
    summary = f"{report['model']}, {report['samples']} pictures: {judged} gates, {verdict}"
    return "\n".join([*lines, *_scale(report), summary])


def _scale(report: Mapping[str, Any]) -> list[str]:
    """Say how long a map unit was taken to be, without which millimetres mean nothing."""
    scale = report.get("scale")
    if scale is None or scale["median_mm"] is None:
        return []
    origin = {"truth": "the ground truth", "template": "the built-in hand fitted to the reference"}
    source = origin.get(scale["origin"], "both ground truth and the fitted built-in hand")
    return [f"1 map unit is {scale['median_mm']:.0f} mm in the median, from {source}"]


def _row(score: Mapping[str, Any]) -> tuple[str, ...]:
    judged = score["limit"] is not None or not score["passed"]
    verdict = ("pass" if score["passed"] else "FAIL") if judged else ""
    names = (score["candidate"], score["reference"], score["stage"], score["metric"])
    return (*names, _number(score["value"]), _number(score["limit"]), verdict)


def _is_shown(score: Mapping[str, Any]) -> bool:
    return score["limit"] is not None or score["metric"] in ("pa_mpvpe_mm", "vertex_p99_mm")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

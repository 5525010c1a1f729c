"""The verbs: what the rooms below do, put together.

Each takes its request from `i2uv_edge.requests` and gives its result; none prints.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import torch

from i2uv_edge import comparison, resources
from i2uv_edge.assembly import Build, write_sealed
from i2uv_edge.atlases import ModelAtlases
from i2uv_edge.bundle import Bundle, write_bundle, write_json
from i2uv_edge.data.calibration import CalibrationSet, write_calibration
from i2uv_edge.data.evaluation import bundled_samples
from i2uv_edge.data.pictures import list_pictures
from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.networks.checkpoint import load_checkpoint, network_of
from i2uv_edge.networks.model import load_networks
from i2uv_edge.networks.registry import build
from i2uv_edge.parity import default_pairs, measure
from i2uv_edge.requests import (
    CalibrateRequest,
    CalibrateResult,
    EvaluateRequest,
    ExportRequest,
    ExportResult,
    Notify,
    TrainRequest,
    TrainResult,
    ValidateRequest,
    ValidateResult,
)
from i2uv_edge.scores import BASELINE, Report, judge
from i2uv_edge.spec import (
    GateSpec,
    ModelSpec,
    NetworkSpec,
    RecipeSpec,
    load_gates,
    load_model,
    load_network,
    load_recipe,
    load_target,
)
from i2uv_edge.training import loop
from i2uv_edge.training.config import load_config
from i2uv_edge.training.loop import Progress

__all__ = ["calibrate", "evaluate", "export", "train", "validate"]

T = TypeVar("T")

# The recipe whose gates an integer recipe without gates of its own is held to.
POST_TRAINING = "w8a8"
CALIBRATION_SIZE = 256  # side of the pictures in a calibration set, enough for every network


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Hold torch to one thread: ranges, and so bytes, must not depend on how many cores there are.

    Networks this small lose little; on a machine that is busy they gain.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@_one_thread()
def export(request: ExportRequest, notify: Notify | None = None) -> ExportResult:
    """Checkpoint -> fake-quant -> TFLite -> compared with float -> a bundle.

    Raises
    ------
    I2uvError
        Any of its kinds; then nothing lies at the destination that was not there before. A gate
        that fails is no error here: the bundle is written, and its report says so.
    """
    notify = notify or _silent
    model, recipe = load_model(request.model), load_recipe(request.recipe)
    target, gates = load_target(request.target), _gates(recipe)
    calibration = _calibration(request, model, recipe)
    with write_bundle(request.destination, force=request.force) as folder:
        networks = load_networks(model, request.checkpoints)
        write_sealed(folder, Build(model, recipe, target, networks, calibration), notify)
        contents = comparison.open_contents(Bundle.open(folder))
        report = _compare(contents, ValidateRequest(folder), gates, notify).report
        write_json(folder / "report.json", report.fields())
    skipped = calibration.skipped if calibration and request.calibration else 0
    return ExportResult(request.destination, report, contents.sizes, skipped)


@_one_thread()
def validate(request: ValidateRequest, notify: Notify | None = None) -> ValidateResult:
    """Compare what a bundle holds, judged by the gates of its recipe.

    Raises
    ------
    DamagedError
        The bundle, or a dump, is damaged.
    UsageError, InputError
        What is to be compared is not there, or a picture cannot be read.
    """
    contents = comparison.open_contents(Bundle.open(request.bundle))
    return _compare(contents, request, _gates(contents.recipe), notify or _silent)


@_one_thread()
def evaluate(request: EvaluateRequest, notify: Notify | None = None) -> Report:
    """State the accuracy of a bundle or a checkpoint on the frozen rendered set.

    Numbers, not a verdict: only what is not finite makes the report fail. Gates are for `validate`.

    Raises
    ------
    DamagedError
        The bundle is damaged.
    UsageError, InputError
        There is no such file, or it does not say which network it belongs to.
    """
    if request.subject.is_dir():
        contents = comparison.open_contents(Bundle.open(request.subject))
        name, atlases, specs = contents.model, contents.atlases, contents.specs
        runners = comparison.runners(contents, [BASELINE, *contents.available])
    else:
        spec, module = _network_of_checkpoint(request.subject)
        name, specs = spec.name, {spec.role: spec}
        atlases = ModelAtlases.of_networks(specs)
        runners = [comparison.float_chain({spec.role: (spec, module)}, atlases)]
    if "affinenet" in specs:
        samples = bundled_samples(specs["affinenet"].input.shape[1])
    else:
        samples = map(atlases.with_coarse_map, bundled_samples(comparison.PICTURE_SIZE))
    total = len(list_pictures(resources.calibration_data() / "evaluation")[0])
    counted = _counted(samples, "evaluating", total, notify or _silent)
    return judge(name, measure(runners, counted, atlases, pairs=[]), gates=())


def train(request: TrainRequest, notify: Notify | None = None) -> TrainResult:
    """Train a network on rendered hands.

    Raises
    ------
    UsageError, InputError
        Unknown network or setting, a run already at the output or none to resume, a loss that
        became NaN.
    """
    notify = notify or _silent
    spec = load_network(request.network)
    config = load_config(spec.name, request.config, **request.overrides())
    last: dict[str, float] = {}

    def report(progress: Progress) -> None:
        last["loss"] = progress.loss
        if progress.score_mm is not None:
            last["score_mm"] = progress.score_mm
        score = f", held out {last['score_mm']:.2f} mm" if "score_mm" in last else ""
        what = f"loss {progress.loss:.4f}{score}, {progress.samples_per_second:.0f} samples/s"
        notify(what, progress.step, progress.steps)

    checkpoint = loop.train(
        spec,
        config,
        request.destination,
        resume=request.resume,
        initial=request.initial,
        report=report,
    )
    return TrainResult(checkpoint, last)


def calibrate(request: CalibrateRequest) -> CalibrateResult:
    """Make a calibration set of a folder of pictures.

    Raises
    ------
    InputError
        There is no picture, or one cannot be read.
    UsageError
        The output exists and is not to be replaced.
    """
    made = write_calibration(
        request.images, request.destination, CALIBRATION_SIZE, force=request.force
    )
    return CalibrateResult(request.destination, len(made.paths), made.skipped, made.sha256)


def _gates(recipe: RecipeSpec) -> tuple[GateSpec, ...]:
    """The gates of a recipe; a user's own integer recipe is held to what post-training ones are."""
    named = {name for gate in load_gates() for name in gate.applies_to}
    return load_gates(recipe.name if recipe.is_float or recipe.name in named else POST_TRAINING)


def _calibration(
    request: ExportRequest, model: ModelSpec, recipe: RecipeSpec
) -> CalibrationSet | None:
    what = ""
    if recipe.is_float:
        what = f"the recipe {recipe.name} quantizes nothing"
    elif model.affinenet is None:
        what = f"{model.name} takes maps, not pictures"
    if what and request.calibration is not None:
        raise UsageError(f"{what}, so there is nothing to calibrate", remedy="drop --calibration")
    if recipe.is_float:
        return None
    bundled = resources.calibration_data() / "pictures"
    return CalibrationSet.of_folder(request.calibration or bundled)


def _compare(
    contents: comparison.Contents,
    request: ValidateRequest,
    gates: tuple[GateSpec, ...],
    notify: Notify,
) -> ValidateResult:
    candidates = request.candidates or contents.available
    names = dict.fromkeys(
        [BASELINE, *([request.reference] if request.reference else []), *candidates]
    )
    pairs = [
        (reference, candidate)
        for reference, candidate in default_pairs(list(names))
        if request.reference in (None, reference) and candidate in candidates
    ]
    if not pairs:
        raise UsageError(
            f"{request.reference} would be compared with itself",
            expected="a candidate that differs from the reference",
            remedy="name another --candidate",
        )
    runners = comparison.runners(contents, list(names))
    samples = comparison.restricted(comparison.samples(contents, request.images), runners)
    counted = _counted(samples.stream, "comparing", len(samples.ids), notify)
    measured = measure(runners, counted, contents.atlases, pairs=pairs)
    if "tflite" in names:
        measured = measured.plus(comparison.float_shares(contents))
    report = judge(contents.model, measured, gates)
    return ValidateResult(report, contents.sizes, samples.skipped)


def _network_of_checkpoint(path: Path) -> tuple[NetworkSpec, torch.nn.Module]:
    if not path.is_file():
        raise InputError(f"there is no bundle or checkpoint at {path}", remedy="check the path")
    name = network_of(path)
    if name is None:
        raise UsageError(
            f"{path} does not say which network it belongs to",
            expected="a bundle, or a checkpoint that `i2uv-edge train` wrote",
            remedy="export it first: i2uv-edge export NETWORK --checkpoint FILE",
        )
    spec = load_network(name)
    module = build(spec)
    load_checkpoint(module, path)
    return spec, module


def _counted(items: Iterable[T], what: str, total: int, notify: Notify) -> Iterator[T]:
    for done, item in enumerate(items):
        notify(what, done, total)
        yield item
    notify(what, total, total)


def _silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""

"""The verbs: what the rooms below do, put together.

Each takes its request from `i2uv_edge.requests` and gives its result; none prints.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from i2uv_edge import comparison, oracle, reporting, strict_toml
from i2uv_edge.analysis import Study
from i2uv_edge.assembly import Build, write_sealed
from i2uv_edge.atlases import ModelAtlases, meshes_of
from i2uv_edge.bundle import Bundle, write_bundle, write_json, write_text
from i2uv_edge.data.calibration import write_calibration
from i2uv_edge.data.synthetic import SceneSettings
from i2uv_edge.device.profiles import Profile, write_profile
from i2uv_edge.device.segments import described
from i2uv_edge.effort import Effort
from i2uv_edge.errors import UsageError
from i2uv_edge.evaluation import run as evaluation
from i2uv_edge.evaluation.sharing import Shard
from i2uv_edge.findings import ANALYSIS
from i2uv_edge.networks.layers import macs
from i2uv_edge.networks.model import Network, load_networks, open_checkpoint
from i2uv_edge.parity import Each, default_pairs, measure
from i2uv_edge.planning import plan
from i2uv_edge.quantization import (
    POST_TRAINING,
    Quantization,
    calibration_of,
    check_calibration,
    default_recipe,
    split_checkpoints,
    trained_weights,
)
from i2uv_edge.quantizer.stored import write_stored
from i2uv_edge.report.witness import ReportWitness
from i2uv_edge.requests import (
    AnalyzeRequest,
    AnalyzeResult,
    CalibrateRequest,
    CalibrateResult,
    EvaluateRequest,
    EvaluateResult,
    ExportRequest,
    ExportResult,
    Notify,
    ProfileRequest,
    ProfileResult,
    QuantizeRequest,
    QuantizeResult,
    RunRequest,
    RunResult,
    TrainRequest,
    TrainResult,
    ValidateRequest,
    ValidateResult,
)
from i2uv_edge.runners import one_torch_thread
from i2uv_edge.scores import BASELINE, judge
from i2uv_edge.spec import (
    GateSpec,
    ModelSpec,
    RecipeSpec,
    Role,
    load_gates,
    load_model,
    load_network,
    load_recipe,
    load_target,
)
from i2uv_edge.tracking import run as tracking
from i2uv_edge.training import loop
from i2uv_edge.training.config import load_config, make_config
from i2uv_edge.training.log import Progress
from i2uv_edge.training.parallel import crew, leads

__all__ = [
    "analyze",
    "calibrate",
    "evaluate",
    "export",
    "plan",
    "profile",
    "quantize",
    "run",
    "train",
    "validate",
]

T = TypeVar("T")

RUNNERS = 4  # at a time; with more, the slowest is what the others wait for
MOST_CHECKED = 200  # held-out pictures, all of the bundled ones
CALIBRATION_SIZE = 256  # side of the pictures in a calibration set, enough for every network


@one_torch_thread()
def export(request: ExportRequest, notify: Notify | None = None) -> ExportResult:
    """Checkpoint -> fake-quant -> TFLite -> compared with float -> a bundle.

    Raises
    ------
    I2uvError
        Any of its kinds; then nothing lies at the destination that was not there before. A gate
        that fails is no error here: the bundle is written, and its report says so.
    """
    notify = notify or _silent
    model, target = load_model(request.model), load_target(request.target)
    asked = load_recipe(request.recipe) if request.recipe else None
    _check_meshes(model)
    if asked is not None:
        check_calibration(request.calibration, model, asked)  # before weights are read
    floats, stored = split_checkpoints(request.checkpoints)
    with write_bundle(request.destination, force=request.force) as folder:
        networks = load_networks(model, floats)
        recipe = asked or default_recipe(model, networks, stored, request.calibration)
        gates = _gates(recipe)
        calibration = calibration_of(request.calibration, model, recipe)
        trained = trained_weights(model, recipe, networks, stored)
        calibrated = None
        if calibration is not None and request.calibration is None:
            available = len(calibration.paths)
            calibration = calibration.first(_effort(networks).calibration(available))
            calibrated = len(calibration.paths), available
        _check_split(request, recipe)
        build = Build(model, recipe, target, networks, calibration, trained, request.split)
        write_sealed(folder, build, notify)
        contents = comparison.open_contents(Bundle.open(folder))
        compared = ValidateRequest(folder)
        result, witness = _compare(contents, compared, gates, notify)
        notify("writing the report", 0, 0)
        reporting.write_report(folder, contents, result.report, gates, witness, compared)
        used = result.report.samples, len(comparison.samples(contents).ids)
        note = _effort(networks).note(calibrated, used)
    skipped = calibration.skipped if calibration and request.calibration else 0
    lines = tuple(
        described(role, entry["segments"])
        for role, entry in contents.bundle.manifest["networks"].items()
        if "segments" in entry
    )
    return ExportResult(request.destination, result.report, contents.sizes, skipped, note, lines)


def _check_split(request: ExportRequest, recipe: RecipeSpec) -> None:
    if request.split and recipe.is_float:
        raise UsageError(
            f"the recipe {recipe.name} quantizes nothing, so no segment could run on a DSP",
            remedy="leave out --split, or name an integer recipe",
        )


@one_torch_thread()
def validate(request: ValidateRequest, notify: Notify | None = None) -> ValidateResult:
    """Compare what a bundle holds, judged by the gates of its recipe, and write the report.

    A bundle that cannot be written to is compared all the same.

    Raises
    ------
    DamagedError
        The bundle, a dump or an analysis is damaged.
    UsageError, InputError
        What is to be compared is not there, or a picture cannot be read. A report is in the way of
        the one that was asked for, or it cannot be written.
    """
    notify = notify or _silent
    folder = request.report or (request.bundle if request.is_default else None)
    if request.report is not None and not request.force:
        reporting.check_free(request.report)
    contents = comparison.open_contents(Bundle.open(request.bundle))
    if folder is not None:
        reporting.findings_of(contents, request)  # before anything takes long
    gates = _gates(contents.recipe)
    result, witness = _compare(contents, request, gates, notify)
    if folder is None:
        return result
    notify("writing the report", 0, 0)
    try:
        reporting.write_report(folder, contents, result.report, gates, witness, request)
    except OSError as error:
        if request.report is None:
            return result
        raise UsageError(
            f"the report cannot be written into {folder}: {error.strerror}",
            remedy="name another folder with --report",
        ) from error
    return replace(result, page=folder / reporting.PAGE)


def profile(request: ProfileRequest, notify: Notify | None = None) -> ProfileResult:
    """Measure a bundle's networks and write the figures into its `profiles/`.

    A report that lies in the bundle shows them when it is written again, by `validate`.

    Raises
    ------
    DamagedError
        The bundle is damaged.
    UsageError, InputError
        The bundle cannot be written to; the device is not known; a network cannot be run.
    MissingDependencyError
        What emulates an Arm processor, or the Hub's client, is not there and cannot be fetched.
    HubError
        The Hub refused, failed or was out of reach.
    """
    contents = comparison.open_contents(Bundle.open(request.bundle))
    found = _profiled(contents, request, notify or _silent)
    return ProfileResult(found, write_profile(request.bundle, found))


def _profiled(contents: comparison.Contents, request: ProfileRequest, notify: Notify) -> Profile:
    if request.on == "host":
        from i2uv_edge.device.host import profile_on_host

        return profile_on_host(contents, notify)
    if request.on == "arm64":
        from i2uv_edge.device.arm64 import profile_on_arm64

        return profile_on_arm64(contents, notify)
    from i2uv_edge.device.hub import HubOptions, profile_on_hub

    options = HubOptions(request.device, request.resume, request.compiled)
    return profile_on_hub(contents, options, notify)


@one_torch_thread()
def evaluate(request: EvaluateRequest, notify: Notify | None = None) -> EvaluateResult:
    """State the accuracy of a bundle or a checkpoint on rendered hands, FreiHAND or HO-3D.

    Numbers, not a verdict: only what is not finite makes the report fail. Gates are for `validate`.
    Under ``torchrun`` each process sees a part of the data set, and all know the same result.

    Raises
    ------
    DamagedError
        The bundle is damaged.
    UsageError, InputError
        There is no such file, or it does not say which network it belongs to; the data set is not
        there, is damaged, or has nothing to compare the model with.
    """
    with crew("cpu") as processes:
        shard = Shard(processes.rank, processes.count)
        return evaluation.run(_evaluated(request.subject), request, shard, notify or _silent)


def _evaluated(subject: Path) -> evaluation.Model:
    if subject.is_dir():
        contents = comparison.open_contents(Bundle.open(subject))
        runners = comparison.runners(contents, [BASELINE, *contents.available])
        margin = contents.bundle.manifest["preprocess"]["margin"]
        return evaluation.Model(
            contents.model, contents.specs, contents.atlases, runners, sum(margin) / 2
        )
    network = open_checkpoint(subject)
    spec = network.spec
    specs = {spec.role: spec}
    atlases = ModelAtlases.of_networks(specs)
    chain = comparison.float_chain({spec.role: (spec, network.module)}, atlases)
    margin = SceneSettings().margin
    return evaluation.Model(spec.name, specs, atlases, [chain], sum(margin) / 2)


@one_torch_thread()
def run(request: RunRequest, notify: Notify | None = None) -> RunResult:
    """Read the hand in pictures, a video or a camera's picture, and write what was read.

    Raises
    ------
    DamagedError
        The bundle is damaged.
    UsageError, InputError
        The source cannot be read, the box or the output cannot be used, or the bundle takes no
        pictures.
    """
    contents = comparison.open_contents(Bundle.open(request.bundle))
    return tracking.run(contents, request, notify or _silent)


def train(request: TrainRequest, notify: Notify | None = None) -> TrainResult:
    """Train a network on rendered hands, a data set, or what a teacher makes of pictures.

    Under ``torchrun`` together with the other processes, of which the first reports.

    Raises
    ------
    UsageError, InputError
        Unknown network or setting, a run already at the output or none to resume, a loss that
        became NaN.
    MissingDependencyError
        TensorBoard's logs are asked for, and it is not installed.
    """
    notify = notify or _silent
    spec = load_network(request.network)
    config = load_config(spec.name, request.config, request.overrides())
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
    return TrainResult(checkpoint, last, leads())


@one_torch_thread()
def quantize(request: QuantizeRequest, notify: Notify | None = None) -> QuantizeResult:
    """Train a model's networks to answer in integers as they do in float.

    Raises
    ------
    UsageError
        The recipe trains nothing; unknown model, recipe or setting; a run already at the output or
        none to resume.
    InputError
        A checkpoint or a picture cannot be read.
    ConversionError
        A layer cannot be quantized.
    """
    notify = notify or _silent
    model, recipe = load_model(request.model), load_recipe(request.recipe)
    _check_meshes(model)
    calibration = calibration_of(request.calibration, model, recipe)
    if calibration is None or not set(recipe.training) & set(model.networks):
        raise UsageError(
            f"the recipe {recipe.name} trains no network of {model.name}",
            expected=f"a recipe with a table [training.{next(iter(model.networks))}]",
            remedy=f"calibration alone is part of: i2uv-edge export {model.name} "
            f"--recipe {recipe.name}",
        )
    networks = load_networks(model, request.checkpoints)
    quantization = Quantization(networks, recipe, calibration, _atlases(model, networks))
    files: list[Path] = []
    scores: dict[str, float] = {}
    for role, table in recipe.training.items():
        if role not in networks:
            continue
        name = networks[role].spec.name
        config = make_config(table, request.overrides(), where=f"recipe {recipe.name}: training")

        def report(progress: Progress, name: str = name) -> None:
            if progress.score_mm is not None:
                scores[name] = progress.score_mm
            away = f", {scores[name]:.2f} mm off float" if name in scores else ""
            what = f"{name}: loss {progress.loss:.4f}{away}"
            notify(what, progress.step, progress.steps)

        folder = request.destination / "runs" / role
        stored = quantization.train(
            role, config, folder, resume=request.resume, notify=notify, report=report
        )
        files.append(request.destination / f"{name}.{recipe.name}.safetensors")
        if stored is not None:
            write_stored(files[-1], stored)
    return QuantizeResult(tuple(files), scores, leads())


@one_torch_thread()
def analyze(request: AnalyzeRequest, notify: Notify | None = None) -> AnalyzeResult:
    """Measure where a model's millimetres go, and write the recipes that keep within budgets.

    Raises
    ------
    UsageError
        The recipe quantizes nothing; unknown model or recipe; weights that are quantized already;
        a budget that no recipe keeps within; results lie at the output already.
    InputError
        A checkpoint or a picture cannot be read.
    ConversionError
        A layer cannot be quantized.
    """
    notify = notify or _silent
    model, recipe = load_model(request.model), load_recipe(request.recipe)
    _check_meshes(model)
    calibration = calibration_of(request.calibration, model, recipe)
    if calibration is None:
        raise UsageError(
            f"the recipe {recipe.name} quantizes nothing, so there is nothing to analyse",
            remedy="name an integer recipe",
        )
    document = request.destination / ANALYSIS
    if document.exists():
        raise UsageError(f"{document} exists", remedy="remove it, or choose another -o")
    floats, stored = split_checkpoints(request.checkpoints)
    if stored:
        raise UsageError(
            f"{next(iter(stored))} is quantized already",
            expected="float weights",
            remedy="name the checkpoint that it was made from",
        )
    networks = load_networks(model, floats)
    effort = _effort(networks)
    if request.calibration is None:
        calibration = calibration.first(effort.calibration(len(calibration.paths)))
    study = Study(
        model.name,
        networks,
        recipe,
        calibration,
        _atlases(model, networks),
        pictures=effort.analysis,
        most=effort.comparison(MOST_CHECKED),
        notify=notify,
    )
    found = [study.within(budget) for budget in request.budgets]
    findings = study.findings(with_ladder=request.ladder)
    findings = replace(findings, budgets=tuple(budget for _, budget in found))
    request.destination.mkdir(parents=True, exist_ok=True)
    files = [document]
    for written, budget in found:
        files.append(request.destination / budget.recipe)
        write_text(files[-1], strict_toml.text_of(written, "name"))
    write_json(document, findings.fields())
    return AnalyzeResult(findings, tuple(files))


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


def _check_meshes(model: ModelSpec) -> None:
    """An SRNet alone lives on rendered maps, which are of the built-in hand."""
    if model.meshes is not None and model.affinenet is None:
        raise UsageError(
            f"{model.name} is an SRNet alone, and its meshes are not those of the built-in hand: "
            f"there are no maps to feed it with",
            remedy="export it together with its AffineNet, whose maps it then gets",
        )


def _atlases(model: ModelSpec, networks: Mapping[Role, Network]) -> ModelAtlases:
    specs = {role: network.spec for role, network in networks.items()}
    return ModelAtlases.of_networks(specs, model.meshes or meshes_of(specs))


def _gates(recipe: RecipeSpec) -> tuple[GateSpec, ...]:
    """The gates of a recipe; a user's own integer recipe is held to what post-training ones are."""
    named = {name for gate in load_gates() for name in gate.applies_to}
    return load_gates(recipe.name if recipe.is_float or recipe.name in named else POST_TRAINING)


def _compare(
    contents: comparison.Contents,
    request: ValidateRequest,
    gates: tuple[GateSpec, ...],
    notify: Notify,
) -> tuple[ValidateResult, ReportWitness]:
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
    effort, available = Effort(comparison.gmac(contents)), len(samples.ids)
    emulated = comparison.ARM64 in names or comparison.QNN in names
    if request.images is None and all(runner.live for runner in runners):
        affordable = effort.emulated if emulated else effort.comparison
        samples = samples.first(affordable(available))
    counted = _counted(samples.stream, "comparing", len(samples.ids), notify)
    witness = reporting.witness(contents, pairs)
    with _side_by_side() as each:
        measured = measure(
            runners,
            counted,
            contents.atlases,
            pairs=pairs,
            stand_ins=comparison.stand_ins(contents, pairs),
            # Flicker is of the integers, which are the same there.
            most_stills=0 if emulated else effort.stills(available),
            witness=witness,
            each=each,
        )
    if oracle.PAIR in pairs:
        notify("computing the ONNX files literally", 0, 0)
        few = comparison.samples(contents, request.images).first(effort.inside(len(samples.ids)))
        measured = measured.plus(oracle.against_files(contents, few.stream))
    if "tflite" in names:
        measured = measured.plus(comparison.float_shares(contents))
    report = judge(contents.model, measured, gates)
    notes = [
        effort.note(None, (len(samples.ids), available)),
        *comparison.dump_notes(contents, runners),
    ]
    if comparison.QNN in names:
        notes.append("qnn is QNN's emulated HTP: a second opinion on the integers, not the V66")
    note = "\n".join(filter(None, notes))
    return ValidateResult(report, contents.sizes, samples.skipped, note=note), witness


def _effort(networks: Mapping[Any, Network]) -> Effort:
    every = networks.values()
    return Effort(sum(macs(own.module, own.spec.input.shape[1:]) for own in every) / 1e9)


@contextlib.contextmanager
def _side_by_side() -> Iterator[Each]:
    """What runs several runners at a time, one thread each, on a machine with several cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if (cores or 1) < 2:
        yield map
        return
    with ThreadPoolExecutor(min(cores or 1, RUNNERS), initializer=_torch_on_one_core) as pool:
        yield pool.map


def _torch_on_one_core() -> None:
    torch.set_num_threads(1)  # which holds for the thread that says it


def _counted(items: Iterable[T], what: str, total: int, notify: Notify) -> Iterator[T]:
    for done, item in enumerate(items):
        notify(what, done, total)
        yield item
    notify(what, total, total)


def _silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""

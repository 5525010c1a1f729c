"""The verbs: what the rooms below do, put together.

Each takes its request from `i2uv_edge.requests` and gives its result; none prints.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from i2uv_edge import comparison, resources
from i2uv_edge.bundle import Bundle, seal, write_bundle, write_json
from i2uv_edge.convert.histogram import macs_by_dtype
from i2uv_edge.convert.tflite import to_tflite
from i2uv_edge.data.calibration import CalibrationSet, write_calibration
from i2uv_edge.data.evaluation import (
    bundled_samples,
    folder_samples,
    read_evaluation,
    write_evaluation,
)
from i2uv_edge.data.pictures import PREPROCESS
from i2uv_edge.dumps import write_dump
from i2uv_edge.errors import UsageError
from i2uv_edge.networks.checkpoint import load_checkpoint, network_of, save_checkpoint
from i2uv_edge.networks.layers import deploy
from i2uv_edge.networks.model import Network, load_networks
from i2uv_edge.networks.registry import build
from i2uv_edge.parity import Sample, default_pairs, measure
from i2uv_edge.quantizer.network import QuantizedNetwork, quantize
from i2uv_edge.requests import (
    CalibrateRequest,
    CalibrateResult,
    EvaluateRequest,
    ExportRequest,
    ExportResult,
    TrainRequest,
    TrainResult,
    ValidateRequest,
)
from i2uv_edge.runners import ChainSpec, Stored
from i2uv_edge.scores import Measurement, judge
from i2uv_edge.spec import (
    NetworkSpec,
    Role,
    load_gates,
    load_model,
    load_network,
    load_recipe,
    load_target,
)
from i2uv_edge.training.config import load_config
from i2uv_edge.training.loop import Progress as TrainingProgress
from i2uv_edge.training.loop import train as run_training

__all__ = ["Notify", "calibrate", "evaluate", "export", "train", "validate"]

Notify = Callable[[str, int, int], None]
"""Told what is being done, how many are done, and of how many (0: unknown)."""

T = TypeVar("T")

DEFAULT_RECIPE = "w8a8"
GOLDEN_SAMPLES = 4
TOOLS = ("i2uv-edge", "torch", "numpy", "opencv-python-headless", "ai-edge-litert")


def export(request: ExportRequest, notify: Notify | None = None) -> ExportResult:
    """Checkpoint -> fake-quant -> TFLite -> compared with float -> a bundle.

    Raises
    ------
    I2uvError
        Any of its kinds; then nothing lies at the destination that was not there before. A gate that
        fails is no error here: the bundle is written, and its report says so.
    """
    notify = notify or _silent
    model = load_model(request.model)
    recipe = load_recipe(request.recipe or DEFAULT_RECIPE)
    target = load_target(request.target)
    gates = load_gates(recipe.name)
    with write_bundle(request.destination, force=request.force) as folder:
        networks = load_networks(model, request.checkpoints)
        atlases = comparison.atlases_for(list(networks), _map_sizes(networks))
        calibration = _calibration(request, networks)
        quantized: dict[Role, QuantizedNetwork] = {}
        for role, network in networks.items():
            save_checkpoint(
                network.module, folder / "float" / f"{role}.safetensors", dtype=torch.float32
            )
            made: QuantizedNetwork | torch.nn.Module = deploy(network.module)
            if not recipe.is_float:
                batches = _calibration_inputs(role, networks, calibration, atlases)
                counted = _counted(batches, f"calibrating {role}", len(calibration.paths), notify)
                quantized[role] = made = quantize(
                    network.module, recipe, counted, network_role=role
                )
            notify(f"converting {role}", 0, 0)
            to_tflite(made, network.spec, folder / f"{role}.tflite")
        if quantized:
            encodings = {role: item.encodings.to_dict() for role, item in quantized.items()}
            write_json(folder / "encodings.json", encodings)
        np.savez_compressed(folder / "atlas.npz", **comparison.atlas_arrays(atlases))
        write_evaluation(folder / "eval")
        _write_golden(folder, {role: n.spec for role, n in networks.items()}, atlases)
        fields = {
            "model": model.name,
            "networks": {role: _contract(folder, n.spec) for role, n in networks.items()},
            "recipe": asdict(recipe),
            "target": asdict(target),
            "tools": {**{name: version(name) for name in TOOLS}, "python": platform.python_version()},
            "sources": {
                **{f"checkpoint.{role}": n.source_sha256 for role, n in networks.items()},
                "calibration": calibration.sha256,
            },
            "calibration": {"pictures": len(calibration.paths), "sha256": calibration.sha256},
            "preprocess": PREPROCESS,
            "chain": ChainSpec().fields(),
        }
        seal(folder, fields, parents=_parents(networks, quantized=bool(quantized)))
        report = _compare(Bundle.open(folder), ValidateRequest(folder), gates, notify)
        write_json(folder / "report.json", report)
    return ExportResult(request.destination, report, calibration.skipped)


def validate(request: ValidateRequest, notify: Notify | None = None) -> Mapping[str, Any]:
    """Compare what a bundle holds, judged by the gates of its recipe; the content of report.json."""
    bundle = Bundle.open(request.bundle)
    gates = load_gates(str(bundle.manifest["recipe"]["name"]))
    return _compare(bundle, request, gates, notify or _silent)


def evaluate(request: EvaluateRequest, notify: Notify | None = None) -> Mapping[str, Any]:
    """Accuracy against the ground truth of the frozen rendered set, of a bundle or a checkpoint."""
    notify = notify or _silent
    if request.subject.is_dir():
        bundle = Bundle.open(request.subject)
        contents = comparison.open_contents(bundle)
        runners = comparison.runners(contents, ["float", *contents.available])
        name, gates = contents.model, load_gates(contents.recipe.name)
        atlases, size = contents.atlases, contents.picture_size
        flicker = True
    else:
        spec, module = _checkpoint_network(request.subject)
        atlases = comparison.atlases_for([spec.role], {spec.role: spec.output.shape[1]})
        runners = [comparison.float_chain({spec.role: (spec, module)}, atlases)]
        name, gates, size = spec.name, load_gates("float"), spec.input.shape[1]
        flicker = False
    samples = _counted(bundled_samples(size), "evaluating", 200, notify)
    measured = (
        measure(runners, samples, atlases, pairs=[])
        if flicker
        else measure(runners, samples, atlases, pairs=[], still=None)
    )
    return judge(name, measured, gates).fields()


def train(request: TrainRequest, notify: Notify | None = None) -> TrainResult:
    """Train a network on rendered hands."""
    notify = notify or _silent
    spec = load_network(request.network)
    config = load_config(spec.name, request.config, **request.overrides())
    last: dict[str, float] = {}

    def report(progress: TrainingProgress) -> None:
        last["loss"] = progress.loss
        if progress.score_mm is not None:
            last["score_mm"] = progress.score_mm
        score = f", held out {last['score_mm']:.2f} mm" if "score_mm" in last else ""
        what = f"loss {progress.loss:.4f}{score}, {progress.samples_per_second:.0f} samples/s"
        notify(what, progress.step, progress.steps)

    checkpoint = run_training(
        spec,
        config,
        request.destination,
        resume=request.resume,
        initial=request.initial,
        report=report,
    )
    return TrainResult(checkpoint, last)


def calibrate(request: CalibrateRequest, notify: Notify | None = None) -> CalibrateResult:
    """Make a calibration set of a folder of pictures."""
    del notify
    destination = request.destination
    if destination.exists():
        if not request.force:
            raise UsageError(
                f"{destination} exists already",
                remedy="replace it with --force, or choose another -o",
            )
        shutil.rmtree(destination)
    skipped = CalibrationSet.of_folder(request.images).skipped
    made = write_calibration(request.images, destination, size=256)
    return CalibrateResult(destination, len(made.paths), skipped, made.sha256)


def _compare(
    bundle: Bundle, request: ValidateRequest, gates: Any, notify: Notify
) -> Mapping[str, Any]:
    contents = comparison.open_contents(bundle)
    candidates = list(request.candidates) or list(contents.available)
    names = ["float", *(name for name in candidates if name != "float")]
    if request.reference == "fake-quant" and "fake-quant" not in names:
        names.insert(1, "fake-quant")
    runners = comparison.runners(contents, names)
    pairs = default_pairs([runner.name for runner in runners])
    if request.reference is not None:
        pairs = [pair for pair in pairs if pair[0] == request.reference]
    samples, total = _samples(bundle, request, contents)
    measured = measure(
        runners, _counted(samples, "comparing", total, notify), contents.atlases, pairs=pairs
    )
    measured = measured.plus(_float_macs(bundle, contents, [runner.name for runner in runners]))
    return judge(contents.model, measured, gates).fields()


def _samples(
    bundle: Bundle, request: ValidateRequest, contents: comparison.Contents
) -> tuple[Iterator[Sample], int]:
    if request.images is not None:
        total = len(CalibrationSet.of_folder(request.images).paths)
        samples = folder_samples(request.images, contents.picture_size)
    else:
        folder = bundle.path / "eval"
        total = len(CalibrationSet.of_folder(folder).paths)
        samples = read_evaluation(folder, contents.picture_size)
    if "affinenet" in contents.specs:
        return samples, total
    if request.images is not None:
        raise UsageError(
            f"{bundle.path} holds an SRNet alone, which pictures cannot be fed to",
            remedy="leave --images out: the bundle's own samples carry maps",
        )
    return (comparison.with_true_map(sample, contents.atlases) for sample in samples), total


def _float_macs(
    bundle: Bundle, contents: comparison.Contents, names: Iterable[str]
) -> list[Measurement]:
    if contents.recipe.is_float or "tflite" not in names:
        return []
    rows = []
    for role in contents.specs:
        macs = macs_by_dtype(bundle.file(f"{role}.tflite"))
        share = macs.get("FLOAT32", 0) / max(sum(macs.values()), 1)
        rows.append(Measurement("float", "tflite", role, "float_macs_share", share))
    return rows


def _map_sizes(networks: Mapping[Role, Network]) -> dict[Role, int]:
    sizes = {role: network.spec.output.shape[1] for role, network in networks.items()}
    if "affinenet" not in sizes:
        sizes["affinenet"] = networks["srnet"].spec.input.shape[1]
    return sizes


def _calibration(request: ExportRequest, networks: Mapping[Role, Network]) -> CalibrationSet:
    if "affinenet" not in networks and request.calibration is not None:
        raise UsageError(
            f"{request.model} takes maps, not pictures",
            remedy="leave --calibration out, or export it together with an AffineNet",
        )
    folder = request.calibration or resources.calibration_data() / "pictures"
    return CalibrationSet.of_folder(folder)


def _calibration_inputs(
    role: Role,
    networks: Mapping[Role, Network],
    calibration: CalibrationSet,
    atlases: comparison.Atlases,
) -> Iterator[np.ndarray[Any, np.dtype[np.float32]]]:
    """What the network of that role is fed with, one sample at a time."""
    affinenet = networks.get("affinenet")
    if role == "affinenet":
        yield from calibration.batches(networks[role].spec.input.shape[1])
        return
    if affinenet is None:
        for maps in comparison.true_maps(resources.calibration_data() / "pictures", atlases):
            yield comparison.normalised(maps, atlases)
        return
    runner = comparison.torch_runner("float", affinenet.spec, affinenet.module)
    for pictures in calibration.batches(affinenet.spec.input.shape[1]):
        maps = runner({runner.input.name: pictures})[runner.output.name]
        yield comparison.normalised(maps, atlases)


def _contract(folder: Path, spec: NetworkSpec) -> dict[str, Any]:
    """What an app has to know to run the file."""
    tensors = comparison.tflite_tensors(folder / f"{spec.role}.tflite")
    return {
        "name": spec.name,
        "spec": {key: value for key, value in asdict(spec).items() if key != "name"},
        "inputs": [{**tensors["input"], **_described(spec.input)}],
        "outputs": [{**tensors["output"], **_described(spec.output)}],
    }


def _described(tensor: Any) -> dict[str, Any]:
    return {
        "layout": tensor.layout,
        "unit": tensor.unit,
        "range": list(tensor.range),
    }


def _parents(networks: Mapping[Role, Network], *, quantized: bool) -> dict[str, str]:
    parents = {f"float/{role}.safetensors": f"checkpoint.{role}" for role in networks}
    parents |= {f"{role}.tflite": f"float/{role}.safetensors" for role in networks}
    if quantized:
        parents["encodings.json"] = "calibration"
    return parents


def _write_golden(
    folder: Path, specs: Mapping[Role, NetworkSpec], atlases: comparison.Atlases
) -> None:
    """Outputs of the TFLite files for the first evaluation pictures, for tests without torch."""
    if "affinenet" not in specs:
        return
    chain = comparison.tflite_chain(folder, specs, atlases)
    size = specs["affinenet"].input.shape[1]
    samples = []
    for sample, _ in zip(read_evaluation(folder / "eval", size), range(GOLDEN_SAMPLES), strict=False):
        made = chain(sample.picture[None])
        levels = np.rint(sample.picture * 255).astype(np.uint8)
        outputs = {key: value[0] for key, value in made.items()}
        samples.append((sample.id, {"input": Stored(levels, 1 / 255, 0), **outputs}))
    write_dump(folder / "golden", samples, source="tflite")


def _checkpoint_network(path: Path) -> tuple[NetworkSpec, torch.nn.Module]:
    name = network_of(path)
    if name is None:
        raise UsageError(
            f"{path} does not say which network it belongs to",
            expected="a bundle, or a checkpoint that `i2uv-edge train` wrote",
            remedy="export it first: i2uv-edge export NETWORK --checkpoint FILE",
        )
    spec = load_network(name)
    if spec.role != "affinenet":
        raise UsageError(
            f"{path} is the SRNet {name}, which sees no picture",
            remedy="evaluate the bundle of a model that it is part of",
        )
    module = build(spec)
    load_checkpoint(module, path)
    return spec, module


def _counted(items: Iterable[T], what: str, total: int, notify: Notify) -> Iterator[T]:
    for done, item in enumerate(items):
        notify(what, done, total)
        yield item
    notify(what, total, total)


def _silent(what: str, done: int, total: int) -> None:
    del what, done, total



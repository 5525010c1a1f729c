"""One model on one data set: what `i2uv-edge evaluate` does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from i2uv_edge import resources
from i2uv_edge.atlases import ModelAtlases
from i2uv_edge.data.dataset import MANO
from i2uv_edge.data.evaluation import bundled_samples
from i2uv_edge.data.freihand import FreiHand
from i2uv_edge.data.ho3d import Ho3d
from i2uv_edge.data.pictures import list_pictures
from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.evaluation.measuring import Surfaces, Tallies, measure_accuracy
from i2uv_edge.evaluation.predictions import Predictions
from i2uv_edge.evaluation.sharing import Shard, gather
from i2uv_edge.evaluation.subjects import Subject, in_metres, of_dataset, of_rendered
from i2uv_edge.hand.mano import VERTICES, Mano
from i2uv_edge.parity import HandRunner, StillHand
from i2uv_edge.requests import EvaluateRequest, EvaluateResult, Notify
from i2uv_edge.scores import judge
from i2uv_edge.spec import NetworkSpec, Role, seeing
from i2uv_edge.standpoints import as_taken, picture_size

__all__ = ["Model", "run"]

STILL = StillHand()


@dataclass(frozen=True)
class Model:
    """What is evaluated.

    Attributes
    ----------
    name : how the report calls it
    specs : its networks by role
    atlases : of their maps
    runners : the reference first
    margin : side of the crop over the hand's box, as it was trained
    """

    name: str
    specs: Mapping[Role, NetworkSpec]
    atlases: ModelAtlases
    runners: Sequence[HandRunner]
    margin: float


def run(model: Model, request: EvaluateRequest, shard: Shard, notify: Notify) -> EvaluateResult:
    """Measure this process's part of the data set, and what all processes found.

    Raises
    ------
    UsageError
        The data set and the model, or the options, do not go together.
    InputError
        A file of the data set is missing or damaged, or nothing can be compared.
    GateError
        Predictions are to be written, and one is no number.
    """
    if request.dataset == "rendered":
        subjects, total, surfaces = _rendered(model, request, shard)
    else:
        subjects, total, surfaces = _published(model, request, shard)
    part = shard.of(total)
    with contextlib.ExitStack() as stack:
        predictions = None
        if request.predictions is not None:
            names = [runner.name for runner in model.runners]
            made = Predictions(request.predictions, request.dataset, names, shard)
            predictions = stack.enter_context(made)
        counted = _counted(subjects, len(part), notify)
        keep = None if predictions is None else predictions.keep
        own = measure_accuracy(model.runners, counted, surfaces, still=STILL, keep=keep)
    # Every process has written its part of the predictions when it says what it has seen.
    tallies = Tallies.merge(gather(shard, own))
    if predictions is not None and shard.leads:
        predictions.finish()
    measured = tallies.measured()
    if tallies.annotated and all(row.metric == "flicker_mm" for row in measured.measurements):
        raise InputError(
            f"nothing of {model.name} can be compared with {request.dataset}",
            expected="vertices of the same mesh on both sides, or joints",
            remedy="name MANO_RIGHT.pkl: --mano for the data set, [meshes] mano for the model",
        )
    report = judge(model.name, measured, gates=())
    files = () if predictions is None else predictions.files
    return EvaluateResult(report, files, shard.leads)


def _rendered(
    model: Model, request: EvaluateRequest, shard: Shard
) -> tuple[Iterator[Subject], int, Surfaces]:
    unused = {"a path": request.path, "--mano": request.mano, "--predictions": request.predictions}
    for what, value in unused.items():
        if value is not None:
            raise UsageError(
                f"the rendered data set takes no {what.removeprefix('a ')}",
                remedy=f"leave {what} out, or name another --dataset",
            )
    if not model.atlases.built_in:
        raise UsageError(
            f"the maps of {model.name} are not of the built-in hand, which is the one rendered",
            expected="a data set of the same mesh",
            remedy="name one: --dataset freihand PATH, or --dataset ho3d PATH",
        )
    samples = bundled_samples(picture_size(model.specs))
    if "srnet" in model.specs:
        samples = map(model.atlases.with_coarse_map, samples)
    else:
        samples = as_taken(samples, model.specs, model.atlases)
    total = len(list_pictures(resources.calibration_data() / "evaluation")[0])
    return of_rendered(samples, shard.of(total)), total, Surfaces(model.atlases)


def _published(
    model: Model, request: EvaluateRequest, shard: Shard
) -> tuple[Iterator[Subject], int, Surfaces]:
    first = seeing(model.specs)
    if first is None:
        raise UsageError(
            f"{model.name} is an SRNet alone, which takes no pictures",
            remedy="evaluate it on --dataset rendered, or together with its AffineNet",
        )
    if not first.takes_pictures:
        raise UsageError(
            f"{model.name} takes keypoints, which the data set {request.dataset} gives to nobody",
            remedy="evaluate it on --dataset rendered",
        )
    if request.path is None:
        raise UsageError(
            f"where is the data set {request.dataset}?",
            expected="the folder that it was unpacked into",
            remedy=f"i2uv-edge evaluate {request.subject} PATH --dataset {request.dataset}",
        )
    dataset = _opened(request, request.path)
    if not dataset.annotated and request.predictions is None:
        raise UsageError(
            f"{request.path} has no ground truth for the split {request.split}",
            expected=f"{request.split}_xyz.json and {request.split}_verts.json beside its folders",
            remedy="get them from the data set's authors; or write --predictions for their server, "
            "or evaluate on --split training",
        )
    margin = model.margin if request.margin is None else request.margin
    size = picture_size(model.specs)
    part = shard.of(len(dataset))
    surfaces = Surfaces(
        model.atlases, request.dataset, VERTICES if dataset.topology == MANO else None
    )
    subjects = of_dataset(dataset, part, size, margin, first.convention)
    if first.readout is not None:
        subjects = map(in_metres, subjects)
    return subjects, len(dataset), surfaces


def _opened(request: EvaluateRequest, path: Path) -> FreiHand | Ho3d:
    if request.dataset == "freihand":
        if request.mano is not None:
            raise UsageError(
                "FreiHAND stores its vertices", remedy="leave --mano out, or name another --dataset"
            )
        return FreiHand(path, request.split)
    return Ho3d(path, request.split, None if request.mano is None else Mano.load(request.mano))


def _counted(subjects: Iterator[Subject], total: int, notify: Notify) -> Iterator[Subject]:
    for done, subject in enumerate(subjects):
        notify("evaluating", done, total)
        yield subject
    notify("evaluating", total, total)

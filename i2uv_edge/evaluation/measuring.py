"""Runners shown a data set, one sample after the other, and what they scored.

Nothing is kept of a sample but what goes into an `Accuracy`. A process may see any part of the
data set; `Tallies.merge` puts the parts together, exactly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.atlases import ModelAtlases
from i2uv_edge.evaluation.accuracy import Accuracy, Histogram, SampleScores, merged
from i2uv_edge.evaluation.refinement import bilinear_scores, gains, upsampled
from i2uv_edge.evaluation.subjects import Subject
from i2uv_edge.hand import metrics, official_metrics
from i2uv_edge.hand.mano import FINGERTIPS, with_fingertips
from i2uv_edge.hand.official_metrics import Hand
from i2uv_edge.parity import COARSE_STAGES, STAGE_OF_OUTPUT, HandRunner, StillHand, noisy_copies
from i2uv_edge.scores import BASELINE, Measured, Scale
from i2uv_edge.tally import Surface, score_truth

__all__ = ["Surfaces", "Tallies", "measure_accuracy"]

Array = NDArray[Any]
Float32 = NDArray[np.float32]

Keep = Callable[[str, Subject, Hand], None]
"""Told a runner's name, what it was shown and the hand that it answered with."""

_ORDER = (*COARSE_STAGES, "srnet", "chained")
_SCALE_BIN_MM = 0.1  # of the millimetres a map unit, for their median
_BATCH = 16  # noisy copies run at a time
# They are of all vertices of all samples, and come from a histogram.
_POOLED = ("vertex_p95_mm", "vertex_p99_mm", "vertex_max_mm")


class Surfaces:
    """The atlases of a model's maps, ready for measuring.

    Parameters
    ----------
    atlases
        The model's.
    dataset
        Whose fingertips count, if the model's vertices are MANO's.
    vertices
        How many vertices the data set's hands have; None if it tells none.
    """

    def __init__(
        self, atlases: ModelAtlases, dataset: str = "", vertices: int | None = None
    ) -> None:
        coarse, fine = atlases.coarse, atlases.fine
        self.corresponds = vertices is None or vertices == len(coarse.template)
        if self.corresponds and dataset in FINGERTIPS and len(coarse.joint_regressor):
            regressor = with_fingertips(coarse.joint_regressor, FINGERTIPS[dataset])
            coarse = dataclasses.replace(coarse, joint_regressor=regressor)
        self.coarse = Surface(coarse)
        self.fine = None if fine is None else Surface(fine)

    def of_map(self, stage: str) -> Surface:
        """That of the maps of a stage."""
        if stage in COARSE_STAGES:
            return self.coarse
        assert self.fine is not None, stage
        return self.fine

    def of_score(self, stage: str, subject: Subject) -> Surface:
        """That of the vertices that are scored: the coarse ones, where no more is known."""
        return self.of_map(stage) if subject.fine is not None else self.coarse


class Tallies:
    """What one process, or several together, have seen."""

    def __init__(self) -> None:
        self.samples = 0
        self.annotated = 0
        self.still = 0
        self.accuracies: dict[tuple[str, str], Accuracy] = {}
        self.flicker: dict[tuple[str, str], Accuracy] = {}
        self.scales = Histogram(_SCALE_BIN_MM)
        self.origins: set[str] = set()

    @staticmethod
    def merge(parts: Sequence[Tallies]) -> Tallies:
        """Put the parts of a data set together."""
        whole = Tallies()
        for part in parts:
            whole.samples += part.samples
            whole.annotated += part.annotated
            whole.still += part.still
            whole.scales.merge(part.scales)
            whole.origins |= part.origins
        whole.accuracies = merged(part.accuracies for part in parts)
        whole.flicker = merged(part.flicker for part in parts)
        return whole

    def measured(self) -> Measured:
        """Return all numbers, for `scores.judge`."""
        rows = []
        for (candidate, stage), accuracy in self.accuracies.items():
            own = accuracy.measurements(candidate, stage, self.annotated)
            rows += [*own, *gains(own)]
        for (candidate, stage), accuracy in self.flicker.items():
            rows += accuracy.measurements(candidate, stage, self.still)
        scale = None
        if self.samples:
            origin = self.origins.pop() if len(self.origins) == 1 else "mixed"
            found = self.scales
            scale = Scale(origin, found.quantile(0.5), found.least, found.greatest)
        return Measured(self.samples, tuple(rows), scale)


def measure_accuracy(
    runners: Sequence[HandRunner],
    subjects: Iterable[Subject],
    surfaces: Surfaces,
    *,
    still: StillHand | None = None,
    keep: Keep | None = None,
) -> Tallies:
    """Show every runner every subject.

    Parameters
    ----------
    runners
        The first one is the reference: what a map unit is long is judged by its answers.
    subjects
        Taken one by one.
    surfaces
        Of the model.
    still
        How to measure flicker, on the first few samples of the whole set; None leaves it out.
    keep
        Is told every answer of the last stage.
    """
    tallies = Tallies()
    for subject in subjects:
        # What is not finite becomes a NaN that fails; a warning would name neither sample nor side.
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            _measure_one(tallies, runners, subject, surfaces, still, keep)
    return tallies


def _measure_one(
    tallies: Tallies,
    runners: Sequence[HandRunner],
    subject: Subject,
    surfaces: Surfaces,
    still: StillHand | None,
    keep: Keep | None,
) -> None:
    answers = {r.name: {a.stage: a for a in _answers(r, subject, surfaces)} for r in runners}
    unit = _unit(next(iter(answers.values())), subject, surfaces)
    tallies.samples += 1
    tallies.scales.add(np.array([unit]))
    known = subject.unit_mm is not None or subject.bone_mm is not None
    tallies.origins.add("truth" if known else "template")
    tallies.annotated += subject.truth is not None
    baselines: dict[str, Mapping[str, float]] = {}
    for name, answer in answers.items():
        for stage, found in answer.items():
            surface = surfaces.of_score(stage, subject)
            chosen = found.vertices[: len(surface.atlas.template)]
            hand = subject.place(chosen, unit, surface.atlas.joint_regressor)
            if keep is not None and stage == list(answer)[-1]:
                keep(name, subject, hand)
            if subject.truth is None:
                continue
            scores = _score(surface, hand, subject, stage, surfaces.corresponds)
            if found.given is not None and subject.fine is not None and surfaces.corresponds:
                beside = _bilinear(surface, found.given, subject, unit)
                scores = dataclasses.replace(scores, means={**scores.means, **beside})
            accuracy = tallies.accuracies.setdefault((name, stage), Accuracy())
            accuracy.add(subject.index, subject.id, scores, baselines.get(stage))
            if name == BASELINE:
                baselines[stage] = scores.means
    if still is not None and subject.feed is None and subject.index < still.samples:
        tallies.still += 1
        _add_flicker(tallies, runners, subject, surfaces, still, unit)


@dataclasses.dataclass(frozen=True)
class _Answer:
    """(V, 3) map units at a stage, and the (M, M, 3) map that its SRNet was given."""

    stage: str
    vertices: Float32
    given: Float32 | None


def _answers(runner: HandRunner, subject: Subject, surfaces: Surfaces) -> Iterator[_Answer]:
    """One for each stage, the one that people see last."""
    outputs = runner(subject.taken[None], (subject.id,))
    maps = {stage: outputs[key] for key, stage in STAGE_OF_OUTPUT.items() if key in outputs}
    given = {"chained": outputs.get("affinenet")}
    if subject.affinenet_map is not None:
        true_map = subject.affinenet_map[None]
        refined = runner.refine(true_map)
        if refined is not None:
            maps["srnet"], given["srnet"] = refined, true_map
    for stage in sorted(maps, key=_ORDER.index):
        read = surfaces.of_map(stage).vertices(runner.name, stage, maps[stage])[0]
        coarse = given.get(stage)
        yield _Answer(stage, read, None if coarse is None else coarse[0])


def _unit(answer: Mapping[str, _Answer], subject: Subject, surfaces: Surfaces) -> float:
    for stage, found in answer.items():
        atlas = surfaces.of_map(stage).atlas
        regressor = atlas.joint_regressor
        joints = regressor @ found.vertices if len(regressor) else None
        return subject.unit(found.vertices, joints, atlas.template)
    return float("nan")


def _bilinear(surface: Surface, given: Float32, subject: Subject, unit: float) -> dict[str, float]:
    """What the SRNet's input scores where it is only upsampled."""
    assert subject.fine is not None
    atlas = surface.atlas
    read = atlas.read_vertices(upsampled(given, len(surface.mask)))
    hand = subject.place(read, unit, atlas.joint_regressor)
    assert hand.vertices is not None
    return bilinear_scores(hand.vertices, subject.fine, atlas.faces)


def _score(
    surface: Surface, hand: Hand, subject: Subject, stage: str, corresponds: bool
) -> SampleScores:
    assert subject.truth is not None
    assert hand.vertices is not None
    target = subject.truth.vertices
    if stage not in COARSE_STAGES and subject.fine is not None:
        target = subject.fine
    means: dict[str, float] = {}
    distances, pair = None, None
    if target is not None and corresponds:
        values = score_truth(surface, hand.vertices, target, subject.truth.joints)
        means |= {name: value for name, value in values.scores.items() if name not in _POOLED}
        distances, pair = values.distances, (hand.vertices, target)
    elif hand.joints is not None and subject.truth.joints is not None:
        means["pa_mpjpe_mm"] = float(metrics.pa_mpjpe(hand.joints, subject.truth.joints))
    official = official_metrics.score(hand, Hand(target, subject.truth.joints))
    curves = {}
    for name, errors in official.distances.items():
        means[f"official_{name}_mm"] = float(errors.mean())
        curves[f"official_{name}_auc"] = errors
    means |= {f"official_{name}": value for name, value in official.f_scores.items()}
    return SampleScores(means, distances, curves, pair)


def _add_flicker(
    tallies: Tallies,
    runners: Sequence[HandRunner],
    subject: Subject,
    surfaces: Surfaces,
    still: StillHand,
    unit: float,
) -> None:
    copies = noisy_copies(subject.picture, still, subject.index + 1)
    baselines: dict[str, Mapping[str, float]] = {}
    for runner in runners:
        parts: dict[str, list[Float32]] = {}
        for start in range(0, len(copies), _BATCH):
            outputs = runner(copies[start : start + _BATCH])
            for key, stage in STAGE_OF_OUTPUT.items():
                if key in outputs:
                    read = surfaces.of_map(stage).vertices(runner.name, stage, outputs[key])
                    parts.setdefault(stage, []).append(read)
        for stage, read_parts in parts.items():
            found = np.concatenate(read_parts).astype(np.float64) * unit
            means = {"flicker_mm": float(metrics.flicker_mm(found))}
            accuracy = tallies.flicker.setdefault((runner.name, stage), Accuracy())
            scores = SampleScores(means)
            accuracy.add(subject.index, subject.id, scores, baselines.get(stage))
            if runner.name == BASELINE:
                baselines[stage] = means

"""Running hands side by side and measuring, in millimetres, how far apart they are.

Samples are taken one by one and their maps are dropped at once: what is kept of a sample is one
distance a vertex. Nothing is aligned before float and quantized are compared, and one map unit is
as many millimetres on both sides. What a number must be to pass is not decided here, see
`i2uv_edge.scores`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.hand import metrics
from i2uv_edge.scores import BASELINE, Measured, Measurement, Scale
from i2uv_edge.tally import (
    PARITY_METRICS,
    TRUTH_METRICS,
    Answer,
    Surface,
    SurfaceAtlas,
    Tally,
    Values,
    score_parity,
    score_truth,
)

__all__ = [
    "COARSE_STAGES",
    "STAGE_OF_OUTPUT",
    "Atlases",
    "Compared",
    "HandRunner",
    "Sample",
    "StillHand",
    "Truth",
    "Witness",
    "default_pairs",
    "measure",
    "noisy_copies",
]

Array = NDArray[Any]
Float32 = NDArray[np.float32]
Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]

T = TypeVar("T")
Key = TypeVar("Key")
Found = TypeVar("Found")

_TRUTH = "truth"
STAGE_OF_OUTPUT = {"affinenet": "affinenet", "srnet": "chained", "hand": "hand"}
"""At which stage a runner's outputs are measured."""
COARSE_STAGES = ("affinenet", "hand")
"""Those whose vertices are the coarse ones."""
_BATCH = 16  # noisy copies run at a time


class HandRunner(Protocol):
    """What can be compared: a `Chain`, or a `DumpRunner`, which is not live: it cannot be fed."""

    @property
    def name(self) -> str:
        """How the report calls it."""

    @property
    def live(self) -> bool:
        """Whether it answers for any picture and any map."""

    def __call__(self, pictures: Array, ids: Sequence[str] = ()) -> dict[str, Float32]:
        """(N, S, S, 3) pictures -> "affinenet" and, with an SRNet, "srnet" maps in map units."""

    def refine(self, maps: Float32) -> Float32 | None:
        """Coarse maps -> SRNet's maps, None without an SRNet."""


@dataclass(frozen=True)
class Truth:
    """Ground truth of a sample, in map units, and how many millimetres one of them is.

    `coarse` is (Vc, 3), `fine` (Vf, 3) with the coarse vertices first, `joints` (21, 3). Without
    `fine` the fine stages are held against the coarse vertices; without `joints` they are taken
    from the vertices.
    """

    coarse: Array
    scale_mm: float
    fine: Array | None = None
    joints: Array | None = None


@dataclass(frozen=True)
class Sample:
    """A picture to compare runners on.

    `picture` is (S, S, 3) float32 RGB, 0..1. `affinenet_map` (M, M, 3), map units, is what an SRNet
    alone is fed with; models with an AffineNet do without. `feed` (H, W, C) is what a network takes
    that looks at no picture.
    """

    id: str
    picture: Float32
    truth: Truth | None = None
    affinenet_map: Float32 | None = None
    feed: Float32 | None = None

    @property
    def taken(self) -> Float32:
        """What a model's first network is fed with."""
        return self.picture if self.feed is None else self.feed


@dataclass(frozen=True)
class Atlases:
    """The atlas of AffineNet's maps and, with an SRNet, that of the fine ones."""

    coarse: SurfaceAtlas
    fine: SurfaceAtlas | None = None


@dataclass(frozen=True)
class StillHand:
    """How flicker is measured: on noisy copies of the first few pictures.

    `sigma` is the standard deviation of the noise (pictures are 0..1); the copies are rounded to
    8 bits, as a camera's are.
    """

    samples: int = 2
    copies: int = 64
    sigma: float = 2 / 255
    seed: int = 0


_STILL = StillHand()


@dataclass(frozen=True)
class Compared:
    """What was compared of one sample at one stage.

    `theirs` is the reference's answer and `ours` the candidate's; `distances` are those of their
    vertices, (V,) mm, and `scale_mm` is how many of them a map unit has.
    """

    sample: Sample
    reference: str
    candidate: str
    stage: str
    theirs: Answer
    ours: Answer
    distances: Float32
    scale_mm: float


class Witness(Protocol):
    """Looks on while `measure` compares, since the maps are gone afterwards."""

    def see(self, compared: Compared, /) -> None:
        """Take from a comparison what is to be kept of it."""


def default_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pair float with everything else, then fake-quant with what was converted from it."""
    pairs = [(BASELINE, name) for name in names if name != BASELINE]
    if "fake-quant" in names:
        pairs += [("fake-quant", n) for n in names if n not in (BASELINE, "fake-quant")]
    return pairs if BASELINE in names else [pair for pair in pairs if pair[0] != BASELINE]


def measure(
    runners: Sequence[HandRunner],
    samples: Iterable[Sample],
    atlases: Atlases,
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    stand_ins: Mapping[tuple[str, str], HandRunner] | None = None,
    still: StillHand | None = _STILL,
    most_stills: int | None = None,
    witness: Witness | None = None,
    each: Each = map,
) -> Measured:
    """Run every runner on every sample and measure the pairs, and each runner against the truth.

    Parameters
    ----------
    runners
        Their names must differ; relative gates start from the one named "float".
    samples
        Taken one by one.
    pairs
        Names of (reference, candidate); `default_pairs` without. Empty to measure against the truth
        alone.
    stand_ins
        For a pair, what runs in its reference's place and is reported under the reference's name:
        the same network in the arithmetic of the candidate, where formats round differently.
    still
        How to measure flicker, None to leave it out.
    most_stills
        Pictures to measure it on at most, for runners that take long.
    witness
        Is shown every comparison as it is made.
    each
        Applies a function to all items, as `map` does: that of a pool of threads runs several
        runners side by side, no runner twice at a time. The numbers do not depend on it.

    Returns
    -------
    Measured
        An output that one side lacks, and a comparison of no samples, are measurements too: NaN.

    Raises
    ------
    InputError
        Two samples have one id, or a map is not of the size of its atlas.
    UsageError
        Two runners have one name, or a pair names none of them.
    """
    by_name = {runner.name: runner for runner in runners}
    if len(by_name) != len(runners):
        raise UsageError(f"two runners have one name: {[runner.name for runner in runners]}")
    chosen = default_pairs(list(by_name)) if pairs is None else list(pairs)
    unknown = sorted({name for pair in chosen for name in pair} - set(by_name))
    if unknown:
        raise UsageError(
            f"nothing is named {', '.join(unknown)}", expected=f"one of {', '.join(by_name)}"
        )
    references = {pair: (stand_ins or {}).get(pair, by_name[pair[0]]) for pair in chosen}
    if still is not None and most_stills is not None:
        still = replace(still, samples=min(still.samples, most_stills))
    session = _Session(by_name, references, _Surfaces(atlases), still, witness, each)
    for sample in samples:
        # What is not finite becomes a NaN that fails; a warning would name neither sample nor side.
        with np.errstate(invalid="ignore", over="ignore"):
            session.add(sample)
    return session.result()


# --- one run over the samples ---------------------------------------------------------------------


class _Surfaces:
    """The atlas of each stage, with what is derived from it once."""

    def __init__(self, atlases: Atlases) -> None:
        self.coarse = Surface(atlases.coarse)
        self.fine = None if atlases.fine is None else Surface(atlases.fine)

    def of(self, stage: str) -> Surface:
        if stage in COARSE_STAGES:
            return self.coarse
        if self.fine is None:
            raise InputError(
                f"there are maps of stage {stage} and no atlas for them",
                expected="the fine atlas, for a model with an SRNet",
            )
        return self.fine


class _Session:
    """Everything seen so far; `add` takes a sample in, `result` sums up."""

    def __init__(
        self,
        runners: Mapping[str, HandRunner],
        references: Mapping[tuple[str, str], HandRunner],
        surfaces: _Surfaces,
        still: StillHand | None,
        witness: Witness | None,
        each: Each,
    ) -> None:
        self._runners = runners
        self._references = references  # what each pair starts from
        self._surfaces = surfaces
        self._still = still
        self._witness = witness
        self._each = each
        self._ids: dict[str, bool] = {}  # id -> whether there is a truth
        self._tallies: dict[tuple[str, str, str], Tally] = {}
        self._spreads: dict[tuple[str, str], metrics.Spread] = {}
        self._flicker: dict[tuple[str, str], Tally] = {}
        self._still_ids: list[str] = []
        self._scales: list[float] = []

    def add(self, sample: Sample) -> None:
        if sample.id in self._ids:
            raise InputError(f"two samples have the id {sample.id!r}", expected="ids that differ")
        self._ids[sample.id] = sample.truth is not None
        stand_ins = {
            pair: runner
            for pair, runner in self._references.items()
            if runner is not self._runners[pair[0]]
        }
        every: dict[Any, HandRunner] = {**self._runners, **stand_ins}
        found = self._side_by_side(lambda runner: self._answers(runner, sample), every)
        answers = {name: found[name] for name in self._runners}
        theirs = {pair: found[pair if pair in stand_ins else pair[0]] for pair in self._references}
        refined = self._refined(theirs)
        for pair, reference in theirs.items():
            scale = self._scale(sample, reference)
            self._add_pair(sample, pair, reference, answers[pair[1]], refined.get(pair), scale)
        first_scale = self._scale(sample, next(iter(answers.values()), {}))
        self._scales.append(first_scale)
        if sample.truth is not None:
            self._add_truth(sample.id, sample.truth, answers)
        if self._still is not None and self._sees_noise(sample):
            self._add_flicker(sample, self._still, first_scale)

    def result(self) -> Measured:
        for reference, candidate in self._references:
            # Neither gave anything, so no stage is known: the rows of the first one stand for all.
            if not any(key[:2] == (reference, candidate) for key in self._tallies):
                self._tally(reference, candidate, "affinenet")
        found: list[Measurement] = []
        for (reference, candidate, stage), tally in self._tallies.items():
            against_truth = reference == _TRUTH
            names = TRUTH_METRICS if against_truth else PARITY_METRICS
            ids = [i for i, has_truth in self._ids.items() if has_truth or not against_truth]
            base = self._tallies.get((_TRUTH, BASELINE, stage)) if against_truth else None
            rows = tally.finish(names, ids, base if candidate != BASELINE else None)
            found += [Measurement(reference, candidate, stage, *row) for row in rows]
            if against_truth:
                spread = self._spreads[candidate, stage].ratio()
                found.append(Measurement(_TRUTH, candidate, stage, "spread_ratio", spread))
        for (candidate, stage), tally in self._flicker.items():
            base = self._flicker.get((BASELINE, stage)) if candidate != BASELINE else None
            rows = tally.finish(("flicker_mm",), self._still_ids, base)
            found += [Measurement(_TRUTH, candidate, stage, *row) for row in rows]
        return Measured(len(self._ids), tuple(found), self._scale_of_all())

    def _sees_noise(self, sample: Sample) -> bool:
        """Whether a sample is among those that flicker is measured on: a sensor's, of pictures."""
        assert self._still is not None
        return sample.feed is None and len(self._still_ids) < self._still.samples

    # Running.

    def _answers(self, runner: HandRunner, sample: Sample) -> dict[str, Answer]:
        outputs = runner(sample.taken[None], (sample.id,))
        maps = {stage: outputs[k] for k, stage in STAGE_OF_OUTPUT.items() if k in outputs}
        if sample.affinenet_map is not None and runner.live:
            refined = runner.refine(sample.affinenet_map[None])
            maps |= {} if refined is None else {"srnet": refined}
        return {stage: self._answer(runner.name, stage, found) for stage, found in maps.items()}

    def _refined(
        self, theirs: Mapping[tuple[str, str], Mapping[str, Answer]]
    ) -> dict[tuple[str, str], Answer]:
        """SRNet alone, by pair: the candidate's, fed with what the reference's AffineNet saw."""
        fed: dict[str, list[tuple[str, str]]] = {}
        for pair, answers in theirs.items():
            if _has_both(answers) and self._runners[pair[1]].live:
                fed.setdefault(pair[1], []).append(pair)

        def refine(pairs: list[tuple[str, str]]) -> dict[tuple[str, str], Answer]:
            found = {}
            for pair in pairs:
                maps = self._runners[pair[1]].refine(theirs[pair]["affinenet"].uv_map[None])
                if maps is not None:
                    found[pair] = self._answer(pair[1], "srnet", maps)
            return found

        made = self._side_by_side(refine, fed)
        return {pair: answer for found in made.values() for pair, answer in found.items()}

    def _side_by_side(
        self, function: Callable[[T], Found], items: Mapping[Key, T]
    ) -> dict[Key, Found]:
        def quiet(item: T) -> Found:
            # What holds around the call does not hold in another thread.
            with np.errstate(invalid="ignore", over="ignore"):
                return function(item)

        return dict(zip(items, self._each(quiet, items.values()), strict=True))

    def _answer(self, runner: str, stage: str, maps: Float32) -> Answer:
        return Answer(maps[0], self._surfaces.of(stage).vertices(runner, stage, maps)[0])

    def _scale(self, sample: Sample, reference: Mapping[str, Answer]) -> float:
        """Millimetres a map unit, from the truth or from the reference, never the candidate."""
        if sample.truth is not None:
            return sample.truth.scale_mm
        for stage, answer in reference.items():
            template = self._surfaces.of(stage).atlas.template
            return float(metrics.similarity_scale(template, answer.vertices))
        return float("nan")

    def _scale_of_all(self) -> Scale | None:
        if not self._scales:
            return None
        origins = set(self._ids.values())
        origin = "mixed" if len(origins) > 1 else "truth" if origins == {True} else "template"
        scales = np.array(self._scales)
        return Scale(origin, float(np.median(scales)), float(scales.min()), float(scales.max()))

    # Measuring.

    def _tally(self, reference: str, candidate: str, stage: str) -> Tally:
        return self._tallies.setdefault((reference, candidate, stage), Tally())

    def _add_pair(
        self,
        sample: Sample,
        pair: tuple[str, str],
        references: Mapping[str, Answer],
        candidates: Mapping[str, Answer],
        refined: Answer | None,
        scale: float,
    ) -> None:
        theirs, ours = dict(references), dict(candidates)
        live = self._runners[pair[1]].live
        if live and _has_both(theirs):
            theirs["srnet"] = theirs["chained"]
            ours.pop("srnet", None)
            if refined is not None:
                ours["srnet"] = refined
        elif not live:
            theirs.pop("srnet", None)
        for stage in dict.fromkeys([*theirs, *ours]):
            tally = self._tally(*pair, stage)
            if stage in theirs and stage in ours:
                surface, first, second = self._surfaces.of(stage), theirs[stage], ours[stage]
                values = score_parity(surface, first, second, scale)
                tally.add(sample.id, values)
                if self._witness is not None:
                    found = (*pair, stage, first, second, values.distances, scale)
                    self._witness.see(Compared(sample, *found))

    def _add_truth(
        self, sample_id: str, truth: Truth, answers: Mapping[str, Mapping[str, Answer]]
    ) -> None:
        stages = dict.fromkeys(stage for found in answers.values() for stage in found)
        for name, found in answers.items():
            for stage in stages:
                if stage == "srnet" and not self._runners[name].live:
                    continue
                tally = self._tally(_TRUTH, name, stage)
                spread = self._spreads.setdefault((name, stage), metrics.Spread())
                if stage not in found:
                    continue
                surface, target = self._surfaces.of(stage), truth.coarse
                if stage not in COARSE_STAGES and truth.fine is not None:
                    target = truth.fine
                elif stage not in COARSE_STAGES:
                    surface = self._surfaces.coarse  # whose vertices are the first of the fine ones
                predicted = found[stage].vertices[: len(target)] * np.float64(truth.scale_mm)
                true = np.asarray(target, np.float64) * truth.scale_mm
                joints = None if truth.joints is None else truth.joints * truth.scale_mm
                tally.add(sample_id, score_truth(surface, predicted, true, joints))
                spread.add(predicted, true)

    def _add_flicker(self, sample: Sample, still: StillHand, scale: float) -> None:
        self._still_ids.append(sample.id)
        copies = noisy_copies(sample.picture, still, len(self._still_ids))
        live = {name: runner for name, runner in self._runners.items() if runner.live}
        found = self._side_by_side(lambda runner: self._read_copies(runner, copies), live)
        for stage in dict.fromkeys(stage for read in found.values() for stage in read):
            for name, read in found.items():
                tally = self._flicker.setdefault((name, stage), Tally())
                if stage in read:
                    value = float(metrics.flicker_mm(read[stage] * np.float64(scale)))
                    tally.add(sample.id, Values({"flicker_mm": value}))

    def _read_copies(self, runner: HandRunner, copies: Float32) -> dict[str, Float32]:
        parts: dict[str, list[Float32]] = {}
        for start in range(0, len(copies), _BATCH):
            outputs = runner(copies[start : start + _BATCH])
            for key, stage in STAGE_OF_OUTPUT.items():
                if key in outputs:
                    read = self._surfaces.of(stage).vertices(runner.name, stage, outputs[key])
                    parts.setdefault(stage, []).append(read)
        return {stage: np.concatenate(read) for stage, read in parts.items()}


def noisy_copies(picture: Float32, still: StillHand, number: int) -> Float32:
    """(copies, S, S, 3) of a picture under sensor noise that depends on its number alone."""
    rng = np.random.default_rng((still.seed, number))
    noise = rng.standard_normal((still.copies, *picture.shape), np.float32)
    levels = np.rint((picture + noise * np.float32(still.sigma)) * 255)
    return np.asarray(np.clip(levels, 0, 255) / np.float32(255), np.float32)


def _has_both(answers: Mapping[str, Answer]) -> bool:
    return "chained" in answers and "affinenet" in answers

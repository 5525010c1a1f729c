"""Against `parity.measure`, which keeps every distance."""

from __future__ import annotations

import functools
import math
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from network_toys import AFFINENET, SRNET
from numpy.typing import NDArray

from i2uv_edge import parity
from i2uv_edge.atlases import ModelAtlases
from i2uv_edge.evaluation.accuracy import BIN_MM
from i2uv_edge.evaluation.measuring import Surfaces, Tallies, measure_accuracy
from i2uv_edge.evaluation.refinement import upsampled
from i2uv_edge.evaluation.sharing import Shard
from i2uv_edge.evaluation.subjects import Subject, of_rendered
from i2uv_edge.hand.official_metrics import Hand
from i2uv_edge.parity import Sample, StillHand, Truth

Float32 = NDArray[np.float32]
COUNT = 7
STILL = StillHand(samples=2, copies=4)


@functools.cache
def atlases() -> ModelAtlases:
    return ModelAtlases.of_networks({"affinenet": AFFINENET, "srnet": SRNET})


@functools.cache
def samples() -> tuple[Sample, ...]:
    """Hands that are the template, bent a little and in the middle of the crop."""
    fine = atlases().fine
    assert fine is not None
    coarse_count = len(atlases().coarse.template)
    made = []
    for index in range(COUNT):
        rng = np.random.default_rng(index)
        bent = fine.template @ (np.eye(3) + rng.normal(0, 0.1, (3, 3)))
        points = ((bent - bent.mean(0)) / 0.25 + 0.5).astype(np.float32)
        picture = rng.random((8, 8, 3)).astype(np.float32)
        truth = Truth(points[:coarse_count], 250.0, points, fine.joint_regressor @ points)
        made.append(Sample(f"s{index}", picture, truth))
    return tuple(made)


class Painter:
    """Answers with the truth of the sample and an error of its own."""

    live = True

    def __init__(self, name: str, error: float) -> None:
        self.name = name
        self._error = error

    def __call__(self, pictures: Any, ids: Sequence[str] = ()) -> dict[str, Float32]:
        fine = atlases().fine
        assert fine is not None
        truths = {sample.id: sample.truth for sample in samples()}
        known = [truths[name] for name in ids] or [truths["s0"]] * len(pictures)
        maps: dict[str, list[Float32]] = {"affinenet": [], "srnet": []}
        for picture, truth in zip(pictures, known, strict=True):
            assert truth is not None
            assert truth.fine is not None
            for key, atlas, points in (
                ("affinenet", atlases().coarse, truth.coarse),
                ("srnet", fine, truth.fine),
            ):
                clean = atlas.rasterise(points, fill=True)
                seed = int(picture.sum() * 1e4)
                noise = np.random.default_rng(seed).normal(0, self._error, clean.shape)
                maps[key].append((clean + noise).astype(np.float32))
        return {key: np.stack(found) for key, found in maps.items()}

    def refine(self, maps: Float32) -> Float32 | None:
        return None


RUNNERS = (Painter("float", 0.01), Painter("tflite", 0.03))


def subjects(shard: Shard | None = None) -> Iterator[Subject]:
    return of_rendered(samples(), (shard or Shard()).of(COUNT))


def rows(tallies: Tallies) -> dict[tuple[str, str, str], Any]:
    found = tallies.measured().measurements
    assert {row.reference for row in found} == {"truth"}
    return {(row.candidate, row.stage, row.metric): row for row in found}


@functools.cache
def evaluated() -> dict[tuple[str, str, str], Any]:
    return rows(measure_accuracy(RUNNERS, subjects(), Surfaces(atlases()), still=STILL))


def test_every_number_of_the_comparison_is_there_and_equal() -> None:
    found = evaluated()
    expected = parity.measure(RUNNERS, samples(), atlases(), pairs=[], still=STILL)
    assert expected.measurements
    for row in expected.measurements:
        ours = found[row.candidate, row.stage, row.metric]
        assert ours.worst_sample == row.worst_sample or row.metric.startswith("vertex_"), row
        pooled = row.metric in ("vertex_p95_mm", "vertex_p99_mm")
        tolerance: Any = {"abs": 2 * BIN_MM} if pooled else {"rel": 1e-6}
        assert ours.value == pytest.approx(row.value, **tolerance), row


def test_the_official_numbers_are_there_besides() -> None:
    found = evaluated()
    for stage in ("affinenet", "chained"):
        for metric in ("mpjpe_mm", "pa_mpjpe_mm", "st_mpjpe_mm", "mpjpe_auc", "f5", "pa_f15"):
            assert math.isfinite(found["tflite", stage, f"official_{metric}"].value)
        # No hand is a mirrored one here, so the two alignments are the same.
        ours, theirs = (
            found["float", stage, n].value for n in ("pa_mpvpe_mm", "official_pa_mpvpe_mm")
        )
        assert ours == pytest.approx(theirs)
        raw = found["float", stage, "official_mpvpe_mm"].value
        assert raw == pytest.approx(found["float", stage, "vertex_mean_mm"].value)


@pytest.mark.parametrize("count", [2, 3, 9])
def test_processes_together_find_the_same_bits_as_one(count: int) -> None:
    parts = []
    for rank in range(count):
        seen = subjects(Shard(rank, count))
        own = measure_accuracy(RUNNERS, seen, Surfaces(atlases()), still=STILL)
        parts.append(pickle.loads(pickle.dumps(own)))
    together = Tallies.merge(parts)
    assert rows(together) == evaluated()
    assert together.samples == COUNT


class Refines(Painter):
    """Its SRNet knows a part of what the true fine map has over the upsampled coarse one."""

    def __init__(self, name: str, known: float) -> None:
        super().__init__(name, 0.01)
        self.known = known

    def __call__(self, pictures: Any, ids: Sequence[str] = ()) -> dict[str, Float32]:
        made = super().__call__(pictures, ids)
        plain = upsampled(made["affinenet"], made["srnet"].shape[1])
        return {**made, "srnet": plain + self.known * (made["srnet"] - plain)}

    def refine(self, maps: Float32) -> Float32 | None:
        fine, whole = atlases().fine, [s.truth for s in samples() if s.truth is not None]
        assert fine is not None
        coarse = atlases().coarse.read_vertices(maps[0])
        truth = min(whole, key=lambda truth: float(np.abs(truth.coarse - coarse).mean()))
        assert truth.fine is not None
        plain = upsampled(maps, fine.size)
        return plain + np.float32(self.known) * (fine.rasterise(truth.fine, fill=True) - plain)


def test_an_srnet_is_held_against_bilinear_upsampling_of_true_and_of_predicted_maps() -> None:
    fed = [atlases().with_coarse_map(sample) for sample in samples()]
    runners = (Refines("float", 1.0), Refines("tflite", 0.0))
    found = rows(measure_accuracy(runners, of_rendered(fed, range(COUNT)), Surfaces(atlases())))
    assert found["float", "srnet", "vertex_gain_percent"].value > 60
    assert found["float", "chained", "vertex_gain_percent"].value != pytest.approx(0, abs=1)
    for stage in ("srnet", "chained"):
        for metric in ("vertex_gain_percent", "normal_gain_percent"):
            assert found["tflite", stage, metric].value == pytest.approx(0, abs=1e-3)
        ours, plain = (
            found["tflite", stage, name].value
            for name in ("vertex_mean_mm", "bilinear_vertex_mean_mm")
        )
        assert ours == pytest.approx(plain, rel=1e-4)
    assert not any(stage == "affinenet" and "bilinear" in m for _, stage, m in found)


def test_where_no_fine_hand_is_known_nothing_is_held_against_upsampling() -> None:
    bare = [replace(subject, fine=None) for subject in subjects()]
    found = rows(measure_accuracy(RUNNERS, bare, Surfaces(atlases())))
    assert not any("bilinear" in metric or "gain" in metric for _, _, metric in found)


def test_the_scale_is_that_of_the_samples() -> None:
    scale = measure_accuracy(RUNNERS, subjects(), Surfaces(atlases())).measured().scale
    assert scale is not None
    assert (scale.origin, scale.least_mm, scale.greatest_mm) == ("truth", 250.0, 250.0)
    assert scale.median_mm == pytest.approx(250.0, abs=0.1)


def test_a_sample_without_truth_is_counted_and_not_scored() -> None:
    bare = [replace(subject, truth=None, unit_mm=None) for subject in subjects()]
    tallies = measure_accuracy(RUNNERS, bare, Surfaces(atlases()))
    measured = tallies.measured()
    assert (measured.samples, tallies.annotated, measured.measurements) == (COUNT, 0, ())
    assert measured.scale is not None
    assert measured.scale.origin == "template"


def test_an_answer_that_is_no_number_fails_and_names_its_sample() -> None:
    class Broken(Painter):
        def __call__(self, pictures: Any, ids: Sequence[str] = ()) -> dict[str, Float32]:
            made = super().__call__(pictures, ids)
            if "s3" in ids:
                made["affinenet"][:] = np.nan
            return made

    found = rows(measure_accuracy([Broken("float", 0.01)], subjects(), Surfaces(atlases())))
    broken = found["float", "affinenet", "pa_mpvpe_mm"]
    assert math.isnan(broken.value)
    assert broken.worst_sample == "s3"
    assert math.isfinite(found["float", "chained", "pa_mpvpe_mm"].value)


def test_every_answer_of_the_last_stage_is_told() -> None:
    told: list[tuple[str, str, int]] = []

    def keep(name: str, subject: Subject, hand: Hand) -> None:
        assert hand.vertices is not None
        told.append((name, subject.id, len(hand.vertices)))

    measure_accuracy(RUNNERS, subjects(Shard(0, 7)), Surfaces(atlases()), keep=keep)
    fine = atlases().fine
    assert fine is not None
    assert told == [(name, "s0", len(fine.template)) for name in ("float", "tflite")]


def test_of_another_topology_only_joints_and_f_scores_are_compared() -> None:
    surfaces = Surfaces(atlases(), "freihand", 778)
    assert not surfaces.corresponds
    others = [
        replace(s, truth=Hand(np.asarray(s.truth.vertices)[:778], s.truth.joints), fine=None)
        for s in subjects()
        if s.truth is not None
    ]
    found = rows(measure_accuracy(RUNNERS, others, surfaces))
    metrics = {metric for _, _, metric in found}
    assert {"pa_mpjpe_mm", "official_mpjpe_auc", "official_pa_f5"} <= metrics
    assert not any("mpvpe" in metric or "vertex" in metric for metric in metrics)
    assert all(math.isfinite(row.value) for row in found.values())

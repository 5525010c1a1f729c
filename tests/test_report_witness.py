from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from report_toys import SCALE_MM, atlas, compared, evidence, finger_labels, hand, witness

from i2uv_edge.hand import metrics
from i2uv_edge.hand.metrics import FINGERS
from i2uv_edge.parity import Atlases, Compared
from i2uv_edge.report.witness import RANKS, ReportWitness
from i2uv_edge.tally import Answer


def noisy(number: int, sigma_mm: float = 1.0) -> Compared:
    rng = np.random.default_rng(number)
    moved = hand() + rng.normal(0, sigma_mm / SCALE_MM, hand().shape).astype(np.float32)
    made = compared(f"s{number}", 0.0)
    distances = (metrics.distances(moved, hand()) * SCALE_MM).astype(np.float32)
    return replace(made, ours=Answer(atlas().rasterise(moved), moved), distances=distances)


def texel_distances(sample: Compared) -> np.ndarray:
    apart = metrics.distances(sample.ours.uv_map, sample.theirs.uv_map) * SCALE_MM
    return np.where(atlas().mask, apart, np.nan)


def broken(sample_id: str) -> Compared:
    made = compared(sample_id, 1.0)
    vertices, uv_map = made.ours.vertices.copy(), made.ours.uv_map.copy()
    vertices[0], uv_map[atlas().mask] = np.nan, np.nan
    distances = made.distances.copy()
    distances[0] = np.nan
    return replace(made, ours=Answer(uv_map, vertices), distances=distances)


def test_a_map_holds_the_mean_of_each_texel_and_nothing_outside_the_hand() -> None:
    samples = [noisy(number) for number in range(20)]
    (found,) = evidence(*samples).maps
    wanted = np.mean([texel_distances(sample) for sample in samples], axis=0)
    np.testing.assert_allclose(found.mean, wanted, rtol=1e-6)
    assert (np.isnan(found.mean) == ~atlas().mask).all()
    assert (found.stage, found.samples, found.left_out) == ("affinenet", 20, 0)


def test_a_map_holds_the_95th_percentile_to_the_width_of_a_bin() -> None:
    samples = [noisy(number) for number in range(200)]
    (found,) = evidence(*samples).maps
    wanted = np.quantile([texel_distances(sample) for sample in samples], 0.95, axis=0)
    off = np.abs(found.p95 / wanted - 1)[atlas().mask]
    assert off.max() < 0.2
    assert off.mean() < 0.07


def test_distances_of_all_vertices_are_counted() -> None:
    samples = [noisy(number) for number in range(10)]
    found = evidence(*samples).distances
    every = np.concatenate([sample.distances for sample in samples])
    assert found.counts.sum() == every.size
    assert found.counts @ found.bounds[1:] / every.size == pytest.approx(every.mean(), rel=0.02)
    np.testing.assert_allclose(
        evidence(*samples).vertex_mean, np.mean([s.distances for s in samples], axis=0), rtol=1e-5
    )


def test_only_its_own_pair_is_looked_at() -> None:
    looks_on = witness()
    looks_on.see(compared("a", 1.0, candidate="fake-quant"))
    looks_on.see(compared("a", 1.0, reference="fake-quant"))
    assert looks_on.evidence() is None
    looks_on.see(compared("a", 1.0))
    assert looks_on.evidence() is not None


def test_maps_of_every_stage_are_kept_and_vertices_of_one() -> None:
    looks_on = witness("chained")
    for stage, off in (("affinenet", 3.0), ("chained", 1.0), ("srnet", 2.0)):
        looks_on.see(compared("a", off, stage=stage))
    found = looks_on.evidence()
    assert found is not None
    means = {m.stage: float(np.nanmean(m.mean)) for m in found.maps}
    wanted = {"affinenet": 3.0, "chained": 1.0, "srnet": 2.0}
    assert means == pytest.approx(wanted, rel=1e-4)
    assert found.vertex_mean == pytest.approx(1.0)
    assert [sample.mean_mm for sample in found.samples] == pytest.approx([1.0])


# --- the samples that are shown -------------------------------------------------------------------


def test_shown_are_the_worst_the_best_and_those_between_in_this_order() -> None:
    offs = np.random.default_rng(1).permutation(101) + 1.0
    found = evidence(*(compared(f"{off:g}", off) for off in offs)).samples
    assert [sample.rank for sample in found] == ["worst", *RANKS, "best"]
    assert (found[0].id, found[-1].id) == ("101", "1")
    middle = [float(sample.id) for sample in found[1:-1]]
    assert middle == pytest.approx([96, 76, 51, 26], abs=1)


def test_of_many_samples_few_are_held_and_quantiles_are_nearly_met() -> None:
    looks_on = witness(kept=16)
    offs = np.random.default_rng(2).permutation(1000) + 1.0
    for off in offs:
        looks_on.see(compared(f"{off:g}", off))
    found = looks_on.evidence()
    assert found is not None
    assert (found.samples[0].id, found.samples[-1].id) == ("1000", "1")
    middle = [float(sample.id) for sample in found.samples[1:-1]]
    assert middle == pytest.approx([950, 750, 500, 250], abs=80)


def test_of_two_samples_both_are_shown_once() -> None:
    found = evidence(compared("near", 1.0), compared("far", 2.0)).samples
    assert [(sample.id, sample.rank) for sample in found] == [("far", "worst"), ("near", "best")]


def test_a_sample_keeps_what_is_drawn_of_it() -> None:
    (found,) = evidence(compared("a", 2.0)).samples
    assert (found.picture.dtype, found.picture.shape) == (np.uint8, (32, 32, 3))
    assert (found.picture == 128).all()
    np.testing.assert_array_equal(found.theirs, hand())
    assert found.off_truth_mm == pytest.approx(10 * np.sqrt(3), rel=1e-3)


def test_without_truth_nothing_is_said_of_it() -> None:
    sample = compared("a", 2.0)
    sample = replace(sample, sample=replace(sample.sample, truth=None))
    assert evidence(sample).samples[0].off_truth_mm is None


def test_memory_does_not_grow_with_the_number_of_samples() -> None:
    def held(count: int) -> int:
        tracemalloc.start()
        looks_on = witness(kept=4)
        for number in range(count):
            looks_on.see(noisy(number))
        now = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return now

    held(40)
    few, many = held(40), held(120)
    one = 3 * hand().nbytes
    assert many < few + 4 * one  # between 4 and 8 are held at any time


# --- what is not finite ---------------------------------------------------------------------------


def test_a_broken_sample_is_the_worst_and_spoils_no_mean() -> None:
    found = evidence(compared("a", 1.0), broken("b"), compared("c", 2.0))
    assert (found.samples[0].id, found.samples[0].rank) == ("b", "worst")
    assert np.isnan(found.samples[0].mean_mm)
    assert (found.maps[0].samples, found.maps[0].left_out) == (2, 1)
    assert np.nanmean(found.maps[0].mean) == pytest.approx(1.5, rel=1e-4)
    assert found.vertex_mean == pytest.approx(1.5)
    assert found.distances.counts.sum() == 2 * len(hand())


def test_nothing_but_broken_samples_is_evidence_too() -> None:
    found = evidence(broken("a"))
    assert found.maps[0].samples == 0
    assert np.isnan(found.maps[0].mean).all()
    assert found.distances.counts.sum() == 0


# --- by finger ------------------------------------------------------------------------------------


def test_each_finger_has_its_own_errors() -> None:
    thumb = finger_labels() == FINGERS.index("thumb")
    found = evidence(compared("a", np.where(thumb, 4.0, 1.0)), compared("b", 1.0)).fingers
    by_name = {own.finger: own for own in found}
    assert list(by_name) == list(FINGERS)
    assert by_name["thumb"].apart.mean == pytest.approx(2.5, rel=1e-5)
    assert by_name["thumb"].apart.p95 == pytest.approx(4.0, rel=0.02)
    assert by_name["index"].apart.mean == pytest.approx(1.0, rel=1e-5)
    sizes = [int((finger_labels() == number).sum()) for number in range(len(FINGERS))]
    whole = np.average([own.apart.mean for own in found], weights=sizes)
    shares = np.where(thumb, 4.0, 1.0).mean() / 2 + 0.5
    assert whole == pytest.approx(shares, rel=1e-5)


def test_errors_against_the_truth_are_those_after_alignment() -> None:
    thumb = finger_labels() == FINGERS.index("thumb")
    (own, *_) = evidence(compared("a", np.where(thumb, 4.0, 0.0))).fingers
    assert own.theirs is not None
    assert own.ours is not None
    assert own.theirs.mean == pytest.approx(0.0, abs=1e-3)  # a shift is aligned away
    assert 0.05 < own.ours.mean < 4.0
    assert own.ours.p95 >= own.ours.mean


def test_without_truth_or_joints_less_is_said_of_fingers() -> None:
    sample = compared("a", 1.0)
    unknown = replace(sample, sample=replace(sample.sample, truth=None))
    assert {own.theirs for own in evidence(unknown).fingers} == {None}
    jointless = replace(atlas(), joint_regressor=np.zeros((0, len(hand())), np.float32))
    looks_on = ReportWitness("float", "tflite", "affinenet", Atlases(jointless))
    looks_on.see(sample)
    found = looks_on.evidence()
    assert found is not None
    assert found.fingers == ()


def test_a_truth_of_the_first_vertices_judges_those() -> None:
    sample = compared("a", 1.0)
    assert sample.sample.truth is not None
    few = replace(sample.sample.truth, coarse=sample.sample.truth.coarse[:300])
    found = evidence(replace(sample, sample=replace(sample.sample, truth=few)))
    assert found.samples[0].off_truth_mm == pytest.approx(10 * np.sqrt(3), rel=1e-3)
    judged = [own for own in found.fingers if own.theirs is not None]
    assert judged

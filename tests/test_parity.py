from __future__ import annotations

import dataclasses
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from i2uv_edge import parity
from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.hand import metrics
from i2uv_edge.parity import Atlases, Sample, StillHand, Truth
from i2uv_edge.scores import Measured, Measurement, Report, judge
from i2uv_edge.spec import load_gates

Array = NDArray[Any]
Move = Callable[[Array], Array]

SIDE, RIM, PICTURE = 16, 3, 4
SCALE = 200.0
STILL = StillHand(samples=1, copies=32)


# --- a hand of 100 vertices -----------------------------------------------------------------------


@dataclass(frozen=True)
class GridAtlas:
    """Vertices sit on the texels of the middle of the map, `step` texels apart."""

    faces: Array
    template: Array
    joint_regressor: Array
    mask: Array
    rows: Array
    columns: Array

    def read_vertices(self, uv_map: Array, /) -> Array:
        return uv_map[..., self.rows, self.columns, :]


def template(count: int) -> Array:
    """A bent sheet, 180 mm, in metres."""
    row, column = np.divmod(np.arange(count), 10)
    x, y = column / 9 * 0.1, row / (count / 10 - 1) * 0.18
    return np.stack([x, y, 0.02 * np.sin(20 * x) + 0.3 * y**2], -1).astype(np.float32)


def grid_atlas(step: int = 1) -> GridAtlas:
    size = SIDE * step
    row, column = np.divmod(np.arange(100), 10)
    corner = row[:90] * 10 + column[:90]
    corner = corner[column[:90] < 9]
    faces = [np.stack([corner, corner + 1, corner + 11], -1)]
    faces += [np.stack([corner, corner + 11, corner + 10], -1)]
    mask = np.zeros((size, size), bool)
    mask[RIM * step : (RIM + 10) * step, RIM * step : (RIM + 10) * step] = True
    regressor = np.zeros((21, 100), np.float32)
    regressor[np.arange(21), np.linspace(0, 99, 21).astype(int)] = 1
    return GridAtlas(
        faces=np.concatenate(faces).astype(np.int32),
        template=template(100),
        joint_regressor=regressor,
        mask=mask,
        rows=(row + RIM) * step,
        columns=(column + RIM) * step,
    )


COARSE, FINE = grid_atlas(), grid_atlas(2)
ATLASES = Atlases(COARSE, FINE)

_RNG = np.random.default_rng(0)
_MEAN = template(100) * 1000 / SCALE + np.float32([0.2, 0.05, 0.0])
_MODES = _RNG.normal(0, 0.02, (PICTURE * PICTURE * 3, 100, 3)).astype(np.float32)
_OWN_ERROR = _RNG.normal(0, 3.2 / SCALE, (100, 3)).astype(np.float32)


def hand(pictures: Array) -> Array:
    """What is in the pictures, (N, 100, 3) in map units: each pixel bends the hand a little."""
    bent: Array = _MEAN + np.tensordot(pictures.reshape(len(pictures), -1) - 0.5, _MODES, 1)
    return bent.astype(np.float32)


def draw(vertices: Array) -> Array:
    """(N, 100, 3) -> (N, 16, 16, 3); what lies outside the mask is garbage."""
    maps = np.random.default_rng(9).normal(0, 9, (len(vertices), SIDE, SIDE, 3))
    maps[:, COARSE.rows, COARSE.columns] = vertices
    return maps.astype(np.float32)


def doubled(maps: Array) -> Array:
    return maps.repeat(2, 1).repeat(2, 2)


def same(values: Array) -> Array:
    return values


@dataclass
class FakeHand:
    """Sees the hand but for its own error; `move` changes the vertices, `change` the SRNet."""

    name: str
    move: Move = same
    change: Move = same
    sees: Move = hand
    live: bool = True
    error: float = 1.0
    lacks: tuple[str, ...] = ()
    has_srnet: bool = True

    def __call__(self, pictures: Array, ids: Sequence[str] = ()) -> dict[str, Array]:
        maps = draw(self.move(self.sees(pictures) + self.error * _OWN_ERROR))
        outputs = {"affinenet": maps}
        if self.has_srnet:
            outputs["srnet"] = self.change(doubled(maps))
        return {key: value for key, value in outputs.items() if key not in self.lacks}

    def refine(self, maps: Array) -> Array | None:
        assert self.live
        return self.change(doubled(maps)) if self.has_srnet else None


def samples(count: int = 6, *, truth: bool = True) -> Iterator[Sample]:
    rng = np.random.default_rng(5)
    for number in range(count):
        picture = rng.random((PICTURE, PICTURE, 3), np.float32)
        vertices = hand(picture[None])[0]
        known = Truth(coarse=vertices, fine=vertices, scale_mm=SCALE)
        yield Sample(f"s{number}", picture, known if truth else None)


def measured(*runners: FakeHand, count: int = 6, truth: bool = True, **options: Any) -> Measured:
    options.setdefault("still", STILL)
    return parity.measure(runners, samples(count, truth=truth), ATLASES, **options)


def rows(found: Measured, **wanted: str) -> list[Measurement]:
    return [m for m in found.measurements if all(getattr(m, key) == v for key, v in wanted.items())]


def value(found: Measured, metric: str, **wanted: str) -> float:
    (only,) = rows(found, metric=metric, **wanted)
    return only.value


def shifted(millimetres: float, share: float = 1.0) -> Move:
    """Move the first vertices of every hand along x."""

    def move(vertices: Array) -> Array:
        moved = vertices.copy()
        moved[..., : round(share * vertices.shape[-2]), 0] += millimetres / SCALE
        return moved

    return move


def in_mask(millimetres: float) -> Move:
    def change(maps: Array) -> Array:
        changed = maps.copy()
        changed[..., 0] += millimetres / SCALE
        return changed

    return change


FLOAT = FakeHand("float")


# --- what is measured -----------------------------------------------------------------------------


def test_identical_runners_are_zero_apart_at_every_stage() -> None:
    found = measured(FLOAT, FakeHand("tflite"))
    for stage in ("affinenet", "srnet", "chained"):
        for metric in ("vertex_mean_mm", "vertex_max_mm", "texel_mean_mm", "normal_deg"):
            assert value(found, metric, reference="float", stage=stage) == 0
        psnr = value(found, "masked_psnr_db", reference="float", stage=stage)
        assert psnr == pytest.approx(metrics.PSNR_CEILING_DB)


def test_deviations_are_in_millimetres_of_the_samples_scale() -> None:
    found = measured(FLOAT, FakeHand("tflite", shifted(2.0)))
    for metric in ("vertex_mean_mm", "vertex_p95_mm", "vertex_max_mm", "texel_mean_mm"):
        number = value(found, metric, reference="float", stage="affinenet")
        assert number == pytest.approx(2.0, rel=1e-4)
    assert found.scale is not None
    assert (found.scale.origin, found.scale.median_mm) == ("truth", SCALE)


def test_percentiles_are_over_the_vertices_of_all_samples() -> None:
    found = measured(FLOAT, FakeHand("tflite", shifted(4.0, share=0.04)))
    wanted = {"reference": "float", "stage": "affinenet"}
    assert value(found, "vertex_mean_mm", **wanted) == pytest.approx(0.16, rel=1e-3)
    assert value(found, "vertex_p95_mm", **wanted) == pytest.approx(0, abs=1e-4)
    assert value(found, "vertex_p99_mm", **wanted) == pytest.approx(4.0, rel=1e-3)


def test_percentiles_are_not_means_of_the_samples_percentiles() -> None:
    first = next(samples()).picture

    def off_at_0(pictures: Array) -> Array:
        bad = np.array([np.allclose(picture, first) for picture in pictures])
        return hand(pictures) + bad[:, None, None] * np.float32([6 / SCALE, 0, 0])

    found = measured(FLOAT, FakeHand("tflite", sees=off_at_0), still=None)
    wanted = {"reference": "float", "stage": "affinenet"}
    assert value(found, "vertex_mean_mm", **wanted) == pytest.approx(1.0, rel=1e-3)
    for metric in ("vertex_p95_mm", "vertex_p99_mm", "vertex_max_mm"):
        assert value(found, metric, **wanted) == pytest.approx(6.0, rel=1e-3)


def test_texels_outside_the_mask_do_not_count() -> None:
    def spoil(maps: Array) -> Array:
        return np.where(FINE.mask[..., None], maps, np.float32(77))

    found = measured(FLOAT, FakeHand("tflite", change=spoil))
    assert value(found, "texel_mean_mm", reference="float", stage="chained") == 0


def test_nothing_is_aligned_between_float_and_quantized() -> None:
    found = measured(FLOAT, FakeHand("tflite", shifted(5.0)))
    deviation = value(found, "vertex_mean_mm", reference="float", stage="chained")
    assert deviation == pytest.approx(5.0, rel=1e-3)
    ours, theirs = (
        value(found, "pa_mpvpe_mm", reference="truth", candidate=name, stage="chained")
        for name in ("tflite", "float")
    )
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_srnet_by_itself_is_fed_what_the_reference_saw() -> None:
    found = measured(FLOAT, FakeHand("tflite", shifted(2.0), in_mask(0.5)))
    distances = {
        stage: value(found, "vertex_mean_mm", reference="float", stage=stage)
        for stage in ("affinenet", "srnet", "chained")
    }
    assert distances == pytest.approx({"affinenet": 2.0, "srnet": 0.5, "chained": 2.5}, rel=1e-3)


def test_scores_against_the_truth_are_those_of_the_metrics() -> None:
    found = measured(FLOAT)
    true = np.stack([s.truth.coarse for s in samples() if s.truth is not None]) * SCALE
    ours = true + _OWN_ERROR * SCALE
    wanted = {"reference": "truth", "stage": "affinenet"}
    mean = metrics.pa_mpvpe(ours, true).mean()
    assert value(found, "pa_mpvpe_mm", **wanted) == pytest.approx(mean, rel=1e-4)
    joints = [np.tensordot(COARSE.joint_regressor, v, (1, 1)).swapaxes(0, 1) for v in (ours, true)]
    mean = metrics.pa_mpjpe(*joints).mean()
    assert value(found, "pa_mpjpe_mm", **wanted) == pytest.approx(mean, rel=1e-4)
    aligned = metrics.procrustes(ours, true).apply(ours)
    f5, f15 = metrics.f_scores(aligned, true, (5.0, 15.0)).mean(0)
    assert value(found, "f5", **wanted) == pytest.approx(f5, abs=0.01)
    assert value(found, "f15", **wanted) == pytest.approx(f15, abs=0.01)
    assert value(found, "spread_ratio", **wanted) == pytest.approx(1, rel=1e-3)


def test_given_joints_are_used() -> None:
    (sample,) = samples(1)
    assert sample.truth is not None
    joints = COARSE.joint_regressor @ sample.truth.coarse
    joints[3:, 0] += 0.1
    moved = dataclasses.replace(sample, truth=dataclasses.replace(sample.truth, joints=joints))
    apart = [
        value(
            parity.measure([FLOAT], [given], ATLASES, still=None),
            "pa_mpjpe_mm",
            stage="affinenet",
        )
        for given in (sample, moved)
    ]
    assert apart[1] > apart[0] + 1


def test_a_fine_map_is_held_against_coarse_truth_where_there_is_no_other() -> None:
    coarse_only = [
        dataclasses.replace(s, truth=dataclasses.replace(s.truth, fine=None))  # type: ignore[type-var]
        for s in samples()
    ]
    found = parity.measure([FLOAT], coarse_only, ATLASES, still=None)
    numbers = [
        value(found, "pa_mpvpe_mm", reference="truth", stage=stage)
        for stage in ("affinenet", "chained")
    ]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-5)


def test_every_finger_has_its_rows() -> None:
    found = measured(FLOAT, FakeHand("tflite", shifted(4.0, share=0.1)))
    labels = metrics.finger_labels(COARSE.template, COARSE.joint_regressor @ COARSE.template)
    groups = metrics.finger_groups(labels)
    assert len(groups) >= 3
    for finger, own in groups.items():
        number = value(found, f"vertex_mean_mm/{finger}", reference="float", stage="affinenet")
        assert number == pytest.approx(4.0 * (own < 10).mean(), abs=1e-3)
        assert value(
            found, f"pa_mpvpe_mm/{finger}", reference="truth", candidate="float", stage="chained"
        )


def test_an_atlas_without_joints_has_no_rows_of_joints_or_fingers() -> None:
    bare = dataclasses.replace(COARSE, joint_regressor=np.zeros((0, 100), np.float32))
    alone = FakeHand("float", has_srnet=False)
    found = parity.measure([alone], samples(), Atlases(bare), still=None)
    names = {m.metric for m in found.measurements}
    assert "pa_mpvpe_mm" in names
    assert "pa_mpjpe_mm" not in names
    assert not [name for name in names if "/" in name]


def test_flicker_is_of_noisy_copies_of_the_first_pictures() -> None:
    found = measured(FLOAT, FakeHand("tflite"))
    numbers = [m.value for m in rows(found, metric="flicker_mm", stage="affinenet")]
    assert numbers[0] == numbers[1]  # the same copies for both
    # Each of 48 pixels moves each coordinate by its mode: 48 independent sources, three axes.
    expected = np.sqrt(np.square(_MODES).sum((0, 2))).mean() * 2 / 255 * SCALE
    assert numbers[0] == pytest.approx(expected, rel=0.15)
    assert rows(found, metric="flicker_mm")[0].worst_sample == "s0"
    assert not rows(measured(FLOAT, still=None), metric="flicker_mm")


def test_the_worst_sample_is_named() -> None:
    def worse_where_dark(pictures: Array) -> Array:
        darkness = 1 - pictures.reshape(len(pictures), -1).mean(1)
        return hand(pictures) + darkness[:, None, None] * np.float32([0.1, 0, 0])

    found = measured(FLOAT, FakeHand("tflite", sees=worse_where_dark))
    darkest = min(samples(), key=lambda sample: float(sample.picture.mean()))
    for metric in ("vertex_mean_mm", "vertex_p99_mm", "texel_mean_mm", "masked_psnr_db"):
        (row,) = rows(found, metric=metric, reference="float", stage="affinenet")
        assert row.worst_sample == darkest.id


def test_the_worst_change_counts_where_float_is_the_start() -> None:
    def float_bad_at_0(pictures: Array) -> Array:
        first = next(samples()).picture
        bad = np.array([np.allclose(picture, first) for picture in pictures])
        return hand(pictures) + bad[:, None, None] * _OWN_ERROR * 3

    def also_bad_at_1(pictures: Array) -> Array:
        second = list(samples())[1].picture
        bad = np.array([np.allclose(picture, second) for picture in pictures])
        return float_bad_at_0(pictures) + bad[:, None, None] * _OWN_ERROR

    found = measured(
        FakeHand("float", sees=float_bad_at_0), FakeHand("tflite", sees=also_bad_at_1), still=None
    )
    for name, worst in (("float", "s0"), ("tflite", "s1")):
        (row,) = rows(found, metric="pa_mpvpe_mm", candidate=name, stage="affinenet")
        assert row.worst_sample == worst


# --- which scale ----------------------------------------------------------------------------------


def test_without_truth_the_scale_is_the_templates_fitted_to_the_reference() -> None:
    def exact(pictures: Array) -> Array:
        return np.repeat(_MEAN[None], len(pictures), 0)

    reference = FakeHand("float", sees=exact, error=0)
    # The candidate is three times as large: fitted to it, the scale would be a third.
    candidate = FakeHand("tflite", lambda v: v * np.float32(3), sees=exact, error=0)
    found = measured(reference, candidate, truth=False)
    assert found.scale is not None
    assert found.scale.origin == "template"
    assert found.scale.median_mm == pytest.approx(SCALE, rel=1e-4)
    expected = np.linalg.norm(2 * _MEAN, axis=-1).mean() * SCALE
    number = value(found, "vertex_mean_mm", reference="float", stage="affinenet")
    assert number == pytest.approx(expected, rel=1e-3)
    assert not [m for m in rows(found, reference="truth") if m.metric != "flicker_mm"]


def test_samples_with_and_without_truth_mix() -> None:
    mixed = [*samples(3), *(dataclasses.replace(s, id=f"n{s.id}", truth=None) for s in samples(2))]
    found = parity.measure([FLOAT, FakeHand("tflite")], mixed, ATLASES, still=STILL)
    assert found.samples == 5
    assert found.scale is not None
    assert found.scale.origin == "mixed"
    assert all(np.isfinite(m.value) for m in found.measurements)


# --- pairs and stages -----------------------------------------------------------------------------


def test_the_default_pairs_are_those_of_validate() -> None:
    assert parity.default_pairs(["float", "fake-quant", "tflite", "onnx"]) == [
        ("float", "fake-quant"),
        ("float", "tflite"),
        ("float", "onnx"),
        ("fake-quant", "tflite"),
        ("fake-quant", "onnx"),
    ]
    assert parity.default_pairs(["fake-quant", "tflite"]) == [("fake-quant", "tflite")]
    assert parity.default_pairs(["tflite"]) == []


def test_a_runner_alone_is_measured_against_the_truth() -> None:
    found = measured(FakeHand("tflite"), still=None)
    assert {m.reference for m in found.measurements} == {"truth"}
    assert {m.stage for m in found.measurements} == {"affinenet", "chained"}


def test_a_model_without_an_srnet_has_one_stage() -> None:
    alone = [FakeHand(name, has_srnet=False) for name in ("float", "tflite")]
    found = parity.measure(alone, samples(), Atlases(COARSE), still=STILL)
    assert {m.stage for m in found.measurements} == {"affinenet"}


def test_an_srnet_alone_is_fed_the_samples_maps() -> None:
    alone = [
        FakeHand("float", lacks=("affinenet", "srnet")),
        FakeHand("tflite", change=in_mask(0.5), lacks=("affinenet", "srnet")),
    ]
    given = [
        dataclasses.replace(s, affinenet_map=draw(hand(s.picture[None]))[0]) for s in samples()
    ]
    found = parity.measure(alone, given, ATLASES)
    assert {m.stage for m in found.measurements} == {"srnet"}
    number = value(found, "vertex_mean_mm", reference="float", candidate="tflite")
    assert number == pytest.approx(0.5, rel=1e-3)
    assert value(found, "pa_mpvpe_mm", candidate="float") == pytest.approx(0, abs=1e-3)


def test_a_dump_is_compared_where_it_can_be() -> None:
    phone = FakeHand("phone", shifted(1.0), live=False)
    found = measured(FLOAT, phone)
    assert {m.stage for m in rows(found, reference="float")} == {"affinenet", "chained"}
    assert {m.candidate for m in rows(found, metric="flicker_mm")} == {"float"}
    assert all(np.isfinite(m.value) for m in found.measurements)


def test_a_dump_may_be_the_reference() -> None:
    phone = FakeHand("phone", shifted(1.0), live=False)
    found = measured(phone, FakeHand("tflite"), pairs=[("phone", "tflite")])
    number = value(found, "vertex_mean_mm", reference="phone", stage="srnet")
    assert number == pytest.approx(0, abs=1e-6)


def test_what_stands_in_for_a_reference_does_so_for_its_pair_alone() -> None:
    quantized, stand_in = (FakeHand("fake-quant", shifted(move)) for move in (0.5, 0.9))
    runners = (FLOAT, quantized, FakeHand("tflite", shifted(0.5)), FakeHand("onnx", shifted(0.9)))
    found = measured(*runners, stand_ins={("fake-quant", "onnx"): stand_in})
    for candidate, reference, distance in (
        ("tflite", "fake-quant", 0.0),
        ("onnx", "fake-quant", 0.0),
        ("onnx", "float", 0.9),
        ("fake-quant", "float", 0.5),
    ):
        for stage in ("affinenet", "srnet", "chained"):
            if (stage, reference) == ("srnet", "float"):
                continue  # fed with one map, all of them answer alike
            where = {"candidate": candidate, "reference": reference, "stage": stage}
            number = value(found, "vertex_mean_mm", **where)
            assert number == pytest.approx(distance, abs=1e-3), where
    without = measured(*runners)
    apart = value(
        without, "vertex_mean_mm", candidate="onnx", reference="fake-quant", stage="chained"
    )
    assert apart == pytest.approx(0.4, rel=1e-2)


def test_a_witness_is_shown_every_comparison_that_is_counted() -> None:
    shown: list[parity.Compared] = []

    class Witness:
        def see(self, compared: parity.Compared, /) -> None:
            shown.append(compared)

    found = measured(FLOAT, FakeHand("tflite", shifted(0.5)), count=3, witness=Witness())
    assert [(c.sample.id, c.stage) for c in shown] == [
        (f"s{number}", stage) for number in range(3) for stage in ("affinenet", "chained", "srnet")
    ]
    assert {(c.reference, c.candidate, c.scale_mm) for c in shown} == {("float", "tflite", SCALE)}
    for stage in ("affinenet", "chained", "srnet"):
        own = [c for c in shown if c.stage == stage]
        mean = float(np.mean([c.distances for c in own]))
        assert mean == pytest.approx(value(found, "vertex_mean_mm", stage=stage, reference="float"))
        apart = metrics.distances(own[0].ours.vertices, own[0].theirs.vertices) * SCALE
        np.testing.assert_allclose(own[0].distances, apart, rtol=1e-5, atol=1e-6)


def test_names_must_differ_and_pairs_must_name_them() -> None:
    with pytest.raises(UsageError, match="one name"):
        measured(FLOAT, FakeHand("float"))
    with pytest.raises(UsageError, match="onnx") as caught:
        measured(FLOAT, FakeHand("tflite"), pairs=[("float", "onnx")])
    assert "tflite" in caught.value.expected


def test_two_samples_of_one_id_are_refused() -> None:
    twice = [next(samples()), next(samples())]
    with pytest.raises(InputError, match="s0"):
        parity.measure([FLOAT], twice, ATLASES, still=None)


def test_a_map_of_another_size_is_refused_by_name() -> None:
    wrong = FakeHand("tflite", change=lambda maps: maps[:, ::2, ::2])
    with pytest.raises(InputError, match=r"tflite.*\(16, 16, 3\).*chained") as caught:
        measured(FLOAT, wrong)
    assert "(32, 32, 3)" in caught.value.expected


def test_memory_does_not_grow_with_the_maps() -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        measured(FLOAT, FakeHand("tflite"), count=count, still=None)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    map_bytes = (SIDE**2 + (2 * SIDE) ** 2) * 3 * 4
    peak(2)
    assert (peak(30) - peak(10)) / 20 < map_bytes  # two runners' maps would be twice that


# --- what fails -----------------------------------------------------------------------------------


def report(found: Measured, recipe: str = "w8a8") -> Report:
    return judge("edge", found, load_gates(recipe))


def failing(found: Measured, recipe: str = "w8a8") -> set[tuple[str, str, str, str]]:
    return {
        (s.reference, s.candidate, s.stage, s.metric)
        for s in report(found, recipe).scores
        if not s.passed
    }


GOOD = (FLOAT, FakeHand("fake-quant", shifted(0.3)), FakeHand("tflite", shifted(0.35)))


@pytest.mark.parametrize("recipe", ["w8a8", "w8a8-qat"])
def test_good_candidates_pass_every_gate(recipe: str) -> None:
    found = report(measured(*GOOD), recipe)
    assert found.failures() == []
    assert found.passed


def louder(gain: float) -> Move:
    """See the hand with so much more noise, the still hand being where it was."""

    def sees(pictures: Array) -> Array:
        first = next(samples()).picture
        near = np.abs(pictures - first).max((1, 2, 3)) < 0.1
        return hand(
            np.where(near[:, None, None, None], first + gain * (pictures - first), pictures)
        )

    return sees


def constant(pictures: Array) -> Array:
    return np.repeat(_MEAN[None], len(pictures), 0)


@dataclass(frozen=True)
class Control:
    """A candidate that is bad in one way, and the gate it must fail."""

    recipe: str
    reference: str
    metric: str
    limit: float
    candidate: FakeHand
    stage: str = "affinenet"
    name: str = "tflite"


CONTROLS = [
    Control("w8a8", "float", "vertex_mean_mm", 1.0, FakeHand("tflite", shifted(1.1))),
    Control("w8a8", "float", "vertex_p95_mm", 3.0, FakeHand("tflite", shifted(3.2, 0.06))),
    Control("w8a8-hand", "float", "vertex_mean_mm", 1.0, FakeHand("tflite", shifted(1.1))),
    Control("w8a8-hand", "float", "vertex_p95_mm", 3.0, FakeHand("tflite", shifted(3.2, 0.06))),
    Control("w8a8-qat", "float", "vertex_mean_mm", 0.5, FakeHand("tflite", shifted(0.55))),
    Control("w8a8-qat", "float", "vertex_p95_mm", 1.0, FakeHand("tflite", shifted(1.1, 0.06))),
    Control("w8a8-qat", "float", "vertex_p99_mm", 1.5, FakeHand("tflite", shifted(1.6, 0.02))),
    Control("w8a8-strict", "float", "vertex_mean_mm", 0.8, FakeHand("tflite", shifted(0.9))),
    Control("w8a8-strict", "float", "vertex_p95_mm", 3.0, FakeHand("tflite", shifted(3.2, 0.06))),
    Control("float", "float", "vertex_mean_mm", 0.1, FakeHand("tflite", shifted(0.12))),
    Control("w8a8", "fake-quant", "vertex_mean_mm", 0.1, FakeHand("tflite", shifted(0.45))),
    Control("float", "float", "vertex_mean_mm", 0.1, FakeHand("onnx", shifted(0.12)), name="onnx"),
    Control(
        "w8a8", "fake-quant", "vertex_mean_mm", 0.1, FakeHand("onnx", shifted(0.45)), name="onnx"
    ),
    Control(
        "w8a8-strict", "float", "vertex_mean_mm", 1.0, FakeHand("qnn", shifted(1.1)), name="qnn"
    ),
    Control(
        "w8a8-strict",
        "fake-quant",
        "vertex_mean_mm",
        1.0,
        FakeHand("qnn", shifted(1.4)),
        name="qnn",
    ),
    *(
        Control(recipe, "truth", metric, limit, candidate)
        for recipe in ("w8a8", "w8a8-hand", "w8a8-qat", "w8a8-strict")
        for metric, limit, candidate in (
            ("pa_mpvpe_mm", 0.01, FakeHand("tflite", error=1.02)),
            ("f5", 0.007, FakeHand("tflite", error=1.1)),
            ("flicker_mm", 0.10, FakeHand("tflite", sees=louder(1.15))),
            ("spread_ratio", 0.8, FakeHand("tflite", sees=constant)),
        )
        if (recipe, metric) != ("w8a8-strict", "flicker_mm")  # which has no limit
    ),
    Control(
        "w8a8", "float", "vertex_mean_mm", 1.0, FakeHand("tflite", change=in_mask(1.1)), "srnet"
    ),
    Control(
        "w8a8", "float", "vertex_mean_mm", 1.0, FakeHand("tflite", change=in_mask(1.1)), "chained"
    ),
]


@pytest.mark.parametrize("control", CONTROLS, ids=lambda c: f"{c.recipe}-{c.metric}-{c.stage}")
def test_a_bad_candidate_fails_its_gate(control: Control) -> None:
    found = measured(*GOOD[:2], control.candidate)
    row = (control.reference, control.name, control.stage, control.metric)
    assert row in failing(found, control.recipe)
    told = [line for line in report(found, control.recipe).failures() if control.metric in line]
    assert any("would pass" in line for line in told)


@pytest.mark.parametrize("control", CONTROLS, ids=lambda c: f"{c.recipe}-{c.metric}-{c.stage}")
def test_without_its_gate_the_bad_candidate_would_pass_that_row(control: Control) -> None:
    """So that the control fails for the gate and for nothing else."""
    found = measured(*GOOD[:2], control.candidate)
    others = [gate for gate in load_gates(control.recipe) if gate.metric != control.metric]
    (row,) = [
        score
        for score in judge("edge", found, others).scores
        if (score.reference, score.candidate, score.stage, score.metric)
        == (control.reference, control.name, control.stage, control.metric)
    ]
    assert row.passed


def test_a_constant_network_passes_parity_and_fails_by_its_spread() -> None:
    blind = [FakeHand(name, sees=constant) for name in ("float", "fake-quant", "tflite")]
    metrics_failed = {row[3] for row in failing(measured(*blind))}
    assert metrics_failed == {"spread_ratio"}


FLOAT_MACS = {"w8a8": 0.05, "w8a8-hand": 0.05, "w8a8-qat": 0.05, "w8a8-strict": 0.0}


@pytest.mark.parametrize(("recipe", "limit"), FLOAT_MACS.items())
def test_too_many_macs_in_float_fail(recipe: str, limit: float) -> None:
    for share, passed in ((limit, True), (limit + 0.001, False)):
        extra = Measurement("float", "tflite", "affinenet", "float_macs_share", share)
        assert report(measured(*GOOD).plus([extra]), recipe).passed == passed


@pytest.mark.parametrize("recipe", ["w8a8", "w8a8-qat"])
def test_an_emulated_file_that_is_not_the_module_fails(recipe: str) -> None:
    """The file itself is made bad in tests/test_oracle.py."""
    for value, passed in ((1e-6, True), (1.1e-6, False), (np.nan, False)):
        extra = Measurement("fake-quant", "emulated", "affinenet", "texel_max_units", value)
        assert report(measured(*GOOD).plus([extra]), recipe).passed == passed


def test_every_gate_with_a_limit_has_a_control_under_every_recipe_it_names() -> None:
    controlled = {(c.recipe, c.reference, c.metric, c.limit) for c in CONTROLS}
    for recipe, limit in FLOAT_MACS.items():  # the two tests before this one
        controlled.add((recipe, "float", "float_macs_share", limit))
        controlled.add((recipe, "fake-quant", "texel_max_units", 1e-6))
    for gate in load_gates():
        if gate.limit is None:
            continue
        row = (gate.reference, gate.metric, gate.limit)
        found = {recipe for recipe, *rest in controlled if tuple(rest) == row}
        assert found, f"no control of {row}"
        missing = {name for name in gate.applies_to if name != "*"} - found
        assert not missing, f"{row} has no control under {', '.join(sorted(missing))}"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["float", "tflite"])
def test_one_value_that_is_not_finite_fails(bad: float, where: str) -> None:
    third = list(samples())[2].picture

    def broken(pictures: Array) -> Array:
        vertices = hand(pictures)
        hit = np.array([np.allclose(picture, third) for picture in pictures])
        vertices[hit, 17, 1] = bad
        return vertices

    pair = [FakeHand(n, sees=broken if n == where else hand) for n in ("float", "tflite")]
    found = measured(*pair)
    assert not report(found).passed
    for stage in ("affinenet", "chained"):
        for metric in ("vertex_mean_mm", "vertex_p95_mm", "normal_deg", "masked_psnr_db"):
            (row,) = rows(found, reference="float", stage=stage, metric=metric)
            assert np.isnan(row.value)
            assert row.worst_sample == "s2"
        assert ("truth", where, stage, "pa_mpvpe_mm") in failing(found)
        assert ("truth", where, stage, "spread_ratio") in failing(found)


def test_a_texel_no_vertex_is_read_from_must_be_finite_too() -> None:
    def broken(maps: Array) -> Array:
        changed = maps.copy()
        changed[:, 2 * RIM + 1, 2 * RIM + 1] = np.nan  # odd: between the vertices
        return changed

    found = measured(FLOAT, FakeHand("tflite", change=broken))
    assert ("float", "tflite", "chained", "texel_mean_mm") in failing(found)
    assert ("float", "tflite", "chained", "vertex_mean_mm") not in failing(found)


@pytest.mark.parametrize("lacks", [("affinenet",), ("srnet",), ("affinenet", "srnet")])
@pytest.mark.parametrize("where", ["float", "tflite"])
def test_a_missing_output_fails(lacks: tuple[str, ...], where: str) -> None:
    pair = [FakeHand(n, lacks=lacks if n == where else ()) for n in ("float", "tflite")]
    found = measured(*pair)
    assert not report(found).passed
    for output in lacks:
        stage = {"affinenet": "affinenet", "srnet": "chained"}[output]
        assert ("float", "tflite", stage, "vertex_mean_mm") in failing(found)
        assert ("truth", where, stage, "pa_mpvpe_mm") in failing(found)
        assert ("truth", where, stage, "flicker_mm") in failing(found)


def test_an_output_missing_for_one_sample_fails_and_names_it() -> None:
    @dataclass
    class Forgetful(FakeHand):
        def __call__(self, pictures: Array, ids: Sequence[str] = ()) -> dict[str, Array]:
            return {} if "s4" in ids else super().__call__(pictures, ids)

    found = measured(FLOAT, Forgetful("phone", live=False))
    for stage in ("affinenet", "chained"):
        (row,) = rows(found, reference="float", stage=stage, metric="vertex_mean_mm")
        assert np.isnan(row.value)
        assert row.worst_sample == "s4"
    assert not report(found).passed


def test_outputs_missing_on_both_sides_fail() -> None:
    pair = [FakeHand(name, lacks=("affinenet", "srnet")) for name in ("float", "tflite")]
    found = measured(*pair, truth=False, still=None)
    assert not report(found).passed
    assert np.isnan(value(found, "vertex_mean_mm", reference="float"))


def test_no_samples_fail() -> None:
    found = measured(*GOOD, count=0)
    assert found.samples == 0
    assert not report(found).passed
    assert ("float", "tflite", "affinenet", "vertex_mean_mm") in failing(found)
    assert "nothing was compared" in report(found).failures()[0]


def test_one_sample_has_no_spread() -> None:
    assert ("truth", "tflite", "affinenet", "spread_ratio") in failing(measured(*GOOD, count=1))

"""The files of a bundle, computed literally, against its fake-quant networks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from model_toys import Ended
from onnx import numpy_helper

from i2uv_edge.bundle import Bundle
from i2uv_edge.comparison import Contents, open_contents, samples
from i2uv_edge.oracle import against_files, largest_difference
from i2uv_edge.parity import Float32, Sample
from i2uv_edge.scores import Measured, judge
from i2uv_edge.spec import load_gates

PICTURES = 2


@pytest.fixture
def contents(exported: tuple[Ended, Path], tmp_path: Path) -> Contents:
    return open_contents(Bundle.open(shutil.copytree(exported[1], tmp_path / "own")))


def values(contents: Contents) -> dict[str, float]:
    rows = against_files(contents, samples(contents).first(PICTURES).stream)
    assert {(row.reference, row.candidate, row.metric) for row in rows} == {
        ("fake-quant", "emulated", "texel_max_units")
    }
    return {row.stage: row.value for row in rows}


@pytest.mark.usefixtures("toy_world")
def test_the_files_of_a_bundle_are_its_networks(contents: Contents) -> None:
    found = values(contents)
    assert set(found) == {"affinenet", "chained"}
    assert max(found.values()) <= 1e-6


@pytest.mark.usefixtures("toy_world")
@pytest.mark.parametrize(
    ("role", "name", "stages"),
    [
        ("affinenet", "encoder.stem.0.2/scale", {"affinenet", "chained"}),
        ("srnet", "last/scale", {"chained"}),
    ],
)
def test_a_scale_with_other_last_digits_fails_the_gate(
    contents: Contents, role: str, name: str, stages: set[str]
) -> None:
    path = contents.bundle.path / f"{role}.onnx"
    model = onnx.load(str(path))
    (own,) = [item for item in model.graph.initializer if item.name == name]
    scale = np.asarray(numpy_helper.to_array(own) * (1 + 2e-5), np.float32)
    own.CopyFrom(numpy_helper.from_array(scale, name))
    onnx.save(model, str(path))
    rows = against_files(contents, samples(contents).first(PICTURES).stream)
    report = judge("toy", Measured(PICTURES, tuple(rows)), load_gates("w8a8"))
    assert {score.stage for score in report.scores if not score.passed} == stages
    assert all(score.limit == 1e-6 for score in report.scores)


class Fake:
    """Answers with one map for each id."""

    live = True

    def __init__(self, name: str, **maps: float) -> None:
        self.name = name
        self._maps = maps

    def __call__(self, pictures: Float32, ids: tuple[str, ...] = ()) -> dict[str, Float32]:
        value = self._maps.get(ids[0])
        return {} if value is None else {"affinenet": np.full((1, 2, 2, 3), value, np.float32)}

    def refine(self, maps: Float32) -> Float32 | None:
        return maps + np.float32(1) if self.name == "ours" else maps


def both() -> list[Sample]:
    return [Sample(name, np.zeros((4, 4, 3), np.float32)) for name in "ab"]


@pytest.mark.parametrize(
    ("ours", "value", "worst"),
    [
        ({"a": 0.0, "b": 0.25}, 0.25, "b"),
        ({"a": float("nan"), "b": 9.0}, np.nan, "a"),
        ({"a": float("inf"), "b": 9.0}, np.inf, "a"),
        ({"b": 9.0}, np.nan, "a"),
    ],
    ids=["the largest", "no number", "infinite", "a missing output"],
)
def test_the_worst_sample_counts(ours: dict[str, float], value: float, worst: str) -> None:
    (row,) = largest_difference(Fake("theirs", a=0.0, b=0.0), Fake("ours", **ours), both())
    np.testing.assert_equal(row.value, value)
    assert row.worst_sample == worst
    assert judge("toy", Measured(2, (row,)), load_gates("w8a8")).passed is False


def test_an_srnet_alone_is_fed_the_samples_maps() -> None:
    sample = Sample("a", np.zeros((4, 4, 3), np.float32), None, np.zeros((2, 2, 3), np.float32))
    (row,) = largest_difference(Fake("theirs"), Fake("ours"), [sample])
    assert (row.stage, row.value) == ("srnet", 1.0)

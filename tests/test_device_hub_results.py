"""What the Hub says of a job, in our units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from i2uv_edge.device.hub_results import Takes, answers, figures
from i2uv_edge.errors import HubError
from i2uv_edge.runners import Port

SUMMARY: dict[str, Any] = {
    "estimated_inference_time": 2_000,
    "estimated_inference_peak_memory": 9_000_000,
    "first_load_time": 100_000,
    "inference_memory_increase_range": (1_000_000, 3_000_000),
    "all_inference_times": [4_000, 2_000, 3_000],
}


def layer(unit: str, **more: int) -> dict[str, Any]:
    return {"name": "conv", "type": "CONV_2D", "compute_unit": unit, **more}


def profile(*layers: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"execution_summary": {**SUMMARY, **changes}, "execution_detail": list(layers)}


def test_times_are_milliseconds_and_memory_is_megabytes() -> None:
    found = figures(profile(), job="j1")
    latency = found.latency_ms
    assert (latency.median, latency.least, latency.runs) == (3.0, 2.0, 3)
    assert latency.p90 == pytest.approx(3.8)
    assert found.first_ms == 104.0  # loading, and the first inference
    assert found.memory_mb == 3.0
    assert found.notes == ()


def test_a_single_estimate_is_said_to_be_one() -> None:
    found = figures(profile(all_inference_times=[]), job="j1")
    assert (found.latency_ms.median, found.latency_ms.runs) == (2.0, 1)
    assert found.first_ms is None
    assert any("one estimate" in note for note in found.notes)


def test_peak_memory_is_said_to_be_the_peak() -> None:
    found = figures(profile(inference_memory_increase_range=None), job="j1")
    assert found.memory_mb == 9.0
    assert any("peak" in note for note in found.notes)


def test_layers_have_their_unit_time_and_share() -> None:
    given = (layer("NPU", execution_time=3_000), layer("CPU", execution_time=1_000), layer("GPU"))
    found = figures(profile(*given), job="j1")
    assert [(item.unit, item.ms, item.share) for item in found.layers] == [
        ("NPU", 3.0, 0.75),
        ("CPU", 1.0, 0.25),
        ("GPU", None, None),
    ]


def test_layers_without_a_unit_are_counted_and_left_out() -> None:
    found = figures(profile(layer("UNSPECIFIED"), layer("CPU")), job="j1")
    assert len(found.layers) == 1
    assert any(note.startswith("1 of 2 layers") for note in found.notes)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"execution_summary": {}, "execution_detail": []},
        profile(all_inference_times=None, estimated_inference_time=0),
        profile({"name": "conv"}),
    ],
)
def test_a_profile_without_times_or_units_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(HubError, match="profile of job j1 cannot be read"):
        figures(given, job="j1")


INPUT = Port("image", (1, 2, 3, 3), np.dtype(np.uint8), 1 / 255, 0)
OUTPUT = Port("map", (1, 4, 5, 3), np.dtype(np.int8), 0.5, -3)
OURS = Takes(INPUT, OUTPUT)
OTHERS = Takes(INPUT, OUTPUT, "NCHW")


@pytest.mark.parametrize(("takes", "shape"), [(OURS, (1, 2, 3, 3)), (OTHERS, (1, 3, 2, 3))])
def test_inputs_are_stored_as_the_file_takes_them(takes: Takes, shape: tuple[int, ...]) -> None:
    feed = np.linspace(0, 1, 2 * 18, dtype=np.float32).reshape(2, 2, 3, 3)
    ((name, batches),) = takes.entries(feed).items()
    assert name == "image"
    assert {(item.shape, item.dtype.name) for item in batches} == {(shape, "uint8")}
    assert batches[1].max() == 255


@pytest.mark.parametrize("takes", [OURS, OTHERS])
@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_outputs_are_real_values_of_nhwc(takes: Takes, dtype: str) -> None:
    real = (np.arange(120, dtype=np.float32).reshape(2, 4, 5, 3) - 57) * 0.5
    stored = OUTPUT.stored(real) if dtype == "int8" else real
    if takes is OTHERS:
        stored = stored.transpose(0, 3, 1, 2)
    found = answers({"out": [stored[:1], stored[1:]]}, takes, 2, job="j1")
    np.testing.assert_array_equal(found, real)


@pytest.mark.parametrize(
    "entries",
    [
        {},
        {"a": [np.zeros((1, 4, 5, 3), np.int8)]},
        {"a": [np.zeros((1, 4, 5, 3), np.int8)], "b": [np.zeros((1, 4, 5, 3), np.int8)]},
        {"a": [np.zeros((1, 5, 4, 3), np.int8)] * 2},
        {"a": [np.zeros((1, 4, 5, 3), np.int64)] * 2},
    ],
    ids=["none", "one sample", "two outputs", "another shape", "another type"],
)
def test_outputs_that_are_not_the_ones_expected_are_refused(entries: dict[str, Any]) -> None:
    with pytest.raises(HubError, match="one output with 2 samples of int8"):
        answers(entries, OURS, 2, job="j1")

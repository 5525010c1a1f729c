"""LiteRT's own profiler, and the layers its operators are."""

from __future__ import annotations

from pathlib import Path

import pytest
from quantizer_toys import spec_of
from torch import nn

from i2uv_edge.convert.tflite import to_tflite
from i2uv_edge.device import litert_profiler
from i2uv_edge.device.layers import named_layers
from i2uv_edge.device.litert_profiler import Event, operator_times


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a float file of two convolutions, of which the second is most of the work."""
    network = nn.Sequential(nn.Conv2d(3, 64, 1), nn.ReLU(), nn.Conv2d(64, 128, 3, padding=1)).eval()
    path = tmp_path_factory.mktemp("files") / "two.tflite"
    to_tflite(network, spec_of(network, 32), path)
    return path


def test_operators_come_in_running_order_with_their_times(path: Path) -> None:
    events, why = operator_times(path, runs=5)
    assert why == ""
    small, large = (event for event in events if event.name.startswith(("Conv", "Fully")))
    assert large.ms > 3 * small.ms > 0.0


def test_a_version_that_was_never_tried_is_not_asked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litert_profiler, "version", lambda name: "9.9.9")
    monkeypatch.setattr(litert_profiler.subprocess, "run", pytest.fail)
    events, why = operator_times(path)
    assert events == ()
    assert "9.9.9" in why


def test_what_cannot_be_profiled_gives_the_reason_and_no_operators(tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no model")
    events, why = operator_times(broken, runs=1)
    assert events == ()
    assert "no operators" in why
    assert "LiteRtCreateModelFromFile" in why


def test_times_are_medians_and_runs_that_differ_give_none() -> None:
    runs = [[("a", -1, ms), ("b", 7, 1.0)] for ms in (1.0, 9.0, 2.0)]
    assert litert_profiler._medians(runs) == ((Event("a", 2.0), Event("b", 1.0, 7)), "")
    assert litert_profiler._medians([[("a", -1, 1.0)], [("b", -1, 1.0)]])[0] == ()
    assert litert_profiler._medians([[], []])[0] == ()


def test_what_multiplies_is_named_by_its_layer_and_shares_add_up(path: Path) -> None:
    events = [Event("Fully Connected (NC, F32) GEMM", 1.0), Event("Convolution (NHWC, F32)", 3.0)]
    layers = named_layers(path, events)
    assert [(layer.name, layer.share) for layer in layers] == [("0", 0.25), ("2", 0.75)]
    assert layers[0].type == "Fully Connected (NC, F32) GEMM"


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([Event("Convolution (NHWC, F32)", 1.0)], id="too few"),
        pytest.param([Event("Convolution (NHWC, QC8)", 1.0)] * 2, id="another type"),
        pytest.param([Event("Convert (NC)", 1.0)] * 2, id="no multiplication"),
    ],
)
def test_operators_that_do_not_fit_the_file_keep_their_numbers(
    path: Path, events: list[Event]
) -> None:
    names = [layer.name for layer in named_layers(path, events)]
    assert names == [f"operator {number}" for number in range(len(events))]


def test_operators_of_no_time_have_no_share(path: Path) -> None:
    (layer,) = named_layers(path, [Event("Convert (NC)", 0.0)])
    assert layer.share is None

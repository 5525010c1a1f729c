"""The figures of the contract and their table; the run itself on small networks."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import latency, subjects
from benchmarks.latency import RATIOS, Row, Run, ratios, rows, table
from i2uv_edge.convert.histogram import dtype_histogram
from i2uv_edge.device.timing import Times
from i2uv_edge.errors import MissingDependencyError

ROOT = Path(__file__).parents[1]
KEYS = [
    "paper_int8_vs_eager",
    "paper_float_vs_eager",
    "deploy_vs_published_float",
    "srnet_int8_vs_eager",
    "edge_vs_paper_int8",
    "tiny_vs_paper_int8",
]
SECONDS = {
    "paper affinenet eager": 0.4,
    "paper affinenet int8": 0.08,
    "paper affinenet float": 0.3,
    "published float": 0.9,
    "paper srnet eager": 0.1,
    "paper srnet int8": 0.03,
    "paper pair int8": 0.12,
    "edge pair int8": 0.006,
    "tiny pair int8": 0.006,
}


def run(**others: float) -> Run:
    seconds = {**SECONDS, **{name.replace("_", " "): value for name, value in others.items()}}
    return Run({name: Times((value, value, value * 50)) for name, value in seconds.items()})


def test_the_six_figures_are_ratios_of_medians() -> None:
    found = ratios(run())
    assert list(found) == KEYS
    expected = [0.2, 0.75, 1 / 3, 0.3, 0.05, 0.05]
    assert list(found.values()) == pytest.approx(expected)


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_a_time_that_says_nothing_is_refused(seconds: float) -> None:
    with pytest.raises(ArithmeticError, match="paper_int8_vs_eager"):
        ratios(run(paper_affinenet_int8=seconds))


def test_limits_are_those_asked_for() -> None:
    assert [RATIOS[key].limit for key in KEYS] == [0.25, 1.0, 0.5, 0.40, 1 / 12, 1 / 22]


def test_the_table_judges_what_has_a_limit() -> None:
    measured = replace(run(), others=(Row("edge: int8 files", 5.5, "MB", 5.0),))
    lines = table(measured).splitlines()
    verdicts = {line.split("  ")[0]: line.split()[-1] for line in lines}
    assert verdicts["ResNet-50 AffineNet, int8 to PyTorch eager"] == "ok"
    assert verdicts["tiny pair to paper pair, int8"] == "OVER"
    assert verdicts["edge: int8 files"] == "OVER"
    assert verdicts["published float"] == "ms"
    assert lines[-1] == "medians of 3 interleaved rounds, 1 thread each"
    assert len(rows(measured)) == len(KEYS) + 1 + len(SECONDS)


def test_a_figure_that_is_no_number_is_not_ok() -> None:
    assert Row("memory", math.nan, "MB", 15.0).verdict == "OVER"


def test_a_network_is_quantized_with_its_warps_and_without(tmp_path: Path) -> None:
    spec = subjects.at_side("affinenet-edge", 64)
    whole = subjects.int8_file(spec, tmp_path / "whole.tflite")
    bare = subjects.int8_file(spec, tmp_path / "bare.tflite", module=subjects.without_warps(spec))
    counts = [dtype_histogram(path) for path in (whole, bare)]
    assert [any("GATHER" in op for op in count) for count in counts] == [True, False]
    assert all(count["CONV_2D INT8>INT8"] > 20 for count in counts)


def test_a_spec_at_another_side_keeps_its_proportions() -> None:
    spec = subjects.at_side("affinenet-edge", 128)
    assert (spec.input.shape, spec.output.shape) == ((1, 128, 128, 3), (1, 32, 32, 3))


def test_the_published_form_needs_a_package_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise subjects.PackageNotFoundError(name)

    monkeypatch.setattr(subjects, "version", missing)
    with pytest.raises(MissingDependencyError, match="peers") as raised:
        subjects.published_file(subjects.at_side("affinenet-r18", 64))
    assert raised.value.exit_code == 4


@pytest.mark.slow
@pytest.mark.skipif(find_spec("litert_torch") is None, reason="the extra `peers` is not installed")
def test_as_a_command_it_prints_the_six_figures_and_nothing_else() -> None:
    command = [sys.executable, "benchmarks/latency.py", "--quick", "--json"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(ended.stdout)
    assert list(found) == KEYS
    assert all(math.isfinite(value) and value > 0.0 for value in found.values())
    assert found["edge_vs_paper_int8"] < 1.0


@pytest.mark.slow
@pytest.mark.skipif(find_spec("litert_torch") is None, reason="the extra `peers` is not installed")
def test_the_other_figures_are_measured_too() -> None:
    measured = latency.measure(latency.QUICK)
    found = {row.what: row.value for row in measured.others}
    assert {"edge: multiply-adds", "paper: memory above the interpreter"} <= found.keys()
    assert all(math.isfinite(value) for value in found.values())
    assert all(value > 0.0 for what, value in found.items() if "warps" not in what)
    assert all(value < 100.0 for what, value in found.items() if "warps" in what)

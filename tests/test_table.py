from __future__ import annotations

import math
from typing import Any

from i2uv_edge.scores import Report, Scale, Score
from i2uv_edge.table import summary, table


def score(metric: str, value: float, **changes: Any) -> Score:
    row = {
        "reference": "truth",
        "candidate": "float",
        "stage": "chained",
        "metric": metric,
        "value": value,
        "limit": None,
        "passed": True,
        "worst_sample": "017",
    }
    return Score(**{**row, **changes})


def lines(*scores: Score, **options: Any) -> list[list[str]]:
    """Every line's words, the heading and the blank ones left out."""
    text = table(Report("toy", 8, scores), **options)
    return [line.split() for line in text.splitlines()[1:] if line]


OFF = {"reference": "float", "candidate": "tflite"}


def test_each_runner_has_a_column_beside_limit_and_verdict() -> None:
    found = lines(
        score("pa_mpvpe_mm", 9.5, limit=9.595),
        score("pa_mpvpe_mm", 9.52, candidate="tflite", limit=9.595),
        score("vertex_mean_mm", 0.25, limit=1.0, **OFF),
        score("vertex_p99_mm", 1.5, **OFF),
    )
    assert found == [
        "float tflite limit".split(),
        "PA-MPVPE, mm 9.500 9.520 9.595 pass".split(),
        "off float, mean mm 0.250 1.000 pass".split(),
        "off float, p99 mm 1.500".split(),
        "all 3 checks passed".split(),
    ]


def test_a_row_fails_when_one_of_its_runners_does() -> None:
    found = lines(
        score("vertex_mean_mm", 0.25, limit=1.0, **OFF),
        score("vertex_mean_mm", 1.25, **{**OFF, "candidate": "dump"}, limit=1.0, passed=False),
    )
    assert found[1] == "off float, mean mm 0.250 1.250 1.000 FAIL".split()
    assert found[-1] == "1 of 2 checks FAILED".split()


def test_the_last_stage_is_shown_and_all_are_counted() -> None:
    found = lines(
        score("vertex_mean_mm", 0.25, limit=1.0, **OFF),
        score("vertex_mean_mm", 9.75, limit=1.0, **OFF | {"stage": "affinenet"}, passed=False),
    )
    assert found[1] == "off float, mean mm 0.250 1.000 pass".split()
    assert not any("9.750" in line for line in found)
    assert found[-1] == "1 of 2 checks FAILED".split()


def test_what_is_no_number_fails_without_a_limit() -> None:
    found = lines(score("vertex_p99_mm", math.nan, passed=False, **OFF))
    assert found[1] == "off float, p99 mm no number FAIL".split()


def test_an_evaluation_shows_accuracy_and_no_limits() -> None:
    found = lines(score("pa_mpjpe_mm", 8.0), score("f15", 0.99))
    assert found == [["float"], "PA-MPJPE, mm 8.000".split(), "F@15 0.990".split(), found[-1]]
    assert found[-1] == "2 numbers, all finite".split()


def test_sizes_are_megabytes_of_those_that_have_files() -> None:
    rows = [
        score("f5", 0.5),
        score("f5", 0.5, candidate="tflite"),
        score("vertex_p99_mm", 1, **OFF),
    ]
    found = lines(*rows, sizes={"float": 12_340_000, "tflite": 3_210_000})
    assert found[-2] == "weights, MB 12.34 3.21".split()


def test_the_heading_says_what_a_millimetre_is_taken_from() -> None:
    scale = Scale("template", 214.6, 200.0, 230.0)
    text = table(Report("toy", 8, (score("f5", 0.5),), scale))
    heading = text.splitlines()[0]
    assert heading.startswith("toy, both networks chained: 8 samples, 1 map unit = 215 mm")
    assert "fitted to the reference" in heading


def test_a_report_of_nothing_says_so() -> None:
    assert table(Report("toy", 0, ())) == "toy: nothing was compared"


def test_the_summary_has_what_the_table_prints() -> None:
    report = Report("toy", 8, (score("f5", 0.5, limit=0.4), score("vertex_p99_mm", 1, **OFF)))
    found = summary(report, {"tflite": 3_000_000})
    assert found.names == ("float", "tflite")
    assert [(row.title, row.cells, row.limit, row.verdict) for row in found.rows] == [
        ("F@5", ("0.500", ""), "0.400", "pass"),
        ("off float, p99 mm", ("", "1.000"), "", ""),
        ("weights, MB", ("", "3.00"), "", ""),
    ]
    printed = table(report, {"tflite": 3_000_000})
    assert printed.splitlines()[0] == found.heading
    assert printed.splitlines()[-1] == found.verdict == "all 1 checks passed"


def test_what_an_srnet_adds_to_true_maps_is_shown_beside_the_chain() -> None:
    found = lines(
        score("pa_mpvpe_mm", 9.5),
        score("normal_gain_percent", 11.0),
        score("vertex_gain_percent", 3.0),
        score("vertex_gain_percent", 42.0, stage="srnet"),
        score("pa_mpvpe_mm", 0.3, stage="srnet"),
    )
    assert found == [
        ["float"],
        "PA-MPVPE, mm 9.500".split(),
        "vertices of true maps, % better than bilinear 42.000".split(),
        "normals, % better than bilinear 11.000".split(),
        "5 numbers, all finite".split(),
    ]


def test_an_emulated_file_stands_in_the_column_of_the_onnx_files() -> None:
    own = {"reference": "fake-quant", "candidate": "emulated", "limit": 1e-6}
    rows = (
        score("vertex_mean_mm", 0.5, **{**OFF, "candidate": "onnx"}),
        score("texel_max_units", 1.19e-7, **own),
    )
    found = summary(Report("toy", 4, rows))
    assert found.names == ("onnx",)
    (row,) = [row for row in found.rows if "emulated" in row.title]
    assert (row.cells, row.limit, row.verdict) == (("1e-07",), "1e-06", "pass")

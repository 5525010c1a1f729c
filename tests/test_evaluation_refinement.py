from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from i2uv_edge.evaluation.refinement import bilinear_scores, gains, upsampled
from i2uv_edge.scores import Measurement

RNG = np.random.default_rng(0)
SQUARE = np.array([(0, 1, 2), (2, 1, 3)])
CORNERS = np.array([(0, 0, 0), (10, 0, 0), (0, 10, 0), (10, 10, 0)], float)


@pytest.mark.parametrize(("size", "large"), [(8, 32), (5, 12), (7, 7), (2, 9)])
def test_maps_are_enlarged_as_pytorch_does_with_corners_aligned(size: int, large: int) -> None:
    maps = RNG.random((2, size, size, 3), np.float32)
    planes = torch.from_numpy(maps).permute(0, 3, 1, 2)
    theirs = F.interpolate(planes, (large, large), mode="bilinear", align_corners=True)
    np.testing.assert_allclose(upsampled(maps, large), theirs.permute(0, 2, 3, 1), atol=1e-6)
    np.testing.assert_array_equal(upsampled(maps[0], large), upsampled(maps, large)[0])


def test_a_slanted_plane_stays_one() -> None:
    steps = np.linspace(0, 1, 4, dtype=np.float32)
    plane = np.stack(np.broadcast_arrays(steps[:, None], steps[None], steps[:, None] + steps), -1)
    made = upsampled(plane, 13)
    np.testing.assert_allclose(made[..., 2], made[..., 0] + made[..., 1], atol=1e-6)
    np.testing.assert_allclose(made[:, 0, 0], np.linspace(0, 1, 13), atol=1e-6)


def test_vertices_and_normals_of_the_upsampled_are_scored() -> None:
    tilted = CORNERS + CORNERS[:, :1] * (0, 0, 1)
    found = bilinear_scores(tilted, CORNERS, SQUARE)
    assert found["bilinear_vertex_mean_mm"] == pytest.approx(5.0)
    assert found["bilinear_normal_deg"] == pytest.approx(45.0)


def rows(**values: float) -> list[Measurement]:
    return [
        Measurement("truth", "tflite", "srnet", name, value, "7") for name, value in values.items()
    ]


def numbers(found: list[Measurement]) -> dict[str, Any]:
    return {row.metric: row.value for row in found}


def test_a_gain_is_the_part_of_the_error_that_is_gone() -> None:
    found = gains(
        rows(
            vertex_mean_mm=0.6,
            bilinear_vertex_mean_mm=1.0,
            normal_deg=22.0,
            bilinear_normal_deg=20.0,
        )
    )
    assert numbers(found) == pytest.approx(
        {"vertex_gain_percent": 40.0, "normal_gain_percent": -10.0}
    )
    assert {(row.reference, row.candidate, row.stage) for row in found} == {
        ("truth", "tflite", "srnet")
    }
    assert {row.worst_sample for row in found} == {None}


def test_where_nothing_was_upsampled_there_is_no_gain() -> None:
    assert gains(rows(vertex_mean_mm=0.6, normal_deg=22.0)) == []
    assert gains([]) == []


@pytest.mark.parametrize(("own", "start"), [(math.nan, 1.0), (1.0, math.nan), (1.0, 0.0)])
def test_a_gain_over_nothing_is_no_number(own: float, start: float) -> None:
    found = gains(rows(vertex_mean_mm=own, bilinear_vertex_mean_mm=start))
    assert math.isnan(numbers(found)["vertex_gain_percent"])

"""What the benchmarks time, and where output goes meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from quantizer_toys import spec_of
from torch import nn

from benchmarks.timing import quiet_output, tflite
from i2uv_edge.convert.tflite import to_tflite
from i2uv_edge.device.timing import interleaved


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Give a network of next to no weights and one of 9 MB."""
    folder = tmp_path_factory.mktemp("files")
    paths = []
    for width in (4, 1500):
        network = nn.Sequential(nn.Conv2d(3, width, 1), nn.Conv2d(width, width, 1)).eval()
        paths.append(folder / f"{width}.tflite")
        to_tflite(network, spec_of(network, 8), paths[-1])
    return paths[0], paths[1]


def test_a_file_runs_on_noise(files: tuple[Path, Path]) -> None:
    times = interleaved([tflite("small", files[0]), tflite("both", *files)], rounds=2)
    assert times["both"].median > times["small"].median > 0.0


def test_output_of_libraries_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_output():
        os.write(1, b"a library talks past Python")
    os.write(1, b"the result")
    assert capfd.readouterr() == ("the result", "a library talks past Python")

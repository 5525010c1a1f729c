"""What the benchmarks time, and where output goes meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.timing import quiet_output, tflite
from i2uv_edge.device.timing import interleaved


def test_a_file_runs_on_noise(files: tuple[Path, Path]) -> None:
    times = interleaved([tflite("small", files[0]), tflite("both", *files)], rounds=2)
    assert times["both"].median > times["small"].median > 0.0


def test_output_of_libraries_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_output():
        os.write(1, b"a library talks past Python")
    os.write(1, b"the result")
    assert capfd.readouterr() == ("the result", "a library talks past Python")

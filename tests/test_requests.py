from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from i2uv_edge import requests
from i2uv_edge.errors import UsageError


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(requests.TrainRequest("nets/mine.toml"), id="train"),
        pytest.param(requests.CalibrateRequest(Path("a/mine")), id="calibrate"),
        pytest.param(requests.ExportRequest(target="t/mine.toml"), id="export"),
    ],
)
def test_the_default_output_is_named_after_the_input(request_: Any) -> None:
    assert request_.destination.name.startswith("mine")
    assert request_.destination.suffix == ""


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(requests.TrainRequest("x", output=Path("o")), id="train"),
        pytest.param(requests.CalibrateRequest(Path("x"), Path("o")), id="calibrate"),
        pytest.param(requests.ExportRequest(output=Path("o")), id="export"),
    ],
)
def test_an_output_that_is_named_is_taken(request_: Any) -> None:
    assert request_.destination == Path("o")


def test_a_candidate_is_a_known_name_or_a_folder(tmp_path: Path) -> None:
    requests.ValidateRequest(Path("b"), candidates=("tflite", "onnx", "fake-quant", str(tmp_path)))
    with pytest.raises(UsageError, match=r"'tfilte'\nexpected: one of tflite, onnx, fake-quant"):
        requests.ValidateRequest(Path("b"), candidates=("tflite", "tfilte"))


def test_only_settings_that_were_given_override_those_of_a_training_file() -> None:
    request = requests.TrainRequest(
        "x",
        steps=5,
        workers=0,
        data=Path('a "b"'),
        tensorboard=True,
        settings=("steps=7", "loss.seam=1"),
    )
    assert request.overrides() == (
        "steps=7",
        "loss.seam=1",
        "steps=5",
        "workers=0",
        "tensorboard=true",
        'dataset.path="a \\"b\\""',
    )
    assert requests.TrainRequest("x").overrides() == ()

"""The default path: the bundled weights and the bundled pictures."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from model_toys import run

from i2uv_edge import reporting
from i2uv_edge.networks.model import load_networks
from i2uv_edge.spec import load_model

pytestmark = pytest.mark.bundled


def test_the_bundled_weights_fit_the_default_model() -> None:
    networks = load_networks(load_model("edge"))
    assert list(networks) == ["affinenet", "srnet"]


@pytest.mark.slow
def test_the_default_export_passes_every_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent: list[float] = []
    real = reporting.write_report

    def timed(*arguments: Any) -> None:
        started = time.process_time()  # which other processes do not lengthen
        real(*arguments)
        spent.append(time.process_time() - started)

    monkeypatch.setattr(reporting, "write_report", timed)
    ended = run("export", "-o", str(tmp_path / "out"), "--json")
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    assert (document["model"], document["samples"]) == ("edge", 200)
    found = {
        (score["candidate"], score["metric"]): score["value"]
        for score in document["scores"]
        if (score["reference"], score["stage"]) == ("truth", "chained")
    }
    assert found["float", "pa_mpvpe_mm"] <= 13
    assert found["tflite", "spread_ratio"] >= 0.8
    assert 1_000_000 < (tmp_path / "out" / "report.html").stat().st_size < 5_000_000
    assert spent[0] <= 15.0

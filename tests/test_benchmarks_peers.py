"""The comparison of ways, on a small network with weights of no importance."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import peers, published
from benchmarks.peers import Made, Outcome, Task, compare, ours, ours_float, table
from benchmarks.subjects import at_side
from i2uv_edge.data.evaluation import bundled_samples
from i2uv_edge.data.synthetic import SceneSettings, render_sample
from i2uv_edge.networks.checkpoint import save_checkpoint

PEERS = find_spec("litert_torch") is not None and find_spec("ai_edge_quantizer") is not None


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "r18.safetensors"
    save_checkpoint(published.AffineNet(18), path, dtype=torch.float32)
    scene = SceneSettings(size=64)
    drawn = [render_sample(0, number, scene).picture for number in range(2)]
    calibration = [picture[None].astype(np.float32) / np.float32(255) for picture in drawn]
    samples = [next(bundled_samples(64))]
    return Task(at_side("affinenet-r18", 64), path, calibration, samples)


def broken(task: Task, path: Path) -> Made:
    try:
        raise RuntimeError("a weight is too large\nand more")
    except RuntimeError as error:
        raise ValueError("no parameters for a tensor") from error


def wrong_shape(task: Task, path: Path) -> Made:
    return Made(path, lambda picture: picture[:, ::2])


def not_finite(task: Task, path: Path) -> Made:
    return Made(path, lambda picture: picture * np.float32(np.nan))


def easy(task: Task, path: Path) -> Made:
    path.write_bytes(b"a file")
    return Made(path, lambda picture: picture)


def test_every_way_is_gone_and_what_fails_says_why(task: Task) -> None:
    ways = {
        "int8": ours,
        "float": ours_float,
        "broken": broken,
        "cut": wrong_shape,
        "empty": not_finite,
    }
    outcomes = {item.name: item for item in compare(task, ways, rounds=1)}
    assert list(outcomes) == ["PyTorch, float", *ways]
    int8 = outcomes["int8"]
    assert outcomes["float"].mean_mm < 0.001 < int8.mean_mm < int8.p95_mm
    assert int8.megabytes < 0.3 * outcomes["float"].megabytes
    for name in ("int8", "float"):
        assert outcomes[name].operators == {"TRANSPOSE": 0, "GATHER_ND": 0}
        assert outcomes[name].ms > 0.0
    assert outcomes["broken"].reason == "RuntimeError: a weight is too large"
    assert math.isnan(outcomes["broken"].mean_mm)
    for name in ("cut", "empty"):
        assert "shape" in outcomes[name].reason
    shown = table(list(outcomes.values()))
    assert "failed: RuntimeError: a weight is too large" in shown
    assert "nan" not in shown.replace("a weight", "")


def test_a_repair_is_tried_only_where_something_broke(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "REPAIRS", {"mended": "plain"})
    monkeypatch.setattr(peers, "_operators", lambda path: {})
    for way, names in ((broken, ["plain", "mended"]), (easy, ["plain"])):
        outcomes = compare(task, {"plain": way, "mended": easy}, rounds=1)
        assert [item.name for item in outcomes[1:]] == names


def test_the_table_leaves_out_what_is_not_known() -> None:
    made = Outcome("int8", 0.5, 1.5, 12.0, 4.4, {"TRANSPOSE": 3, "GATHER_ND": 0}, seconds=8.0)
    eager = Outcome("PyTorch, float", 0.0, 0.0, 50.0)
    first, second = table([eager, made]).splitlines()[2:]
    assert first.split() == ["PyTorch,", "float", "0.00", "0.00", "50.0"]
    assert second.split() == ["int8", "0.50", "1.50", "12.0", "4.4", "3", "0", "8"]


@pytest.mark.slow
@pytest.mark.skipif(not PEERS, reason="the extra `peers` is not installed")
@pytest.mark.filterwarnings("ignore")
def test_all_ways_give_a_network(task: Task) -> None:
    outcomes = {item.name: item for item in compare(task, rounds=1)}
    assert [item.reason for item in outcomes.values()] == [""] * len(outcomes)
    assert outcomes["litert-torch, float"].mean_mm < 0.1
    assert outcomes["litert-torch, float"].operators["GATHER_ND"] > 0


@pytest.mark.slow
@pytest.mark.skipif(not PEERS, reason="the extra `peers` is not installed")
@pytest.mark.filterwarnings("ignore")
def test_the_repair_rounds_as_the_tool_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.algorithms.uniform_quantize import uniform_quantize_tensor as tool

    rng = np.random.default_rng(0)
    values = rng.standard_normal((24, 3, 3, 8)).astype(np.float32)
    scale = (np.abs(values).max((1, 2, 3), keepdims=True) / 127).astype(np.float32)
    parameters = qtyping.UniformQuantParams(
        num_bits=8,
        quantized_dimension=0,
        scale=scale,
        zero_point=np.zeros_like(scale, dtype=np.int32),
        symmetric=True,
    )
    expected = tool.uniform_quantize(values, parameters)
    monkeypatch.setattr(peers, "LARGE", 1)
    with peers._large_weights_in_slices():
        found = tool.uniform_quantize(values, parameters)
        assert tool.uniform_quantize is not None
    np.testing.assert_array_equal(found, expected)
    monkeypatch.setattr(peers, "LARGE", 1 << 40)
    np.testing.assert_array_equal(tool.uniform_quantize(values, parameters), expected)

"""The comparison of ways, on a small network with weights of no importance."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import peers, published, ways
from benchmarks.peers import MODEL_WAYS, Outcome, compare, model_task, table
from benchmarks.subjects import at_side
from benchmarks.ways import Made, Task, ours, ours_float, ours_trained
from i2uv_edge.data.evaluation import bundled_samples
from i2uv_edge.data.synthetic import SceneSettings, render_sample
from i2uv_edge.errors import UsageError
from i2uv_edge.networks.checkpoint import save_checkpoint
from i2uv_edge.networks.layers import Warp
from i2uv_edge.quantizer.network import quantize
from i2uv_edge.quantizer.stored import StoredWeights, write_stored
from i2uv_edge.quantizer.trainable import tensors_of
from i2uv_edge.spec import load_recipe

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
    chosen = {
        "int8": ours,
        "float": ours_float,
        "broken": broken,
        "cut": wrong_shape,
        "empty": not_finite,
    }
    outcomes = {item.name: item for item in compare(task, chosen, rounds=1)}
    assert list(outcomes) == ["PyTorch, float", *chosen]
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
    assert first.split() == ["PyTorch,", "float", "0.00", "0.00", "50.0", "4.17"]
    assert second.split() == ["int8", "0.50", "1.50", "12.0", "1.00", "4.4", "3", "0", "8"]


def emulated(task: Task, path: Path) -> Made:
    return Made(None, ways.in_torch(task.module()))


def test_what_has_no_file_is_not_timed_and_what_is_not_there_is_skipped(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "_operators", lambda path: {})
    chosen = {"int8": easy, "emulated": emulated, "trained": ours_trained}
    outcomes = {item.name: item for item in compare(task, chosen, rounds=1)}
    assert outcomes["emulated"].mean_mm == 0.0
    assert math.isnan(outcomes["emulated"].ms)
    assert outcomes["trained"].skipped
    shown = table(list(outcomes.values())).splitlines()
    assert shown[-2].split() == ["emulated", "0.00", "0.00", *shown[-2].split()[3:]]
    assert len(shown[-2].split()) == 4  # and how long it took to make
    assert shown[-1] == "trained         skipped: no training was done to it"


def test_a_model_comes_with_its_weights_and_tools_get_it_in_either_form() -> None:
    task = model_task("edge", None, calibration=1, samples=1)
    assert task.spec.name == "affinenet-edge"
    for deployed in (False, True):
        given = replace(task, deployed=deployed).foreign()
        warps = [layer for layer in given.modules() if isinstance(layer, Warp)]
        assert warps
        assert all((warp.sample is not None) == deployed for warp in warps)
    assert isinstance(task.trained, StoredWeights) or "w8a8-qat" in task.trained


@pytest.mark.slow
def test_trained_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    bundled = model_task("edge", None, calibration=1, samples=1)
    recipe = load_recipe("w8a8-qat").for_network(bundled.spec)
    made = quantize(bundled.module(), recipe, bundled.calibration, network_role="affinenet")
    stored = StoredWeights(bundled.spec.name, "0" * 64, made.encodings, tensors_of(made.graph))
    write_stored(tmp_path / "other.safetensors", stored)
    with pytest.raises(UsageError, match="other weights"):
        model_task("edge", tmp_path / "other.safetensors", calibration=1, samples=1)
    right = replace(bundled, trained=stored)  # its parent is only what says where it is from
    found = compare(right, {"int8": ours, "trained": ours_trained}, rounds=1)
    assert found[1].mean_mm == pytest.approx(found[2].mean_mm, rel=1e-6)  # nothing was trained


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
def test_every_way_of_a_model_gives_a_line() -> None:
    task = model_task("edge", None, calibration=2, samples=1)
    outcomes = {item.name: item for item in compare(task, MODEL_WAYS, rounds=1)}
    assert list(outcomes) == ["PyTorch, float", *MODEL_WAYS]
    for name, item in outcomes.items():
        assert not item.reason or item.skipped or "PT2E" in name, (name, item.reason)
    assert outcomes["torchao PT2E, int8, in PyTorch"].mean_mm > 0.0


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
    monkeypatch.setattr(ways, "LARGE", 1)
    with ways._large_weights_in_slices():
        found = tool.uniform_quantize(values, parameters)
        assert tool.uniform_quantize is not None
    np.testing.assert_array_equal(found, expected)
    monkeypatch.setattr(ways, "LARGE", 1 << 40)
    np.testing.assert_array_equal(tool.uniform_quantize(values, parameters), expected)

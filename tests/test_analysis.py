"""Where the millimetres go, from the command line to a recipe that an export takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import move_in
from model_toys import Ended, Toy, run

from i2uv_edge.spec import load_recipe

BUDGET = 0.9


def analyze(toy: Toy, output: Path, *options: str) -> Ended:
    return run("quantize", str(toy.model), *toy.checkpoints, "-o", str(output), *options)


@pytest.fixture(scope="module")
def analyzed(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path]:
    folder = tmp_path_factory.mktemp("analyzed") / "out"
    with pytest.MonkeyPatch.context() as patch:
        move_in(toy, patch)
        ended = analyze(toy, folder, "--analyze", "--max-mm", str(BUDGET), "--json")
    assert ended.code == 0, ended.err
    return ended, folder


def test_every_block_and_tensor_of_both_networks_is_there(analyzed: tuple[Ended, Path]) -> None:
    document = json.loads((analyzed[1] / "analysis.json").read_text())
    assert document["schema"] == 1
    assert {block["network"] for block in document["blocks"]} == {"affinenet", "srnet"}
    heads = {block["block"] for block in document["blocks"] if block["part"] == "heads"}
    assert heads == {"first.head", "decoder.0.head", "decoder.1.head", "decoder.2.head"}
    alone = [block["alone_mm"] for block in document["blocks"]]
    assert alone == sorted(alone, reverse=True)
    assert {tensor["kind"] for tensor in document["tensors"]} == {"activation", "weight"}
    printed = json.loads(analyzed[0].out)
    assert printed.pop("files") == [
        str(analyzed[1] / "analysis.json"),
        str(analyzed[1] / f"toy-{BUDGET}mm.toml"),
    ]
    assert printed == document


def test_each_step_of_the_ladder_leaves_more_in_float(analyzed: tuple[Ended, Path]) -> None:
    ladder = json.loads(analyzed[0].out)["ladder"]
    assert ladder[0]["floats"] == []
    assert ladder[0]["extra_time"] == 0.0
    times = [step["extra_time"] for step in ladder]
    assert times == sorted(times)
    assert ladder[-1]["mm"] < ladder[0]["mm"]


def test_the_recipe_is_exported_within_its_budget(
    toy: Toy, analyzed: tuple[Ended, Path], tmp_path: Path
) -> None:
    path = analyzed[1] / f"toy-{BUDGET}mm.toml"
    recipe = load_recipe(path)
    measured = [override for override in recipe.overrides if override.part != "warps"]
    assert measured, "the budget is one that is not met with everything integer"
    assert all("mm" in o.reason or o.reason.startswith("Read by") for o in measured)
    with pytest.MonkeyPatch.context() as patch:
        move_in(toy, patch)
        ended = toy.export(tmp_path / "bundle", "--recipe", str(path))
    assert ended.code in (0, 3), ended.err
    report = json.loads((tmp_path / "bundle" / "report.json").read_text())
    values = {
        (score["candidate"], score["stage"]): score["value"]
        for score in report["scores"]
        if score["metric"] == "vertex_mean_mm" and score["reference"] == "float"
    }
    (budget,) = json.loads(analyzed[0].out)["budgets"]
    found = [values["fake-quant", stage] for stage in ("affinenet", "srnet", "chained")]
    assert max(found) == pytest.approx(budget["mm"], rel=1e-6)
    assert budget["mm"] <= BUDGET
    assert values["tflite", "chained"] <= BUDGET + 0.1
    shares = [s["value"] for s in report["scores"] if s["metric"] == "float_macs_share"]
    assert max(shares) == pytest.approx(budget["choice"]["float_macs"], abs=1e-6)
    assert max(shares) <= recipe.max_float_macs


@pytest.mark.usefixtures("toy_world")
def test_a_budget_that_nothing_meets_names_the_least_that_is_reached(
    toy: Toy, tmp_path: Path
) -> None:
    ended = analyze(toy, tmp_path / "out", "--max-mm", "1e-9")
    assert ended.code == 2
    assert "with every block in float it is" in ended.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [("--resume",), ("--set", "steps=3"), ("--images", "somewhere")])
def test_what_is_of_training_is_refused(toy: Toy, tmp_path: Path, option: tuple[str, ...]) -> None:
    ended = analyze(toy, tmp_path, "--analyze", *option)
    assert ended.code == 2
    assert option[0] in ended.err


@pytest.mark.usefixtures("toy_world")
def test_a_float_recipe_has_nothing_to_analyze(toy: Toy, tmp_path: Path) -> None:
    ended = analyze(toy, tmp_path, "--analyze", "--recipe", "float")
    assert ended.code == 2
    assert "quantizes nothing" in ended.err


@pytest.mark.usefixtures("toy_world")
def test_results_that_lie_there_are_not_replaced(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "analysis.json").write_text("mine")
    ended = analyze(toy, tmp_path, "--analyze")
    assert ended.code == 2
    assert (tmp_path / "analysis.json").read_text() == "mine"


def test_a_budget_of_nothing_is_refused(toy: Toy, tmp_path: Path) -> None:
    assert analyze(toy, tmp_path, "--max-mm", "0").code == 2

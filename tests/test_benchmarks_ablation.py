"""Runs on equal budgets: what they change, that none is done twice, what the tables say."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from network_toys import AFFINENET, write_toml

from benchmarks import ablation
from benchmarks.ablation import (
    COMPARISONS,
    Budget,
    Comparison,
    Run,
    Variant,
    charts,
    run_all,
    runs_of,
    table,
)
from i2uv_edge.errors import UsageError
from i2uv_edge.networks.registry import build
from i2uv_edge.training.config import TrainingConfig

TINY = Budget(batch=2, steps=2, samples=2)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Give a comparison of two toys."""
    path = write_toml(AFFINENET, tmp_path_factory.mktemp("toy"))
    variants = (Variant("first"), Variant("No Warps", {"warps": 0}, ("loss.seam=0.1",)))
    return Comparison("toys", "Toys: two", 64, 4, variants, str(path))


@pytest.fixture(scope="module")
def done(toy: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder in which both have been run."""
    output = tmp_path_factory.mktemp("ablation")
    run_all(runs_of([toy], TINY), output)
    return output


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Note what would be trained."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(ablation, "train", lambda *given, **named: asked.append(named))
    return asked


def changes(one: TrainingConfig, other: TrainingConfig) -> set[str]:
    return {key for key, value in vars(one).items() if value != getattr(other, key)}


@pytest.mark.parametrize("comparison", COMPARISONS, ids=lambda comparison: comparison.name)
def test_runs_differ_from_the_first_in_what_they_declare_alone(comparison: Comparison) -> None:
    base, *others = (Run(comparison, variant, Budget()) for variant in comparison.variants)
    assert not base.variant.architecture
    assert not base.variant.settings
    for run in others:
        keys = {setting.partition("=")[0].partition(".")[0] for setting in run.variant.settings}
        assert changes(base.config, run.config) == keys
        own, first = run.spec.architecture, base.spec.architecture
        assert {key for key in own if own[key] != first.get(key)} == set(run.variant.architecture)
        assert keys or run.variant.architecture
    config = base.config
    assert (config.first_edition, config.coarse_edges, config.workers) == (0.5, 1.0, 0)
    assert config.evaluation_samples == 400
    assert config.steps / config.evaluate_every == pytest.approx(8, rel=0.1)
    assert config.steps * config.batch == pytest.approx(comparison.pictures, rel=0.001)


def test_declared_networks_are_what_their_names_say() -> None:
    runs = {run.variant.name: run for run in runs_of(COMPARISONS, Budget())}
    modules: dict[str, Any] = {name: build(run.spec) for name, run in runs.items()}
    warped = {name: sum(s.warp is not None for s in m.decoder) for name, m in modules.items()}
    assert {name: warped[name] for name in ("base", "no warps", "1 warp", "2 warps")} == {
        "base": 3,
        "no warps": 0,
        "1 warp": 1,
        "2 warps": 2,
    }
    assert [runs[name].spec.output.shape[1] for name in ("map 64", "map 128")] == [64, 128]
    assert runs["base"].spec.output.shape == (1, 32, 32, 3)


def test_run_that_stands_in_two_comparisons_is_run_once() -> None:
    names = [run.variant.name for run in runs_of(COMPARISONS, Budget())]
    assert names.count("base") == 1
    assert len(names) == len(set(names)) == 13


def test_two_runs_of_one_name_are_refused(toy: Comparison) -> None:
    other = replace(toy, variants=(Variant("first", settings=("ema=0",)),))
    with pytest.raises(ValueError, match="'first'"):
        runs_of([toy, other], TINY)


def test_table_says_what_runs_cost_and_how_far_they_are_from_the_first(
    toy: Comparison, done: Path
) -> None:
    lines = table(toy, TINY, done).splitlines()
    assert lines[0] == "Toys: two (2 steps of 2 pictures of 64 px, scored on 2):"
    first, other = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[4:])
    module = build(runs_of([toy], TINY)[0].spec)
    assert first[0] == "first"
    assert first[1] == f"{sum(p.numel() for p in module.parameters()):,}"
    assert float(first[2]) > 0
    assert first[4] == ""
    assert other[:3] == ["No Warps", *first[1:3]]
    assert float(other[4]) == pytest.approx(float(other[3]) - float(first[3]), abs=0.011)
    assert 10 < float(first[3]) < 100


def test_score_is_the_last_of_the_log(toy: Comparison, done: Path) -> None:
    row = (done / "no-warps" / "log.csv").read_text().splitlines()[-1].split(",")
    assert row[0] == "2"
    assert f"| {float(row[3]):.2f} |" in table(toy, TINY, done)


def test_what_is_done_is_not_done_again(
    toy: Comparison, done: Path, no_training: list[dict[str, Any]]
) -> None:
    run_all(runs_of([toy], TINY), done)
    assert no_training == []


def test_run_that_was_killed_goes_on(
    toy: Comparison, tmp_path: Path, no_training: list[dict[str, Any]]
) -> None:
    (run, _) = runs_of([toy], TINY)
    run_all([run], tmp_path)
    (tmp_path / "first" / "state.pt").touch()
    run_all([run], tmp_path)
    assert [named["resume"] for named in no_training] == [False, True]


def test_runs_of_another_budget_are_not_compared(
    toy: Comparison, done: Path, no_training: list[dict[str, Any]]
) -> None:
    longer = replace(TINY, steps=3)
    with pytest.raises(UsageError, match="first holds a run with other settings"):
        run_all(runs_of([toy], longer), done)
    with pytest.raises(UsageError, match="other settings"):
        table(toy, longer, done)
    assert no_training == []


def test_what_has_not_been_run_is_no_figure(toy: Comparison, tmp_path: Path) -> None:
    assert table(toy, TINY, tmp_path).count("| not run |  |") == 2
    assert charts([toy], TINY, tmp_path, tmp_path) == []


def test_each_comparison_has_a_picture(toy: Comparison, done: Path, tmp_path: Path) -> None:
    (path,) = charts([toy], TINY, done, tmp_path)
    assert path == tmp_path / "ablation-toys.svg"
    text = path.read_text()
    assert ">Toys<" in text
    assert ">No Warps: " in text


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["ablation.py", *arguments])
    return ablation.main()


def test_command_runs_what_is_asked_for_and_writes_the_tables(
    toy: Comparison,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    no_training: list[dict[str, Any]],
) -> None:
    monkeypatch.setattr(ablation, "COMPARISONS", (toy,))
    budget = ("--steps", "2", "--batch", "2", "--jobs", "1", "-o", str(tmp_path))
    assert command(monkeypatch, *budget, "--only", "No Warps") == 0
    assert len(no_training) == 1
    assert (tmp_path / "no-warps" / "run.json").is_file()
    assert (tmp_path / "table.md").read_text() in capsys.readouterr().out
    # The next one is refused before anything is trained, by a run that nobody asked for.
    assert command(monkeypatch, "--steps", "3", *budget[2:], "--only", "first") == 2
    assert "no-warps holds a run with other settings" in capsys.readouterr().err
    assert len(no_training) == 1


def test_unknown_run_is_refused_with_the_known_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command(monkeypatch, "--only", "base", "3 warps")
    said = capsys.readouterr().err
    assert "no run '3 warps'; there are base, no warps, 1 warp" in said

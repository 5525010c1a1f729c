"""The training loop: it learns, goes on where it was killed, and refuses what cannot go well."""

from __future__ import annotations

import math
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from network_toys import AFFINENET, SRNET, smooth_map, with_architecture
from torch import Tensor, nn
from torch.utils.data import default_collate
from training_toys import CONFIG, Maps, equal

from i2uv_edge.errors import InputError, MissingDependencyError, UsageError
from i2uv_edge.hand.model import FloatArray
from i2uv_edge.networks.checkpoint import load_checkpoint, network_of, save_checkpoint
from i2uv_edge.networks.registry import build
from i2uv_edge.spec import NetworkSpec
from i2uv_edge.training import loop
from i2uv_edge.training.config import TrainingConfig
from i2uv_edge.training.log import LOG, Progress
from i2uv_edge.training.loop import STATE, learning_rate, train
from i2uv_edge.training.task import EVALUATION_SEED, Batch, Sample, Task
from i2uv_edge.training.tasks import make_task

TINY = with_architecture(SRNET, width=4)


class KilledError(Exception):
    """In the place of a kill: the loop ends wherever it is."""


class Doubling:
    """Learn to double a map: in the place of the real tasks, whose samples are slower."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.progress: list[float] = []
        self.coins: list[float] = []
        self.broken_at = math.inf

    def sample(self, seed: int, index: int) -> Sample:
        self.asked.append((seed, index))
        rng = np.random.default_rng((seed, index))
        return {"map": rng.random((3, 16, 16), np.float32)}

    def loss(self, module: nn.Module, batch: Batch, progress: float, coin: float) -> Tensor:
        self.progress.append(progress)
        self.coins.append(coin)
        given = batch["map"]
        wanted = nn.functional.interpolate(2 * given, scale_factor=2)
        loss = (module(given) - wanted).abs().mean()
        return loss * math.nan if len(self.progress) > self.broken_at else loss

    def score(self, module: nn.Module, batch: Batch) -> FloatArray:
        assert not module.training
        return np.full(len(batch["map"]), 7.0, np.float32)


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Doubling:
    made = Doubling()
    monkeypatch.setattr(loop, "make_task", lambda spec, config: made)
    return made


def killed_after(step: int) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.step == step:
            raise KilledError

    return report


def run(folder: Path, spec: NetworkSpec = TINY, **changes: Any) -> list[Progress]:
    """Train the toy SRNet from the beginning to the end."""
    reports: list[Progress] = []
    train(spec, replace(CONFIG, **changes), folder, report=reports.append)
    return reports


def state(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(folder / STATE, weights_only=True)
    return content


# --- it learns ------------------------------------------------------------------------------------


class Repeating:
    """A real task whose samples repeat after the first four, which takes no time to learn."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.kept: dict[tuple[int, int], Sample] = {}

    def sample(self, seed: int, index: int) -> Sample:
        key = (seed, index % 4)
        if key not in self.kept:
            self.kept[key] = self.task.sample(*key)
        return self.kept[key]

    def loss(self, module: nn.Module, batch: Batch, progress: float, coin: float) -> Tensor:
        return self.task.loss(module, batch, progress, coin)

    def score(self, module: nn.Module, batch: Batch) -> FloatArray:
        return self.task.score(module, batch)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("spec", "steps", "part"),
    [pytest.param(AFFINENET, 40, 0.6, id="affinenet"), pytest.param(SRNET, 60, 0.97, id="srnet")],
)
def test_toy_network_learns_its_real_task(
    spec: NetworkSpec,
    steps: int,
    part: float,
    precision: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = replace(CONFIG, steps=steps, learning_rate=1e-2, precision=precision)
    config = replace(config, predicted_maps=0.0, checkpoint_every=1000)
    repeating = Repeating(make_task(spec, config))
    monkeypatch.setattr(loop, "make_task", lambda spec, config: repeating)
    reports: list[Progress] = []
    train(spec, config, tmp_path, report=reports.append)
    batch = default_collate([repeating.sample(config.seed, index) for index in range(4)])
    learned = build(spec).train()
    learned.load_state_dict(state(tmp_path)["module"])
    with torch.no_grad():
        loss = float(repeating.loss(learned, batch, 1.0, 1.0))
    assert loss < part * reports[0].loss
    assert reports[-1].score_mm is not None
    assert 0.1 < reports[-1].score_mm < 100


@pytest.mark.usefixtures("task")
def test_checkpoint_is_the_network_s_and_has_learned(tmp_path: Path) -> None:
    path = train(TINY, replace(CONFIG, steps=60, ema=0.0), tmp_path)
    assert path == tmp_path / f"{TINY.name}.safetensors"
    assert network_of(path) == TINY.name
    learned, fresh = build(TINY), build(TINY)
    load_checkpoint(learned, path)
    given = smooth_map(16)
    wanted = nn.functional.interpolate(2 * given, scale_factor=2)
    with torch.no_grad():
        errors = [(network(given) - wanted).abs().mean() for network in (learned, fresh)]
    assert errors[0] < 0.7 * errors[1]


@pytest.mark.usefixtures("task")
def test_seed_makes_the_run(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(tmp_path / name, seed=seed)
    a, b, c = (state(tmp_path / name)["module"] for name in "abc")
    assert equal(a, b)
    assert not equal(a, c)


def test_samples_come_in_order_and_held_out_ones_from_their_own_seed(
    task: Doubling, tmp_path: Path
) -> None:
    run(tmp_path, steps=2, seed=5)
    assert task.asked == [(5, index) for index in range(8)] + [
        (EVALUATION_SEED, index) for index in range(3)
    ]
    assert task.progress == [0.0, 0.5]
    assert len(set(task.coins)) == 2
    assert all(0 <= coin <= 1 for coin in task.coins)


@pytest.fixture
def impatient() -> Iterator[None]:
    """End what hangs, as a worker that waits for the threads of its parent would."""

    def give_up(number: int, frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("task", "impatient")
def test_workers_make_the_same_run(tmp_path: Path) -> None:
    run(tmp_path / "own", steps=3)
    cv2.setNumThreads(2)
    cv2.resize(np.zeros((800, 800, 3), np.float32), (400, 400), interpolation=cv2.INTER_AREA)
    time.sleep(0.2)  # until OpenCV's threads sleep, as they do before most forks
    run(tmp_path / "workers", steps=3, workers=1)
    assert equal(state(tmp_path / "own")["module"], state(tmp_path / "workers")["module"])


# --- it goes on -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kill", [4, 6, 11])
def test_killed_and_resumed_run_ends_like_an_unbroken_one(
    task: Doubling, tmp_path: Path, kill: int
) -> None:
    whole = train(TINY, CONFIG, tmp_path / "whole")
    with pytest.raises(KilledError):
        train(TINY, CONFIG, tmp_path / "broken", report=killed_after(kill))
    assert state(tmp_path / "broken")["step"] == kill // 4 * 4
    before = len(task.asked)
    resumed = train(TINY, CONFIG, tmp_path / "broken", resume=True)
    assert task.asked[before] == (0, kill // 4 * 4 * CONFIG.batch)
    assert resumed.read_bytes() == whole.read_bytes()
    one, other = state(tmp_path / "whole"), state(tmp_path / "broken")
    assert equal(one["module"], other["module"])
    assert equal(one["averaged"], other["averaged"])


@pytest.mark.usefixtures("task")
def test_run_that_starts_again_instead_would_end_otherwise(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    with pytest.raises(KilledError):
        train(TINY, CONFIG, tmp_path / "broken", report=killed_after(6))
    halfway = build(TINY)
    halfway.load_state_dict(state(tmp_path / "broken")["module"])
    save_checkpoint(halfway, tmp_path / "half.safetensors", dtype=torch.float32)
    train(TINY, CONFIG, tmp_path / "again", initial=tmp_path / "half.safetensors")
    assert not equal(state(tmp_path / "whole")["module"], state(tmp_path / "again")["module"])


@pytest.mark.slow
def test_real_task_goes_on_too(tmp_path: Path) -> None:
    whole = train(AFFINENET, CONFIG, tmp_path / "whole")
    with pytest.raises(KilledError):
        train(AFFINENET, CONFIG, tmp_path / "broken", report=killed_after(6))
    resumed = train(AFFINENET, CONFIG, tmp_path / "broken", resume=True)
    assert resumed.read_bytes() == whole.read_bytes()


@pytest.mark.usefixtures("task")
def test_state_that_was_being_written_when_the_run_was_killed_is_ignored(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        train(TINY, CONFIG, tmp_path, report=killed_after(5))
    (tmp_path / f"{STATE}.partial").write_bytes(b"half")
    train(TINY, CONFIG, tmp_path, resume=True)
    assert state(tmp_path)["step"] == 12
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [LOG, STATE, f"{TINY.name}.safetensors"]
    )


@pytest.mark.usefixtures("task")
def test_resumed_run_may_be_longer(tmp_path: Path) -> None:
    run(tmp_path)
    train(TINY, replace(CONFIG, steps=16), tmp_path, resume=True)
    assert state(tmp_path)["step"] == 16


@pytest.mark.usefixtures("task")
def test_initial_weights_are_where_the_run_starts(tmp_path: Path) -> None:
    torch.manual_seed(77)
    start = build(TINY)
    save_checkpoint(start, tmp_path / "w.safetensors", dtype=torch.float32)
    config = replace(CONFIG, steps=1, learning_rate=1e-9)
    train(TINY, config, tmp_path / "run", initial=tmp_path / "w.safetensors")
    for key, value in state(tmp_path / "run")["averaged"].items():
        torch.testing.assert_close(value, start.state_dict()[key], atol=1e-7, rtol=0)


# --- what it refuses ------------------------------------------------------------------------------


@pytest.mark.usefixtures("task")
def test_folder_that_holds_a_run_is_not_overwritten(tmp_path: Path) -> None:
    run(tmp_path)
    before = (tmp_path / STATE).read_bytes()
    with pytest.raises(UsageError, match="already holds a training run") as raised:
        run(tmp_path)
    assert "--resume" in raised.value.remedy
    assert (tmp_path / STATE).read_bytes() == before


@pytest.mark.usefixtures("task")
def test_folder_without_a_run_is_not_resumed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no training run to resume"):
        train(TINY, CONFIG, tmp_path, resume=True)


def test_loss_that_is_no_number_ends_the_run_and_keeps_the_state_before(
    task: Doubling, tmp_path: Path
) -> None:
    task.broken_at = 6
    with pytest.raises(InputError, match="the loss is nan at step 6") as raised:
        run(tmp_path)
    assert str(tmp_path / STATE) in raised.value.remedy
    assert state(tmp_path)["step"] == 4
    assert all(torch.isfinite(value).all() for value in state(tmp_path)["module"].values())


def test_gradient_that_is_no_number_ends_the_run_before_it_does_harm(
    task: Doubling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def steep(module: nn.Module, batch: Batch, progress: float, coin: float) -> Tensor:
        del batch, progress, coin
        weight = next(module.parameters())
        return torch.sqrt((weight - weight.detach()).sum())  # 0, but infinitely steep there

    monkeypatch.setattr(task, "loss", steep)
    with pytest.raises(InputError, match=r"the norm of the gradient is (nan|inf) at step 0"):
        run(tmp_path)
    assert not (tmp_path / STATE).exists()


@pytest.mark.usefixtures("task")
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[: len(content) // 2], id="cut"),
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: b"hello\n" * 100, id="text"),
    ],
)
def test_damaged_state_is_refused_by_name(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    run(tmp_path)
    path = tmp_path / STATE
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="cannot be resumed from") as raised:
        train(TINY, CONFIG, tmp_path, resume=True)
    assert str(path) in raised.value.what
    assert "\n" not in raised.value.what


@pytest.mark.usefixtures("task")
def test_state_of_another_network_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(InputError, match="cannot be resumed from") as raised:
        train(with_architecture(TINY, width=5), CONFIG, tmp_path, resume=True)
    assert "state of a run of the same network" in raised.value.expected


@pytest.mark.usefixtures("task")
def test_state_of_another_optimizer_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(InputError, match="cannot be resumed from") as raised:
        train(TINY, replace(CONFIG, optimizer="muon"), tmp_path, resume=True)
    assert "and optimizer" in raised.value.expected


@pytest.mark.usefixtures("task")
@pytest.mark.parametrize(("batch", "micro_batch"), [(10, 4), (5, 2)])
def test_batch_that_cannot_be_divided_is_refused(
    tmp_path: Path, batch: int, micro_batch: int
) -> None:
    with pytest.raises(UsageError, match=f"batch of {batch} cannot be divided") as raised:
        run(tmp_path, batch=batch, micro_batch=micro_batch)
    assert f"multiple of 1 x {micro_batch}" in raised.value.expected


# --- schedule, average, reports -------------------------------------------------------------------


def test_learning_rate_warms_up_and_decays_to_a_hundredth() -> None:
    config = TrainingConfig(steps=1000, batch=2, learning_rate=0.5, warmup_steps=10)
    rates = [learning_rate(config, step) for step in range(1001)]
    assert rates[0] == pytest.approx(0.05)
    assert rates[4] == pytest.approx(0.25, rel=1e-3)
    assert rates[500] == pytest.approx(0.5 * 0.505)
    assert rates[1000] == pytest.approx(0.005)
    assert max(rates) == rates[9] <= 0.5
    assert all(one > other for one, other in pairwise(rates[10:]))


def test_no_warm_up_starts_at_the_peak() -> None:
    config = TrainingConfig(steps=10, batch=2, learning_rate=0.5, warmup_steps=0)
    assert learning_rate(config, 0) == pytest.approx(0.5)


@pytest.mark.usefixtures("task")
def test_optimiser_is_given_the_scheduled_rate(tmp_path: Path) -> None:
    run(tmp_path)
    (group,) = state(tmp_path)["optimizer"]["param_groups"]
    assert group["lr"] == learning_rate(CONFIG, CONFIG.steps - 1)


@pytest.mark.usefixtures("task")
def test_average_follows_the_weights_as_the_formula_says(tmp_path: Path) -> None:
    config = replace(CONFIG, steps=4, checkpoint_every=1, ema=0.25)
    states = []
    train(TINY, config, tmp_path, report=lambda progress: states.append(state(tmp_path)))
    torch.manual_seed(config.seed)
    average = build(TINY).state_dict()
    for step, kept in enumerate(states):
        decay = min(0.25, (1 + step) / (10 + step))
        for key, value in average.items():
            average[key] = decay * value + (1 - decay) * kept["module"][key]
            torch.testing.assert_close(kept["averaged"][key], average[key])
    assert not equal(states[-1]["module"], states[-1]["averaged"])


@pytest.mark.usefixtures("task")
def test_no_average_keeps_the_last_weights(tmp_path: Path) -> None:
    run(tmp_path, ema=0.0)
    assert equal(state(tmp_path)["module"], state(tmp_path)["averaged"])


@pytest.mark.usefixtures("task")
def test_average_is_what_is_saved(tmp_path: Path) -> None:
    run(tmp_path, ema=0.9, learning_rate=0.03)
    saved = build(TINY)
    load_checkpoint(saved, tmp_path / f"{TINY.name}.safetensors")
    kept = state(tmp_path)

    def apart(name: str) -> float:
        pairs = [(value, kept[name][key]) for key, value in saved.state_dict().items()]
        return float(sum((one - other).abs().sum() for one, other in pairs))

    assert apart("averaged") < 0.1 * apart("module")


@pytest.mark.usefixtures("task")
def test_every_step_is_reported_and_some_with_a_score(tmp_path: Path) -> None:
    reports = run(tmp_path, evaluate_every=5)
    assert [report.step for report in reports] == list(range(1, 13))
    assert {report.steps for report in reports} == {12}
    scored = {report.step: report.score_mm for report in reports if report.score_mm is not None}
    assert scored == {5: 7.0, 10: 7.0, 12: 7.0}
    assert all(report.samples_per_second > 0 for report in reports)


def rows_of(folder: Path) -> list[dict[str, str]]:
    head, *rows = (folder / LOG).read_text(encoding="utf-8").splitlines()
    assert head.startswith("step,loss,samples_per_second,score_mm,")
    return [dict(zip(head.split(","), row.split(","), strict=True)) for row in rows]


@pytest.mark.usefixtures("task")
@pytest.mark.parametrize("kill", [3, 5, 7, 11])
def test_resumed_run_has_the_log_of_an_unbroken_one(tmp_path: Path, kill: int) -> None:
    config = replace(CONFIG, evaluate_every=1)
    train(TINY, config, tmp_path / "whole")
    with pytest.raises(KilledError):
        train(TINY, config, tmp_path / "broken", report=killed_after(kill))
    train(TINY, config, tmp_path / "broken", resume=kill >= CONFIG.checkpoint_every)
    logs = [rows_of(tmp_path / name) for name in ("whole", "broken")]
    kept = [
        [{key: row[key] for key in ("step", "loss", "score_mm", "learning_rate")} for row in log]
        for log in logs
    ]
    assert kept[0] == kept[1]
    assert [row["step"] for row in kept[0]] == [str(step) for step in range(1, 13)]


@pytest.mark.usefixtures("task")
def test_run_of_before_the_log_and_the_state_knew_more_goes_on(tmp_path: Path) -> None:
    config = replace(CONFIG, evaluate_every=2)
    with pytest.raises(KilledError):
        train(TINY, config, tmp_path, report=killed_after(6))
    old = state(tmp_path)
    del old["running"], old["scaler"]
    torch.save(old, tmp_path / STATE)
    (tmp_path / LOG).write_text(
        "step,loss,samples_per_second,score_mm\n2,0.5,9.0,7.0\n4,0.4,9.0,7.0\n6,0.3,9.0,7.0\n8,0"
    )
    train(TINY, config, tmp_path, resume=True)
    rows = rows_of(tmp_path)
    assert [row["step"] for row in rows] == ["2", "4", "6", "8", "10", "12"]
    assert [row["memory_mb"] == "" for row in rows] == [True, True, False, False, False, False]


@pytest.mark.usefixtures("task")
def test_log_states_speed_rate_and_memory(tmp_path: Path) -> None:
    run(tmp_path, evaluate_every=6)
    last = rows_of(tmp_path)[-1]
    assert float(last["samples_per_second"]) > 0
    assert float(last["learning_rate"]) == pytest.approx(learning_rate(CONFIG, 11), rel=1e-3)
    assert 50 < float(last["memory_mb"]) < 20_000


# --- parts of a batch, precision, what is frozen --------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.usefixtures("task")
def test_batch_in_parts_makes_the_same_run(tmp_path: Path, optimizer: Any) -> None:
    whole = run(tmp_path / "whole", SRNET, optimizer=optimizer)
    parts = run(tmp_path / "parts", SRNET, optimizer=optimizer, micro_batch=2)
    assert [one.loss for one in whole] == pytest.approx([other.loss for other in parts], rel=1e-4)
    a, b = (state(tmp_path / name)["module"] for name in ("whole", "parts"))
    for key, value in a.items():
        torch.testing.assert_close(b[key], value, atol=1e-4, rtol=1e-3)


def test_norms_of_a_batch_in_parts_are_updated_once_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "make_task", lambda spec, config: Maps())
    config = replace(CONFIG, steps=1, learning_rate=1e-9)
    for name, micro_batch in (("whole", 0), ("parts", 2)):
        train(AFFINENET, replace(config, micro_batch=micro_batch), tmp_path / name)
    whole, parts = (state(tmp_path / name)["module"] for name in ("whole", "parts"))
    key = "encoder.stem.0.1.running_mean"
    torch.testing.assert_close(parts[key], whole[key], atol=1e-6, rtol=1e-4)
    assert whole[key].abs().max() > 1e-3


@pytest.mark.usefixtures("task")
def test_float16_learns_and_goes_on_with_its_scale(tmp_path: Path) -> None:
    reports = run(tmp_path, precision="float16", steps=8)
    exact = run(tmp_path / "exact", steps=8)
    assert reports[-1].loss == pytest.approx(exact[-1].loss, rel=0.02)
    assert state(tmp_path)["scaler"]["scale"] > 1
    train(TINY, replace(CONFIG, precision="float16", steps=10), tmp_path, resume=True)
    assert state(tmp_path)["scaler"]["_growth_tracker"] == 10


def test_frozen_norms_and_nothing_else_stay_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "make_task", lambda spec, config: Maps())
    config = replace(CONFIG, steps=3, freeze_norms="encoder.*", checkpoint_every=1)
    states = []
    train(AFFINENET, config, tmp_path, report=lambda progress: states.append(state(tmp_path)))
    first, last = states[0]["module"], states[-1]["module"]
    moved = {key for key, value in last.items() if not torch.equal(value, first[key])}
    assert "encoder.stem.0.0.weight" in moved
    assert "first.refine.0.1.running_mean" in moved
    assert not [key for key in moved if key.startswith("encoder.stem.0.1")]
    assert not [key for key in moved if key.startswith("encoder.stages.0.0.1")]


# --- TensorBoard ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("task")
def test_tensorboard_that_is_not_there_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match="TensorBoard is not installed") as raised:
        run(tmp_path, tensorboard=True)
    assert "i2uv-edge[tensorboard]" in raised.value.remedy
    run(tmp_path / "without")


@pytest.mark.usefixtures("task")
def test_tensorboard_is_given_the_numbers_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Any] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            written.append((folder, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, step))

        def flush(self) -> None:
            pass

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    run(tmp_path, tensorboard=True, evaluate_every=6)
    assert written[0] == (str(tmp_path / "tensorboard"), 1)
    names = ["loss", "samples_per_second", "score_mm", "learning_rate", "memory_mb"]
    assert written[1:] == [(name, step) for step in (6, 12) for name in names]

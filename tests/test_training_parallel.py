"""Several processes that train one network make the run that one of them would have made."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from network_toys import AFFINENET
from quantizer_toys import pictures, recipe, tiny_affinenet
from torch import distributed, nn
from training_toys import CONFIG, Maps

from i2uv_edge.errors import UsageError
from i2uv_edge.quantizer.network import quantize
from i2uv_edge.quantizer.trainable import trainable
from i2uv_edge.training import loop
from i2uv_edge.training.loop import LOG, STATE, train, tune
from i2uv_edge.training.parallel import Crew, crew, leads


@pytest.fixture(autouse=True)
def toy_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "make_task", lambda spec, config: Maps())


def together(folder: Path, work: Callable[[int], Any], count: int = 2) -> list[Any]:
    """What `work` gives for each rank, in as many processes that know of each other."""
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[tuple[int, Any]] = context.Queue()

    def run(rank: int) -> None:
        try:
            meeting = f"file://{folder / 'meeting'}"
            distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=count)
            answer = work(rank)
            distributed.destroy_process_group()
        except BaseException:
            answer = traceback.format_exc()
        queue.put((rank, answer))

    processes = [context.Process(target=run, args=(rank,), daemon=True) for rank in range(count)]
    for process in processes:
        process.start()
    answers = dict(queue.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(20)
    (folder / "meeting").unlink(missing_ok=True)
    failed = [answer for answer in answers.values() if isinstance(answer, str)]
    assert not failed, failed[0]
    return [answers[rank] for rank in range(count)]


def losses(folder: Path, **changes: Any) -> list[tuple[float, float | None]]:
    reports: list[tuple[float, float | None]] = []
    config = replace(CONFIG, steps=6, checkpoint_every=2, evaluate_every=3, **changes)
    train(
        AFFINENET,
        config,
        folder,
        resume=(folder / STATE).exists(),
        report=lambda progress: reports.append((progress.loss, progress.score_mm)),
    )
    return reports


def state(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(folder / STATE, weights_only=True)
    return content


def test_a_quantized_network_is_trained_together_too(tmp_path: Path) -> None:
    network = quantize(
        tiny_affinenet(),
        recipe("*.head", "*.warp"),
        [pictures(4, 64)],
        network_role="affinenet",
    )

    def work(rank: int) -> tuple[int, int]:
        saved: list[nn.Module] = []
        reported: list[float] = []
        tune(
            lambda: trainable(network.graph),
            Maps(),
            replace(CONFIG, steps=2),
            tmp_path / "run",
            save=saved.append,
            report=lambda progress: reported.append(progress.loss),
        )
        return len(saved), len(reported)

    assert together(tmp_path / "meet", work) == [(1, 2), (0, 0)]


@pytest.mark.parametrize(
    ("micro_batch", "settings"),
    [(2, {}), (1, {}), (2, {"optimizer": "muon"})],
    ids=["whole shares", "parts", "muon"],
)
def test_two_processes_make_the_run_of_one(
    tmp_path: Path, micro_batch: int, settings: dict[str, Any]
) -> None:
    batch = {"batch": 8, "micro_batch": 2 * micro_batch, **settings}
    alone = losses(tmp_path / "alone", **batch)
    pair = together(tmp_path / "pair", lambda rank: losses(tmp_path / "pair", **batch))
    assert pair[1] == []  # the first alone reports
    assert [score for _, score in pair[0]] == pytest.approx([score for _, score in alone])
    assert [loss for loss, _ in pair[0]] == pytest.approx([loss for loss, _ in alone], rel=1e-4)
    one, two = (state(tmp_path / name) for name in ("alone", "pair"))
    for name in ("module", "averaged"):
        for key, value in one[name].items():
            if value.is_floating_point():
                torch.testing.assert_close(two[name][key], value, atol=2e-3, rtol=1e-2, msg=key)
    _, *rows = (tmp_path / "pair" / LOG).read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["3", "6"]


def test_killed_pair_goes_on_like_an_unbroken_one(tmp_path: Path) -> None:
    batch = {"batch": 8}
    together(tmp_path / "whole", lambda rank: losses(tmp_path / "whole", **batch))
    together(tmp_path / "broken", lambda rank: losses(tmp_path / "broken", **batch))
    content = state(tmp_path / "whole")

    def begin(rank: int) -> None:
        class KilledError(Exception):
            pass

        def report(progress: Any) -> None:
            if progress.step == 5:
                raise KilledError

        config = replace(CONFIG, steps=6, checkpoint_every=2, evaluate_every=3, **batch)
        try:
            train(AFFINENET, config, tmp_path / "killed", report=report)
        except (KilledError, RuntimeError):  # the other one, whom the first leaves waiting
            return

    together(tmp_path / "killed", begin)
    assert state(tmp_path / "killed")["step"] == 4
    together(tmp_path / "killed", lambda rank: losses(tmp_path / "killed", **batch))
    resumed = state(tmp_path / "killed")
    assert resumed["running"] == content["running"]
    for key, value in content["module"].items():
        assert torch.equal(resumed["module"][key], value), key


def test_batch_that_two_cannot_share_is_refused(tmp_path: Path) -> None:
    def work(rank: int) -> int:
        del rank
        with pytest.raises(UsageError, match="batch of 5 cannot be divided among 2 processes"):
            losses(tmp_path / "run", batch=5)
        return 0

    together(tmp_path, work)


def test_mean_is_over_all(tmp_path: Path) -> None:
    def work(rank: int) -> tuple[float, bool]:
        with crew("cpu") as own:
            return float(own.mean(torch.tensor(3.0 * rank))), own.leads

    assert together(tmp_path, work) == [(1.5, True), (1.5, False)]


def test_one_process_is_a_crew_of_one() -> None:
    with crew("auto") as own:
        assert (own.rank, own.count, own.leads) == (0, 1, True)
        assert float(own.mean(torch.tensor(3.0))) == 3.0
        own.wait()
    assert not Crew(1, 2, torch.device("cpu")).leads


@pytest.mark.parametrize(
    ("launched", "rank", "first"), [(False, "1", True), (True, "0", True), (True, "1", False)]
)
def test_first_process_that_torchrun_started_leads(
    monkeypatch: pytest.MonkeyPatch, launched: bool, rank: str, first: bool
) -> None:
    monkeypatch.setattr(distributed, "is_torchelastic_launched", lambda: launched)
    monkeypatch.setenv("RANK", rank)
    assert leads() is first


def test_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="torch finds no GPU"), crew("cuda"):
        pass


@pytest.mark.slow
def test_torchrun_starts_them(tmp_path: Path) -> None:
    settings = ["steps=2", "batch=4", "evaluation_samples=2", "precision=float32", "workers=0"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["-m", "i2uv_edge", "train", "srnet-edge", "--json", "-o", str(tmp_path / "run")]
    command += [word for setting in settings for word in ("--set", setting)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)  # one document, from the first of the two
    assert Path(result["checkpoint"]).is_file()
    assert state(tmp_path / "run")["step"] == 2

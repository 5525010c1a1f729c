"""The training loop: AdamW, cosine decay, a weight average, resumable to the same run.

Sample i of step s is ``s * batch + i``: a run that is killed and resumed sees what the unbroken run
would have seen.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.networks.checkpoint import load_checkpoint, save_checkpoint
from i2uv_edge.networks.registry import build
from i2uv_edge.spec import NetworkSpec
from i2uv_edge.training.config import TrainingConfig
from i2uv_edge.training.tasks import EVALUATION_SEED, Batch, Sample, Task, make_task

STATE = "state.pt"
LOG = "log.csv"
LOSS_DECAY = 0.98  # of the running mean that is reported


@dataclass(frozen=True)
class Progress:
    """What a run reports after a step.

    Attributes
    ----------
    step, steps : done, in all
    loss : running mean
    samples_per_second : since the start of this process
    score_mm : of the held-out samples, where this step evaluated; otherwise None
    """

    step: int
    steps: int
    loss: float
    samples_per_second: float
    score_mm: float | None


def train(
    spec: NetworkSpec,
    config: TrainingConfig,
    output: Path,
    *,
    resume: bool = False,
    initial: Path | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Path:
    """Train a network.

    Parameters
    ----------
    spec, config
        The network and the run.
    output
        Folder for ``state.pt`` (everything needed to go on), ``log.csv`` and ``NAME.safetensors``
        (float16 weights, the average if there is one).
    resume
        Go on from ``state.pt``; the configuration may differ (more steps, another rate).
    initial
        Weights to start from instead of fresh ones.
    report
        Called after every step.

    Returns
    -------
    Path
        The checkpoint.

    Raises
    ------
    UsageError
        ``output`` holds a run and ``resume`` is False, or the reverse.
    InputError
        The loss or its gradient became NaN, or the state file is damaged.
    """
    torch.set_num_threads(config.threads)
    # Here and not in the workers, which inherit it: OpenCV would wait there, for ever, for threads
    # that the fork left behind.
    cv2.setNumThreads(1)
    torch.manual_seed(config.seed)
    output.mkdir(parents=True, exist_ok=True)
    run = _Run(spec, config, output, resume=resume, initial=initial)
    for progress in run.steps():
        if report is not None:
            report(progress)
    path = output / f"{spec.name}.safetensors"
    save_checkpoint(run.averaged, path, {"network": spec.name})
    return path


class _Run:
    """The state of one run."""

    def __init__(
        self,
        spec: NetworkSpec,
        config: TrainingConfig,
        output: Path,
        *,
        resume: bool,
        initial: Path | None,
    ) -> None:
        self.config = config
        self.output = output
        self.task = make_task(spec, config)
        self.module = build(spec).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if initial is not None:
            load_checkpoint(self.module, initial)
        self.averaged = build(spec)
        self.averaged.load_state_dict(self.module.state_dict())
        self.optimizer = torch.optim.AdamW(
            self.module.parameters(),
            config.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=config.weight_decay,
        )
        self.step = 0
        state = output / STATE
        if state.exists() and not resume:
            raise UsageError(
                f"{output} already holds a training run",
                expected="an empty folder, or --resume",
                remedy="pass --resume to go on with it, or another folder with -o",
            )
        if resume:
            self._restore(state)

    def steps(self) -> Iterator[Progress]:
        config = self.config
        log = _Log(self.output / LOG)
        running: float | None = None
        start, first = time.monotonic(), self.step
        for batch in self._batches(self.step * config.batch, config.steps * config.batch):
            loss = self._update(batch)
            running = loss if running is None else LOSS_DECAY * running + (1 - LOSS_DECAY) * loss
            self.step += 1
            last = self.step == config.steps
            score = None
            if last or self.step % config.evaluate_every == 0:
                score = self._evaluate()
            rate = (self.step - first) * config.batch / (time.monotonic() - start)
            progress = Progress(self.step, config.steps, running, rate, score)
            log.add(progress)
            if last or self.step % config.checkpoint_every == 0:
                self._save()
            yield progress

    def _update(self, batch: Batch) -> float:
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, self.step)
        coin = random.Random(config.seed * 1_000_003 + self.step).random()
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16"):
            loss = self.task.loss(self.module, batch, self.step / config.steps, coin)
        value = self._finite("loss", loss)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), config.gradient_clip)
        self._finite("norm of the gradient", norm)
        self.optimizer.step()
        self._average()
        return value

    def _finite(self, what: str, tensor: Tensor) -> float:
        value = float(tensor.detach())
        if math.isfinite(value):
            return value
        raise InputError(
            f"the {what} is {value} at step {self.step}",
            expected="a finite number",
            remedy=f"go on from {self.output / STATE}: --resume, with a smaller --learning-rate",
        )

    @torch.no_grad()
    def _average(self) -> None:
        # The average forgets the first steps quickly, or it would lag behind a short run.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        fast = self.module.state_dict()
        for key, slow in self.averaged.state_dict().items():
            if slow.is_floating_point():
                slow.lerp_(fast[key], 1.0 - decay)
            else:
                slow.copy_(fast[key])

    @torch.no_grad()
    def _evaluate(self) -> float:
        config = self.config
        samples = _Samples(self.task, EVALUATION_SEED, 0, config.evaluation_samples)
        loader: Iterable[Batch] = DataLoader(samples, batch_size=50)
        scores = [self.task.score(self.averaged, batch) for batch in loader]
        return float(np.concatenate(scores).mean())

    def _batches(self, first: int, last: int) -> Iterator[Batch]:
        config = self.config
        samples = _Samples(self.task, config.seed, first, last)
        return iter(
            DataLoader(
                samples,
                batch_size=config.batch,
                num_workers=config.workers,
                worker_init_fn=_one_thread,
                prefetch_factor=4 if config.workers else None,
            )
        )

    def _save(self) -> None:
        content = {
            "module": self.module.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "config": asdict(self.config),
        }
        partial = self.output / f"{STATE}.partial"
        torch.save(content, partial)
        partial.replace(self.output / STATE)

    def _restore(self, path: Path) -> None:
        if not path.is_file():
            raise UsageError(
                f"{path.parent} holds no training run to resume",
                expected=f"{path}",
                remedy="start it without --resume",
            )
        try:
            content = torch.load(path, weights_only=True)
            self.module.load_state_dict(content["module"])
            self.averaged.load_state_dict(content["averaged"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.step = int(content["step"])
        except Exception as error:  # a file of another kind makes the unpickler raise anything
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise InputError(
                f"{path} cannot be resumed from ({reason})",
                expected="the state of a run of the same network",
                remedy="start a new run in another folder",
            ) from error


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Linear warm-up, then cosine decay to a hundredth of the peak."""
    warm = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    decay = 0.5 * (1.0 + math.cos(math.pi * min(step / config.steps, 1.0)))
    return config.learning_rate * warm * (0.99 * decay + 0.01)


class _Samples(Dataset[Sample]):
    def __init__(self, task: Task, seed: int, first: int, last: int) -> None:
        self.task, self.seed, self.first, self.last = task, seed, first, last

    def __len__(self) -> int:
        return max(self.last - self.first, 0)

    def __getitem__(self, index: int) -> Sample:
        return self.task.sample(self.seed, self.first + index)


class _Log:
    """``log.csv``: step, loss, samples per second, score where there is one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.write_text("step,loss,samples_per_second,score_mm\n", encoding="utf-8")

    def add(self, progress: Progress) -> None:
        if progress.score_mm is None and progress.step % 50:
            return
        score = "" if progress.score_mm is None else f"{progress.score_mm:.4f}"
        with self.path.open("a", encoding="utf-8") as file:
            file.write(
                f"{progress.step},{progress.loss:.6f},{progress.samples_per_second:.1f},{score}\n"
            )


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


__all__ = ["Progress", "learning_rate", "train"]

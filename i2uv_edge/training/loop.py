"""The training loop: one optimiser, cosine decay, a weight average, resumable to the same run.

Sample i of step s is ``s * batch + i``: a run that is killed and resumed sees what the unbroken run
would have seen, and so does one that is divided among processes.
"""

from __future__ import annotations

import contextlib
import copy
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.networks.checkpoint import load_initial, save_checkpoint
from i2uv_edge.networks.registry import build
from i2uv_edge.spec import NetworkSpec
from i2uv_edge.training.config import TrainingConfig
from i2uv_edge.training.log import LOG, TENSORBOARD, CsvLog, Progress, TensorBoardLog, memory_mb
from i2uv_edge.training.norms import Statistics, freeze_norms
from i2uv_edge.training.optimizers import make_optimizer
from i2uv_edge.training.parallel import Crew, crew
from i2uv_edge.training.task import EVALUATION_SEED, Batch, Sample, Task
from i2uv_edge.training.tasks import make_task

STATE = "state.pt"
LOSS_DECAY = 0.98  # of the running mean that is reported
EVALUATED_AT_ONCE = 50
PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def train(
    spec: NetworkSpec,
    config: TrainingConfig,
    output: Path,
    *,
    resume: bool = False,
    initial: Path | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Path:
    """Train a network, together with the other processes if ``torchrun`` started several.

    Parameters
    ----------
    spec, config
        The network and the run.
    output
        Folder for ``state.pt`` (everything needed to go on), ``log.csv`` and ``NAME.safetensors``
        (float16 weights, the average if there is one). Processes on several machines share it.
    resume
        Go on from ``state.pt``; the configuration may differ (more steps, another rate).
    initial
        Weights to start from instead of fresh ones: of the network, or of a torchvision ResNet for
        the encoder of one.
    report
        Called after every step, in the first process.

    Returns
    -------
    Path
        The checkpoint.

    Raises
    ------
    UsageError
        ``output`` holds a run and ``resume`` is False, or the reverse; the batch cannot be divided
        as the configuration says.
    InputError
        The loss or its gradient became NaN, or the state file is damaged.
    MissingDependencyError
        The configuration asks for TensorBoard, which is not installed.
    """
    path = output / f"{spec.name}.safetensors"

    def start() -> nn.Module:
        module = build(spec)
        if initial is not None:
            load_initial(module, initial)
        return module

    def save(averaged: nn.Module) -> None:
        save_checkpoint(averaged, path, {"network": spec.name})

    task = make_task(spec, config)
    tune(start, task, config, output, resume=resume, save=save, report=report)
    return path


def tune(
    start: Callable[[], nn.Module],
    task: Task,
    config: TrainingConfig,
    output: Path,
    *,
    resume: bool = False,
    save: Callable[[nn.Module], None],
    report: Callable[[Progress], None] | None = None,
) -> None:
    """Train any module at any task; parameters and errors are those of `train`.

    Parameters
    ----------
    start
        Makes the module; called after the random numbers were seeded.
    task
        What it learns.
    save
        Given the average of the trained weights in the first process, at the end.
    """
    torch.set_num_threads(config.threads)
    # Here and not in the workers, which inherit it: OpenCV would wait there, for ever, for threads
    # that the fork left behind.
    cv2.setNumThreads(1)
    output.mkdir(parents=True, exist_ok=True)
    with crew(config.device) as own:
        run = _Run(start, task, config, output, own, resume=resume)
        for progress in run.steps():
            if report is not None and own.leads:
                report(progress)
        if own.leads:
            save(run.averaged)
        own.wait()


class _Objective(nn.Module):
    """Network and task as one module, since gradients are averaged behind a module's forward."""

    def __init__(self, module: nn.Module, task: Task) -> None:
        super().__init__()
        self.module = module
        self.task = task

    def forward(self, batch: Batch, progress: float, coin: float) -> Tensor:
        return self.task.loss(self.module, batch, progress, coin)


@dataclass(frozen=True)
class _Division:
    """How a batch is divided: ``parts`` times ``size`` samples in each process."""

    parts: int
    size: int

    @staticmethod
    def of(config: TrainingConfig, processes: int) -> _Division:
        own = config.batch // processes
        size = min(config.micro_batch or own, own)
        if size < 1 or config.batch % (processes * size):
            raise UsageError(
                f"a batch of {config.batch} cannot be divided among {processes} processes in "
                f"parts of {config.micro_batch or 'any size'}",
                expected=f"a batch that is a multiple of {processes} x {max(size, 1)}",
                remedy="change batch or micro_batch",
            )
        return _Division(own // size, size)


class _Run:
    """The state of one run."""

    def __init__(
        self,
        start: Callable[[], nn.Module],
        task: Task,
        config: TrainingConfig,
        output: Path,
        own: Crew,
        *,
        resume: bool,
    ) -> None:
        self.config, self.output, self.crew, self.task = config, output, own, task
        self.division = _Division.of(config, own.count)
        torch.manual_seed(config.seed)
        self.module = start()
        self.averaged = copy.deepcopy(self.module).to(own.device)
        if config.freeze_norms:
            freeze_norms(self.module, config.freeze_norms)
        self.module.train().to(own.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.statistics = Statistics(self.module)
        self.optimizer = make_optimizer(self.module, config)
        self.scaler = torch.amp.GradScaler(own.device.type, enabled=config.precision == "float16")
        self.running: float | None = None
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
        self.objective = self._shared(_Objective(self.module, self.task))

    def steps(self) -> Iterator[Progress]:
        config = self.config
        logs = self._logs() if self.crew.leads else []
        batches = self._batches()
        start, first = time.monotonic(), self.step
        while self.step < config.steps:
            rate = learning_rate(config, self.step)
            loss = self._update(batches, rate)
            before = self.running
            self.running = loss if before is None else LOSS_DECAY * before + (1 - LOSS_DECAY) * loss
            self.step += 1
            last = self.step == config.steps
            score = None
            if last or self.step % config.evaluate_every == 0:
                score = self._evaluate()
            progress = Progress(
                step=self.step,
                steps=config.steps,
                loss=self.running,
                samples_per_second=(self.step - first) * config.batch / (time.monotonic() - start),
                score_mm=score,
                learning_rate=rate,
                memory_mb=memory_mb(self.crew.device),
            )
            for log in logs if progress.is_logged else ():
                log.add(progress)
            if self.crew.leads and (last or self.step % config.checkpoint_every == 0):
                self._save()
            yield progress

    def _update(self, batches: Iterator[Batch], rate: float) -> float:
        config, parts = self.config, self.division.parts
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        coin = random.Random(config.seed * 1_000_003 + self.step).random()
        total = torch.zeros((), device=self.crew.device)
        for part in self.statistics.parts(parts):
            with self._apart(part < parts - 1):
                loss = self._loss(next(batches), coin) / parts
                self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        value = self._finite("loss", self.crew.mean(total))
        if self.crew.count > 1 and self.statistics.buffers:
            self.statistics.put(self.crew.mean(self.statistics.flat))
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), config.gradient_clip)
        if not self.scaler.is_enabled():
            self._finite("norm of the gradient", norm)
        # Gradients that overflowed float16 are no failure: the scaler leaves the step out.
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._average()
        return value

    def _loss(self, batch: Batch, coin: float) -> Tensor:
        device = self.crew.device
        there = {key: value.to(device, non_blocking=True) for key, value in batch.items()}
        dtype = PRECISIONS[self.config.precision]
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss: Tensor = self.objective(there, self.step / self.config.steps, coin)
        return loss

    def _apart(self, apart: bool) -> contextlib.AbstractContextManager[None]:
        """While gradients of several parts are summed, only the last part's are sent round."""
        if apart and isinstance(self.objective, DistributedDataParallel):
            return self.objective.no_sync()
        return contextlib.nullcontext()

    def _shared(self, objective: nn.Module) -> nn.Module:
        if self.crew.count == 1:
            return objective
        # Statistics are averaged once a step, and need no broadcast.
        return DistributedDataParallel(objective, forward_sync_buffers=False)

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
        """Score the average; every process takes its share of the held-out samples."""
        count = self.config.evaluation_samples
        share = range(self.crew.rank, count, self.crew.count)
        samples = _Samples(self.task, EVALUATION_SEED, share)
        size = min(EVALUATED_AT_ONCE, self.division.size)
        loader: Iterable[Batch] = DataLoader(samples, batch_size=size)
        total = torch.zeros((), dtype=torch.float64, device=self.crew.device)
        for batch in loader:
            there = {key: value.to(self.crew.device) for key, value in batch.items()}
            total += float(np.sum(self.task.score(self.averaged, there), dtype=np.float64))
        return float(self.crew.mean(total)) * self.crew.count / count

    def _batches(self) -> Iterator[Batch]:
        config = self.config
        share = _Share(
            batch=config.batch,
            first=self.step,
            steps=config.steps - self.step,
            rank=self.crew.rank,
            own=self.division.parts * self.division.size,
        )
        return iter(
            DataLoader(
                _Samples(self.task, config.seed, share),
                batch_size=self.division.size,
                num_workers=config.workers,
                worker_init_fn=_one_thread,
                prefetch_factor=4 if config.workers else None,
                pin_memory=self.crew.device.type == "cuda",
            )
        )

    def _logs(self) -> list[CsvLog | TensorBoardLog]:
        logs: list[CsvLog | TensorBoardLog] = []
        if self.config.tensorboard:
            logs.append(TensorBoardLog(self.output / TENSORBOARD, self.step))
        return [CsvLog(self.output / LOG, self.step), *logs]

    def _save(self) -> None:
        content = {
            "module": self.module.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "running": self.running,
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
            content = torch.load(path, map_location=self.crew.device, weights_only=True)
            before = content["config"].get("optimizer", "adam")  # the only one of older runs
            if before != self.config.optimizer:
                raise ValueError(f"its optimizer is {before}")
            self.module.load_state_dict(content["module"])
            self.averaged.load_state_dict(content["averaged"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.step = int(content["step"])
            self.running = content.get("running")  # older runs kept neither this nor a scaler
            if content.get("scaler"):
                self.scaler.load_state_dict(content["scaler"])
        except Exception as error:  # a file of another kind makes the unpickler raise anything
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise InputError(
                f"{path} cannot be resumed from ({reason})",
                expected="the state of a run of the same network and optimizer",
                remedy="start a new run in another folder",
            ) from error


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Linear warm-up, then cosine decay to a hundredth of the peak."""
    warm = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    decay = 0.5 * (1.0 + math.cos(math.pi * min(step / config.steps, 1.0)))
    return config.learning_rate * warm * (0.99 * decay + 0.01)


@dataclass(frozen=True)
class _Share(Sequence[int]):
    """Numbers of the samples that one process sees: ``own`` of each batch, step behind step."""

    batch: int
    first: int
    steps: int
    rank: int
    own: int

    def __len__(self) -> int:
        return max(self.steps, 0) * self.own

    def __getitem__(self, index: int) -> int:  # type: ignore[override]
        step, number = divmod(index, self.own)
        return (self.first + step) * self.batch + self.rank * self.own + number


class _Samples(Dataset[Sample]):
    def __init__(self, task: Task, seed: int, numbers: Sequence[int]) -> None:
        self.task, self.seed, self.numbers = task, seed, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Sample:
        return self.task.sample(self.seed, self.numbers[index])


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


__all__ = ["LOG", "STATE", "Progress", "learning_rate", "train", "tune"]

"""A bundle's networks measured on a hosted phone, by Qualcomm AI Hub.

Each network is run on the bundle's own samples and profiled in one job: our own TFLite file as it
is and, if that is asked for, what the Hub compiles from the ONNX file. What comes out is compared
with the float networks in millimetres.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from i2uv_edge.bundle import sha256_of
from i2uv_edge.device.hub_client import CONTINUE, Hub, RefusedError, open_hub
from i2uv_edge.device.hub_devices import Picked, pick_device
from i2uv_edge.device.hub_files import download, outputs, tool_versions, upload
from i2uv_edge.device.hub_jobs import Journal, Kind, Record, Run
from i2uv_edge.device.hub_results import Takes, answers, figures
from i2uv_edge.device.profiles import Device, Job, NetworkProfile, Profile
from i2uv_edge.device.stages import Contents, Stage, bundle_stages
from i2uv_edge.errors import DamagedError, HubError
from i2uv_edge.requests import Notify
from i2uv_edge.runners import Port, TfliteRunner
from i2uv_edge.spec import Role

__all__ = ["HubOptions", "profile_on_hub"]

COMPILE_OPTIONS = "--target_runtime tflite"
NEWEST = 100  # jobs to look through for one whose id was lost


@dataclass(frozen=True)
class HubOptions:
    """How to profile, and how long to wait.

    Attributes
    ----------
    device
        Name of a device; "" picks the one nearest to the bundle's target.
    resume
        Go on with jobs that were submitted before.
    compiled
        Profile what the Hub compiles from the ONNX files, too.
    job_s
        Seconds to wait for a job; the queue of a popular device is long.
    poll_s
        Seconds between two looks at it.
    answer_s
        Seconds for a question.
    upload_s
        Seconds for a file, there or back.
    """

    device: str = ""
    resume: bool = False
    compiled: bool = False
    job_s: float = 3600.0
    poll_s: float = 5.0
    answer_s: float = 30.0
    upload_s: float = 600.0


def profile_on_hub(contents: Contents, options: HubOptions, notify: Notify) -> Profile:
    """Measure a bundle's networks on a hosted phone.

    Every job is written down in the bundle's `profiles/jobs.json` before and after it is submitted;
    whatever interrupts this, it can be called again with `resume`.

    Raises
    ------
    MissingDependencyError
        The client is not installed.
    HubError
        No configuration, no connection, a refused token, too many requests, a job that failed or
        took too long, answers that cannot be read.
    UsageError
        The device is not listed; there is nothing to resume, or something is and was not asked for.
    KeyboardInterrupt
        Ctrl-C; it says how to go on.
    """
    hub = open_hub(answer_s=options.answer_s)
    journal = Journal(contents.bundle.path)
    bundle = contents.bundle.sha256
    if options.resume:
        journal.resume(bundle, hub.server, options.device)
    notify("asking Qualcomm AI Hub", 0, 0)
    hub.check()
    if not options.resume:
        listed = hub.call("listing the devices", hub.client.get_devices)
        target = str(contents.bundle.manifest.get("target", {}).get("name", ""))
        picked = pick_device(listed, target=target, wanted=options.device)
        journal.begin(_run(bundle, hub.server, picked))
    try:
        return _Session(contents, hub, journal, options, notify).profile()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(CONTINUE) from None


def _run(bundle: str, server: str, picked: Picked) -> Run:
    return Run(bundle, server, picked.name, picked.os, picked.chipset, picked.stands_in_for)


@dataclass(frozen=True)
class _Measured:
    """A finished job and what came of it."""

    network: NetworkProfile
    tools: dict[str, str]
    notes: tuple[str, ...]


class _Session:
    """One run of jobs, new or resumed."""

    def __init__(
        self, contents: Contents, hub: Hub, journal: Journal, options: HubOptions, notify: Notify
    ) -> None:
        self._contents = contents
        self._hub = hub
        self._journal = journal
        self._options = options
        self._notify = notify
        self._notes: list[str] = []

    def profile(self) -> Profile:
        """Submit what is not submitted, wait for all of it, and read the results."""
        stages = bundle_stages(self._contents)
        compiling: dict[Role, Record] = {}
        if self._options.compiled:
            compiling = {role: self._compile(role) for role in stages}
        # All of them are in the queue before the first is waited for.
        own = {role: self._submit_own(role, stage) for role, stage in stages.items()}
        compiled = {
            role: self._submit_compiled(role, stages[role], record)
            for role, record in compiling.items()
        }
        measured = [self._measure(stages[role], *job) for role, job in own.items()]
        measured += [self._measure(stages[role], *job) for role, job in compiled.items()]
        run = self._journal.run
        name = f"{run.device} (invented)" if self._hub.invented else run.device
        tools = {"qai-hub": str(importlib.import_module("qai_hub").__version__)}
        for item in measured:
            tools |= item.tools
        own_notes = [*self._notes, *(note for item in measured for note in item.notes)]
        return Profile(
            source="hub",
            bundle=run.bundle,
            device=Device(name, run.chipset, run.stands_in_for),
            tools=tools,
            networks=tuple(item.network for item in measured),
            jobs=tuple(Job(job.id, job.kind, job.status, job.url) for job in run.jobs),
            notes=tuple(dict.fromkeys([*self._general_notes(), *own_notes])),
        )

    def _general_notes(self) -> list[str]:
        notes = [self._hub.invented] if self._hub.invented else []
        notes.append("threads of the CPU are the Hub's choice, which it does not say")
        notes.append("off_mm is against the float networks, each network fed with their values")
        return notes

    # Submitting.

    def _submit_own(self, role: Role, stage: Stage) -> tuple[Record, Takes, str, str]:
        """The TFLite file of the bundle, as it is."""
        file = f"{role}.tflite"
        path, sha256 = self._checked(file)
        runner = TfliteRunner(path, stage.spec)
        given, gives = runner.tensors()
        takes = Takes(_port(given), _port(gives))
        here = stage.off_mm(runner({stage.spec.input.name: stage.feed})[stage.spec.output.name])
        self._notes.append(f"{file} in LiteRT on this machine is {here.mean:.3f} mm off float")
        record = self._job(
            f"inference {file}",
            "inference",
            lambda: self._upload(path, sha256),
            lambda model, name: self._infer(model, takes, stage, name),
        )
        return record, takes, file, sha256

    def _compile(self, role: Role) -> Record:
        file = f"{role}.onnx"
        path, sha256 = self._checked(file)
        return self._job(
            f"compile {file}",
            "compile",
            lambda: self._upload(path, sha256),
            lambda model, name: self._hub.client.submit_compile_job(
                model, self._device(), name=name, options=COMPILE_OPTIONS, retry=False
            ),
        )

    def _submit_compiled(
        self, role: Role, stage: Stage, record: Record
    ) -> tuple[Record, Takes, str, str]:
        """What the Hub made of the ONNX file; it lies there, only its hash is taken."""
        file = f"{role}.onnx"
        compiled = self._wait(record)
        model = self._ask("asking for what was compiled", compiled.get_target_model)
        shapes = self._ask("asking for its input", compiled.get_target_shapes) or {}
        takes = self._takes_of_compiled(role, stage, shapes)
        with tempfile.TemporaryDirectory() as folder:
            seconds = self._options.upload_s
            path = download(self._hub, model, Path(folder) / "compiled.tflite", seconds=seconds)
            if path.read_bytes()[4:8] != b"TFL3":
                raise HubError(
                    f"job {record.id} compiled {file} to something that is no TFLite file",
                    remedy=f"look at {record.url}",
                )
            sha256 = sha256_of(path)
        job = self._job(
            f"inference {file}",
            "inference",
            lambda: str(model.model_id),
            lambda target, name: self._infer(target, takes, stage, name),
        )
        return job, takes, file, sha256

    def _takes_of_compiled(self, role: Role, stage: Stage, shapes: dict[str, Any]) -> Takes:
        """The Hub says what its file takes; where it does not, it takes what the ONNX file did."""
        entry = self._contents.bundle.manifest["networks"][role]["onnx"]["inputs"][0]
        name, shape, dtype = str(entry["name"]), tuple(entry["shape"]), str(entry["dtype"])
        if shapes:
            ((name, (shape, dtype)), *others) = shapes.items()
        layout = "NCHW" if tuple(shape)[1] == stage.spec.input.shape[3] else "NHWC"
        if dtype != "float32" or (shapes and others):
            raise HubError(
                f"what AI Hub compiled of {role}.onnx takes {shapes}",
                expected="one input of float32",
                remedy="leave --compiled out",
            )
        real = np.dtype(np.float32)
        return Takes(
            Port(name, stage.spec.input.shape, real),
            Port("", (1, *stage.spec.output.shape[1:]), real),
            layout,
        )

    def _job(
        self,
        key: str,
        kind: Kind,
        upload: Callable[[], str],
        submit: Callable[[Any, str], Any],
    ) -> Record:
        """A job for `key`: the one that was submitted before, or a new one.

        `upload` gives the id of the model, `submit` takes the model and the job's name.
        """
        record = self._journal.job(key)
        if record is None:
            self._notify(f"{key}: uploading", 0, 0)
            record = self._journal.announce(key, kind, model=upload())
        elif not record.id:
            record = self._found_again(record)
        if record.id:
            return record
        self._notify(f"{key}: submitting", 0, 0)
        try:
            model = self._ask("asking for the model", self._hub.client.get_model, record.model)
            doing = f"submitting the job {key!r}"
            seconds = self._options.upload_s
            job = self._hub.call(doing, submit, model, record.name, seconds=seconds)
        except RefusedError as error:
            self._journal.forget(record)
            if "is not available" in error.what:
                raise HubError(
                    f"Qualcomm AI Hub no longer offers {self._journal.run.device}",
                    remedy="leave --resume out for the device nearest to the target now, or name "
                    "one with --device",
                ) from error
            raise
        return self._journal.note(record, id=str(job.job_id), url=str(job.url))

    def _found_again(self, record: Record) -> Record:
        """Look for a job whose id never reached us."""
        doing = f"looking for the job {record.name!r}"
        listed = self._ask(doing, self._hub.client.get_job_summaries, limit=NEWEST)
        for item in listed:
            if item.name == record.name:
                return self._journal.note(record, id=str(item.job_id), url=str(item.url))
        return record

    def _infer(self, model: Any, takes: Takes, stage: Stage, name: str) -> Any:
        return self._hub.client.submit_inference_job(
            model,
            self._device(),
            inputs=takes.entries(stage.feed),
            name=name,
            profile=True,
            retry=False,
        )

    def _device(self) -> Any:
        run = self._journal.run
        return importlib.import_module("qai_hub").Device(run.device, run.os)

    def _checked(self, file: str) -> tuple[Path, str]:
        """A sealed file and its hash, which it still has."""
        bundle = self._contents.bundle
        path = bundle.file(file)
        sha256 = next(item.sha256 for item in bundle.artifacts if item.path == file)
        if sha256_of(path) != sha256:
            raise DamagedError(f"{path} has changed since the bundle was opened")
        return path, sha256

    def _upload(self, path: Path, sha256: str) -> str:
        model, unchecked = upload(self._hub, path, sha256, seconds=self._options.upload_s)
        self._notes += [unchecked] if unchecked else []
        return model

    # Waiting and reading.

    def _wait(self, record: Record) -> Any:
        """Wait for a job's success."""
        job = self._ask(f"asking for job {record.id}", self._hub.client.get_job, record.id)
        end = time.monotonic() + self._options.job_s
        while True:
            status = self._ask(f"asking for job {record.id}", job.get_status)
            if status.code != record.status:
                record = self._journal.note(record, status=str(status.code))
            self._notify(f"{record.key}: {status.code.lower().replace('_', ' ')}", 0, 0)
            if status.success:
                return job
            if status.finished:
                raise HubError(
                    f"job {record.id} ({record.key}) failed on {self._journal.run.device}: "
                    f"{self._hub.said(str(status.message or 'it does not say why'))}",
                    remedy=f"look at {record.url}; --resume keeps the other jobs and submits this "
                    "one again",
                )
            if time.monotonic() >= end:
                raise HubError(
                    f"job {record.id} ({record.key}) is still {status.code} after "
                    f"{self._options.job_s:g} s",
                    remedy=f"look at {record.url}, and when it is done {CONTINUE}",
                )
            time.sleep(self._options.poll_s)

    def _measure(
        self, stage: Stage, record: Record, takes: Takes, file: str, sha256: str
    ) -> _Measured:
        job = self._wait(record)
        self._notify(f"{record.key}: reading the results", 0, 0)
        found = figures(self._ask("reading the profile", job.download_profile), job=record.id)
        given = outputs(self._hub, job, seconds=self._options.upload_s)
        made = answers(given, takes, len(stage.feed), job=record.id)
        try:
            off = stage.off_mm(made)
        except ValueError as error:
            raise HubError(
                f"job {record.id} ({record.key}): {error}", remedy=f"look at {record.url}"
            ) from error
        network = NetworkProfile(
            role=stage.spec.role,
            file=file,
            sha256=sha256,
            runtime="tflite" if file.endswith(".tflite") else "tflite, compiled by AI Hub",
            latency_ms=found.latency_ms,
            first_ms=found.first_ms,
            memory_mb=found.memory_mb,
            layers=found.layers,
            off_mm=off,
        )
        return _Measured(
            network, tool_versions(self._hub, job), tuple(f"{file}: {n}" for n in found.notes)
        )

    def _ask(self, doing: str, function: Callable[..., Any], *values: Any, **named: Any) -> Any:
        return self._hub.call(doing, function, *values, **named)


def _port(fields: dict[str, Any]) -> Port:
    shape = tuple(int(size) for size in fields["shape"])
    dtype = np.dtype(str(fields["dtype"]))
    return Port(str(fields["name"]), shape, dtype, fields["scale"], fields["zero_point"])

"""Jobs at Qualcomm AI Hub as they are made, on disk before anything can cut the connection.

`profiles/jobs.json` in the bundle. A job is written down under a name of its own before it is
submitted and again with its id afterwards, so that whatever happens in between it can be found
again: a device's time is paid for once. No token is ever in it.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from i2uv_edge import strict_toml
from i2uv_edge.bundle import write_json
from i2uv_edge.device.profiles import FOLDER
from i2uv_edge.errors import DamagedError, UsageError

__all__ = ["JOBS", "Journal", "Kind", "Record", "Run"]

Kind = Literal["compile", "inference"]

JOBS = "jobs.json"
SCHEMA = 1
SUCCESS, FAILED = "SUCCESS", "FAILED"


@dataclass(frozen=True)
class Record:
    """A job, submitted or about to be.

    Attributes
    ----------
    key : what it is for, unique in its run: "inference affinenet.tflite"
    kind : compile or inference
    name : the job's name at the Hub, unique
    id : the Hub's, "" until it has said so
    status : the Hub's last word
    url : where a person sees it
    model : the Hub's id of the uploaded model, "" until there is one
    """

    key: str
    kind: Kind
    name: str
    id: str = ""
    status: str = ""
    url: str = ""
    model: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.status in (SUCCESS, FAILED)


@dataclass(frozen=True)
class Run:
    """The jobs of one call of the command.

    `bundle` is the SHA-256 of the manifest; device, chipset, stands_in_for and os are what was
    picked when the run began, so that a resumed one goes on with the same.
    """

    bundle: str
    server: str
    device: str
    os: str
    chipset: str
    stands_in_for: str
    jobs: tuple[Record, ...] = ()

    @property
    def open_jobs(self) -> tuple[Record, ...]:
        """Those that may still be running."""
        return tuple(job for job in self.jobs if not job.ended)


@dataclass(frozen=True)
class _Document:
    schema: int
    runs: tuple[Run, ...]


class Journal:
    """The runs of a bundle, of which one goes on; each change is on disk before the next step.

    Parameters
    ----------
    bundle
        The bundle's folder.

    Raises
    ------
    DamagedError
        What lies there is no such file.
    """

    def __init__(self, bundle: Path) -> None:
        self.path = bundle / FOLDER / JOBS
        self._runs = list(self._read())
        self._run: Run | None = None

    @property
    def run(self) -> Run:
        """The run that goes on."""
        if self._run is None:
            raise ValueError("no run was begun")
        return self._run

    def begin(self, run: Run) -> None:
        """Start a run, in the place of an earlier one on the same device.

        Raises
        ------
        UsageError
            Jobs of that one may still be running, and be paid for.
        """
        earlier = self._find(run.bundle, run.server, run.device)
        if earlier is not None and earlier.open_jobs:
            ids = ", ".join(job.id or "one whose id is not known" for job in earlier.open_jobs)
            raise UsageError(
                f"jobs on {run.device} are not finished: {ids}",
                remedy=f"take their results with --resume, or remove {self.path} to pay for new "
                "ones",
            )
        self._runs = [own for own in self._runs if not _same(own, run)]
        self._run = run
        self._write()

    def resume(self, bundle: str, server: str, device: str = "") -> None:
        """Go on with the latest run of that bundle at that server, on that device if one is named.

        Raises
        ------
        UsageError
            There is none.
        """
        found = self._find(bundle, server, device)
        if found is None:
            where = f" on {device}" if device else ""
            raise UsageError(
                f"there are no jobs of this bundle{where} at {server} to resume",
                expected=f"a run in {self.path}",
                remedy="leave --resume out",
            )
        self._runs = [own for own in self._runs if not _same(own, found)]
        self._run = found

    def job(self, key: str) -> Record | None:
        """The job for something, unless it failed: then another one is due."""
        found = next((job for job in self.run.jobs if job.key == key), None)
        return None if found is None or found.status == FAILED else found

    def announce(self, key: str, kind: Kind, *, model: str = "") -> Record:
        """Write down a job that is about to be submitted, and give it its name."""
        file = key.partition(" ")[2]
        record = Record(key, kind, f"i2uv-edge {file} {secrets.token_hex(6)}", model=model)
        self.note(record)
        return record

    def note(self, record: Record, **changes: str) -> Record:
        """Write down what became of a job."""
        changed = replace(record, **changes)  # type: ignore[arg-type]
        jobs = {job.key: job for job in self.run.jobs} | {record.key: changed}
        self._run = replace(self.run, jobs=tuple(jobs.values()))
        self._write()
        return changed

    def forget(self, record: Record) -> None:
        """Strike out a job that the Hub refused."""
        others = tuple(job for job in self.run.jobs if job.key != record.key)
        self._run = replace(self.run, jobs=others)
        self._write()

    def _find(self, bundle: str, server: str, device: str) -> Run | None:
        for run in reversed(self._runs):
            own = (run.bundle, run.server) == (bundle, server)
            if own and (not device or run.device.lower() == device.lower()):
                return run
        return None

    def _read(self) -> tuple[Run, ...]:
        try:
            document = json.loads(self.path.read_bytes())
            if not isinstance(document, dict) or document.get("schema") != SCHEMA:
                raise ValueError(f"expected schema {SCHEMA}")
            return strict_toml.parse(_Document, document, where=str(self.path)).runs
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, UsageError) as error:
            raise DamagedError(
                f"{self.path} cannot be read: {error}",
                expected="the jobs as they were written down",
                remedy="remove it; jobs that are running are then paid for in vain",
            ) from error

    def _write(self) -> None:
        try:
            self.path.parent.mkdir(exist_ok=True)
            write_json(self.path, asdict(_Document(SCHEMA, (*self._runs, self.run))))
        except OSError as error:
            raise UsageError(
                f"{self.path} cannot be written: {error.strerror}",
                remedy="profile a copy of the bundle that can be written to",
            ) from error


def _same(first: Run, second: Run) -> bool:
    keys = ("bundle", "server", "device")
    return all(getattr(first, key) == getattr(second, key) for key in keys)

"""The verb `doctor`: everything looked at, the real runs in processes that may crash or hang."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from i2uv_edge.diagnosis.guest import ANSWER
from i2uv_edge.diagnosis.probes import GROUPS, Probe
from i2uv_edge.diagnosis.results import Check, Diagnosis
from i2uv_edge.diagnosis.settings import setting_checks

__all__ = ["doctor"]

RUNS = "real runs"
SECONDS = 60.0  # for the runs of one process; all together take a fraction of it


def doctor(notify: Callable[[str, int, int], None] = lambda what, done, total: None) -> Diagnosis:
    """Look at packages, run every backend once, and look at what is configured for phones.

    Needs nothing but the standard library for itself, so it answers where packages are missing.
    """
    started = time.monotonic()
    notify("looking at packages", 0, 0)
    checks = _packages()
    names = list(GROUPS)
    with tempfile.TemporaryDirectory(prefix="i2uv-edge-doctor-") as scratch:
        folder = Path(scratch)
        with ThreadPoolExecutor(len(names)) as pool:
            # These two need nothing of the others; what is left reads the first one's files.
            early = [pool.submit(_probed, GROUPS[name], folder) for name in names[1:2]]
            notify("running networks", 0, 0)
            first = _probed(GROUPS[names[0]], folder)
            notify("running what is optional", 0, 0)
            late = [pool.submit(_probed, GROUPS[name], folder) for name in names[2:]]
            checks += first + [check for future in early + late for check in future.result()]
    checks += setting_checks()
    return Diagnosis(tuple(checks), time.monotonic() - started)


def _packages() -> list[Check]:
    try:
        from i2uv_edge.diagnosis.packages import package_checks
    except ImportError as error:
        what, remedy = f"cannot be imported: {error}", "pip install packaging"
        return [Check("packages", "packaging", "missing", what, remedy, required=True)]
    return package_checks()


def _probed(probes: Sequence[Probe], folder: Path) -> list[Check]:
    """Run some probes in one process; those it did not live to answer are broken."""
    command = [sys.executable, "-m", "i2uv_edge.diagnosis.guest", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        ended = subprocess.run(
            [*command, *(probe.name for probe in probes)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
            env=environment,
        )
        said, end = ended.stdout, _end(ended.returncode, ended.stderr)
    except subprocess.TimeoutExpired as error:
        out = error.stdout or b""
        said = out.decode(errors="replace") if isinstance(out, bytes) else out
        end = f"no answer within {SECONDS:.0f} s"
    lines = (line for line in said.splitlines() if line.startswith(ANSWER))
    answers = {own["name"]: own for own in (json.loads(line[len(ANSWER) :]) for line in lines)}
    return [_check(probe, answers.get(probe.name), end) for probe in probes]


def _check(probe: Probe, answer: dict[str, Any] | None, end: str) -> Check:
    if answer is None:
        return Check(RUNS, probe.name, "broken", end, probe.remedy, probe.required)
    works = answer["state"] == "works"
    remedy = "" if works else answer["remedy"] or probe.remedy
    return Check(RUNS, probe.name, answer["state"], answer["detail"], remedy, probe.required)


def _end(code: int, errors: str) -> str:
    """Why a process may have left something unanswered."""
    if code < 0:
        return f"the process crashed: {signal.Signals(-code).name}"
    last = (errors.strip().splitlines() or [f"exit code {code}"])[-1]
    return f"the process ended: {last}"

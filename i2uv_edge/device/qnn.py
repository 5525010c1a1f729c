"""DLC files out of all-integer ONNX files, by the offline path of onnxruntime-qnn.

A DLC is a network in Qualcomm's own format, for no processor in particular; the QNN runtime of a
phone prepares it for its DSP. What is prepared already, a context binary, is not made: QNN can make
none for the V66 of the 865, which has no HTP, and what it writes when asked for one is another
architecture's.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from i2uv_edge.errors import ConversionError, MissingDependencyError

__all__ = ["PACKAGE", "available", "to_dlcs", "versions"]

PACKAGE = "onnxruntime-qnn"
_MODULE = "onnxruntime_qnn"
_SECONDS = 300.0  # for one file

_REFUSED = re.compile(r"\{ name: (?P<name>[^ ]+), type: (?P<type>\w+) \}")
_RENAMED = re.compile(r"_token_\d+$")  # by ONNX Runtime, when it makes room for a transpose
# What a DLC says of when it was made, at two or three places; nothing checks these bytes.
_TIME = re.compile(rb'("timestamp": ")\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC(")')
_NO_TIME = rb"\g<1>1980-01-01 00:00:00 UTC\g<2>"


def available() -> bool:
    """Whether the extra that makes DLC files is installed."""
    return importlib.util.find_spec(_MODULE) is not None


def versions() -> dict[str, str]:
    """Version of what makes DLC files, by its package."""
    return {PACKAGE: version(PACKAGE)}


def to_dlcs(models: Mapping[Path, bytes]) -> None:
    """Write DLC files, all of each network in QNN. Same model, same bytes.

    Parameters
    ----------
    models
        The files to write, with the ONNX models they are made from: Q/DQ, uint8 in and out.

    Raises
    ------
    MissingDependencyError
        onnxruntime-qnn is not installed, or cannot be loaded.
    ConversionError
        QNN refuses an operation; it is named.
    """
    if not available():
        raise MissingDependencyError(
            f"{PACKAGE} is not installed, so no .dlc can be made",
            remedy="pip install 'i2uv-edge[qnn]'",
        )
    for path, model in models.items():
        with tempfile.TemporaryDirectory() as scratch:
            source, folder = Path(scratch) / "model.onnx", Path(scratch) / "made"
            source.write_bytes(model)
            folder.mkdir()
            answer, log = _asked(source, folder)
            _check(path.name, answer, log)
            path.write_bytes(_untimed(path.name, folder))


def _asked(source: Path, folder: Path) -> tuple[dict[str, Any], str]:
    """What the guest answers, and what it wrote beside."""
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "i2uv_edge.device.qnn_guest", str(source), str(folder)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ConversionError(
            f"QNN had made no .dlc after {_SECONDS:.0f} s",
            remedy="export without --split, or without the extra `qnn`",
        ) from error
    # QNN's libraries write to standard output too.
    answers = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    if not answers:
        last = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        raise MissingDependencyError(
            f"{PACKAGE} cannot be used: {last}",
            expected=f"{PACKAGE} and onnxruntime in versions that go together",
            remedy="install the versions that constraints.txt names",
        )
    return answers[-1], ended.stderr


def _check(name: str, answer: Mapping[str, Any], log: str) -> None:
    """Refuse what QNN did not take whole, naming what it left."""
    if answer.get("elsewhere") == []:
        return
    refused = dict.fromkeys(
        f"{_RENAMED.sub('', found['name'])} ({found['type']})" for found in _REFUSED.finditer(log)
    )
    names = [*refused, *answer.get("elsewhere", ())]
    reason = str(answer.get("error", "no reason given")).strip().splitlines()[0]
    what = f"QNN refuses {', '.join(names)}" if names else f"QNN refuses it: {reason}"
    raise ConversionError(
        f"{name}: {what}",
        expected="all of it in 8-bit integers, with every operation in QNN",
        remedy="use the recipe w8a8-strict with --split, which leaves warps and float sums out",
    )


def _untimed(name: str, folder: Path) -> bytes:
    found = list(folder.glob("*.dlc"))
    if len(found) != 1:
        raise ConversionError(
            f"{name}: QNN wrote {len(found)} DLC files", expected="one: the network in one piece"
        )
    return _TIME.sub(_NO_TIME, found[0].read_bytes())

"""What is set up outside Python: the AI Hub token, Qualcomm's SDK, adb. Nothing secret is shown."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from i2uv_edge.diagnosis.results import Check

__all__ = ["setting_checks"]

PHONES = "phones"
SECONDS = 5.0
HUB_REMEDY = "sign up at https://aihub.qualcomm.com/, then: qai-hub configure --api_token TOKEN"
SKELETON = "lib/hexagon-v66/unsigned/libQnnDspV66Skel.so"


def setting_checks(environment: Mapping[str, str] | None = None) -> list[Check]:
    """Look at configuration files, environment variables and programs; nothing is contacted."""
    known = os.environ if environment is None else environment
    return [_token(known), _sdk(known), _adb(known)]


def _token(environment: Mapping[str, str]) -> Check:
    """Whether a token is configured, by the rules of Qualcomm's client."""
    named = environment.get("QAIHUB_CLIENT_INI")
    path = Path(named or "~/.qai_hub/client.ini").expanduser()
    name = "AI Hub token"
    if not path.is_file():
        return Check(PHONES, name, "missing", f"there is no {path}", HUB_REMEDY)
    parser = configparser.ConfigParser()
    try:
        parser.read(path, encoding="utf-8")
        token = parser.get("api", "api_token", fallback="", raw=True)
    except (OSError, ValueError, configparser.Error):
        # What a parser says quotes the line, which may hold the token.
        return Check(PHONES, name, "broken", f"{path} cannot be read", HUB_REMEDY)
    if not token.strip():
        return Check(PHONES, name, "broken", f"{path} names no api_token", HUB_REMEDY)
    return Check(PHONES, name, "works", f"configured in {path}; nobody was asked to accept it")


def _sdk(environment: Mapping[str, str]) -> Check:
    name, remedy = "QAIRT SDK", "install Qualcomm's QAIRT SDK, then: export QNN_SDK_ROOT=FOLDER"
    root = environment.get("QNN_SDK_ROOT", "")
    if not root:
        return Check(PHONES, name, "missing", "QNN_SDK_ROOT is not set", remedy)
    if not Path(root).is_dir():
        return Check(PHONES, name, "broken", f"QNN_SDK_ROOT: there is no {root}", remedy)
    if not (Path(root) / SKELETON).is_file():
        detail = f"{root} has no {SKELETON}, so nothing for the DSP of an 865"
        return Check(PHONES, name, "broken", detail, "take a version that still holds it")
    return Check(PHONES, name, "works", root)


def _adb(environment: Mapping[str, str]) -> Check:
    remedy = "apt-get install adb"
    program = shutil.which("adb", path=environment.get("PATH"))
    if program is None:
        return Check(PHONES, "adb", "missing", "not on the path", remedy)
    try:
        ended = subprocess.run(
            [program, "version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Check(PHONES, "adb", "broken", f"{program} version: {error}", remedy)
    lines = ended.stdout.splitlines() or ["no version"]
    return Check(PHONES, "adb", "works", f"{lines[0]} at {program}")

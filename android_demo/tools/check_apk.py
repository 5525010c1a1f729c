"""Checks a built app: `python check_apk.py APK`. Every check is made, then all that failed is said.

Signature, alignment, what the manifest asks for, no instruction that Android 8 does not know, the
models stored as they are and whole, native libraries for V66 where there is a runtime.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aars import ABI, V66_LIBRARIES
from build_apk import LEAST_API, PACKAGE
from place_bundle import PLACED
from toolchain import ended, require, run

from i2uv_edge.bundle import MANIFEST
from i2uv_edge.errors import ConversionError, DamagedError

__all__ = ["Checked", "check"]

FOLDER = f"assets/{PLACED}/"
SHADERS = ("mesh.frag", "mesh.vert", "picture.frag", "picture.vert")
TRIALS = 5  # ways of running, see Attempt.java
RUNTIME = "libtensorflowlite_jni.so"
DSP = "libQnnTFLiteDelegate.so"


@dataclass
class Checked:
    """What was found.

    Attributes
    ----------
    done : the checks that were made
    faults : what each failed one found
    has_runtime : whether a TFLite runtime is in it
    """

    done: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    has_runtime: bool = False


def check(apk: Path) -> Checked:
    """Look at an APK.

    Raises
    ------
    MissingDependencyError
        A tool is not there.
    DamagedError
        It is no zip archive.
    """
    require()
    made = Checked()
    try:
        with zipfile.ZipFile(apk) as archive:
            names = set(archive.namelist())
            made.has_runtime = f"lib/{ABI}/{RUNTIME}" in names
            checks: dict[str, Callable[[], list[str]]] = {
                "signature": lambda: _signature(apk),
                "alignment": lambda: _alignment(apk),
                "manifest": lambda: _manifest(apk, made.has_runtime),
                "code": lambda: _code(archive),
                "models": lambda: _models(archive),
                "shaders": lambda: _shaders(archive),
                "libraries": lambda: _libraries(names),
            }
            for name, look in checks.items():
                made.done.append(name)
                try:
                    found = look()
                except (ConversionError, KeyError, ValueError, TypeError) as error:
                    found = [str(error)]
                made.faults += [f"{name}: {fault}" for fault in found]
    except (OSError, zipfile.BadZipFile) as error:
        raise DamagedError(f"{apk} is no APK ({error})", remedy="build it again") from error
    return made


def _signature(apk: Path) -> list[str]:
    said = run(["apksigner", "verify", "--verbose", "--min-sdk-version", str(LEAST_API), apk])
    return [] if "(APK Signature Scheme v2): true" in said else ["not signed by scheme 2"]


def _alignment(apk: Path) -> list[str]:
    run(["zipalign", "-c", "-p", "4", apk])
    return []


def _manifest(apk: Path, has_runtime: bool) -> list[str]:
    badging = run(["aapt2", "dump", "badging", apk])
    tree = run(["aapt2", "dump", "xmltree", "--file", "AndroidManifest.xml", apk])
    said = "no runtime" in badging
    wanted = {
        f"package {PACKAGE}": f"package: name='{PACKAGE}'" in badging,
        f"sdkVersion {LEAST_API}": f"sdkVersion:'{LEAST_API}'" in badging,
        "the camera's permission": "android.permission.CAMERA" in badging,
        "the camera not required": "uses-feature: name='android.hardware.camera'" not in badging,
        "an activity to launch": "launchable-activity" in badging,
        "unpacked libraries": bool(re.search(r"extractNativeLibs\(0x\w+\)=true", tree)),
        "libcdsprpc.so": '"libcdsprpc.so"' in tree,
        "each trial in its own process": tree.count('=":trial_') == TRIALS,
        "nothing filled in by nobody": "${" not in tree,
        "a label that says whether there is a runtime": said != has_runtime,
    }
    return [f"it lacks {name}" for name, there in wanted.items() if not there]


def _code(archive: zipfile.ZipFile) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="dex-") as scratch:
        text = run(["dexdump", "-d", archive.extract("classes.dex", scratch)])
    faults = []
    if (count := text.count("invoke-custom")) > 0:
        faults.append(f"{count} times invoke-custom, which comes of a lambda")
    if "Li2uv/edge/app/MainActivity;" not in text:
        faults.append("no MainActivity in it")
    return faults


def _models(archive: zipfile.ZipFile) -> list[str]:
    """Every file of the bundle against its hash; models so that they can be mapped."""
    manifest = json.loads(archive.read(FOLDER + MANIFEST))
    listed = {artifact["path"]: artifact["sha256"] for artifact in manifest["artifacts"]}
    placed = [info for info in archive.infolist() if info.filename.startswith(FOLDER)]
    faults = []
    for info in placed:
        path = info.filename.removeprefix(FOLDER)
        if path == MANIFEST:
            continue
        if hashlib.sha256(archive.read(info)).hexdigest() != listed.get(path):
            faults.append(f"{path} is not what the manifest lists")
        if path.endswith(".tflite") and info.compress_type != zipfile.ZIP_STORED:
            faults.append(f"{path} is compressed: it cannot be mapped")
    wanted = {"atlas.npz", "golden/dump.json", *(f"{role}.tflite" for role in manifest["networks"])}
    there = {info.filename.removeprefix(FOLDER) for info in placed}
    return faults + [f"no {path}" for path in sorted(wanted - there)]


def _shaders(archive: zipfile.ZipFile) -> list[str]:
    names = archive.namelist()
    return [f"no {name}" for name in SHADERS if f"assets/shaders/{name}" not in names]


def _libraries(names: set[str]) -> list[str]:
    """Libraries for the phone alone, and all that V66 needs where there is Qualcomm's delegate."""
    libraries = {name for name in names if name.startswith("lib/")}
    faults = [f"{name} is for another processor" for name in libraries if f"/{ABI}/" not in name]
    if f"lib/{ABI}/{DSP}" in libraries:
        faults += [f"no {name}" for name in V66_LIBRARIES if f"lib/{ABI}/{name}" not in libraries]
    return sorted(faults)


def main(arguments: Sequence[str]) -> int:
    """Run the command line."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    apk = Path(arguments[0])

    def work() -> None:
        checked = check(apk)
        if checked.faults:
            listed = "\n".join(f"  {fault}" for fault in checked.faults)
            raise ConversionError(f"{apk} is not as it should be:\n{listed}")
        runtime = "with a runtime" if checked.has_runtime else "no runtime in it"
        print(f"checked {apk}: {', '.join(checked.done)}; {runtime}")

    return ended("check_apk", work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Puts a bundle into the app: `python place_bundle.py BUNDLE [--pictures N]`.

Every hash of the bundle is checked first. Copied is what the app needs: manifest, networks, atlas,
golden inputs and vertices, and some pictures to look at and to dump. A bundle that is damaged, or
whose report says that a gate failed, is refused.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from toolchain import DEMO, ended

from i2uv_edge.atomic import write_folder
from i2uv_edge.bundle import MANIFEST, Bundle
from i2uv_edge.errors import GateError, InputError, UsageError

__all__ = ["ASSETS", "PICTURES", "PLACED", "place"]

ASSETS = DEMO / "app" / "src" / "placed"
"""A folder of assets beside the app's own, for the bundle alone."""

PLACED = "bundle"  # the folder's name among the assets
PICTURES = 24


def place(folder: Path, assets: Path = ASSETS, pictures: int = PICTURES) -> list[str]:
    """Copy a bundle's files into the app's assets, in the place of what was there.

    Parameters
    ----------
    folder
        The bundle.
    assets
        A folder of assets; the bundle becomes one folder in it.
    pictures
        How many of its pictures.

    Returns
    -------
    list
        The paths in the bundle of what was copied.

    Raises
    ------
    DamagedError, InputError
        It is no sound bundle, or none that an app can run.
    GateError
        Its report says that it failed, or it has none.
    """
    if pictures < 0:
        raise UsageError(f"--pictures is {pictures}", expected="0 or more")
    bundle = Bundle.open(folder)
    _check_passed(folder)
    if "affinenet" not in bundle.manifest.get("networks", {}):
        raise InputError(
            f"the bundle {folder} takes no pictures", expected="a model with an AffineNet"
        )
    golden = ("input.bin", "vertices.bin", "dump.json")
    every = [artifact.path for artifact in bundle.artifacts]
    shown = [path for path in every if path.startswith("eval/") and path.endswith(".jpg")]
    chosen = [
        MANIFEST,
        *(path for path in every if path in ("affinenet.tflite", "srnet.tflite", "atlas.npz")),
        *(path for path in every if path.startswith("golden/") and path.endswith(golden)),
        *sorted(shown)[:pictures],
    ]
    target = assets / PLACED
    with write_folder(
        target, replaceable=lambda old: (old / MANIFEST).is_file(), force=True
    ) as new:
        for path in chosen:
            copy = new / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path / path, copy)
    return chosen


def _check_passed(folder: Path) -> None:
    path = folder / "report.json"
    remedy = f"look at it: i2uv-edge validate {folder}"
    try:
        passed = json.loads(path.read_bytes())["passed"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise GateError(
            f"nothing says that the bundle {folder} is good: {path.name} cannot be read ({error})",
            expected="a report in which every gate passed",
            remedy=remedy,
        ) from error
    if passed is not True:
        raise GateError(
            f"the bundle {folder} failed a gate",
            expected='"passed": true in report.json',
            remedy=remedy,
        )


def main(arguments: Sequence[str]) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Put a bundle into the app.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--pictures", type=int, default=PICTURES, metavar="N")
    options = parser.parse_args(arguments)

    def work() -> None:
        placed = place(options.bundle, pictures=options.pictures)
        print(f"placed  {len(placed)} files in {ASSETS / PLACED}")

    return ended("place_bundle", work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

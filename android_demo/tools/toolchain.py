"""What builds and tests the app: Debian's packages, and two older ones that are fetched.

`python toolchain.py` says what is missing and exits with 4, or with 0 if nothing is.
`python toolchain.py --packages` prints the packages for apt-get.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from i2uv_edge import strict_toml
from i2uv_edge.device import debian_files
from i2uv_edge.device.debian_files import DebianFile
from i2uv_edge.errors import ConversionError, I2uvError, MissingDependencyError

__all__ = ["DEMO", "Fetched", "ended", "fetched", "missing_packages", "require", "run", "sources"]

DEMO = Path(__file__).resolve().parents[1]
PINS = Path(__file__).with_name("debian_packages.toml")
FRAMEWORK = Path("/usr/share/android-framework-res/framework-res.apk")
JUNIT = (Path("/usr/share/java/junit4.jar"), Path("/usr/share/java/hamcrest-core.jar"))

_LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")

# Each package by what shows that it is there. To build comes first, to test after it.
_BUILD: dict[str, str | Path] = {
    "aapt": "aapt2",
    "android-framework-res": FRAMEWORK,
    "apksigner": "apksigner",
    "dexdump": "dexdump",
    "openjdk-17-jdk-headless": "javac",
    "zipalign": "zipalign",
}
_TEST: dict[str, str | Path] = {
    "enjarify": "enjarify",
    "glslang-tools": "glslangValidator",
    "junit4": JUNIT[0],
    "libegl1": _LIBRARIES / "libEGL.so.1",
    "libgl1-mesa-dri": _LIBRARIES / "dri" / "swrast_dri.so",
    "libgles2": _LIBRARIES / "libGLESv2.so.2",
    "libhamcrest-java": JUNIT[1],
}


@dataclass(frozen=True)
class Pins:
    """The packages that are fetched."""

    debian: tuple[DebianFile, ...]


@dataclass(frozen=True)
class Fetched:
    """Android's class library, and dx."""

    android: Path
    dx: Path


def missing_packages(*, to_test: bool = False) -> list[str]:
    """Debian's packages that are not installed here."""
    wanted = {**_BUILD, **(_TEST if to_test else {})}
    return [name for name, sign in wanted.items() if not _there(sign)]


def require(*, to_test: bool = False) -> None:
    """Refuse to go on without Debian's packages.

    Raises
    ------
    MissingDependencyError
        The message says what to install.
    """
    missing = missing_packages(to_test=to_test)
    if missing:
        raise MissingDependencyError(
            f"the app needs what is not here: {', '.join(missing)}",
            expected="Debian's packages, of Debian 12",
            remedy=f"apt-get install {' '.join(missing)}",
        )


def fetched(cache: Path | None = None) -> Fetched:
    """Give the two older files, fetching them once.

    Raises
    ------
    MissingDependencyError
        They cannot be fetched; the message says what to put where.
    DamagedError
        A file is not the pinned one.
    """
    cache = cache or debian_files.cache_folder("android")
    made = []
    for item in strict_toml.load(Pins, PINS).debian:
        package = debian_files.make_downloads(cache) / item.name
        target = cache / item.sha256[:16] / Path(item.only).name
        if not target.is_file():
            if not package.is_file():
                debian_files.fetch(item, package, listed_in=PINS.name)
            debian_files.check(package, item.sha256)
            target.parent.mkdir(exist_ok=True)
            partial = target.with_name(f".{target.name}.partial")
            partial.write_bytes(dict(debian_files.members(package))[item.only])
            partial.replace(target)
        made.append(target)
    return Fetched(*made)


def run(command: Sequence[str | Path], *, folder: Path | None = None) -> str:
    """Run a tool and return what it said.

    Raises
    ------
    ConversionError
        It failed; the message is its own.
    """
    words = [str(word) for word in command]
    ended = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if ended.returncode:
        said = (ended.stdout + ended.stderr).strip()
        raise ConversionError(f"{Path(words[0]).name} failed with {ended.returncode}:\n{said}")
    return ended.stdout + ended.stderr


def sources(*folders: str) -> list[Path]:
    """The Java files below folders of the app."""
    return sorted(path for folder in folders for path in (DEMO / folder).rglob("*.java"))


def ended(tool: str, work: Callable[[], None]) -> int:
    """Do what a command is for and return its exit code; an error of ours is printed."""
    try:
        work()
    except I2uvError as error:
        print(f"{tool}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _there(sign: str | Path) -> bool:
    return sign.is_file() if isinstance(sign, Path) else shutil.which(sign) is not None


def main(arguments: Sequence[str]) -> int:
    """Run the command line."""
    if list(arguments) == ["--packages"]:
        print(*{**_BUILD, **_TEST})
        return 0
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2

    def work() -> None:
        require(to_test=True)
        fetched()

    return ended("toolchain", work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

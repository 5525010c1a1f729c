"""The files that emulate an Arm processor: fetched once, checked by hash, unpacked into a cache.

What and which versions stand in `arm64_packages.toml`. Packages of Debian come as `debian_files`
says; the wheels through pip, as it is set up here. Files that lie in the cache's `downloads`
already are not fetched: so a machine without network gets them by hand.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from i2uv_edge import strict_toml
from i2uv_edge.atomic import write_folder
from i2uv_edge.device import debian_files
from i2uv_edge.device.debian_files import DebianFile
from i2uv_edge.errors import MissingDependencyError

__all__ = ["Packages", "Root", "load_packages", "prepare"]

PINS = Path(__file__).with_name("arm64_packages.toml")
PYTHON = "311"  # that the wheels are of

# XNNPACK reads here what the processor can do; the emulator does not make these files up.
_SYSTEM = {
    "proc/cpuinfo": (
        "processor\t: 0\n"
        "BogoMIPS\t: 38.40\n"
        "Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid "
        "asimdrdm lrcpc dcpop asimddp\n"
        "CPU implementer\t: 0x41\n"
        "CPU architecture: 8\n"
        "CPU variant\t: 0x4\n"
        "CPU part\t: 0xd0b\n"
        "CPU revision\t: 1\n\n"
    ),
    **{f"sys/devices/system/cpu/{name}": "0\n" for name in ("possible", "present", "online")},
}


@dataclass(frozen=True)
class Wheel:
    """A wheel of PyPI for the emulated processor; `project` is its name there."""

    project: str
    version: str
    name: str
    platform: str
    sha256: str


@dataclass(frozen=True)
class Packages:
    """All that is fetched."""

    debian: tuple[DebianFile, ...]
    wheel: tuple[Wheel, ...]

    @property
    def files(self) -> list[DebianFile | Wheel]:
        """Every one."""
        return [*self.debian, *self.wheel]

    @property
    def digest(self) -> str:
        """Names the whole: other packages go into another folder."""
        text = "\n".join([*(item.sha256 for item in self.files), *_SYSTEM.values()])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def version(self, name: str) -> str:
        """Of a package."""
        for wheel in self.wheel:
            if wheel.project == name:
                return wheel.version
        (found,) = (item for item in self.debian if item.name.startswith(f"{name}_"))
        return found.name.split("_")[1]


@dataclass(frozen=True)
class Root:
    """What was unpacked: the emulator, the root of its file system, the folder of the wheels."""

    emulator: Path
    root: Path
    site: Path

    @property
    def python(self) -> Path:
        """The interpreter that runs inside."""
        return self.root / "usr/bin/python3.11"


def load_packages() -> Packages:
    """The pinned versions."""
    return strict_toml.load(Packages, PINS)


def prepare(
    cache: Path | None = None,
    packages: Packages | None = None,
    notify: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Root:
    """Give the unpacked files, fetching what is not there yet.

    Raises
    ------
    MissingDependencyError
        The emulator does not run on this machine, or something cannot be fetched; the message says
        what to put where.
    DamagedError
        A file that was fetched, or put there, is not the one whose hash is pinned.
    """
    cache = cache or debian_files.cache_folder("arm64")
    packages = packages or load_packages()
    machine = platform.system(), platform.machine()
    if machine != ("Linux", "x86_64"):
        raise MissingDependencyError(
            f"an Arm processor is emulated on x86-64 Linux, this is {' '.join(machine)}",
            remedy="run this on x86-64 Linux, or in a container of it",
        )
    folder = cache / packages.digest
    found = Root(folder / "qemu-aarch64-static", folder / "root", folder / "site")
    if folder.is_dir():
        return found
    downloads = debian_files.make_downloads(cache)
    files = _fetched(packages, downloads, notify)
    notify("unpacking the emulated processor", 0, 0)
    with write_folder(folder, replaceable=lambda path: False) as partial:
        for item in packages.debian:
            if item.only:
                content = dict(debian_files.members(files[item.name]))[item.only]
                emulator = partial / Path(item.only).name
                emulator.write_bytes(content)
                emulator.chmod(0o755)
            else:
                debian_files.unpack(files[item.name], partial / "root")
        for name, text in _SYSTEM.items():
            (partial / "root" / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / "root" / name).write_text(text, encoding="ascii")
        for wheel in packages.wheel:
            with zipfile.ZipFile(files[wheel.name]) as archive:
                archive.extractall(partial / "site")
    return found


# --- fetching -------------------------------------------------------------------------------------


def _fetched(
    packages: Packages, downloads: Path, notify: Callable[[str, int, int], None]
) -> dict[str, Path]:
    found = {}
    for number, item in enumerate(packages.files):
        notify(f"fetching {item.name}", number, len(packages.files))
        path = downloads / item.name
        if not path.is_file():
            if isinstance(item, Wheel):
                _fetch_wheel(item, downloads)
            else:
                debian_files.fetch(item, path, listed_in=PINS.name)
        debian_files.check(path, item.sha256)
        found[item.name] = path
    return found


def _fetch_wheel(wheel: Wheel, downloads: Path) -> None:
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
        *("--only-binary=:all:", "--platform", wheel.platform, "--python-version", PYTHON),
        *("--implementation", "cp", "--dest", str(downloads), f"{wheel.project}=={wheel.version}"),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode or not (downloads / wheel.name).is_file():
        said = ended.stderr.strip().splitlines() or ["pip brought another file"]
        failures = [f"pip download: {said[-1]}"]
        raise debian_files.missing(wheel.name, downloads, failures, listed_in=PINS.name)

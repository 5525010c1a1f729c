"""The files that emulate an Arm processor: fetched once, checked by hash, unpacked into a cache.

What and which versions stand in `arm64_packages.toml`. Packages of Debian come from the mirrors
that this machine's apt uses, if it is a Debian, and from Debian's own; the wheels through pip, as
it is set up here. Files that lie in the cache's `downloads` already are not fetched: so a machine
without network gets them by hand.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import lzma
import os
import platform
import re
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from i2uv_edge import strict_toml
from i2uv_edge.atomic import write_folder
from i2uv_edge.bundle import sha256_of
from i2uv_edge.errors import DamagedError, MissingDependencyError, UsageError

__all__ = ["Packages", "Root", "cache_folder", "load_packages", "prepare"]

PINS = Path(__file__).with_name("arm64_packages.toml")
DEBIAN = "http://deb.debian.org"
OLD_VERSIONS = "https://snapshot.debian.org/file"  # followed by the sha1
SECONDS = 60.0  # without an answer from a mirror
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
_UNPACKED = ("lib/", "usr/lib/", "usr/bin/")


@dataclass(frozen=True)
class DebianFile:
    """A package below an archive's root; `only` is the one file wanted of it."""

    path: str
    sha256: str
    sha1: str
    only: str = ""

    @property
    def name(self) -> str:
        """The file's."""
        return self.path.rpartition("/")[2]


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


def cache_folder() -> Path:
    """Where everything goes: the user's cache, see the XDG base directory specification."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(named) if named.startswith("/") else Path.home() / ".cache"
    return base / "i2uv-edge" / "arm64"


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
    cache, packages = cache or cache_folder(), packages or load_packages()
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
    downloads = cache / "downloads"
    try:
        downloads.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{downloads} cannot be made: {error.strerror}",
            remedy="set XDG_CACHE_HOME to a folder that can be written to",
        ) from error
    files = _fetched(packages, downloads, notify)
    notify("unpacking the emulated processor", 0, 0)
    with write_folder(folder, replaceable=lambda path: False) as partial:
        for item in packages.debian:
            if item.only:
                content = dict(_members(files[item.name]))[item.only]
                emulator = partial / Path(item.only).name
                emulator.write_bytes(content)
                emulator.chmod(0o755)
            else:
                _unpack_package(files[item.name], partial / "root")
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
                _fetch_package(item, path)
        if (actual := sha256_of(path)) != item.sha256:
            raise DamagedError(
                f"{path} has sha256 {actual}", expected=item.sha256, remedy="remove it"
            )
        found[item.name] = path
    return found


def _fetch_package(item: DebianFile, path: Path) -> None:
    failures = []
    for url in [*(f"{root}/{item.path}" for root in _mirrors()), f"{OLD_VERSIONS}/{item.sha1}"]:
        try:
            with urllib.request.urlopen(url, timeout=SECONDS) as answer:
                content = answer.read()
        except (OSError, ValueError) as error:
            failures.append(f"{url}: {error}")
            continue
        if hashlib.sha256(content).hexdigest() == item.sha256:
            partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
            partial.write_bytes(content)
            partial.replace(path)
            return
        failures.append(f"{url}: another file than the pinned one")
    raise _missing(item.name, path.parent, failures)


def _fetch_wheel(wheel: Wheel, downloads: Path) -> None:
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
        *("--only-binary=:all:", "--platform", wheel.platform, "--python-version", PYTHON),
        *("--implementation", "cp", "--dest", str(downloads), f"{wheel.project}=={wheel.version}"),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode or not (downloads / wheel.name).is_file():
        said = ended.stderr.strip().splitlines() or ["pip brought another file"]
        raise _missing(wheel.name, downloads, [f"pip download: {said[-1]}"])


def _missing(name: str, downloads: Path, failures: Iterable[str]) -> MissingDependencyError:
    return MissingDependencyError(
        f"{name} cannot be fetched:\n" + "\n".join(f"  {failure}" for failure in failures),
        expected="Debian's archive and PyPI, or the mirrors that apt and pip use here, in reach",
        remedy=f"fetch it elsewhere, and all that {PINS.name} lists, and put the files "
        f"into {downloads}",
    )


def _mirrors(folder: Path = Path("/etc/apt")) -> list[str]:
    """Roots of Debian's archive, those of this machine's apt first."""
    found: dict[str, None] = {}
    for path in (folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            lines = path.read_text(encoding="utf-8").splitlines()
            text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
            for root in re.findall(r"(https?://\S+?)/debian(?:-security)?/?(?=\s|$)", text):
                found[root] = None
    return list(dict.fromkeys([*found, DEBIAN]))


# --- unpacking ------------------------------------------------------------------------------------


def _unpack_package(path: Path, root: Path) -> None:
    """Write what a program needs of a package: no documentation, no settings."""
    with _data(path) as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            if ".." in Path(name).parts or not f"{name}/".startswith(_UNPACKED):
                continue
            target = root / name
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if member.issym():
                target.symlink_to(member.linkname)
            elif (content := archive.extractfile(member)) is not None:
                target.write_bytes(content.read())
                target.chmod(member.mode & 0o755)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    with _data(path) as archive:
        for member in archive:
            if member.isfile() and (content := archive.extractfile(member)) is not None:
                yield member.name.removeprefix("./"), content.read()


@contextlib.contextmanager
def _data(path: Path) -> Iterator[tarfile.TarFile]:
    """The files of a Debian package: an ar archive with a tar archive in it."""
    content = path.read_bytes()
    at = content.find(b"data.tar.xz")
    if not content.startswith(b"!<arch>\n") or at < 0:
        raise DamagedError(f"{path} is no Debian package with data.tar.xz", remedy="remove it")
    # A header of 60 bytes: name 16, time 12, owner 6, group 6, mode 8, size 10, end 2.
    size = int(content[at + 48 : at + 58])
    packed = content[at + 60 : at + 60 + size]
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(packed))) as archive:
        yield archive

"""Pinned packages of Debian: fetched from a mirror, checked by hash, read without being installed.

They come from the mirrors that this machine's apt uses, if it is a Debian, and from Debian's own;
versions that Debian has removed from its archive of old versions, which knows a file by its sha1.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import lzma
import os
import re
import tarfile
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from i2uv_edge.bundle import sha256_of
from i2uv_edge.errors import DamagedError, MissingDependencyError, UsageError

__all__ = [
    "DebianFile",
    "cache_folder",
    "check",
    "fetch",
    "make_downloads",
    "members",
    "missing",
    "unpack",
]

DEBIAN = "http://deb.debian.org"
OLD_VERSIONS = "https://snapshot.debian.org/file"  # followed by the sha1
SECONDS = 60.0  # without an answer from a mirror
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


def cache_folder(name: str) -> Path:
    """Where what is fetched goes: the user's cache, see the XDG base directory specification."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(named) if named.startswith("/") else Path.home() / ".cache"
    return base / "i2uv-edge" / name


def make_downloads(cache: Path) -> Path:
    """Give the folder in a cache that holds what was fetched, or put there by hand.

    Raises
    ------
    UsageError
        It cannot be made.
    """
    downloads = cache / "downloads"
    try:
        downloads.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{downloads} cannot be made: {error.strerror}",
            remedy="set XDG_CACHE_HOME to a folder that can be written to",
        ) from error
    return downloads


def fetch(item: DebianFile, path: Path, *, listed_in: str) -> None:
    """Write a package to `path`; nothing is written of a file that is not the pinned one.

    Raises
    ------
    MissingDependencyError
        No mirror has it; the message says what to put where, `listed_in` which file lists it all.
    """
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
    raise missing(item.name, path.parent, failures, listed_in=listed_in)


def check(path: Path, sha256: str) -> None:
    """Refuse a file that is not the pinned one.

    Raises
    ------
    DamagedError
        Its content is another.
    """
    if (actual := sha256_of(path)) != sha256:
        raise DamagedError(f"{path} has sha256 {actual}", expected=sha256, remedy="remove it")


def missing(
    name: str, downloads: Path, failures: Iterable[str], *, listed_in: str
) -> MissingDependencyError:
    """Say that a file cannot be fetched, and what to put where."""
    return MissingDependencyError(
        f"{name} cannot be fetched:\n" + "\n".join(f"  {failure}" for failure in failures),
        expected="Debian's archive and PyPI, or the mirrors that apt and pip use here, in reach",
        remedy=f"fetch it elsewhere, and all that {listed_in} lists, and put the files "
        f"into {downloads}",
    )


def unpack(path: Path, root: Path) -> None:
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


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of a package: its path and its content."""
    with _data(path) as archive:
        for member in archive:
            if member.isfile() and (content := archive.extractfile(member)) is not None:
                yield member.name.removeprefix("./"), content.read()


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

"""Fetching, checking and unpacking, with a package and a mirror made here."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from i2uv_edge.device import arm64_root, debian_files
from i2uv_edge.device.arm64_root import Packages, Wheel, load_packages, prepare
from i2uv_edge.device.debian_files import DebianFile
from i2uv_edge.errors import DamagedError, MissingDependencyError

SHA1 = "00" * 20


def package(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    """An ar archive as Debian writes it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(f"./{name}")
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    parts = {b"debian-binary": b"2.0\n", b"data.tar.xz": packed.getvalue()}
    made = b"!<arch>\n"
    for part, content in parts.items():
        made += b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (part, 0, 0, 0, b"100644", len(content))
        made += content + b"\n" * (len(content) % 2)
    return made


def wheel() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("pack/__init__.py", "")
    return made.getvalue()


EMULATOR = package({"usr/bin/qemu": b"runs", "usr/bin/other": b"does not"})
LIBRARY = package(
    {"lib/arch/libc.so.6": b"c", "usr/share/doc/x": b"doc", "lib/../../outside": b"no"},
    {"lib/ld.so": "arch/libc.so.6"},
)
WHEEL = wheel()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


PACKAGES = Packages(
    debian=(
        DebianFile("debian/pool/qemu_1_amd64.deb", sha256(EMULATOR), SHA1, only="usr/bin/qemu"),
        DebianFile("debian/pool/libc6_2_arm64.deb", sha256(LIBRARY), SHA1),
    ),
    wheel=(Wheel("pack", "1", "pack-1-py3-none-any.whl", "any", sha256(WHEEL)),),
)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the folder that a mirror on this machine serves."""
    served = tmp_path / "mirror"
    (served / "debian/pool").mkdir(parents=True)
    (served / "debian/pool/qemu_1_amd64.deb").write_bytes(EMULATOR)
    (served / "debian/pool/libc6_2_arm64.deb").write_bytes(LIBRARY)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(served))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    root = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(debian_files, "_mirrors", lambda: [root])
    monkeypatch.setattr(debian_files, "OLD_VERSIONS", f"{root}/file")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Give a cache in which the wheel lies already: pip is not tried here."""
    downloads = tmp_path / "cache" / "downloads"
    downloads.mkdir(parents=True)
    (downloads / PACKAGES.wheel[0].name).write_bytes(WHEEL)
    return downloads.parent


def test_what_was_fetched_is_unpacked_without_what_no_program_needs(
    mirror: Path, cache: Path
) -> None:
    root = prepare(cache, PACKAGES)
    emulator = root.emulator.with_name("qemu")
    assert emulator.read_bytes() == b"runs"
    assert emulator.stat().st_mode & 0o111
    assert (root.root / "lib/ld.so").read_bytes() == b"c"
    assert not (root.root / "usr/share").exists()
    assert not list(cache.rglob("outside"))
    assert "asimddp" in (root.root / "proc/cpuinfo").read_text()
    assert (root.site / "pack/__init__.py").is_file()


def test_a_second_time_nothing_is_fetched(
    mirror: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(cache, PACKAGES)
    monkeypatch.setattr(debian_files.urllib.request, "urlopen", pytest.fail)
    assert prepare(cache, PACKAGES) == first


def test_a_version_that_a_mirror_dropped_is_asked_of_the_archive(mirror: Path, cache: Path) -> None:
    (mirror / "file").mkdir()
    (mirror / "debian/pool/qemu_1_amd64.deb").rename(mirror / "file" / SHA1)
    assert prepare(cache, PACKAGES).root.is_dir()


def test_what_cannot_be_fetched_exits_4_and_says_what_to_put_where(
    mirror: Path, cache: Path
) -> None:
    (mirror / "debian/pool/libc6_2_arm64.deb").unlink()
    with pytest.raises(MissingDependencyError) as raised:
        prepare(cache, PACKAGES)
    assert raised.value.exit_code == 4
    assert "libc6_2_arm64.deb cannot be fetched" in str(raised.value)
    assert str(cache / "downloads") in str(raised.value)
    (cache / "downloads/libc6_2_arm64.deb").write_bytes(LIBRARY)
    assert prepare(cache, PACKAGES).root.is_dir()


def test_a_mirror_with_another_file_under_the_name_is_not_believed(
    mirror: Path, cache: Path
) -> None:
    (mirror / "debian/pool/libc6_2_arm64.deb").write_bytes(EMULATOR)
    with pytest.raises(MissingDependencyError, match="another file than the pinned one"):
        prepare(cache, PACKAGES)
    assert not (cache / PACKAGES.digest).exists()


def test_a_download_of_another_content_is_damaged(mirror: Path, cache: Path) -> None:
    (cache / "downloads" / PACKAGES.wheel[0].name).write_bytes(b"another")
    with pytest.raises(DamagedError, match=PACKAGES.wheel[0].sha256):
        prepare(cache, PACKAGES)


def test_a_wheel_that_pip_does_not_find_exits_4(mirror: Path, cache: Path) -> None:
    nowhere = replace(PACKAGES.wheel[0], project="no/such", name="other.whl")
    with pytest.raises(MissingDependencyError, match=r"other\.whl cannot be fetched"):
        prepare(cache, replace(PACKAGES, wheel=(nowhere,)))


def test_another_machine_is_told_what_it_takes(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arm64_root.platform, "machine", lambda: "riscv64")
    with pytest.raises(MissingDependencyError, match="Linux riscv64"):
        prepare(cache, PACKAGES)


def test_the_pinned_runtime_is_the_one_that_runs_here() -> None:
    packages = load_packages()
    assert packages.version("ai-edge-litert") == version("ai-edge-litert")
    assert packages.version("qemu-user-static").startswith("7.2")
    assert all(len(item.sha256) == 64 for item in packages.files)

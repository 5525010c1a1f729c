"""A folder that is written whole or not at all, whatever happens to the process that writes it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from i2uv_edge.errors import I2uvError, UsageError

__all__ = ["write_folder"]


@contextlib.contextmanager
def write_folder(
    destination: Path | str,
    *,
    replaceable: Callable[[Path], bool],
    force: bool = False,
) -> Iterator[Path]:
    """Give a new folder beside `destination` that takes its place when the block succeeds.

    Whatever happens inside the block, a kill included, `destination` is either what it was before
    or the complete new folder. What a killed run leaves beside it is removed by the next one.

    Parameters
    ----------
    destination
        Where the folder is to lie.
    replaceable
        Whether a folder is of the kind that is written, which makes it no loss.
    force
        Replace what lies there already, if it is empty or `replaceable`; nothing else is removed.

    Raises
    ------
    UsageError
        Something is in the way, another run is writing there, or the disk is full.
    """
    # Not resolve(): where the last part is a link, the link itself is what is in the way.
    target = Path(os.path.abspath(destination))  # noqa: PTH100
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(target)
        _check_free(target, force=force, replaceable=replaceable)
        partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
        partial.mkdir()
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written: {error.strerror}",
            remedy="free some space there if it is full, or choose another -o",
        ) from error
    with _locked(partial):
        try:
            yield partial
            _sync(partial)
            _check_free(target, force=force, replaceable=replaceable)
            _put_in_place(partial, target)
        except Exception as error:
            if _is_disk_full(error, target.parent):
                raise UsageError(
                    f"the disk is full: {target} was not written",
                    remedy="free some space, or choose an output folder on another disk",
                ) from error
            raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _check_free(target: Path, *, force: bool, replaceable: Callable[[Path], bool]) -> None:
    """Refuse to write over anything without `force`, and over the work of others with it."""
    if not os.path.lexists(target):
        return
    if not force:
        raise UsageError(
            f"{target} exists already", remedy="replace it with --force, or choose another -o"
        )
    if target.is_symlink() or not target.is_dir():
        raise UsageError(f"{target} is no folder", remedy="remove it, or choose another -o")
    if any(target.iterdir()) and not replaceable(target):
        raise UsageError(
            f"{target} is a folder with files that this command did not write",
            expected="nothing, or what the same command wrote: --force replaces nothing else",
            remedy="remove it, or choose another -o",
        )


def _put_in_place(partial: Path, target: Path) -> None:
    replaced = partial.with_name(partial.name.replace(".partial-", ".replaced-"))
    if target.exists():
        target.rename(replaced)
    try:
        partial.rename(target)
    except BaseException:
        if replaced.exists():
            replaced.rename(target)
        raise
    _sync_folder(target.parent)
    if replaced.exists():
        # No longer something to go back to: under this name it is rubbish, now and for a next run.
        replaced.rename(partial)


def _clear_leftovers(target: Path) -> None:
    """Remove what killed runs left beside `target`, and undo a replacement cut in the middle."""
    name = glob.escape(target.name)
    for leftover in target.parent.glob(f".{name}.partial-*"):
        try:
            # The lock says whether its writer is alive; a process id alone may have a new owner.
            with _locked(leftover):
                shutil.rmtree(leftover)
        except BlockingIOError as error:
            raise UsageError(
                f"another run is writing {target} ({leftover.name})",
                remedy="wait until it has ended, or choose another -o",
            ) from error
    for leftover in target.parent.glob(f".{name}.replaced-*"):
        if os.path.lexists(target):
            shutil.rmtree(leftover)
        else:
            leftover.rename(target)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the kernel gives back when the process ends in any way."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    """Have the whole tree on the disk before the rename that makes it visible."""
    for path in (p for p in folder.rglob("*") if not p.is_dir()):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    for below in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        _sync_folder(below)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_disk_full(error: Exception, folder: Path) -> bool:
    if isinstance(error, I2uvError):
        return False
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # Libraries that write files themselves (safetensors, numpy) lose the error number.
    space = os.statvfs(folder)
    return space.f_bavail * space.f_frsize < 1 << 20

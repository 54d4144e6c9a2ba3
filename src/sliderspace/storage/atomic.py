"""Whole files or none: written under a temporary name, flushed to the disk and renamed."""

import errno
import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from sliderspace.core.errors import BadInput, DiskFull, SliderSpaceError
from sliderspace.core.numbers import bytes_in_words

if LOCKS := sys.platform != "win32":
    import fcntl

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.partial")
STALE_AFTER = 3600.0  # seconds without a write, after which a writer counts as gone where there are no locks
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def replacing(path: Path, size: int) -> Generator[Path]:
    """A temporary name beside `path`, which takes its place, flushed to the disk, when the block ends well and vanishes
    otherwise.

    DiskFull when there is no room (`size` bytes are needed), BadInput when `path` cannot be written.
    """
    temporary = path
    try:
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")  # named first: Ctrl-C may come any time
        with _new(temporary):
            yield temporary
            _flush(temporary)
            temporary.replace(path)
        flush_folder(path.parent)
    except (OSError, ValueError) as error:
        forget(temporary, path)
        raise explained(error, path, size) from error
    except BaseException:  # Ctrl-C too must not leave the half-written file
        forget(temporary, path)
        raise


def move(made: Path, path: Path) -> None:
    """Let `made` take the place of `path`, by a copy where it lies on another file system. Errors as `replacing`, or
    OSError."""
    try:
        made.replace(path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with replacing(path, made.stat().st_size) as temporary:
            shutil.copyfile(made, temporary)
        made.unlink()


@contextmanager
def _new(temporary: Path) -> Generator[None]:
    """A new file of this name, locked while the block runs: so others know that its writer lives."""
    while True:
        with temporary.open("xb") as file:
            if not LOCKS:
                file.close()  # Windows renames no open file
            elif _locked(file) and not os.fstat(file.fileno()).st_nlink:
                continue  # removed as stale before it was locked
            yield
            return


def _locked(file: IO[bytes], *, wait: bool = True) -> bool | None:
    """Lock an open file until it is closed. False if another holds it, None on a file system without locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def forget(temporary: Path, path: Path) -> None:
    if temporary != path:
        with suppress(OSError, ValueError):
            temporary.unlink()


def remove_stale(folder: Path) -> None:
    """Delete the temporary files in `folder` whose writers are gone; several processes may write into it."""
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        if TEMPORARY.fullmatch(path.name):
            with suppress(OSError), path.open("rb+") as file:  # its writer may rename it meanwhile
                free = _locked(file, wait=False) if LOCKS else None
                if free or (free is None and time.time() - os.fstat(file.fileno()).st_mtime > STALE_AFTER):
                    path.unlink()


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Make a rename itself survive a power cut, where the system can."""
    with suppress(OSError):  # some network file systems refuse to flush a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def explained(error: Exception, path: Path, size: int | None = None) -> SliderSpaceError:
    """The error of a failed write of `size` bytes in words: DiskFull, else BadInput."""
    if not isinstance(error, OSError):
        return BadInput(f"cannot write {str(path)!r}: {error}")
    if error.errno in DISK_FULL:
        needed = "" if size is None else f"it needs {bytes_in_words(size)} and "
        return DiskFull(
            f"no room to write {path}: {needed}{_free(path)}.\n"
            "Make room (or choose another disk with --out), then give the same command again: it goes on where it "
            "stopped."
        )
    return BadInput(
        f"cannot write {path}: {error.strerror or error}.\nCheck the folder and its permissions, or choose another "
        f"with --out."
    )


def _free(path: Path) -> str:
    try:
        return f"{bytes_in_words(shutil.disk_usage(path.parent).free)} are free"
    except OSError:
        return "the disk is full"

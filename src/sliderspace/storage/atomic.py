"""Whole files or none: written under a temporary name, flushed to the disk and renamed."""

import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from sliderspace.core.errors import BadInput, SliderSpaceError
from sliderspace.core.numbers import bytes_in_words

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.partial")
STALE_AFTER = 3600.0  # seconds without a write: a temporary file that old belongs to a run that was killed
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def replacing(path: Path, size: int) -> Generator[Path]:
    """A temporary name beside `path`, which takes its place, flushed to the disk, when the block ends well and vanishes
    otherwise.

    SliderSpaceError when the disk is full (`size` bytes are needed), BadInput when `path` cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        flush_folder(path.parent)
    except (OSError, ValueError) as error:
        forget(temporary)
        raise explained(error, path, size) from error
    except BaseException:  # Ctrl-C too must not leave the half-written file
        forget(temporary)
        raise


def forget(temporary: Path) -> None:
    with suppress(OSError, ValueError):
        temporary.unlink()


def remove_stale(folder: Path) -> None:
    """Delete the temporary files in `folder` that killed runs left. Those of living ones are younger: several processes
    may write into a folder."""
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        with suppress(OSError):  # its writer may rename it meanwhile
            if TEMPORARY.fullmatch(path.name) and time.time() - path.stat().st_mtime > STALE_AFTER:
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
    """The error of a failed write of `size` bytes in words: SliderSpaceError for a full disk, else BadInput."""
    if not isinstance(error, OSError):
        return BadInput(f"cannot write {str(path)!r}: {error}")
    if error.errno in DISK_FULL:
        needed = "" if size is None else f"it needs {bytes_in_words(size)} and "
        return SliderSpaceError(
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

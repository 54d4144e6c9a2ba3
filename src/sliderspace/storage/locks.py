"""Locks between processes, and none on a file system that has none."""

import errno
from collections.abc import Generator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sliderspace.storage.atomic import explained

# Of a file system that has none: better a run without than no run there.
NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}
# Else newer versions of filelock take a file's being there for the lock, and that of a killed process stays for ever.
HARD: dict[str, Any] = {"fallback_to_soft": False} if "fallback_to_soft" in signature(FileLock).parameters else {}


def take(path: Path, *, timeout: float = -1) -> FileLock:
    """The lock at `path`, taken, or free where the file system has no locks; `release` it in either case.

    Raises filelock's Timeout where another holds it for longer than `timeout` seconds (-1: wait for ever), OSError
    where it cannot be written.
    """
    lock = FileLock(path, timeout=timeout, thread_local=False, **HARD)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return lock


def is_left(path: Path) -> bool:
    """Whether whoever held the lock at `path` is gone; False where that cannot be known."""
    try:
        lock = take(path, timeout=0)
    except (OSError, Timeout):
        return False
    try:
        return lock.is_locked
    finally:
        lock.release()


@contextmanager
def holding(path: Path) -> Generator[None]:
    """Within the block nobody else holds the lock at `path`. BadInput or DiskFull where it cannot be written."""
    try:
        lock = take(path)
    except OSError as error:
        raise explained(error, path.parent) from error
    try:
        yield
    finally:
        lock.release()

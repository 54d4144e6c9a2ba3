"""Locks between processes, and none on a file system that has none."""

import errno
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from sliderspace.storage.atomic import explained

NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP}  # of a file system that has none: better a run without than no run there


def take(path: Path, *, timeout: float = -1) -> FileLock:
    """The lock at `path`, taken, or free where the file system has no locks; `release` it in either case.

    Raises filelock's Timeout where another holds it for longer than `timeout` seconds (-1: wait for ever), OSError
    where it cannot be written.
    """
    lock = FileLock(path, timeout=timeout, thread_local=False)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return lock


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

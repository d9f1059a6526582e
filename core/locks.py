"""Locks between the processes of one machine, held by the operating system: a crash releases them."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from core.errors import Unavailable


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Wait for an exclusive lock on `path` and hold it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def hold_shared(path: Path) -> IO[str]:
    """Return an open file that shares the lock on `path` until it is closed.

    Raises:
        Unavailable: somebody holds it exclusively.
    """
    return _hold(path, fcntl.LOCK_SH, f"{path} is held by a rebuild; try again when it is done")


def hold_exclusive(path: Path) -> IO[str]:
    """Return an open file that holds the lock on `path` alone until it is closed.

    Raises:
        Unavailable: somebody shares it.
    """
    return _hold(path, fcntl.LOCK_EX, f"{path} is in use by a running worker; stop it first")


def _hold(path: Path, kind: int, refusal: str) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a")
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise Unavailable(refusal) from error
    return file

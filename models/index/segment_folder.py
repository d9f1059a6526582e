"""Folders that belong to whoever is using them: where an index keeps its sealed segments, gone with the index."""

import fcntl
import os
import shutil
import tempfile
import weakref
from itertools import count
from pathlib import Path

_PREFIX = ".live-"


class SegmentFolder:
    """A folder below `parent`, locked while this process uses it. Folders that a killed process left are removed."""

    def __init__(self, parent: Path | None) -> None:
        """Without a `parent` it is among the system's temporary files."""
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
            remove_abandoned(parent, _PREFIX)
        self.path, lock = claim_folder(parent, _PREFIX)
        self._numbers = count(1)
        weakref.finalize(self, _remove, self.path, lock)

    def ready(self) -> Path:
        """Return the folder, made again when somebody removed it: what was in it is still open."""
        self.path.mkdir(parents=True, exist_ok=True)
        return self.path

    def next_name(self) -> str:
        """Return a name for a segment that no other in this folder has."""
        return f"segment-{next(self._numbers)}"


def claim_folder(parent: Path | None, prefix: str) -> tuple[Path, int]:
    """Make a folder that is in use for as long as the file descriptor, returned with it, is open.

    It gets its prefix, by which others look for abandoned ones, only once it is locked.
    """
    unlocked = Path(tempfile.mkdtemp(prefix=".claimed-", dir=parent))
    handle = os.open(unlocked, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    path = unlocked.rename(unlocked.with_name(prefix + unlocked.name.removeprefix(".claimed-")))
    return path, handle


def remove_abandoned(parent: Path, prefix: str) -> None:
    """Remove the folders in `parent` whose names begin with `prefix` and that no living process has locked."""
    for path in parent.glob(f"{prefix}*"):
        try:
            handle = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            pass  # somebody uses it
        finally:
            os.close(handle)


def _remove(path: Path, lock: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(lock)

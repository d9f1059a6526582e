"""Where an index keeps its sealed segments: a folder of its own, gone with the index."""

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
            _remove_abandoned(parent)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        self._lock = os.open(self.path, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._numbers = count(1)
        weakref.finalize(self, _remove, self.path, self._lock)

    def ready(self) -> Path:
        """Return the folder, made again when somebody removed it: what was in it is still open."""
        self.path.mkdir(parents=True, exist_ok=True)
        return self.path

    def next_name(self) -> str:
        """Return a name for a segment that no other in this folder has."""
        return f"segment-{next(self._numbers)}"


def _remove(path: Path, lock: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(lock)


def _remove_abandoned(parent: Path) -> None:
    for path in parent.glob(f"{_PREFIX}*"):
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

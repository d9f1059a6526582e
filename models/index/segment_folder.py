"""Folders that belong to whoever is using them: where an index keeps its sealed segments, gone with the index."""

import fcntl
import os
import shutil
import tempfile
import weakref
from itertools import count
from pathlib import Path

_PREFIX = ".live-"
_PREFIX_AMONG_OTHERS = ".riverlight-live-"  # where all programs of the machine have theirs
_CLAIMED = ".claimed-"


class SegmentFolder:
    """A folder below `parent`, locked while this process uses it. Folders that a killed process left are removed."""

    def __init__(self, parent: Path | None) -> None:
        """Without a `parent` it is among the system's temporary files."""
        prefix = _PREFIX_AMONG_OTHERS if parent is None else _PREFIX
        parent = Path(tempfile.gettempdir()) if parent is None else parent
        parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(parent, prefix)
        self.path, lock = claim_folder(parent, prefix)
        self._numbers = count(1)
        self._remove = weakref.finalize(self, _remove, self.path, lock)

    def ready(self) -> Path:
        """Return the folder, made and locked again when somebody removed it: what was in it is still open."""
        if not self.path.is_dir():
            unlocked, lock = _claim(self.path.parent)
            unlocked.rename(self.path)
            detached = self._remove.detach()
            assert detached is not None  # it runs when this object is gone
            os.close(detached[2][1])
            self._remove = weakref.finalize(self, _remove, self.path, lock)
        return self.path

    def next_name(self) -> str:
        """Return a name for a segment that no other in this folder has."""
        return f"segment-{next(self._numbers)}"


def claim_folder(parent: Path, prefix: str) -> tuple[Path, int]:
    """Make a folder that is in use for as long as the file descriptor, returned with it, is open.

    It gets its prefix, by which others look for abandoned ones, only once it is locked.
    """
    unlocked, lock = _claim(parent)
    return unlocked.rename(unlocked.with_name(prefix + unlocked.name.removeprefix(_CLAIMED))), lock


def remove_abandoned(parent: Path, prefix: str) -> None:
    """Remove the folders of this user in `parent` that `claim_folder` made and no living process has locked.

    Anybody may write to `parent`: links are not followed, and what is not ours is left alone.
    """
    for path in parent.glob(f"{prefix}*"):
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if os.fstat(handle).st_uid == os.geteuid():
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Somebody else may have removed it before we had the lock, and its name be that of another by now.
                if os.path.samestat(os.fstat(handle), path.stat(follow_symlinks=False)):
                    shutil.rmtree(path, ignore_errors=True)
        except OSError:
            pass  # somebody uses it, or it is gone
        finally:
            os.close(handle)


def _claim(parent: Path) -> tuple[Path, int]:
    """Make a folder that nobody looks for, and lock it."""
    path = Path(tempfile.mkdtemp(prefix=_CLAIMED, dir=parent))
    lock = os.open(path, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return path, lock


def _remove(path: Path, lock: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(lock)

"""Folders of snapshots: `v<N>/`, each with files and a manifest that has their hashes, its own among them.

A snapshot is written under a temporary name, flushed to the disk and renamed, so a folder `v<N>` is always whole. What
is in it is read only after its hash matched.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from core.errors import IntegrityError
from models.index.segment_files import sha256_of
from models.index.segment_folder import claim_folder, remove_abandoned

T = TypeVar("T")

_WRITING = ".writing-"
_NAME = re.compile(r"^v(\d{1,18})$")


class WrittenByNewerRelease(IntegrityError):
    """The one reason not to go on to an older snapshot: that would silently undo what the newer release did."""


def publish(folder: Path, write: Callable[[Path], Mapping[str, Any]], *, keep: int) -> Path:
    """Make the next `v<N>` of `folder`, leave the newest `keep` there, and return its path.

    Args:
        write: writes the files into a folder, and returns the body of the manifest, with the hash of each in `files`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary, lock = claim_folder(folder, _WRITING)
    try:
        body = write(temporary)
        (temporary / "manifest.json").write_text(json.dumps({"body": body, "sha256": body_hash(body)}, indent=1))
        for path in (*temporary.iterdir(), temporary):
            _flush(path)
        published = _rename(temporary, folder)
        _flush(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        os.close(lock)
    for old in newest_first(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    remove_abandoned(folder, _WRITING)
    return published


def load_newest(
    folder: Path, load: Callable[[Path, Mapping[str, Any]], T], on_skipped: Callable[[str], None]
) -> T | None:
    """Return what `load` makes of the newest snapshot that is whole; None when there is none.

    Args:
        load: given a snapshot and the body of its manifest; raises IntegrityError for one that is to be passed over.
        on_skipped: told of each snapshot that is passed over, and why.

    Raises:
        WrittenByNewerRelease: `load` said so.
    """
    for path in newest_first(folder):
        try:
            return load(path, read_manifest(path))
        except WrittenByNewerRelease:
            raise
        except (IntegrityError, KeyError, TypeError) as error:
            on_skipped(f"{path.name}: {error}")
    return None


def refuse_newer(path: Path, body: Mapping[str, Any], known: int) -> None:
    """Raise WrittenByNewerRelease when the format of a snapshot is newer than the newest known."""
    if body["format"] > known:
        raise WrittenByNewerRelease(
            f"{path} has snapshot format {body['format']}; this release reads format {known}. Use the newer release, "
            "or remove the folder to rebuild from the log."
        )


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the body of a snapshot's manifest. Raises IntegrityError unless its own hash matches."""
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        body, recorded = manifest["body"], manifest["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"no readable manifest ({type(error).__name__}: {error})") from error
    if not isinstance(body, dict) or body_hash(body) != recorded:
        raise IntegrityError("the manifest does not match its own hash")
    return body


def check_files(path: Path, body: Mapping[str, Any]) -> None:
    """Raise IntegrityError unless the hash of each file of a snapshot matches."""
    for name, recorded in body["files"].items():
        try:
            found = sha256_of(path / name)
        except OSError as error:
            raise IntegrityError(f"{name} cannot be read ({error})") from error
        if found != recorded:
            raise IntegrityError(f"{name} does not match its hash")


def newest_first(folder: Path) -> list[Path]:
    """Return the snapshots of a folder."""
    return [path for _, path in sorted(_numbered(folder), reverse=True)]


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        return []
    return [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.match(path.name)) and path.is_dir()]


def _rename(temporary: Path, folder: Path) -> Path:
    """Give a snapshot the next free number; another replica may take one at the same time."""
    number = max((number for number, _ in _numbered(folder)), default=0)
    while True:
        number += 1
        try:
            return temporary.rename(folder / f"v{number}")
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise


def body_hash(body: Mapping[str, Any]) -> str:
    """Return the hash of a manifest's body, which stands beside it."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

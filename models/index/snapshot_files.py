"""Snapshots: a folder `v<N>/` that holds an index, and how far it had read its topic.

    vectors.f16      (n, dim) float16, little endian, in the order of writing
    entries.bin      the other fields of each entry, one MessagePack array after the other
    offsets.i64      (n + 1,) int64: where each entry starts in entries.bin
    tombstones.json  {item id: [time_us, seq]}
    manifest.json    format, dimension, model version, positions, epoch, and the SHA-256 of each file and of itself

A snapshot is written under a temporary name, flushed to the disk and renamed, so a folder `v<N>` is always whole. Files
are read only after their hash matched, and none is a format that can run code. Structures are not saved: they are built
again in the background, and until then the rows are scanned exactly.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import IntegrityError
from models.index.capture import Capture

FORMAT = 1
DATA_FILES = ("vectors.f16", "entries.bin", "offsets.i64", "tombstones.json")
_NAME = re.compile(r"^v(\d{1,18})$")


@dataclass(frozen=True)
class SnapshotLabel:
    """What a snapshot is of."""

    dim: int
    model_version: str
    positions: dict[int, int]  # partition -> the next offset to read
    epoch: str  # which incarnation of the topic the positions belong to


def write_snapshot(captured: Capture, label: SnapshotLabel, folder: Path, *, keep: int) -> Path:
    """Write the next `v<N>` into `folder`, leave the newest `keep` there, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    number = max((n for n, _ in snapshots_in(folder)), default=0) + 1
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    try:
        offsets = [0]
        with (temporary / "vectors.f16").open("wb") as vectors, (temporary / "entries.bin").open("wb") as entries:
            for segment, rows in captured.rows():
                for start in range(0, rows.size, 4_096):
                    block = segment.block(rows[start : start + 4_096])
                    vectors.write(block.vectors.astype("<f2").tobytes())
                    for blob in block.blobs:
                        entries.write(blob)
                        offsets.append(offsets[-1] + len(blob))
        (temporary / "offsets.i64").write_bytes(np.array(offsets, dtype="<i8").tobytes())
        (temporary / "tombstones.json").write_text(
            json.dumps({item_id: [v.time_us, v.seq] for item_id, v in captured.tombstones.items()})
        )
        body = {
            "format": FORMAT,
            "dim": label.dim,
            "model_version": label.model_version,
            "items": len(offsets) - 1,
            "positions": {str(partition): offset for partition, offset in label.positions.items()},
            "epoch": label.epoch,
            "files": {name: _sha256(temporary / name) for name in DATA_FILES},
        }
        (temporary / "manifest.json").write_text(json.dumps({"body": body, "sha256": _body_hash(body)}, indent=1))
        for name in (*DATA_FILES, "manifest.json"):
            _flush(temporary / name)
        _flush(temporary)
        path = folder / f"v{number}"
        temporary.rename(path)
        _flush(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _prune(folder, keep)
    return path


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the body of a snapshot's manifest. Raises IntegrityError unless its own hash matches."""
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        body, recorded = manifest["body"], manifest["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"no readable manifest ({type(error).__name__}: {error})") from error
    if not isinstance(body, dict) or _body_hash(body) != recorded:
        raise IntegrityError("the manifest does not match its own hash")
    return body


def read_files(path: Path, body: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the contents of a snapshot's data files. Raises IntegrityError unless each one's hash matches."""
    contents: dict[str, bytes] = {}
    for name in DATA_FILES:
        try:
            contents[name] = (path / name).read_bytes()
        except OSError as error:
            raise IntegrityError(f"{name} cannot be read ({error})") from error
        if hashlib.sha256(contents[name]).hexdigest() != body["files"][name]:
            raise IntegrityError(f"{name} does not match its hash")
    return contents


def snapshots_in(folder: Path) -> list[tuple[int, Path]]:
    """Return the snapshots of a folder with their numbers, in no order."""
    if not folder.is_dir():
        return []
    return [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.match(path.name)) and path.is_dir()]


def _prune(folder: Path, keep: int) -> None:
    for _, path in sorted(snapshots_in(folder), reverse=True)[keep:]:
        shutil.rmtree(path, ignore_errors=True)
    for abandoned in folder.glob(".writing-*"):  # one writer per folder: another's half-written folder is a crash's
        shutil.rmtree(abandoned, ignore_errors=True)


def _body_hash(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

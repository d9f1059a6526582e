"""Snapshots: a folder `v<N>/` that holds an index with its structures, and how far it had read its topic.

    segment-<i>.*    the files of each segment (`models.index.segment_files`); the rows still in memory become one more
    codebook-*.npz   what the `ivf_*` structures learnt
    alive.npz        for each segment, which of its rows are current
    tombstones.json  {item id: [time_us, seq]}
    manifest.json    format, dimension, model version, positions, epoch, and the SHA-256 of each file and of itself

A snapshot is written under a temporary name, flushed to the disk and renamed, so a folder `v<N>` is always whole. Files
are read only after their hash matched, and none is a format that can run code.

A segment's files never change, so a snapshot links them instead of writing them again: an index of a million items
would write a gigabyte a minute otherwise. But two consecutive snapshots never share a file. Of each segment there are
two copies that the snapshots use in turns, so damage to one leaves the snapshot before it whole.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import IntegrityError
from core.settings import IndexSettings
from models.index.capture import Capture
from models.index.codebook import Codebook
from models.index.sealed import SealedSegment, seal
from models.index.segment_files import SegmentFiles, link_or_copy, sha256_of
from models.index.segment_folder import claim_folder, remove_abandoned
from models.index.structures import Ivf

FORMAT = 2
_WRITING = ".writing-"
_NAME = re.compile(r"^v(\d{1,18})$")


@dataclass(frozen=True)
class SnapshotLabel:
    """What a snapshot is of."""

    dim: int
    model_version: str
    positions: dict[int, int]  # partition -> the next offset to read
    epoch: str  # which incarnation of the topic the positions belong to
    kind: str  # of the structures


def write_snapshot(
    captured: Capture, codebook: Codebook | None, label: SnapshotLabel, folder: Path, *, keep: int
) -> Path:
    """Write the next `v<N>` into `folder`, leave the newest `keep` there, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    existing = sorted(snapshots_in(folder), reverse=True)
    temporary, lock = claim_folder(folder, _WRITING)
    try:
        body = _write(captured, codebook, label, temporary, [path for _, path in existing])
        (temporary / "manifest.json").write_text(json.dumps({"body": body, "sha256": _body_hash(body)}, indent=1))
        for path in temporary.iterdir():
            _flush(path)
        _flush(temporary)
        path = _publish(temporary, folder)
        _flush(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        os.close(lock)
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


def check_files(path: Path, body: Mapping[str, Any]) -> None:
    """Raise IntegrityError unless the hash of each file of a snapshot matches."""
    for name, recorded in body["files"].items():
        try:
            found = sha256_of(path / name)
        except OSError as error:
            raise IntegrityError(f"{name} cannot be read ({error})") from error
        if found != recorded:
            raise IntegrityError(f"{name} does not match its hash")


def snapshots_in(folder: Path) -> list[tuple[int, Path]]:
    """Return the snapshots of a folder with their numbers, in no order."""
    if not folder.is_dir():
        return []
    return [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.match(path.name)) and path.is_dir()]


def _write(
    captured: Capture, codebook: Codebook | None, label: SnapshotLabel, target: Path, earlier: list[Path]
) -> dict[str, Any]:
    previous, other = [_by_hash(path) for path in earlier[:2]] + [{}] * max(0, 2 - len(earlier))
    files: dict[str, str] = {}
    alive: dict[str, np.ndarray] = {}
    segments: list[dict[str, Any]] = []
    codebooks = {codebook.id: codebook} if codebook is not None else {}
    loose = []
    for segment, rows in captured.parts:
        if isinstance(segment, SealedSegment):
            name = f"segment-{len(segments)}"
            for suffix, recorded in segment.files.hashes.items():
                place = target / f"{name}.{suffix}"
                _place(segment.files, suffix, place, previous.get(recorded), other.get(recorded))
                files[f"{name}.{suffix}"] = recorded
            used = segment.structure.codebook if isinstance(segment.structure, Ivf) else None
            if used is not None:
                codebooks[used.id] = used
            segments.append(
                {
                    "name": name,
                    "structured": segment.structure is not None,
                    "codebook": used.id if used is not None else None,
                }
            )
            alive[name] = _mask(segment.n_rows, rows)
        elif rows.size:
            loose.append((segment, rows))
    if loose:
        name = f"segment-{len(segments)}"
        written = seal(
            loose,
            target,
            name,
            label.dim,
            IndexSettings(kind="flat"),
            structured=False,
            in_memory=False,
            keep_files=True,
        )
        files |= {f"{name}.{suffix}": recorded for suffix, recorded in written.files.hashes.items()}
        segments.append({"name": name, "structured": False, "codebook": None})
        alive[name] = _mask(written.n_rows, np.arange(written.n_rows))
    for known in codebooks.values():
        with (target / f"codebook-{known.id}.npz").open("wb") as file:
            np.savez(file, allow_pickle=False, **known.arrays())
    with (target / "alive.npz").open("wb") as file:
        np.savez(file, allow_pickle=False, **alive)
    (target / "tombstones.json").write_text(
        json.dumps({item_id: [v.time_us, v.seq] for item_id, v in captured.tombstones.items()})
    )
    for name in ("alive.npz", "tombstones.json", *(f"codebook-{known}.npz" for known in codebooks)):
        files[name] = sha256_of(target / name)
    return {
        "format": FORMAT,
        "dim": label.dim,
        "model_version": label.model_version,
        "kind": label.kind,
        "items": sum(int(rows.size) for _, rows in captured.parts),
        "positions": {str(partition): offset for partition, offset in label.positions.items()},
        "epoch": label.epoch,
        "segments": segments,
        "codebooks": {known.id: known.kind for known in codebooks.values()},
        "codebook": codebook.id if codebook is not None else None,
        "files": files,
    }


def _mask(n_rows: int, rows: np.ndarray) -> np.ndarray:
    mask = np.zeros(n_rows, dtype=np.bool_)
    mask[rows] = True
    return np.packbits(mask, bitorder="little")


def _place(files: SegmentFiles, suffix: str, target: Path, previous: Path | None, other: Path | None) -> None:
    """Put a segment's file into a snapshot: linked where that shares nothing with the snapshot before, else copied."""
    for source in (files.path(suffix), other):
        if source is not None and source.is_file() and (previous is None or not source.samefile(previous)):
            link_or_copy(source, target)
            return
    files.copy(suffix, target)


def _by_hash(snapshot: Path) -> dict[str, Path]:
    try:
        files = read_manifest(snapshot)["files"]
    except (IntegrityError, KeyError):
        return {}
    return {recorded: snapshot / name for name, recorded in files.items() if (snapshot / name).is_file()}


def _publish(temporary: Path, folder: Path) -> Path:
    """Give a snapshot the next free number; another replica may take one at the same time."""
    number = max((number for number, _ in snapshots_in(folder)), default=0)
    while True:
        number += 1
        path = folder / f"v{number}"
        try:
            temporary.rename(path)
            return path
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise


def _prune(folder: Path, keep: int) -> None:
    for _, path in sorted(snapshots_in(folder), reverse=True)[keep:]:
        shutil.rmtree(path, ignore_errors=True)
    remove_abandoned(folder, _WRITING)


def _body_hash(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

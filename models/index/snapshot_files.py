"""Snapshots: a folder `v<N>/` that holds an index with its structures, and how far it had read its topic.

    segment-<i>.*    the files of each segment (`models.index.segment_files`); the rows still in memory become one more
    codebook-*.npz   what the `ivf_*` structures learnt
    alive.npz        for each segment, which of its rows are current
    tombstones.json  {item id: [time_us, seq]}
    manifest.json    format, dimension, model version, positions, epoch, and the SHA-256 of each file and of itself

Folders are written and read as `models.index.snapshot_folder` says. No file is of a format that can run code.

A segment's files never change, so a snapshot links them instead of writing them again: an index of a million items
would write a gigabyte a minute otherwise. But two consecutive snapshots never share a file. Of each segment there are
two copies that the snapshots use in turns, so damage to one leaves the snapshot before it whole.
"""

import json
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
from models.index.snapshot_folder import newest_first, publish, read_manifest
from models.index.structures import Ivf

FORMAT = 2


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

    def write(target: Path) -> dict[str, Any]:
        return _write(captured, codebook, label, target, newest_first(folder))

    return publish(folder, write, keep=keep)


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

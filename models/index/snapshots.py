"""Loading snapshots: the newest whole one, as an index that can be searched at once."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.entries import Version
from core.errors import IntegrityError
from core.settings import IndexSettings
from models.index.codebook import Codebook
from models.index.live import LiveIndex
from models.index.sealed import SealedSegment, reopen
from models.index.segment_files import ARRAYS, ENTRIES, VECTORS, link_or_copy
from models.index.snapshot_files import FORMAT
from models.index.snapshot_folder import check_files, load_newest, refuse_newer


@dataclass(frozen=True)
class Snapshot:
    """A loaded snapshot. The caller owns `index` and closes it."""

    index: LiveIndex
    positions: dict[int, int]  # partition -> the next offset to read
    epoch: str  # which incarnation of the topic the positions belong to
    path: Path
    skipped: tuple[str, ...]  # newer snapshots that were not whole, and why


def load_snapshot(
    folder: Path,
    settings: IndexSettings,
    *,
    model_version: str | None = None,
    on_skipped: Callable[[str], None] | None = None,
) -> Snapshot | None:
    """Load the newest whole snapshot of `folder`; None when there is none, and the index is to be built from its topic.

    Args:
        model_version: pass over snapshots whose vectors another model made.
        on_skipped: told of each snapshot that is passed over, and why.

    Raises:
        IntegrityError: the newest snapshot was written by a newer release; going on with an older one would silently
            undo what that release did. Remove the folder to rebuild from the log.
    """
    skipped: list[str] = []

    def skip(reason: str) -> None:
        skipped.append(reason)
        if on_skipped is not None:
            on_skipped(reason)

    def load(path: Path, body: Mapping[str, Any]) -> Snapshot:
        refuse_newer(path, body, FORMAT)
        if body["format"] < FORMAT:
            raise IntegrityError(f"snapshot format {body['format']} is not read any more")
        if model_version is not None and body["model_version"] != model_version:
            raise IntegrityError(f"holds vectors of {body['model_version']!r}, not of {model_version!r}")
        check_files(path, body)
        positions = {int(partition): int(offset) for partition, offset in body["positions"].items()}
        epoch = body["epoch"]
        return Snapshot(_load(path, body, settings, folder), positions, epoch, path, tuple(skipped))

    return load_newest(folder, load, skip)


def _load(path: Path, body: Mapping[str, Any], settings: IndexSettings, folder: Path) -> LiveIndex:
    dim = int(body["dim"])
    index = LiveIndex(dim, str(body["model_version"]), settings, folder=folder)
    try:
        codebooks = {
            known: Codebook(kind, dim, _arrays(path / f"codebook-{known}.npz"))
            for known, kind in body["codebooks"].items()
        }
        removals = {
            item_id: Version(time_us=time_us, seq=seq)
            for item_id, (time_us, seq) in json.loads((path / "tombstones.json").read_bytes()).items()
        }
        alive = _arrays(path / "alive.npz")
        same_kind = body["kind"] == settings.kind
        sealed = []
        for described in body["segments"]:
            segment = _segment(
                path,
                body,
                described,
                index,
                codebooks.get(described["codebook"]),
                restored=same_kind and described["structured"],
            )
            mask = np.unpackbits(alive[described["name"]], count=segment.n_rows, bitorder="little")
            segment.kill_all(np.flatnonzero(mask == 0))
            sealed.append(segment)
        index.adopt(sealed, removals, codebooks.get(body["codebook"]) if same_kind else None)
    except (KeyError, ValueError, TypeError, OSError, RuntimeError) as error:  # the hashes match: written wrong
        index.close()
        raise IntegrityError(f"it cannot be opened ({type(error).__name__}: {error})") from error
    return index


def _segment(
    path: Path,
    body: Mapping[str, Any],
    described: Mapping[str, Any],
    index: LiveIndex,
    codebook: Codebook | None,
    *,
    restored: bool,
) -> SealedSegment:
    """Link a segment's files into the index's own folder, so that pruning the snapshot leaves them, and open them."""
    name = index.folder.next_name()
    hashes = {}
    for suffix in (VECTORS, ENTRIES, ARRAYS):
        saved = f"{described['name']}.{suffix}"
        hashes[suffix] = body["files"][saved]
        link_or_copy(path / saved, index.folder.path / f"{name}.{suffix}")
    return reopen(index.folder.path, name, index.dim, hashes, index.settings, codebook, structured=restored)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}

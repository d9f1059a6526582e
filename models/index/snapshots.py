"""Loading snapshots: the newest whole one, as an index that can be searched at once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.entries import IndexEntry, Version
from core.errors import IntegrityError, InvalidVector
from core.settings import IndexSettings
from models.index.live import LiveIndex
from models.index.maintenance import MAX_SEGMENT_ROWS
from models.index.rows import Labels, code, empty_columns, stored_vector, unpack_row, write_columns
from models.index.segments import RowBlock, SealedSegment
from models.index.snapshot_files import FORMAT, read_files, read_manifest, snapshots_in


@dataclass(frozen=True)
class Snapshot:
    """A loaded snapshot. The caller owns `index` and closes it."""

    index: LiveIndex
    positions: dict[int, int]  # partition -> the next offset to read
    epoch: str  # which incarnation of the topic the positions belong to
    path: Path
    skipped: tuple[str, ...]  # newer snapshots that were not whole, and why


def load_snapshot(folder: Path, settings: IndexSettings, *, model_version: str | None = None) -> Snapshot | None:
    """Load the newest whole snapshot of `folder`; None when there is none.

    Args:
        model_version: pass over snapshots whose vectors another model made.

    Raises:
        IntegrityError: the newest snapshot was written by a newer release; going on with an older one would silently
            undo what that release did. Remove the folder to rebuild from the topic.
    """
    skipped: list[str] = []
    for _, path in sorted(snapshots_in(folder), reverse=True):
        try:
            body = read_manifest(path)
        except IntegrityError as error:
            skipped.append(f"{path.name}: {error}")
            continue
        if body["format"] > FORMAT:
            raise IntegrityError(
                f"{path} has snapshot format {body['format']}; this release reads up to {FORMAT}. "
                "Use the newer release, or remove the folder to rebuild from the topic."
            )
        if model_version is not None and body["model_version"] != model_version:
            skipped.append(f"{path.name}: holds vectors of {body['model_version']!r}, not of {model_version!r}")
            continue
        try:
            index = _load(path, body, settings)
        except IntegrityError as error:
            skipped.append(f"{path.name}: {error}")
            continue
        positions = {int(partition): int(offset) for partition, offset in body["positions"].items()}
        return Snapshot(index, positions, body["epoch"], path, tuple(skipped))
    return None


def _load(path: Path, body: Mapping[str, Any], settings: IndexSettings) -> LiveIndex:
    contents = read_files(path, body)
    dim, items = int(body["dim"]), int(body["items"])
    vectors = np.frombuffer(contents["vectors.f16"], dtype="<f2").astype(np.float16).reshape(items, dim)
    offsets = np.frombuffer(contents["offsets.i64"], dtype="<i8")
    removals = {
        item_id: Version(time_us=time_us, seq=seq)
        for item_id, (time_us, seq) in json.loads(contents["tombstones.json"]).items()
    }
    item_ids: list[str] = []
    sealed: list[SealedSegment] = []
    for start in range(0, items, MAX_SEGMENT_ROWS):
        stop = min(items, start + MAX_SEGMENT_ROWS)
        blobs = [contents["entries.bin"][offsets[row] : offsets[row + 1]] for row in range(start, stop)]
        block, ids = _block(vectors[start:stop], blobs, first_slot=start)
        sealed.append(SealedSegment(block, settings, structured=False))
        item_ids.extend(ids)
    index = LiveIndex(dim, str(body["model_version"]), settings)
    index.adopt(sealed, item_ids, removals)
    return index


def _block(vectors: NDArray[np.float16], blobs: list[bytes], first_slot: int) -> tuple[RowBlock, list[str]]:
    columns = empty_columns(len(blobs))
    tags: list[tuple[int, int]] = []
    regions: list[tuple[int, int]] = []
    item_ids: list[str] = []
    for row, blob in enumerate(blobs):
        entry = _entry(blob, vectors[row])
        write_columns(columns, row, first_slot + row, entry)
        tags.extend((code(tag), row) for tag in entry.tags)
        regions.extend((code(region), row) for region in entry.blocked_regions)
        item_ids.append(entry.item_id)
    return RowBlock(vectors, columns, Labels.of(tags), Labels.of(regions), blobs), item_ids


def _entry(blob: bytes, vector: NDArray[np.float16]) -> IndexEntry:
    try:
        stored_vector(vector.astype(np.float32), vector.size)
        return unpack_row(blob, vector.astype(np.float32))
    except (msgspec.MsgspecError, InvalidVector) as error:  # the hashes match: it was written wrong
        raise IntegrityError(f"an entry cannot be read ({error})") from error

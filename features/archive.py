"""Every event as Parquet: `<folder>/<topic>/date=<UTC day of the record>/<partition>-<first>-<last>.parquet`.

One row per event (frames are split), flat typed columns beside the event's own JSON bytes. A file appears whole or
not at all, and writing the same records again replaces it. After a replay, ranges of offsets may overlap; readers
see every event once.
"""

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core import topics
from core.errors import InvalidEvent, InvalidInput
from core.events import AnyEvent, Interaction, Watched, decode, event_type, split_record
from core.ports import StoredRecord

SCHEMA = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("position_in_frame", pa.int32()),  # which event of its record
        ("epoch", pa.string()),  # incarnation of the topic, empty when the writer did not know it
        ("appended_at", pa.timestamp("ms", tz="UTC")),  # the record's own time
        ("key", pa.string()),
        ("event_id", pa.string()),  # null, like all that follow, where the bytes are not a valid event
        ("type", pa.string()),
        ("source", pa.string()),
        ("subject", pa.string()),
        ("time", pa.timestamp("us", tz="UTC")),
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("surface", pa.string()),
        ("position", pa.int32()),
        ("trace_id", pa.string()),
        ("device", pa.string()),
        ("watched_s", pa.float64()),
        ("error", pa.string()),  # why the bytes are not a valid event
        ("event", pa.binary()),  # the original bytes; null for a tombstone
    ]
)

_MAX_MS = 253_402_300_799_999  # the end of the year 9999


class ArchiveWriter:
    """Writes records to the archive. Files of one partition are written by one process at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, topic: str, records: Sequence[StoredRecord], *, epoch: str = "") -> list[Path]:
        """Archive records and return the files, one per partition and day; durable when this returns.

        Writing the same records again replaces their files with the same content. Records that are not valid events
        are kept, too, with the reason.

        Raises:
            InvalidInput: the topic is not one of those that are archived.
        """
        declared = topics.BY_NAME.get(topic)
        stream = None if declared in topics.ARCHIVED and declared.stream is None else _stream(topic)
        paths: list[Path] = []
        ordered = sorted(records, key=lambda record: (record.partition, _day(record), record.offset))
        for (partition, day), group in groupby(ordered, key=lambda record: (record.partition, _day(record))):
            chunk = list(group)
            rows = [row for record in chunk for row in _rows(record, stream, epoch)]
            folder = self._folder / topic / f"date={day.isoformat()}"
            incarnation = f"-{re.sub('[^A-Za-z0-9_]', '_', epoch)}" if epoch else ""
            path = folder / f"{partition:05d}-{chunk[0].offset:020d}-{chunk[-1].offset:020d}{incarnation}.parquet"
            write_parquet(path, pa.Table.from_pylist(rows, schema=SCHEMA))
            paths.append(path)
        return paths


def read_archive(folder: Path, topic: str, *, since: date | None = None, until: date | None = None) -> pa.Table:
    """Return the rows of a topic, each event once, in the order of arrival.

    Args:
        folder: what the writer was given.
        since: the first day (of the record's time) to read; until: the last one.

    Returns:
        A table of `SCHEMA`. Of several copies of an event (same event id, or same place for bytes that are not an
        event) the first that arrived is kept.
    """
    tables = [pq.read_table(path, schema=SCHEMA, partitioning=None) for path in _files(folder / topic, since, until)]
    table = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    arrival = ("appended_at", "partition", "offset", "position_in_frame")
    table = table.sort_by([(name, "ascending") for name in arrival])
    seen: set[Any] = set()
    keep: list[int] = []
    names = ("event_id", "epoch", "partition", "offset", "position_in_frame")
    for index, (event_id, *place) in enumerate(zip(*(table[name].to_pylist() for name in names), strict=True)):
        identity = event_id if event_id is not None else tuple(place)
        if identity not in seen:
            seen.add(identity)
            keep.append(index)
    return table if len(keep) == len(table) else table.take(pa.array(keep, pa.int64()))


@dataclass(frozen=True)
class ArchivedEvent:
    """A valid event from the archive, with its place."""

    event: AnyEvent
    partition: int
    offset: int
    epoch: str
    appended_ms: int


def read_events(
    folder: Path, topic: str, *, since: date | None = None, until: date | None = None
) -> Iterator[ArchivedEvent]:
    """Yield the valid events of a topic, each once, in the order of arrival, decoded from their original bytes."""
    stream = _stream(topic)
    table = read_archive(folder, topic, since=since, until=until)
    table = table.filter(pc.is_valid(table["event_id"]))
    for batch in table.select(["event", "partition", "offset", "epoch", "appended_at"]).to_batches():
        appended = batch["appended_at"].cast(pa.int64()).to_pylist()
        columns = (batch[name].to_pylist() for name in ("event", "partition", "offset", "epoch"))
        for value, partition, offset, epoch, at in zip(*columns, appended, strict=True):
            yield ArchivedEvent(decode(value, stream), partition, offset, epoch, at)


def read_values(folder: Path, topic: str) -> Iterator[bytes]:
    """Yield the values of a topic that is archived and holds no events, each once, in the order of arrival."""
    table = read_archive(folder, topic)
    yield from (value for value in table["event"].to_pylist() if value is not None)


def archived_positions(folder: Path, topic: str) -> dict[int, int]:
    """Return the last archived offset of each partition (the largest, whatever the incarnation)."""
    positions: dict[int, int] = {}
    for path in _files(folder / topic, None, None):
        partition, _, last = (int(part) for part in path.name.removesuffix(".parquet").split("-")[:3])
        positions[partition] = max(last, positions.get(partition, -1))
    return positions


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a Parquet file so that it is there whole, durably, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hidden, so that a reader listing the folder does not take it for a finished file.
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _rows(record: StoredRecord, stream: str | None, epoch: str) -> Iterable[dict[str, Any]]:
    place = {
        "partition": record.partition,
        "offset": record.offset,
        "epoch": epoch,
        "appended_at": record.timestamp_ms,
        "key": record.key,
    }
    if record.value is None:
        yield {**place, "position_in_frame": 0, "error": "tombstone"}
        return
    if stream is None:  # not a topic of events: the record as it is
        yield {**place, "position_in_frame": 0, "event": record.value}
        return
    try:
        parts = split_record(record.value)
    except InvalidEvent as error:
        yield {**place, "position_in_frame": 0, "error": str(error), "event": record.value}
        return
    for index, part in enumerate(parts):
        row = {**place, "position_in_frame": index, "event": bytes(part)}
        try:
            event = decode(part, stream)
        except InvalidEvent as error:
            yield {**row, "error": str(error)}
        else:
            yield {**row, **_columns(event)}


def _columns(event: AnyEvent) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "event_id": event.id,
        "type": event_type(event),
        "source": event.source,
        "subject": event.subject,
        "time": event.time,
    }
    data = event.data
    if isinstance(data, Interaction):
        columns |= {
            "user_id": data.user_id,
            "item_id": data.item_id,
            "surface": data.surface,
            "position": data.position,
            "trace_id": data.trace_id,
            "device": data.device,
            "watched_s": data.value.seconds if isinstance(data.value, Watched) else None,
        }
    else:
        columns["item_id"] = getattr(data, "item_id", None)
        columns["user_id"] = getattr(data, "user_id", None) or getattr(data, "owner_id", None)
    return columns


def _files(folder: Path, since: date | None, until: date | None) -> list[Path]:
    chosen: list[Path] = []
    for path in sorted(folder.glob("date=*/[0-9]*.parquet")):
        day = date.fromisoformat(path.parent.name.removeprefix("date="))
        if (since is None or day >= since) and (until is None or day <= until):
            chosen.append(path)
    return chosen


def _day(record: StoredRecord) -> date:
    # A record's time is its producer's word, so it is bounded to what a date can hold.
    return datetime.fromtimestamp(min(max(record.timestamp_ms, 0), _MAX_MS) / 1000, UTC).date()


def _stream(topic: str) -> str:
    declared = topics.BY_NAME.get(topic)
    if declared is None or declared.stream is None:
        known = ", ".join(source.name for source in topics.SOURCES)
        raise InvalidInput(f"topic {topic!r} holds no archivable events; those that do are {known}")
    return declared.stream

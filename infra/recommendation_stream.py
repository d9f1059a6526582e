"""What happened with videos, from the archive and then from the log: what the recommender learns from.

Left out are the canary's videos, items that are no video, and everything by people who asked to be erased.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from core import topics
from core.errors import InvalidEvent, NotFound
from core.events import (
    AnyEvent,
    Interaction,
    Upload,
    UploadChanged,
    UploadCreated,
    UserChanged,
    UserErased,
    Watched,
    decode,
    event_type,
    split_record,
)
from core.ports import StoredRecord
from features.archive import read_events
from models.recommendation.data import Loaded
from models.recommendation.described import USER_COLUMNS, VIDEO_COLUMNS, Cells, described, user_cells, video_cells
from models.recommendation.interactions import KINDS, EventRow, log_of_events
from models.recommendation.labels import RelevanceRule, label
from models.recommendation.learning.traffic import Happened
from models.recommendation.learning.version import LEARNED
from monitoring.canary import CATEGORY as CANARY_CATEGORY
from monitoring.canary import OWNER as CANARY_OWNER

_STREAM = topics.INTERACTIONS.stream or ""
_PREFIX = "riverlight.interaction."


@dataclass
class Platform:
    """Videos and people as they were last described, and what happened, each event once."""

    videos: dict[str, Cells] = field(default_factory=dict)
    users: dict[str, Cells] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)
    happened: list[Happened] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    archived: dict[str, dict[int, int]] = field(default_factory=dict)  # epoch -> partition -> next offset
    seen: set[str] = field(default_factory=set)  # event ids

    def known_to(self, items: Iterable[str]) -> list[Happened]:
        """Return what happened with videos: those that were uploaded as such, and those a model knows as `items`."""
        videos = self.videos.keys() | set(items)
        return [one for one in self.happened if one.row.item_id in videos and one.row.user_id not in self.erased]


def read_platform(archive: Path, *, until: datetime | None = None) -> Platform:
    """Read the archive: all of it, or what happened before `until` (descriptions as they were then).

    Raises:
        NotFound: there is no archive, or it holds no interactions.
    """
    folder = archive / topics.INTERACTIONS.name
    if not folder.is_dir():
        raise NotFound(
            f"there is no archive of interactions at {folder}; it is written while the system runs (agent archive), "
            "or name a file with --interactions"
        )
    platform = Platform()
    for archived in read_events(archive, topics.INTERACTIONS.name):
        ends = platform.archived.setdefault(archived.epoch, {})
        ends[archived.partition] = max(archived.offset + 1, ends.get(archived.partition, 0))
        if until is None or archived.event.time < until:
            _take(
                platform,
                archived.event,
                archived.epoch,
                archived.partition,
                archived.offset,
                archived.appended_ms / 1000,
            )
    describe(platform, archive, until=until)
    return platform


def describe(platform: Platform, archive: Path, *, until: datetime | None = None) -> None:
    """Read who and what there is, as last described before `until`; what was erased stays erased."""
    canaries: set[str] = set()
    uploads: dict[str, Upload] = {}
    for archived in sorted(read_events(archive, topics.UPLOADS.name), key=lambda one: one.event.time):
        event = archived.event
        if until is not None and event.time >= until:
            continue
        if isinstance(event, UploadCreated):
            uploads[event.data.item_id] = event.data
        elif isinstance(event, UploadChanged) and (known := uploads.get(event.data.item_id)) is not None:
            changes = {
                name: value
                for name in event.data.__struct_fields__
                if (value := getattr(event.data, name)) is not msgspec.UNSET
            }
            uploads[event.data.item_id] = msgspec.structs.replace(known, **changes)
    for item_id, upload in uploads.items():
        if upload.owner_id == CANARY_OWNER or upload.category == CANARY_CATEGORY:
            canaries.add(item_id)
        elif upload.kind == "video":
            platform.videos[item_id] = video_cells(upload)
    for archived in sorted(read_events(archive, topics.USERS.name), key=lambda one: one.event.time):
        event = archived.event
        if isinstance(event, UserErased):
            platform.erased.add(event.data.user_id)
            platform.users.pop(event.data.user_id, None)
        elif isinstance(event, UserChanged) and (until is None or event.time < until):
            platform.users[event.data.user_id] = user_cells(event.data)
    for name in platform.erased:
        platform.users.pop(name, None)
    platform.left_out["canary"] = len(canaries)


def take_records(platform: Platform, records: Iterable[StoredRecord], epoch: str) -> int:
    """Add what the records of the interactions topic say; return how many events were new."""
    before = len(platform.happened)
    for record in records:
        for event in _events(platform, record):
            _take(platform, event, epoch, record.partition, record.offset, record.timestamp_ms / 1000)
    return len(platform.happened) - before


def _events(platform: Platform, record: StoredRecord) -> Iterator[AnyEvent]:
    try:
        parts = split_record(record.value or b"")
    except InvalidEvent:
        parts = []
        platform.left_out["invalid"] += 1
    for part in parts:
        try:
            yield decode(part, _STREAM)
        except InvalidEvent:
            platform.left_out["invalid"] += 1


def _take(platform: Platform, event: AnyEvent, epoch: str, partition: int, offset: int, arrived_s: float) -> None:
    data = event.data
    kind = event_type(event).removeprefix(_PREFIX)
    if not isinstance(data, Interaction) or data.item_id is None or kind not in KINDS:
        platform.left_out["not about a video"] += 1
        return
    if event.id in platform.seen:
        platform.left_out["repeated"] += 1
        return
    platform.seen.add(event.id)
    watched = data.value if isinstance(data.value, Watched) else None
    row = EventRow(
        kind,
        data.user_id,
        data.item_id,
        event.time.astimezone(UTC),
        watched.seconds if watched else None,
        watched.of_s if watched else None,
    )
    platform.happened.append(Happened(row, epoch, partition, offset, arrived_s))


def load_archive(archive: Path, *, until: datetime | None = None) -> Loaded:
    """Return the platform's own interactions as data to train and evaluate on: who and what as described at `until`.

    The source names the position, so that learning goes on after it.

    Raises:
        NotFound: there is no archive, or nothing in it is about a video.
    """
    platform = read_platform(archive, until=until)
    happened = platform.known_to(())
    if not happened:
        raise NotFound(f"the archive at {archive} holds no interaction with a video")
    log, _ = log_of_events([one.row for one in happened], items=platform.videos, users=platform.users)
    rule = RelevanceRule()
    feedback = replace(
        label(log, rule),
        item_table=described(platform.videos, VIDEO_COLUMNS),
        user_table=described(platform.users, USER_COLUMNS),
    )
    positions: dict[str, dict[str, int]] = {}
    for one in happened:
        ends = positions.setdefault(one.epoch, {})
        ends[str(one.partition)] = max(one.offset + 1, ends.get(str(one.partition), 0))
    source = {"archive": True, "source": "the archive of this platform", "licence": "its own", LEARNED: positions}
    return Loaded(feedback, log, rule, source)

"""What the catalogue does, over SQLite and over a real PostgreSQL."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from core.entries import Version
from core.ports import OutgoingRecord
from core.settings import CatalogueSettings
from storage.catalogue import Catalogue, Item, MediaRecord, TraceRecord
from tests.postgres import postgres_server

__all__ = ["postgres_server"]

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
MEDIA = "a" * 64


class StoppedClock:
    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return 0.0


def an_item(item_id: str = "item-1", version: int = 1, **changes: Any) -> Item:
    values: dict[str, Any] = {
        "item_id": item_id,
        "owner_id": "user-1",
        "kind": "image",
        "media_id": MEDIA,
        "title": "Zebra at noon",
        "description": "in the shade",
        "tags": ("zebra", "noon"),
        "language": "en",
        "category": "animals",
        "visibility": "public",
        "blocked_regions": ("XX",),
        "state": "active",
        "unsafe": False,
        "version": Version(version, 0),
        "event_id": f"event-of-{item_id}-{version}",
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Item(**{**values, **changes})


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'catalogue.db'}"
    new_database: Callable[[], str] = request.getfixturevalue("postgres_server")
    return new_database()


@pytest.fixture
def catalogue(url: str, clock: StoppedClock) -> Iterator[Catalogue]:
    opened = Catalogue.open(url, CatalogueSettings(), clock=clock)
    yield opened
    opened.close()


# --- items -----------------------------------------------------------------------------------------------------


def test_an_item_is_read_back_as_it_was_applied(catalogue: Catalogue) -> None:
    catalogue.apply_items("index-upload", [("event-1", an_item())])
    assert catalogue.item("item-1") == an_item()


def test_an_item_that_was_never_known_is_none(catalogue: Catalogue) -> None:
    assert catalogue.item("item-1") is None
    assert catalogue.items(["item-1", "item-2"]) == {}


def test_times_come_back_in_utc_whatever_zone_they_were_given_in(catalogue: Catalogue) -> None:
    local = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    catalogue.apply_items("c", [("event-1", an_item(created_at=local, updated_at=local.replace(microsecond=123456)))])
    read = catalogue.item("item-1")
    assert read is not None
    assert read.created_at == NOW and read.created_at.tzinfo is UTC
    assert read.updated_at.microsecond == 123456


def test_a_time_without_a_zone_is_refused(catalogue: Catalogue) -> None:
    with pytest.raises(Exception, match="no timezone"):
        catalogue.apply_items("c", [("event-1", an_item(created_at=NOW.replace(tzinfo=None)))])
    assert catalogue.seen("c", ["event-1"]) == set()


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
def test_the_newest_version_wins_in_whatever_order_they_arrive(catalogue: Catalogue, order: tuple[int, ...]) -> None:
    for version in order:
        catalogue.apply_items("c", [(f"event-{version}", an_item(version=version, title=f"title {version}"))])
    read = catalogue.item("item-1")
    assert read is not None
    assert (read.title, read.version) == ("title 3", Version(3, 0))


def test_the_newest_version_wins_within_one_batch_too(catalogue: Catalogue) -> None:
    batch = [(f"event-{v}", an_item(version=v, title=f"title {v}")) for v in (2, 3, 1)]
    catalogue.apply_items("c", batch)
    read = catalogue.item("item-1")
    assert read is not None and read.title == "title 3"


def test_the_sequence_decides_between_versions_of_one_instant(catalogue: Catalogue) -> None:
    for seq in (1, 2, 0):
        item = replace(an_item(title=f"seq {seq}"), version=Version(9, seq))
        catalogue.apply_items("c", [(f"event-{seq}", item)])
    read = catalogue.item("item-1")
    assert read is not None and read.title == "seq 2"


def test_a_newer_version_keeps_when_the_item_was_created(catalogue: Catalogue) -> None:
    later = NOW + timedelta(hours=1)
    catalogue.apply_items("c", [("event-1", an_item(version=1))])
    catalogue.apply_items("c", [("event-2", an_item(version=2, created_at=later, updated_at=later))])
    read = catalogue.item("item-1")
    assert read is not None
    assert (read.created_at, read.updated_at) == (NOW, later)


def test_a_deleted_item_is_remembered_without_what_it_said_or_whose_it_was(catalogue: Catalogue) -> None:
    catalogue.apply_items("c", [("event-1", an_item(version=1))])
    catalogue.apply_items("c", [("event-2", an_item(version=2, state="deleted"))])
    read = catalogue.item("item-1")
    assert read is not None
    assert (read.state, read.version) == ("deleted", Version(2, 0))
    assert (read.owner_id, read.media_id, read.title, read.description, read.category) == ("", "", "", "", "")
    assert (read.tags, read.blocked_regions, read.language) == ((), (), "und")


def test_an_older_upload_does_not_bring_a_deleted_item_back(catalogue: Catalogue) -> None:
    catalogue.apply_items("c", [("event-2", an_item(version=2, state="deleted"))])
    catalogue.apply_items("c", [("event-1", an_item(version=1))])
    read = catalogue.item("item-1")
    assert read is not None and read.state == "deleted"


def test_text_that_a_database_cannot_hold_is_replaced_not_refused(catalogue: Catalogue) -> None:
    catalogue.apply_items("c", [("event-1", an_item(title="a\x00b", description="c\ud800d", tags=("e\x00",)))])
    read = catalogue.item("item-1")
    assert read is not None
    assert (read.title, read.description, read.tags) == ("a\ufffdb", "c?d", ("e\ufffd",))


def test_a_state_that_does_not_exist_is_refused_whole(catalogue: Catalogue) -> None:
    batch = [("event-1", an_item("item-1")), ("event-2", an_item("item-2", state="lost"))]
    with pytest.raises(Exception, match="state"):
        catalogue.apply_items("c", batch)
    assert catalogue.items(["item-1", "item-2"]) == {}
    assert catalogue.seen("c", ["event-1", "event-2"]) == set()


def test_scanning_in_pages_meets_every_live_item_once_in_order(catalogue: Catalogue) -> None:
    states = ["active", "hidden", "deleted"]
    items = [an_item(f"item-{i:04}", state=states[i % 3]) for i in range(90)]
    catalogue.apply_items("c", [(item.event_id, item) for item in items])
    met: list[str] = []
    while page := catalogue.scan_items(after=met[-1] if met else "", limit=7):
        met += [item.item_id for item in page]
    assert met == [item.item_id for item in items if item.state != "deleted"]
    assert len(catalogue.scan_items(states=("deleted",))) == 30


def test_items_are_counted_by_state(catalogue: Catalogue) -> None:
    assert catalogue.count_items() == {"active": 0, "hidden": 0, "deleted": 0}
    catalogue.apply_items("c", [("e1", an_item("a")), ("e2", an_item("b", state="hidden")), ("e3", an_item("d"))])
    assert catalogue.count_items() == {"active": 2, "hidden": 1, "deleted": 0}


def test_many_items_are_asked_for_at_once(catalogue: Catalogue) -> None:
    catalogue.apply_items("c", [(f"e{i}", an_item(f"item-{i}")) for i in range(1_201)])
    found = catalogue.items([f"item-{i}" for i in range(2_000)])
    assert set(found) == {f"item-{i}" for i in range(1_201)}


# --- inbox -----------------------------------------------------------------------------------------------------


def test_an_applied_event_is_seen_by_its_consumer_only(catalogue: Catalogue) -> None:
    catalogue.apply_items("one", [("event-1", an_item()), ("event-2", None)])
    assert catalogue.seen("one", ["event-1", "event-2", "event-3"]) == {"event-1", "event-2"}
    assert catalogue.seen("other", ["event-1"]) == set()


def test_applying_the_same_events_again_changes_nothing(catalogue: Catalogue) -> None:
    batch = [("event-1", an_item()), ("event-2", None), ("event-2", None)]
    catalogue.apply_items("c", batch)
    catalogue.apply_items("c", batch)
    assert catalogue.scan_items() == [an_item()]


def test_nothing_to_apply_is_nothing_done(catalogue: Catalogue) -> None:
    catalogue.apply_items("c", [])
    assert catalogue.seen("c", []) == set()


def test_old_inbox_entries_are_pruned(catalogue: Catalogue, clock: StoppedClock) -> None:
    catalogue.apply_items("c", [("old", None)])
    clock.time = NOW + timedelta(days=40)
    catalogue.apply_items("c", [("new", None)])
    assert catalogue.prune_inbox(NOW + timedelta(days=30)) == 1
    assert catalogue.seen("c", ["old", "new"]) == {"new"}


# --- outbox ----------------------------------------------------------------------------------------------------

RECORDS = [
    OutgoingRecord("index.entries.v1", "item-1", b'{"a": "\x00"}', {"riverlight-version": b"1:\xff"}),
    OutgoingRecord("index.entries.v1", "item-2", None, partition=3),
    OutgoingRecord("index.entries.v1", "item-3", b""),
]


def test_the_outbox_gives_records_back_in_order_until_they_are_sent(catalogue: Catalogue) -> None:
    catalogue.outbox_add(RECORDS)
    pending = catalogue.outbox_pending(10)
    assert [record for _, record in pending] == RECORDS
    assert [record for _, record in catalogue.outbox_pending(1)] == RECORDS[:1]
    catalogue.outbox_sent([number for number, _ in pending[:2]])
    assert [record for _, record in catalogue.outbox_pending(10)] == RECORDS[2:]
    assert catalogue.outbox_size() == 1


def test_a_number_of_the_outbox_is_never_used_twice(catalogue: Catalogue) -> None:
    catalogue.outbox_add(RECORDS[:1])
    ((first, _),) = catalogue.outbox_pending(1)
    catalogue.outbox_sent([first])
    catalogue.outbox_add(RECORDS[:1])
    ((second, _),) = catalogue.outbox_pending(1)
    assert second > first


def test_outgoing_records_come_with_their_items_or_not_at_all(catalogue: Catalogue) -> None:
    catalogue.apply_items("c", [("event-1", an_item())], outgoing=RECORDS)
    assert catalogue.outbox_size() == 3
    with pytest.raises(Exception, match="state"):
        catalogue.apply_items("c", [("event-2", an_item("item-2", state="lost"))], outgoing=RECORDS)
    assert catalogue.outbox_size() == 3


# --- media, traces, aliases ------------------------------------------------------------------------------------


def test_media_is_read_back_and_the_first_record_stays(catalogue: Catalogue) -> None:
    video = MediaRecord(MEDIA, "video", "video/mp4", 640, 480, 3.5, 5_000_000_000, NOW)
    catalogue.add_media(video)
    catalogue.add_media(MediaRecord(MEDIA, "image", "image/png", 1, 1, None, 1, NOW))
    assert catalogue.media(MEDIA) == video
    assert catalogue.media("b" * 64) is None


def test_traces_are_kept_and_pruned_by_age(catalogue: Catalogue) -> None:
    payload = {"query": {"crop": [0.1, 0.2]}, "removed": [{"item_id": "item-1", "why": "hidden"}], "text": "a\x00b"}
    old, new = (TraceRecord(f"trace-{i}", "visual_search", NOW + timedelta(hours=i), payload) for i in (0, 2))
    catalogue.put_traces([old, new])
    catalogue.put_traces([old])
    assert catalogue.trace("trace-0") == old
    assert catalogue.prune_traces(NOW + timedelta(hours=1)) == 1
    assert catalogue.trace("trace-0") is None
    assert catalogue.trace("trace-2") == new


def test_a_number_that_json_does_not_have_is_null_in_a_trace(catalogue: Catalogue) -> None:
    catalogue.put_traces([TraceRecord("trace-1", "visual_search", NOW, {"score": float("nan")})])
    read = catalogue.trace("trace-1")
    assert read is not None and read.payload == {"score": None}


def test_an_alias_moves_and_its_history_says_who_and_why(catalogue: Catalogue) -> None:
    assert catalogue.alias("visual-search", "champion") is None
    catalogue.set_alias("visual-search", "champion", "v1", actor="ada", reason="first")
    catalogue.set_alias("visual-search", "champion", "v2", actor="bob", reason="better recall")
    catalogue.set_alias("other", "champion", "v9", actor="bob", reason="unrelated")
    assert catalogue.alias("visual-search", "champion") == "v2"
    history = [(c.version, c.previous, c.actor, c.reason) for c in catalogue.alias_history("visual-search")]
    assert history == [("v1", None, "ada", "first"), ("v2", "v1", "bob", "better recall")]


# --- together --------------------------------------------------------------------------------------------------


def test_what_was_written_is_there_when_the_catalogue_is_opened_again(url: str) -> None:
    first = Catalogue.open(url, CatalogueSettings())
    first.apply_items("c", [("event-1", an_item())])
    first.close()
    second = Catalogue.open(url, CatalogueSettings())
    assert second.item("item-1") == an_item()
    second.close()


def test_threads_with_overlapping_batches_lose_nothing(catalogue: Catalogue) -> None:
    failures: list[BaseException] = []

    def write(thread: int) -> None:
        try:
            for turn in range(15):
                ids = [f"item-{i}" for i in range(20)]
                batch = [
                    (f"event-{thread}-{turn}-{i}", an_item(i, version=1 + turn * 4 + thread))
                    for i in (ids if thread % 2 else reversed(ids))
                ]
                catalogue.apply_items("c", batch)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {item.version for item in catalogue.scan_items()} == {Version(60, 0)}
    events = [f"event-{t}-{turn}-item-{i}" for t in range(4) for turn in range(15) for i in range(20)]
    assert catalogue.seen("c", events) == set(events)

"""Reads every store for the verifier: source topics, dead letters, catalogue, index, online features, archive."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core import topics
from core.clock import SystemClock
from core.entries import VERSION_HEADER, Version, decode_entry
from core.errors import InvalidInput
from core.events import split_record
from core.settings import Settings
from infra.chaos.index_api import IndexApi
from infra.chaos.model import Entity, ItemState, Model, us
from infra.chaos.verifier import Letter, Observed, Row
from storage.catalogue import Catalogue, Item
from storage.log.reader import read_all
from streams.dead_letter_record import letter_id
from streams.dead_letters import list_dead_letters

_SOURCES = (topics.UPLOADS.name, topics.INTERACTIONS.name)
_WINDOWS = ("day", "week", "month")


@dataclass(frozen=True)
class Stores:
    """Where to look, and which stores take part. `serving_url` is that of a running gateway, if there is one."""

    settings: Settings
    uploads: bool
    features: bool
    archive: bool
    serving_url: str | None = None


def observe(stores: Stores, model: Model, run: str) -> Observed:
    """Read everything that belongs to a run (its ids begin with the run's name).

    Raises:
        Unavailable: a store did not answer.
    """
    bootstrap = stores.settings.broker.bootstrap or ""
    items, applied = _catalogue(stores.settings, model, run) if stores.uploads else (None, frozenset())
    entries, contradictions = _entries(bootstrap, run) if stores.uploads else ({}, ())
    return Observed(
        logged=logged_ids(bootstrap, run),
        letters=read_letters(bootstrap, model.letters, run),
        items=items,
        applied=applied,
        entries=entries,
        contradictions=contradictions,
        live_differences=_live_differences(stores.serving_url, run) if stores.serving_url else (),
        rows=_rows(stores.settings, model) if stores.features else None,
        archived=_archived(stores.settings.home, run) if stores.archive else None,
    )


def logged_ids(bootstrap: str, run: str, sources: Sequence[str] = _SOURCES) -> frozenset[str]:
    """Return the ids of the run's events in source topics."""
    return frozenset(
        found
        for topic in sources
        for record in read_all(bootstrap, topic)
        for part in _parts(record.value or b"")
        if (found := letter_id(part)).startswith(run)
    )


def _parts(value: bytes) -> Iterator[bytes]:
    try:
        yield from map(bytes, split_record(value))
    except InvalidInput:
        yield value


def read_letters(bootstrap: str, wanted: Container[str], run: str) -> dict[str, Letter]:
    """Return the dead letters of a run by id; `wanted` are ids of some that do not begin with its name."""
    mark = run.encode()
    return {
        letter.id: Letter(letter.code, letter.state)
        for letter in list_dead_letters(bootstrap, settled=True)
        if letter.id in wanted or letter.id.startswith(run) or mark in letter.value
    }


def _catalogue(settings: Settings, model: Model, run: str) -> tuple[dict[str, ItemState], frozenset[str]]:
    catalogue = Catalogue.open(settings.catalogue_url, settings.catalogue)
    try:
        items: dict[str, ItemState] = {}
        after = ""
        while found := catalogue.scan_items(after, 1000, ("active", "hidden", "deleted")):
            items.update((item.item_id, _state(item)) for item in found if item.item_id.startswith(run))
            after = found[-1].item_id
        return items, frozenset(catalogue.seen("index-upload", sorted(model.uploads)))
    finally:
        catalogue.close()


def _state(item: Item) -> ItemState:
    return ItemState(
        item.item_id, item.state, item.event_id, item.version.time_us, item.owner_id, item.media_id,
        item.title, item.description, item.tags, item.category,
    )  # fmt: skip


def _entries(bootstrap: str, run: str) -> tuple[dict[str, ItemState], tuple[str, ...]]:
    """Fold the index topic: the newest version of each item, and the items with two contents of one version."""
    found: dict[str, dict[Version, ItemState]] = {}
    contradictions: set[str] = set()
    for record in read_all(bootstrap, topics.INDEX_ENTRIES.name):
        if not record.key.startswith(run):
            continue
        if record.value is None:
            version = Version.from_header(record.headers[VERSION_HEADER])
            state = ItemState(record.key, "deleted", "", version.time_us)
        else:
            entry = decode_entry(record.value)
            version = entry.version
            state = ItemState(
                entry.item_id, entry.state, entry.event_id, version.time_us, entry.owner_id, entry.media_id,
                entry.title, entry.description, tuple(entry.tags), entry.category,
            )  # fmt: skip
        before = found.setdefault(record.key, {}).setdefault(version, state)
        # A hidden item leaves the index either way, so a repetition may say it the other way.
        if before != state and "active" in (before.state, state.state):
            contradictions.add(record.key)
    return {item_id: versions[max(versions)] for item_id, versions in found.items()}, tuple(sorted(contradictions))


def _live_differences(url: str, run: str) -> tuple[str, ...]:
    """Ask the gateway to compare its index with one built from the log."""
    found = IndexApi(url).verify()
    differing = [*found["missing"], *found["extra"], *found["different"]]
    return tuple(sorted(item_id for item_id in differing if item_id.startswith(run)))


def _rows(settings: Settings, model: Model) -> dict[Entity, Row]:
    from features.reader import FeatureReader, FeatureRow  # imports Feast, which takes seconds

    reader = FeatureReader.open(settings.home, settings.features, SystemClock())
    try:
        items: Sequence[str] = sorted(name for kind, name in model.counted if kind == "item")
        users: Sequence[str] = sorted(name for kind, name in model.counted if kind == "user")
        found: list[tuple[Entity, FeatureRow]] = []
        found += ((("item", row.entity_id), row) for row in reader.item_features(items))
        found += ((("user", row.entity_id), row) for row in reader.user_features(users))
    finally:
        reader.close()
    return {
        entity: Row(
            us(row.as_of),
            {
                window: (
                    int(row.values[f"impressions_{window}"] or 0),
                    int(row.values[f"clicks_{window}"] or 0),
                    round((row.values[f"time_spent_s_{window}"] or 0) * 1000),
                )
                for window in _WINDOWS
            },
        )
        for entity, row in found
        if row.as_of is not None and row.status == "fresh"
    }


def _archived(home: Path, run: str) -> frozenset[str]:
    from features.archive import read_archive

    return frozenset(
        event_id
        for topic in _SOURCES
        for event_id in read_archive(home.resolve() / "archive", topic)["event_id"].to_pylist()
        if event_id is not None and event_id.startswith(run)
    )

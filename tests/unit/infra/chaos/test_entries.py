"""Entries that fill an index: the same ones for a seed, and as many items as they say."""

from datetime import UTC, datetime

import numpy as np

from core.entries import VERSION_HEADER, Version, decode_entry
from core.settings import IndexSettings
from infra.chaos.entries import EntryPlan, write_entries
from models.index import LiveIndex

START = datetime(2026, 11, 22, 10, tzinfo=UTC)
PLAN = EntryPlan(items=400, dim=8, model_version="m/1")


def test_an_index_of_all_entries_holds_what_they_say() -> None:
    entries = write_entries(7, "run", PLAN, start=START)
    index = LiveIndex(PLAN.dim, PLAN.model_version, IndexSettings(kind="flat"))
    for record in entries:
        if record.value is None:
            assert index.remove(record.key, Version.from_header(record.headers[VERSION_HEADER]))
        else:
            entry = decode_entry(record.value)
            assert entry.item_id == record.key
            assert index.apply(entry)
    stats = index.stats()
    index.close()
    assert (stats.items, stats.hidden, stats.tombstones) == (388, 8, 12)
    assert len(entries) == 400 + 20 + 8 + 12


def test_changes_lie_among_the_entries_and_behind_what_they_change() -> None:
    entries = write_entries(7, "run", PLAN, start=START)
    first: dict[str, int] = {}
    later = [place for place, record in enumerate(entries) if first.setdefault(record.key, place) != place]
    assert len(later) == 40
    assert later[0] < 300
    assert all(decode_entry(entries[place].value or b"").version.seq == 0 for place in first.values())


def test_a_seed_decides_all_but_the_name_of_the_run() -> None:
    one, again = (write_entries(7, "run", PLAN, start=START) for _ in range(2))
    assert one == again
    other = write_entries(8, "run", PLAN, start=START)
    first, second = (decode_entry(entries[0].value or b"") for entries in (one, other))
    assert first.vector != second.vector
    assert np.isclose(np.linalg.norm(np.frombuffer(first.vector, "<f4")), 1)

"""The benchmark's load: seeded, with repetitions, in records or frames that hold the same events."""

from collections import Counter

from core import topics
from core.events import decode, split_record
from infra.bench.interaction_load import Expected, interactions, records
from streams.partitioning import partition_of


def test_the_expected_counts_are_those_of_the_distinct_events() -> None:
    expected = Expected()
    events = {}
    produced = 0
    for _, raw in interactions(30_000, 7, expected):
        event = decode(raw, "interactions")
        events[event.id] = event
        produced += 1
    assert 0 < produced - len(events) < 0.03 * produced, "some come twice"
    shown = Counter(event.data.item_id for event in events.values() if type(event).__name__ == "Impression")
    assert {item: counts[0] for item, counts in expected.items.items() if counts[0]} == shown
    assert sum(counts[1] for counts in expected.users.values()) == sum(
        type(event).__name__ == "Click" for event in events.values()
    )


def test_the_same_seed_gives_the_same_ids_and_frames_hold_the_same_events_in_their_partition() -> None:
    single = list(records(interactions(2_050, 3, Expected()), topics.INTERACTIONS, 1))
    framed = list(records(interactions(2_050, 3, Expected()), topics.INTERACTIONS, 100))
    assert len(single) == 2_050
    assert len(framed) < 30
    ids = Counter(decode(record.value, "interactions").id for record in single)
    in_frames = Counter()
    for record in framed:
        for raw in split_record(record.value or b""):
            event = decode(raw, "interactions")
            in_frames[event.id] += 1
            assert partition_of(event.subject.encode(), topics.INTERACTIONS.partitions) == record.partition
    assert in_frames == ids

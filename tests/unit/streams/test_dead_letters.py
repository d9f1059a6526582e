import itertools

import pytest

from core.errors import InvalidEvent, InvalidInput, NotFound
from core.ports import OutgoingRecord, StoredRecord
from streams import dead_letter_record as record_format
from streams.dead_letters import drop, fold, replay, select
from tests.fakes.publisher import FakePublisher

RAW = b'{"id": "evt-1", "broken": true}'


def source(offset=7, **headers: bytes) -> StoredRecord:
    return StoredRecord("content.uploads.v1", 3, offset, "item-1", b"[frame]", headers, 1_700_000_000_000)


def buried(raw=RAW, offset=7, **headers: bytes) -> OutgoingRecord:
    error = InvalidEvent("no data")
    return record_format.dead_letter(
        source(offset, **headers), raw, error, agent="index-upload", attempts=1, code_version="1"
    )


def stored(*records: OutgoingRecord) -> list[StoredRecord]:
    offsets = itertools.count()
    return [StoredRecord(r.topic, 0, next(offsets), r.key, r.value, r.headers, 0) for r in records]


def test_a_letter_says_where_it_came_from_and_keeps_the_original_bytes_and_headers():
    (letter,) = fold(stored(buried(traceparent=b"00-1")))
    assert (letter.id, letter.value, letter.state) == ("evt-1", RAW, "open")
    assert (letter.topic, letter.partition, letter.offset, letter.key) == ("content.uploads.v1", 3, 7, "item-1")
    assert (letter.code, letter.agent, letter.attempts) == ("invalid-event", "index-upload", 1)
    assert letter.headers == {"traceparent": b"00-1"}


def test_the_same_letter_written_twice_by_a_crash_is_one_letter():
    assert len(fold(stored(buried(), buried()))) == 1


async def test_replaying_sends_the_original_bytes_to_the_source_topic_and_settles_the_letter():
    publisher, seen = FakePublisher(), []
    log = [buried(), buried(b'{"id": "evt-2"}', 8)]
    sent = await replay(publisher, fold(stored(*log)), lambda done, total: seen.append((done, total)))
    assert (sent, seen) == (2, [(2, 2)])
    first = publisher.of("content.uploads.v1")[0]
    assert (first.key, first.value, first.headers) == ("item-1", RAW, {record_format.REPLAYED: b"1"})
    assert {letter.state for letter in fold(stored(*log, *publisher.of("content.uploads.v1.dlq")))} == {"replayed"}


async def test_an_event_that_fails_again_after_a_replay_is_open_again_and_counts_its_replays():
    publisher = FakePublisher()
    await replay(publisher, fold(stored(buried())))
    again = buried(offset=99, **dict(publisher.of("content.uploads.v1")[0].headers))
    (letter,) = fold(stored(buried(), *publisher.of("content.uploads.v1.dlq"), again))
    assert (letter.state, letter.replayed, letter.offset) == ("open", 1, 99)


async def test_a_letter_rewritten_by_a_crash_after_it_was_dropped_stays_dropped():
    publisher = FakePublisher()
    assert await drop(publisher, fold(stored(buried()))) == 1
    (letter,) = fold(stored(buried(), *publisher.records, buried()))
    assert letter.state == "dropped"
    with pytest.raises(InvalidInput, match="dropped already"):
        select([letter], "evt-1")
    with pytest.raises(NotFound):
        select([letter], "evt-other")
    assert select([letter], "all") == []

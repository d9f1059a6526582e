from core import topics
from core.events import STREAM_EVENTS


def test_every_collector_stream_has_a_topic():
    assert set(topics.BY_STREAM) == set(STREAM_EVENTS)


def test_every_source_has_a_dead_letter_topic_that_takes_larger_records():
    for topic in topics.SOURCES:
        letters = topics.BY_NAME[topic.dlq]
        assert letters.max_message_bytes > topic.max_message_bytes
        assert letters.cleanup == "delete"


def test_names_are_unique_and_only_entries_and_verdicts_are_compacted():
    assert len(topics.BY_NAME) == len(topics.ALL)
    assert [topic.name for topic in topics.ALL if topic.cleanup == "compact"] == [
        "index.entries.v1",
        "moderation.verdicts.v1",
    ]

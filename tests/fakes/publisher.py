"""A Publisher that keeps what it is given, and can be told to fail."""

import asyncio
from collections.abc import Sequence

from core import topics
from core.errors import Overloaded, TooLarge, Unavailable
from core.ports import OutgoingRecord, Publisher


class FakePublisher(Publisher):
    """Keeps records in `records`. `down` makes publishing time out; `queue_max_records` bounds one call."""

    def __init__(self, queue_max_records: int = 10_000) -> None:
        self.records: list[OutgoingRecord] = []
        self.down = False
        self.full = False
        self._queue_max_records = queue_max_records

    async def publish(self, records: Sequence[OutgoingRecord], *, timeout_s: float = 10.0) -> None:
        for record in records:
            topic = topics.BY_NAME.get(record.topic)
            if len(record.value or b"") > (topic.max_message_bytes if topic else 1024 * 1024):
                raise TooLarge(f"a record for {record.topic} is over the topic's limit")
        if len(records) > self._queue_max_records:
            raise TooLarge(f"{len(records)} records can never fit a queue of {self._queue_max_records}")
        if self.full:
            raise Overloaded("the queue is full")
        await asyncio.sleep(0)
        if self.down:
            raise Unavailable(f"{len(records)} records were not acknowledged within {timeout_s:g} s")
        self.records.extend(records)

    def of(self, topic: str) -> list[OutgoingRecord]:
        """Return what was published to one topic, in order."""
        return [record for record in self.records if record.topic == topic]

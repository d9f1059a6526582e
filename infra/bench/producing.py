"""Many records to a broker, as fast as it takes them."""

import time
from collections.abc import Iterable

from core.errors import Overloaded, Unavailable
from core.ports import OutgoingRecord
from core.settings import ProducerSettings
from storage.log.producer import KafkaPublisher


def produce(bootstrap: str, outgoing: Iterable[OutgoingRecord]) -> None:
    """Return when the broker has acknowledged every record. Raises Unavailable when it does not."""
    publisher = KafkaPublisher(bootstrap, ProducerSettings(queue_max_records=50_000), client_id="bench")
    try:
        for record in outgoing:
            while True:
                try:
                    publisher.enqueue(record)
                    break
                except Overloaded:
                    time.sleep(0.005)
        if publisher.flush(60) or publisher.stats().failed:
            raise Unavailable("the broker did not take all of the benchmark's events")
    finally:
        publisher.close()

"""The ceiling: consume with librdkafka and decode with msgspec, and do nothing with what was decoded.

Run by infra/bench/interactions.py: `python raw_consumer.py BOOTSTRAP TOPIC EVENTS`; prints seconds and CPU seconds.
"""

import sys
import time
import uuid

from confluent_kafka import Consumer

from core.events import InteractionEvent, decode

bootstrap, topic, events = sys.argv[1], sys.argv[2], int(sys.argv[3])
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": str(uuid.uuid4()), "auto.offset.reset": "earliest"})
consumer.subscribe([topic])
seen, started, cpu = 0, 0.0, 0.0
decoded: InteractionEvent
while seen < events:
    messages = consumer.consume(1000, 1.0)
    if messages and not started:
        started, cpu = time.perf_counter(), time.process_time()
    for message in messages:
        decoded = decode(message.value() or b"", "interactions")  # type: ignore[assignment]
    seen += len(messages)
print(time.perf_counter() - started, time.process_time() - cpu)  # noqa: T201
consumer.close()

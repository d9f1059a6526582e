"""Writes records to Kafka and knows whether they arrived."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from core import topics
from core.errors import Overloaded, RiverlightError, TooLarge, Unavailable
from core.ports import OutgoingRecord, Publisher
from core.settings import ProducerSettings
from storage.log.client import ErrorLog, as_error, client_config, from_exception

_LARGEST_MESSAGE = max(topic.max_message_bytes for topic in topics.ALL)
_DEFAULT_MESSAGE = 1024 * 1024  # of a topic that is not declared, as Kafka's own default
_QUEUE_BYTES = 128 * 1024 * 1024
# The broker's limit is on a record batch: 61 bytes of batch header, up to 40 of lengths and deltas for its one record.
_BATCH_OVERHEAD = 128
_HEADER_OVERHEAD = 10
_UNDECIDED = -1  # librdkafka's "let the key decide"
_POLL_S = 0.1
_UNSUPPORTED = "Idempotent producer not supported"  # librdkafka's words; the code may be the generic _FATAL

_Ack = Callable[[KafkaError | None], None]


@dataclass(frozen=True)
class ProducerStats:
    """What became of the records since the publisher was made; `queued` are not decided yet."""

    delivered: int
    failed: int
    queued: int


class KafkaPublisher(Publisher):
    """A `Publisher` over librdkafka: idempotent, `acks=all`, bounded, with a thread that collects delivery reports.

    Records of one key go to the partition that every Kafka client of the Java family would choose (murmur2), so
    that Faust tables and our records agree on it. Thread-safe.

    An idempotent producer can fail for good: by a fatal error, after which librdkafka refuses every record, or, against
    a broker that came back without its state (the embedded one does), by raising the epoch of its forgotten producer id
    in an endless loop. The producer is then replaced by a new one, and the records that were in flight fail as
    Unavailable. The loop shows as a broker that answers while nothing is delivered for a third of
    `delivery_timeout_s`. Where a broker does not know idempotent producers, the new one goes without, which
    the log says as an error: a retry inside the client may then write a record twice, or out of order.
    """

    def __init__(self, bootstrap: str, settings: ProducerSettings, *, client_id: str, idempotence: bool = True) -> None:
        self._bootstrap = bootstrap
        self._settings = settings
        self._client_id = client_id
        self._idempotence = idempotence
        self._log = structlog.get_logger("storage.log").bind(client_id=client_id)
        self._errors = ErrorLog(client_id)
        self._changed = threading.Condition()  # guards what follows; notified when the queue runs empty
        self._queued = 0
        self._queued_bytes = 0
        self._delivered = 0
        self._failed = 0
        self._closed = False
        self._progress = time.monotonic()  # when a record was last delivered, or the queue was empty
        self._fatal: KafkaError | None = None
        self._producer = self._connect()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._collect, name=f"{client_id}-delivery", daemon=True)
        self._thread.start()

    @property
    def idempotent(self) -> bool:
        """Whether retries inside the client are free of duplicates; False once a broker could not do it."""
        return self._idempotence

    async def publish(self, records: Sequence[OutgoingRecord], *, timeout_s: float = 10.0) -> None:
        if not records:
            return
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[KafkaError | None] = loop.create_future()
        waiting = _Waiting(len(records), loop, outcome)
        sizes = self._reserve(records)
        for position, (record, size) in enumerate(zip(records, sizes, strict=True)):
            try:
                self._produce(record, size, waiting.ack)
            except RiverlightError:
                self._release(sizes[position + 1 :])
                raise
        try:
            error = await asyncio.wait_for(outcome, timeout_s)
        except TimeoutError:
            raise Unavailable(
                f"{waiting.left} of {len(records)} records were not acknowledged by {self._bootstrap} "
                f"within {timeout_s:g} s"
            ) from None
        if error is not None:
            raise as_error(error, f"publishing {len(records)} records to {records[0].topic}")

    def enqueue(self, record: OutgoingRecord) -> None:
        """Queue one record and return at once; `stats()` and `flush()` tell what became of it.

        Raises:
            Overloaded: the queue is full.
            TooLarge: the record is over its topic's size limit.
            Unavailable: the publisher is closed or the client refused the record.
        """
        self._produce(record, self._reserve([record])[0], _nobody_waits)

    def flush(self, timeout_s: float) -> int:
        """Wait until the queue is empty; return how many records are still undecided after `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._queued == 0, timeout_s)
            return self._queued

    def close(self) -> int:
        """Flush, stop the delivery thread, and return how many records were left undelivered (logged as an error)."""
        with self._changed:
            if self._closed:
                return 0
            self._closed = True
        left = self.flush(self._settings.delivery_timeout_s)
        self._stop.set()
        self._thread.join()
        if left:
            self._log.error("records undelivered at close", undelivered=left, bootstrap=self._bootstrap)
            self._producer.purge()  # or closing the client waits for them
        self._producer.close()
        return left

    def stats(self) -> ProducerStats:
        """Return the counts so far."""
        with self._changed:
            return ProducerStats(self._delivered, self._failed, self._queued)

    # --- the queue ---------------------------------------------------------------------------------------------

    def _reserve(self, records: Sequence[OutgoingRecord]) -> list[int]:
        """Take room for all of the records, or for none. Return their sizes in bytes."""
        sizes = [_checked_size(record) for record in records]
        total, limit = sum(sizes), self._settings.queue_max_records
        if len(records) > limit or total > _QUEUE_BYTES:
            raise TooLarge(
                f"{len(records)} records of {total} bytes can never fit the queue of {limit} records and "
                f"{_QUEUE_BYTES} bytes; publish them in smaller parts"
            )
        with self._changed:
            if self._closed:
                raise Unavailable("this publisher is closed")
            if self._queued + len(records) > limit or self._queued_bytes + total > _QUEUE_BYTES:
                raise Overloaded(
                    f"the producer queue is full: {self._queued} records of {self._queued_bytes} bytes are waiting "
                    f"for {self._bootstrap} (producer.queue_max_records is {limit})"
                )
            if self._queued == 0:
                self._progress = time.monotonic()
            self._queued += len(records)
            self._queued_bytes += total
        return sizes

    def _release(self, sizes: Sequence[int]) -> None:
        with self._changed:
            self._queued -= len(sizes)
            self._queued_bytes -= sum(sizes)
            if self._queued == 0:
                self._changed.notify_all()

    def _produce(self, record: OutgoingRecord, size: int, ack: _Ack) -> None:
        def on_delivery(error: KafkaError | None, _message: Message) -> None:
            self._decided(size, failed=error is not None)
            ack(error)

        try:
            self._producer.produce(
                record.topic,
                value=record.value,
                key=record.key.encode(),
                headers=list(record.headers.items()),
                partition=_UNDECIDED if record.partition is None else record.partition,
                on_delivery=on_delivery,
            )
        except BufferError as error:  # not reached while our own bounds are the tighter ones
            self._release([size])
            raise Overloaded(f"the client's queue for {record.topic} is full: {error}") from error
        except KafkaException as error:
            self._release([size])
            raise from_exception(error, f"queueing a record for {record.topic}") from error
        except RuntimeError as error:  # the client was replaced and closed while the record was on its way in
            self._release([size])
            raise Unavailable(f"the client for {self._bootstrap} was just replaced; send the record again") from error

    def _decided(self, size: int, *, failed: bool) -> None:
        with self._changed:
            self._queued -= 1
            self._queued_bytes -= size
            if failed:
                self._failed += 1
            else:
                self._delivered += 1
                self._progress = time.monotonic()
            if self._queued == 0:
                self._changed.notify_all()

    # --- the client --------------------------------------------------------------------------------------------

    def _connect(self) -> Producer:
        return Producer(
            {
                **client_config(self._bootstrap, self._client_id, self._errors),
                "error_cb": self._on_error,
                "acks": "all",
                "enable.idempotence": self._idempotence,
                "partitioner": "murmur2_random",
                "linger.ms": self._settings.linger_ms,
                "delivery.timeout.ms": int(self._settings.delivery_timeout_s * 1000),
                "message.max.bytes": _LARGEST_MESSAGE + _BATCH_OVERHEAD,
                # Our reservation is the bound; librdkafka's are wider, because it gives room back a little later.
                "queue.buffering.max.messages": 2 * self._settings.queue_max_records,
                "queue.buffering.max.kbytes": 2 * _QUEUE_BYTES // 1024,
            }
        )

    def _on_error(self, error: KafkaError) -> None:
        self._errors(error)
        if error.fatal():
            self._fatal = error  # seen by the delivery thread, in which this runs

    def _collect(self) -> None:
        """Serve delivery reports and errors until closed. Without polling they never come and the queue fills."""
        retired: list[Producer] = []
        while not self._stop.is_set():
            self._producer.poll(_POLL_S)
            if self._fatal is None and self._stuck():
                self._fatal = KafkaError(KafkaError._TIMED_OUT, "the broker answers but acknowledges nothing")
            if self._fatal is not None:
                self._producer.purge()  # its records fail now instead of at their delivery timeout
                retired.append(self._producer)
                self._replace(self._fatal)
            for old in retired:
                old.poll(0)
                if not len(old):
                    old.close()  # not left to the garbage collector: whichever thread that runs in may not do it
            retired = [old for old in retired if len(old)]
        for old in retired:
            old.close()

    def _stuck(self) -> bool:
        patience = self._settings.delivery_timeout_s / 3
        with self._changed:
            if self._queued == 0 or time.monotonic() - self._progress < patience:
                return False
            self._progress = time.monotonic()  # so that the broker is asked once, not at every turn
        try:
            self._producer.list_topics(timeout=1.0)
        except KafkaException:
            return False  # not reachable: waiting is right, the records are sent when it is back
        return True

    def _replace(self, error: KafkaError) -> None:
        self._fatal = None
        unsupported = _UNSUPPORTED in error.str() or error.code() == KafkaError._UNSUPPORTED_FEATURE
        if unsupported:
            self._idempotence = False
        self._producer = self._connect()
        if unsupported:
            self._log.error(
                "broker does not support idempotent producers: going on without; a retry may duplicate or reorder",
                bootstrap=self._bootstrap,
            )
        else:
            self._log.error("producer failed for good and was replaced", error=error.str(), bootstrap=self._bootstrap)


class _Waiting:
    """Counts the acknowledgements of one `publish` call down and wakes its event loop once, at the last."""

    def __init__(
        self, count: int, loop: asyncio.AbstractEventLoop, outcome: "asyncio.Future[KafkaError | None]"
    ) -> None:
        self.left = count
        self._loop = loop
        self._outcome = outcome
        self._error: KafkaError | None = None

    def ack(self, error: KafkaError | None) -> None:  # always in the delivery thread, so there is nothing to lock
        self.left -= 1
        self._error = self._error or error
        if self.left == 0:
            with contextlib.suppress(RuntimeError):  # the loop was closed while the records were on their way
                self._loop.call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        if not self._outcome.done():  # given up on after the timeout
            self._outcome.set_result(self._error)


def _nobody_waits(_error: KafkaError | None) -> None:
    """The acknowledgement of a record that was only queued: counted in the statistics, awaited by nobody."""


def _checked_size(record: OutgoingRecord) -> int:
    size = _BATCH_OVERHEAD + len(record.key.encode()) + len(record.value or b"")
    size += sum(len(name.encode()) + len(value) + _HEADER_OVERHEAD for name, value in record.headers.items())
    topic = topics.BY_NAME.get(record.topic)
    limit = topic.max_message_bytes if topic else _DEFAULT_MESSAGE
    if size > limit:
        raise TooLarge(f"a record of {size} bytes (key {record.key!r}) is over the {limit} bytes of {record.topic}")
    return size

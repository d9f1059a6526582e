"""A producer that never gives up: it knows of every record whether the broker acknowledged it."""

import asyncio
import threading
import time
from collections.abc import Sequence

from core.errors import RiverlightError, Unavailable
from core.settings import ProducerSettings
from infra.chaos.ledger import Sent
from storage.log.producer import KafkaPublisher

_RETRY_S = 0.2


class Producing:
    """Sends records in their order, in a thread; a batch that is not acknowledged is sent again until it is.

    Sending again is what a careful producer does, and what event ids are for: some events arrive twice.
    """

    def __init__(
        self,
        bootstrap: str,
        sent: Sequence[Sent],
        *,
        rate: float | None = None,
        batch: int = 50,
        patience_s: float = 120,
    ) -> None:
        """Start sending.

        Args:
            bootstrap: the broker.
            sent: what to send.
            rate: records a second; None for as fast as it goes.
            batch: records for one acknowledgement.
            patience_s: how long one batch is tried before `wait` raises.
        """
        self.acknowledged: set[str] = set()  # ids of the events
        self.records = 0  # acknowledged so far
        self.retries = 0
        self.last_error = ""
        self._bootstrap = bootstrap
        self._sent = sent
        self._rate = rate
        self._batch = batch
        self._patience_s = patience_s
        self._failure: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-producer", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def wait(self, timeout_s: float) -> None:
        """Wait for the last acknowledgement. Raises Unavailable when it did not come."""
        self._thread.join(timeout_s)
        if self._failure is not None:
            raise Unavailable(f"the producer gave up: {self._failure}") from self._failure
        if self._thread.is_alive():
            raise Unavailable(f"{self.records} of {len(self._sent)} records were acknowledged within {timeout_s:g} s")

    def wait_for(self, records: int, timeout_s: float) -> None:
        """Wait until this many records are acknowledged. Raises Unavailable."""
        deadline = time.monotonic() + timeout_s
        while self.records < min(records, len(self._sent)):
            if self.done or time.monotonic() > deadline:
                self.wait(0)
                return
            time.sleep(0.01)

    def stop(self) -> None:
        """Send no more and wait for the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._send())
        except Exception as error:  # handed to whoever waits
            self._failure = error

    async def _send(self) -> None:
        publisher = KafkaPublisher(self._bootstrap, ProducerSettings(delivery_timeout_s=5), client_id="chaos-producer")
        begun = time.monotonic()
        try:
            for start in range(0, len(self._sent), self._batch):
                if self._rate is not None:
                    await asyncio.sleep(max(0.0, begun + start / self._rate - time.monotonic()))
                batch = self._sent[start : start + self._batch]
                await self._until_acknowledged(publisher, batch)
                self.records += len(batch)
                self.acknowledged.update(event.id for one in batch for event in one.good)
                if self._stop.is_set():
                    return
        finally:
            await asyncio.to_thread(publisher.close)

    async def _until_acknowledged(self, publisher: KafkaPublisher, batch: Sequence[Sent]) -> None:
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                await publisher.publish([one.record for one in batch], timeout_s=10)
                return
            except RiverlightError as error:
                if time.monotonic() > deadline or self._stop.is_set():
                    raise
                self.retries += 1
                self.last_error = str(error)
                await asyncio.sleep(_RETRY_S)

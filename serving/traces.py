"""Traces of answers: what was asked, what was known at that moment, and what was decided.

Writing is behind the answer (a batch every half second); reading is through, so a trace can be read as soon as its
answer is there. What waits to be written is bounded: a catalogue that is slow for long costs traces, never memory.
"""

import threading
from collections import OrderedDict

import structlog

from core.errors import RiverlightError
from storage.catalogue import Catalogue, TraceRecord

_log = structlog.get_logger(__name__)

_BATCH = 200


class TraceStore:
    """Remembers traces. Thread-safe; `start()` begins writing, `close()` writes what is left.

    How long they are kept is up to `streams.housekeeping`.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        max_pending: int = 5_000,
        write_every_s: float = 0.5,
    ) -> None:
        self._catalogue = catalogue
        self._max_pending = max_pending
        self._write_every_s = write_every_s
        self._pending: OrderedDict[str, TraceRecord] = OrderedDict()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.lost = 0  # traces dropped because the catalogue did not keep up

    def start(self) -> None:
        """Begin writing behind, in a thread."""
        self._thread = threading.Thread(target=self._run, name="trace-writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what is pending and stop."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
        self.flush()

    def record(self, trace: TraceRecord) -> None:
        """Remember a trace. Never waits; when too many are pending, the oldest is lost and counted."""
        with self._lock:
            self._pending[trace.trace_id] = trace
            if len(self._pending) > self._max_pending:
                self._pending.popitem(last=False)
                self.lost += 1

    def get(self, trace_id: str) -> TraceRecord | None:
        """Return a trace, written or not. Reads the catalogue, so call it off the event loop."""
        with self._lock:
            pending = self._pending.get(trace_id)
        return pending.plain() if pending else self._catalogue.trace(trace_id)

    def flush(self) -> None:
        """Write everything that is pending now; what cannot be written stays pending."""
        while batch := self._oldest():
            try:
                self._catalogue.put_traces(batch)
            except RiverlightError as error:
                _log.warning("traces_not_written", pending=len(self._pending), error=str(error))
                return
            with self._lock:
                for trace in batch:
                    if self._pending.get(trace.trace_id) is trace:  # not replaced since by a newer one
                        del self._pending[trace.trace_id]

    def _oldest(self) -> list[TraceRecord]:
        with self._lock:
            return list(self._pending.values())[:_BATCH]

    def _run(self) -> None:
        while not self._stop.wait(self._write_every_s):
            try:
                self.flush()
            except Exception:  # a writer that dies silently would lose every later trace
                _log.exception("trace_writer_failed")

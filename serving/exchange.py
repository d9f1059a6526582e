"""One request and its answer: the trace it belongs to, the time its stages took, and the route that took it."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from core.ids import new_span_id, new_trace_id
from monitoring.tracing import NO_TRACING, Tracer

# W3C Trace Context: version-traceid-parentid-flags; ids of all zeros are not ids, version ff is not one.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Exchange:
    """What is known about the request being answered. Made by the middleware; handlers add stages to it."""

    def __init__(self, traceparent: str | None = None, tracer: Tracer = NO_TRACING) -> None:
        match = _TRACEPARENT.fullmatch(traceparent or "")
        self.continued = match is not None
        self.trace_id = match[1] if match else new_trace_id()
        self._flags = match[3] if match else "00"  # not recorded, unless a span says otherwise
        self._tracer = tracer
        self._span_id = new_span_id()
        self._started = time.perf_counter()
        self._stages: dict[str, float] = {}

    @property
    def traceparent(self) -> str:
        """The header that continues this trace: the caller's trace id, and this request as the parent."""
        return f"00-{self.trace_id}-{self._span_id}-{self._flags}"

    def become(self, traceparent: str | None) -> None:
        """Take the ids of the span that this request is recorded as, if it is."""
        if match := _TRACEPARENT.fullmatch(traceparent or ""):
            self.trace_id, self._span_id, self._flags = match[1], match[2], match[3]

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self._started

    @property
    def stages_s(self) -> dict[str, float]:
        """Seconds spent in each stage so far."""
        return dict(self._stages)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to the stage `name`."""
        started = time.perf_counter()
        try:
            with self._tracer.span(name):
                yield
        finally:
            self._stages[name] = self._stages.get(name, 0.0) + time.perf_counter() - started

    def server_timing(self) -> str:
        """Return the `Server-Timing` header: each stage and the total, in milliseconds."""
        stages = [f"{name};dur={seconds * 1000:.2f}" for name, seconds in self._stages.items()]
        return ", ".join([*stages, f"total;dur={self.elapsed_s * 1000:.2f}"])

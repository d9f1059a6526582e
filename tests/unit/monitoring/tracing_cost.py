"""What tracing costs: `python -m tests.unit.monitoring.tracing_cost`.

Medians of repeated runs, in microseconds of processor time: threads that export are counted, other processes are not.
"""

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from core.clock import SystemClock
from core.events import Click, Interaction, encode
from core.ports import StoredRecord
from core.settings import StreamSettings
from monitoring.recorder import Recorder
from monitoring.tracing import NO_TRACING, OpenTelemetryTracer, Tracer
from serving.exchange import Exchange
from streams.envelope import Delivered, Envelope, Rejected
from tests.fakes.publisher import FakePublisher

_REPETITIONS = 9


class Discard(SpanExporter):
    """Takes spans and forgets them: what is measured is their making."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class Ignore:
    """A handler that does nothing."""

    async def __call__(self, batch: Sequence[Delivered]) -> list[Rejected]:
        return []


def tracers() -> dict[str, Tracer]:
    """Return the ways to trace that are compared."""
    return {
        "off": NO_TRACING,
        "on, none sampled": OpenTelemetryTracer(Discard(), "cost", sample_ratio=0.0),
        "on, all sampled": OpenTelemetryTracer(Discard(), "cost"),
    }


def per_call(work: Callable[[], object], calls: int) -> float:
    """Return the median processor time of one call in microseconds."""
    times = []
    for _ in range(_REPETITIONS):
        started = time.process_time()
        for _ in range(calls):
            work()
        times.append((time.process_time() - started) / calls * 1e6)
    return statistics.median(times)


def a_span(tracer: Tracer) -> Callable[[], object]:
    """A span and nothing in it."""

    def work() -> None:
        with tracer.span("work"):
            pass

    return work


def a_search(tracer: Tracer) -> Callable[[], object]:
    """What the gateway does for a search, without the search: a request's span and three stages."""

    def work() -> None:
        with tracer.span("request", kind="server") as span:
            exchange = Exchange(None, tracer)
            exchange.become(span.traceparent)
            for stage in ("embed", "search", "rerank"):
                with exchange.stage(stage):
                    pass
            span.set({"http.response.status_code": 200})

    return work


def a_batch(tracer: Tracer, loop: asyncio.AbstractEventLoop, flags: str) -> Callable[[], object]:
    """What the envelope does for 500 interactions of as many traces, without the counting."""
    envelope = Envelope(
        "interactions",
        "interactions",
        Ignore(),
        publisher=FakePublisher(),
        settings=StreamSettings(),
        recorder=Recorder(),
        clock=SystemClock(),
        tracer=tracer,
    )
    records = []
    for number in range(1, 501):
        click = Click(
            id=f"e{number}",
            source="cost",
            time=datetime.now(UTC),
            subject="u",
            data=Interaction(user_id="u", item_id="i"),
            traceparent=f"00-{number:032x}-{number:016x}-{flags}",
        )
        records.append(StoredRecord("content.interactions.v1", 0, number, "u", encode(click), {}, 0))
    return lambda: loop.run_until_complete(envelope.process(records))


def main() -> None:
    loop = asyncio.new_event_loop()
    for name, tracer in tracers().items():
        flags = "01" if name == "on, all sampled" else "00"
        span = per_call(a_span(tracer), 5_000)
        search = per_call(a_search(tracer), 2_000)
        batch = per_call(a_batch(tracer, loop, flags), 20)
        print(f"{name:18} span {span:6.2f}   search {search:6.1f}   event {batch / 500:6.2f}")
        tracer.close()
    loop.close()


if __name__ == "__main__":
    main()

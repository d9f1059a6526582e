"""What handling a batch leaves in traces and in the log."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from core.clock import SystemClock
from core.errors import InvalidInput
from core.events import Click, Interaction, encode, encode_frame
from core.ports import StoredRecord
from core.settings import StreamSettings
from monitoring.recorder import Recorder
from monitoring.tracing import NO_TRACING, OpenTelemetryTracer, Tracer
from streams.batch_trace import trace_in
from streams.envelope import Delivered, Envelope, Rejected
from tests.fakes.publisher import FakePublisher

_log = structlog.get_logger("test.handler")


def traceparent(number: int, flags: str = "01") -> str:
    return f"00-{number:032x}-{number:016x}-{flags}"


def click(number: int, trace: str | None) -> Click:
    data = Interaction(user_id="anna", item_id="i")
    return Click(id=f"e{number}", source="t", time=datetime.now(UTC), subject="anna", data=data, traceparent=trace)


def record(value: bytes) -> StoredRecord:
    return StoredRecord("content.interactions.v1", 0, 0, "anna", value, {}, 0)


class Handler:
    """Remembers what its events carried, says a word, and refuses events by id."""

    def __init__(self, refuse: str = "") -> None:
        self.carried: list[str | None] = []
        self._refuse = refuse

    async def __call__(self, batch: Sequence[Delivered]) -> list[Rejected]:
        _log.info("handling")
        self.carried = [item.event.traceparent for item in batch]
        return [Rejected(item, InvalidInput("no")) for item in batch if item.event.id == self._refuse]


def envelope(handler: Handler, tracer: Tracer = NO_TRACING) -> Envelope:
    return Envelope(
        "interactions",
        "interactions",
        handler,
        publisher=FakePublisher(),
        settings=StreamSettings(),
        recorder=Recorder(),
        clock=SystemClock(),
        tracer=tracer,
    )


async def test_what_comes_of_an_event_is_a_part_of_its_agents_span():
    exporter = InMemorySpanExporter()
    handler = Handler()
    frame = encode_frame([click(1, traceparent(1)), click(2, traceparent(2, "00"))])
    await envelope(handler, OpenTelemetryTracer(exporter, "worker", at_once=True)).process([record(frame)])
    [span] = exporter.get_finished_spans()
    assert (span.name, span.parent.span_id) == ("interactions process", 1)
    assert handler.carried == [f"00-{1:032x}-{span.context.span_id:016x}-01", traceparent(2, "00")]
    assert "anna" not in span.to_json()


async def test_without_tracing_events_stay_as_they_came():
    handler = Handler()
    await envelope(handler).process([record(encode(click(1, traceparent(1))))])
    assert handler.carried == [traceparent(1)]


@pytest.mark.parametrize("traced", [True, False])
async def test_log_lines_of_a_batch_carry_its_trace_and_those_of_an_event_its_own(traced):
    tracer = OpenTelemetryTracer(InMemorySpanExporter(), "worker", at_once=True) if traced else NO_TRACING
    frame = encode_frame([click(1, traceparent(1)), click(2, traceparent(2))])
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        await envelope(Handler(refuse="e2"), tracer).process([record(frame)])
    said = {line["event"]: line.get("trace_id") for line in lines}
    assert said == {"handling": f"{1:032x}", "dead letter": f"{2:032x}"}
    assert structlog.contextvars.get_contextvars() == {}


def test_the_trace_is_found_in_an_event_that_is_otherwise_wrong():
    assert trace_in(b'{"traceparent":"' + traceparent(7).encode() + b'","time":3}') == f"{7:032x}"
    assert trace_in(b"{") is None
    assert trace_in(b'{"traceparent":"nonsense"}') is None

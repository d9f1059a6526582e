"""OpenTelemetry traces: one upload or search as a tree of spans over all processes that had to do with it.

The one place that imports opentelemetry. A `Tracer` is made in an entry point and passed on, as a `Recorder` is; the
one that exports nothing, `NO_TRACING`, costs a method call. Between processes the context travels as W3C `traceparent`:
in HTTP headers, in events (CloudEvents tracing extension) and in the headers of Kafka records. The trace id is the one
that answers carry as `X-Trace-Id`.

Spans hold routes, counts, places in the log and codes of errors; never what somebody sent, nor an error's message.
"""

import atexit
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, Protocol

from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from core.settings import TracingSettings

Kind = Literal["internal", "server", "client", "producer", "consumer"]
#: By OpenTelemetry's names where it has one (https://opentelemetry.io/docs/specs/semconv/).
Attributes = Mapping[str, str | int | float | bool]
NO_ATTRIBUTES: Attributes = {}

HEADER = "traceparent"
MAX_TRACES_PER_BATCH = 64  # of a batch's events: those of more traces than this have no span of their own
_FILE_BYTES = 64 * 1024 * 1024
_EXPORT_TIMEOUT_S = 5

# Version-traceid-parentid-flags; ids of all zeros are not ids, version ff is not one.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_ODD = frozenset("13579bdf")  # the last digit of flags whose lowest bit, "sampled", is set
_KINDS = {name: SpanKind[name.upper()] for name in ("internal", "server", "client", "producer", "consumer")}


class Span(Protocol):
    """A piece of work that is being done."""

    @property
    def traceparent(self) -> str | None:
        """The header that makes other work a part of this; None where nothing is traced."""
        ...

    def set(self, attributes: Attributes) -> None:
        """Say more about the work."""
        ...

    def rename(self, name: str) -> None: ...


class Tracer(Protocol):
    """Begins spans."""

    @property
    def enabled(self) -> bool: ...

    def span(
        self, name: str, attributes: Attributes = NO_ATTRIBUTES, *, parent: str | None = None, kind: Kind = "internal"
    ) -> AbstractContextManager[Span]:
        """Do the block as a span: a child of `parent` (a traceparent), else of the span around it, else a new trace."""
        ...

    def batch(
        self, name: str, parents: Sequence[str | None], attributes: Attributes = NO_ATTRIBUTES
    ) -> AbstractContextManager[Sequence[str | None]]:
        """Do the block as one piece of work on many events, each of which may belong to a trace of its own.

        The work is a child of the first that is recorded; each other trace gets a span with a link to it. Yields, in
        the order of `parents`, the traceparents that what comes of each event should carry.
        """
        ...

    def headers(self) -> Mapping[str, str]:
        """Return the HTTP headers that make a call a part of the span around this; none where there is none."""
        ...

    def close(self) -> None:
        """Export what is still waiting."""
        ...


# --- not tracing -----------------------------------------------------------------------------------------------------


class _NoSpan:
    """The span, and its context manager, when nothing is traced."""

    traceparent: str | None = None

    def __enter__(self) -> "_NoSpan":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def set(self, attributes: Attributes) -> None:
        """Nothing to say it about."""

    def rename(self, name: str) -> None:
        """Nothing to rename."""


@dataclass(frozen=True)
class _Unchanged:
    """The context manager of a batch that is not traced: effects carry what their events carried."""

    parents: Sequence[str | None]

    def __enter__(self) -> Sequence[str | None]:
        return self.parents

    def __exit__(self, *_: object) -> None:
        return None


class NoTracing(Tracer):
    """Traces nothing."""

    enabled = False

    def span(
        self, name: str, attributes: Attributes = NO_ATTRIBUTES, *, parent: str | None = None, kind: Kind = "internal"
    ) -> AbstractContextManager[Span]:
        return _NO_SPAN

    def batch(
        self, name: str, parents: Sequence[str | None], attributes: Attributes = NO_ATTRIBUTES
    ) -> AbstractContextManager[Sequence[str | None]]:
        return _Unchanged(parents)

    def headers(self) -> Mapping[str, str]:
        return _NO_HEADERS

    def close(self) -> None:
        """Nothing waits."""


_NO_SPAN = _NoSpan()
_NO_HEADERS: Mapping[str, str] = {}
NO_TRACING = NoTracing()


# --- tracing ---------------------------------------------------------------------------------------------------------


class _OpenSpan:
    """A span of OpenTelemetry, current within its block."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: otel.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str | None:
        return _written(self._span.get_span_context())

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)
        if int(attributes.get("http.response.status_code", 0)) >= 500:  # a server's span is an error from here on
            self._span.set_status(Status(StatusCode.ERROR))

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def __enter__(self) -> "_OpenSpan":
        self._token = otel_context.attach(otel.set_span_in_context(self._span))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        otel_context.detach(self._token)
        if kind is not None and not issubclass(kind, GeneratorExit):
            # Its code, not its message: a message may quote what somebody sent.
            self._span.set_attribute("error.type", str(getattr(error, "code", kind.__name__)))
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class OpenTelemetryTracer(Tracer):
    """Hands spans to an exporter; in the background, unless `at_once`."""

    enabled = True

    def __init__(
        self,
        exporter: SpanExporter,
        process: str,
        *,
        version: str = "",
        sample_ratio: float = 1.0,
        at_once: bool = False,
    ) -> None:
        resource = Resource(
            {"service.namespace": "riverlight", "service.name": f"riverlight-{process}", "service.version": version}
        )
        # A trace that somebody else began is recorded as they decided, so that no trace has holes.
        sampler = ParentBased(TraceIdRatioBased(sample_ratio))
        self._provider = TracerProvider(resource=resource, sampler=sampler, shutdown_on_exit=False)
        processor = SimpleSpanProcessor(exporter) if at_once else BatchSpanProcessor(exporter)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("riverlight", version)

    def span(
        self, name: str, attributes: Attributes = NO_ATTRIBUTES, *, parent: str | None = None, kind: Kind = "internal"
    ) -> AbstractContextManager[Span]:
        return _OpenSpan(self._begin(name, parent, kind, attributes))

    @contextmanager
    def batch(
        self, name: str, parents: Sequence[str | None], attributes: Attributes = NO_ATTRIBUTES
    ) -> Iterator[Sequence[str | None]]:
        distinct = dict.fromkeys(parents)
        traced = list(islice((one for one in distinct if one is not None and _is_sampled(one)), MAX_TRACES_PER_BATCH))
        if not traced:
            # An event that came without a context begins a trace here; one whose trace is not recorded begins none.
            unbegun = None in parents
            with self.span(name, attributes, kind="consumer") if unbegun else _NO_SPAN as work:
                yield [work.traceparent if one is None else one for one in parents]
            return
        first, *others = traced
        attributes = {**attributes, "messaging.batch.message_count": len(parents)}
        work = _OpenSpan(self._begin(name, first, "consumer", attributes, [_read(one) for one in others]))
        beside: dict[str, otel.Span] = {}
        with work:
            link = otel.get_current_span().get_span_context()
            for one in others:
                beside[one] = self._begin(name, one, "consumer", attributes, [link])
            carried = {first: work.traceparent} | {
                one: _written(span.get_span_context()) for one, span in beside.items()
            }
            try:
                yield [work.traceparent if one is None else carried.get(one, one) for one in parents]
            finally:
                for span in beside.values():
                    span.end()

    def headers(self) -> Mapping[str, str]:
        traceparent = _written(otel.get_current_span().get_span_context())
        return {HEADER: traceparent} if traceparent is not None else _NO_HEADERS

    def close(self) -> None:
        atexit.unregister(self.close)
        self._provider.shutdown()

    def _begin(
        self,
        name: str,
        parent: str | None,
        kind: Kind,
        attributes: Attributes,
        links: Sequence[SpanContext | None] = (),
    ) -> otel.Span:
        remote = _read(parent)
        return self._tracer.start_span(
            name,
            context=otel.set_span_in_context(NonRecordingSpan(remote)) if remote is not None else None,
            kind=_KINDS[kind],
            attributes=attributes,
            links=[otel.Link(one) for one in links if one is not None],
            record_exception=False,
            set_status_on_exception=False,
        )


def open_tracer(settings: TracingSettings, process: str, home: Path, *, version: str = "") -> Tracer:
    """Return the tracer that the settings ask for. `process` names this process in traces: `riverlight-<process>`."""
    if settings.exporter == "none":
        return NO_TRACING
    tracer = OpenTelemetryTracer(
        _exporter(settings, process, home), process, version=version, sample_ratio=settings.sample_ratio
    )
    atexit.register(tracer.close)  # Ray ends replicas without a word; what waits would be lost
    return tracer


def _exporter(settings: TracingSettings, process: str, home: Path) -> SpanExporter:
    match settings.exporter:
        case "otlp":
            # Takes a third of a second to import, and is not needed where traces go elsewhere.
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            return OTLPSpanExporter(endpoint=settings.endpoint, timeout=_EXPORT_TIMEOUT_S)
        case "file":
            return FileSpanExporter(home / "traces" / f"{process}.jsonl")
    return ConsoleSpanExporter(formatter=_line)


class FileSpanExporter(SpanExporter):
    """Writes a JSON object a span; a full file is put aside as `.1`, in place of the one before."""

    def __init__(self, path: Path, max_bytes: int = _FILE_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._max_bytes = max_bytes
        self._file = path.open("ab")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            if self._file.tell() > self._max_bytes:
                self._file.close()
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                self._file = self._path.open("ab")
            self._file.write("".join(map(_line, spans)).encode())
            self._file.flush()
        except OSError:  # a full disk costs traces, not answers
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._file.close()


def _line(span: ReadableSpan) -> str:
    return str(span.to_json(indent=None)) + "\n"


def trace_id_of(traceparent: str | None) -> str | None:
    """Return the trace id in a traceparent; None when it is not one."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    return match[1] if match else None


def parent_in(headers: Mapping[str, bytes]) -> str | None:
    """Return the traceparent among the headers of a Kafka record, or None."""
    value = headers.get(HEADER)
    return value.decode("latin-1") if value is not None else None


def record_headers(traceparent: str | None) -> Mapping[str, bytes]:
    """Return the headers that make a Kafka record a part of a trace."""
    return {HEADER: traceparent.encode("latin-1")} if traceparent is not None else {}


def _read(traceparent: str | None) -> SpanContext | None:
    """Return the span context behind a traceparent, or None when it is not one."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is None:
        return None
    return SpanContext(int(match[1], 16), int(match[2], 16), is_remote=True, trace_flags=TraceFlags(int(match[3], 16)))


def _written(span: SpanContext) -> str | None:
    if not span.is_valid:
        return None
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags & 1:02x}"


def _is_sampled(traceparent: str) -> bool:
    # Asked for every event, so the flag is looked at before all of it is.
    return traceparent[54:55] in _ODD and _read(traceparent) is not None

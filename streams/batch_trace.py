"""What ties the handling of a batch to the traces its events belong to: spans, and the log's `trace_id`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import msgspec

from core.events import AnyEvent
from monitoring.logs import in_trace
from monitoring.tracing import Tracer, trace_id_of


class HasEvent(Protocol):
    """Something delivered."""

    event: AnyEvent


class _TraceOnly(msgspec.Struct):
    traceparent: str | None = None


_DECODER = msgspec.json.Decoder(_TraceOnly)


@contextmanager
def in_traces_of(items: Sequence[HasEvent], tracer: Tracer, agent: str) -> Iterator[None]:
    """Do the block as the handling of `items`: what it causes, in other processes too, belongs to their traces.

    Log lines about the batch as a whole carry the trace of its first event.
    """
    if not items:
        yield
    elif not tracer.enabled:
        with in_trace(trace_id_of(items[0].event.traceparent)):
            yield
    else:
        about = {"riverlight.agent": agent, "messaging.system": "kafka", "messaging.operation.type": "process"}
        with tracer.batch(f"{agent} process", [item.event.traceparent for item in items], about) as carried:
            for item, traceparent in zip(items, carried, strict=True):
                if traceparent != item.event.traceparent:
                    item.event = msgspec.structs.replace(item.event, traceparent=traceparent)
            with in_trace(trace_id_of(carried[0])):
                yield


def trace_in(raw: bytes) -> str | None:
    """Return the trace id in the bytes of an event, however wrong the rest of them is, or None."""
    try:
        return trace_id_of(_DECODER.decode(raw).traceparent)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None

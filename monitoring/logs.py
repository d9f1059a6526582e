"""Structured logs on standard error, from structlog and from the standard library alike.

Readable lines by default, a JSON object a line by setting. Lines that are written while a request or an event is
being handled carry its `trace_id` (bound with `in_trace`), by which they are found: it is in the answer's
`X-Trace-Id`, in the event, and, where traces are exported, the id of the trace.

No personal data leaves here: fields that may hold some are left out, and so is what stands in quotes in the error of a
line about a request or an event, for that is what somebody sent. The dead-letter topic has the whole message.
"""

import logging
import re
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import structlog

QUIET = ("aiokafka", "faust", "mode", "httpx", "httpcore", "alembic", "sqlalchemy.engine", "urllib3", "PIL")

PERSONAL = frozenset(
    {
        *("user_id", "owner_id", "author_id", "subject", "key"),
        *("title", "text", "description", "query", "value"),
        *("email", "ip", "client_ip", "ip_prefix", "city", "age_band", "gender"),
        *("authorization", "token", "password", "secret", "cookie"),
    }
)
LEFT_OUT = "(left out)"

_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_SAID = re.compile(r"^[ |+-]*[A-Za-z_][\w.]*: .*$", re.MULTILINE)  # of a traceback, the lines with a message


def configure_logs(process: str, level: str = "INFO", log_format: str = "text") -> None:
    """Set up logging for this process; called once, by an entry point. `log_format`: `text` or `json`."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        without_personal_data,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_as_json(process) if log_format == "json" else _as_text()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def in_trace(trace_id: str | None) -> AbstractContextManager[object]:
    """Give every line that is written within the block the trace id; tasks and threads begun in it inherit it.

    None changes nothing: where there is no trace, what is around it goes on.
    """
    if trace_id is None:
        return nullcontext()
    return structlog.contextvars.bound_contextvars(trace_id=trace_id)


def current_trace_id() -> str | None:
    """Return the trace id that lines written here would have."""
    found = structlog.contextvars.get_contextvars().get("trace_id")
    return found if isinstance(found, str) else None


def trace_headers() -> dict[str, str]:
    """Return the HTTP header by which a process of ours that is called logs under the same trace id."""
    trace_id = current_trace_id()
    return {"x-trace-id": trace_id} if trace_id is not None else {}


def without_personal_data(_logger: Any, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Leave out what may say something about a person (a structlog processor); see the module."""
    for name in PERSONAL & event.keys():
        event[name] = LEFT_OUT
    if "trace_id" in event:
        if isinstance(error := event.get("error"), str):
            event["error"] = _unquoted(error)
        if isinstance(exception := event.get("exception"), str):
            event["exception"] = _SAID.sub(lambda line: _unquoted(line[0]), exception)
    return event


def _unquoted(text: str) -> str:
    return _QUOTED.sub("'…'", text)


def _as_json(process: str) -> list[structlog.typing.Processor]:
    return [lambda _logger, _name, event: {"process": process, **event}, structlog.processors.JSONRenderer()]


def _as_text() -> list[structlog.typing.Processor]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(),
        pad_event_to=0,
        exception_formatter=structlog.dev.plain_traceback,  # the others print local variables, and what is in them
    )
    return [renderer]

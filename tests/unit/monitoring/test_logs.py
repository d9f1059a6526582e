import json
import subprocess
import sys
import textwrap

import pytest
import structlog

from monitoring.logs import LEFT_OUT, in_trace, without_personal_data

TRACE = "ab" * 16


def printed(log_format: str, script: str) -> list[str]:
    """Return the lines that a fresh process with that configuration logs."""
    program = f"""
import logging, structlog
from monitoring.logs import configure_logs, in_trace
configure_logs("worker-content", "INFO", {log_format!r})
log = structlog.get_logger("streams.envelope")
{textwrap.dedent(script)}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return done.stderr.splitlines()


def test_json_lines_hold_process_level_time_and_trace():
    lines = printed(
        "json",
        f"""
        with in_trace({TRACE!r}):
            log.warning("dead letter", code="late-event")
            logging.getLogger("aiokafka").warning("from the standard %s", "library")
        log.info("after it")
        """,
    )
    ours, theirs, after = (json.loads(line) for line in lines)
    assert (ours["event"], ours["code"], ours["level"]) == ("dead letter", "late-event", "warning")
    assert (ours["process"], ours["logger"], ours["trace_id"]) == ("worker-content", "streams.envelope", TRACE)
    assert (theirs["event"], theirs["trace_id"]) == ("from the standard library", TRACE)
    assert "trace_id" not in after
    assert after["timestamp"].endswith("Z")


def test_text_lines_are_readable_and_have_the_trace_too():
    [line] = printed("text", f"with in_trace({TRACE!r}): log.warning('dead letter', code='late-event')")
    assert "warning" in line
    assert "dead letter" in line
    assert "code=late-event" in line
    assert f"trace_id={TRACE}" in line
    assert not line.startswith("{")
    assert "\x1b" not in line  # no colours into a file


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_traceback_shows_where_but_not_with_what(log_format):
    printed_lines = printed(
        log_format,
        f"""
        def handler(secret):
            raise KeyError(f"no user 'anna@example.org' in {{secret!r}}")
        try:
            with in_trace({TRACE!r}):
                try:
                    handler("hunter2")
                except KeyError as error:
                    log.error("request_failed", path="/v1/media", exc_info=error)
                    raise
        except KeyError:
            pass
        """,
    )
    text = "\n".join(printed_lines)
    assert "in handler" in text
    assert "KeyError" in text
    assert "anna@example.org" not in text
    assert "hunter2" not in text


def test_fields_about_people_are_left_out():
    event = {"event": "x", "user_id": "u1", "key": "u1", "title": "my flat", "offset": 3}
    assert without_personal_data(None, "info", event) == {
        "event": "x",
        "user_id": LEFT_OUT,
        "key": LEFT_OUT,
        "title": LEFT_OUT,
        "offset": 3,
    }


def test_what_somebody_sent_is_left_out_of_errors_about_it():
    said = "subject 'anna' must equal the id in data, \"o'hara\""
    assert without_personal_data(None, "info", {"event": "x", "trace_id": TRACE, "error": said})["error"] == (
        "subject '…' must equal the id in data, '…'"
    )


def test_errors_of_the_platform_itself_are_printed_whole():
    said = "the broker at 'kafka:9092' does not answer"
    assert without_personal_data(None, "info", {"event": "x", "error": said})["error"] == said


def test_the_trace_ends_with_its_block():
    with in_trace(TRACE):
        assert structlog.contextvars.get_contextvars() == {"trace_id": TRACE}
    assert structlog.contextvars.get_contextvars() == {}

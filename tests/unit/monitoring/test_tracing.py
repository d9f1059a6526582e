import json

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from core.settings import TracingSettings
from monitoring.tracing import (
    MAX_TRACES_PER_BATCH,
    NO_TRACING,
    FileSpanExporter,
    OpenTelemetryTracer,
    open_tracer,
    parent_in,
    record_headers,
)

CALLERS = f"00-{'ab' * 16}-{'cd' * 8}-01"
UNRECORDED = f"00-{'ef' * 16}-{'12' * 8}-00"


class NotThere(Exception):
    code = "not-there"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> OpenTelemetryTracer:
    return OpenTelemetryTracer(exporter, "test", at_once=True)


def traceparent(number: int) -> str:
    return f"00-{number:032x}-{number:016x}-01"


def test_a_span_within_a_span_is_its_child_and_one_with_a_parent_continues_that_trace(tracer, exporter):
    with tracer.span("outer", parent=CALLERS, kind="server") as outer:
        with tracer.span("inner"):
            pass
    inner, finished = exporter.get_finished_spans()
    assert (inner.name, finished.name) == ("inner", "outer")
    assert inner.parent.span_id == finished.context.span_id
    assert f"{finished.parent.span_id:016x}" == "cd" * 8
    assert outer.traceparent == f"00-{'ab' * 16}-{finished.context.span_id:016x}-01"


def test_headers_continue_the_span_around_them_and_there_are_none_outside(tracer):
    assert tracer.headers() == {}
    with tracer.span("call") as span:
        assert tracer.headers() == {"traceparent": span.traceparent}
    assert tracer.headers() == {}


def test_an_error_leaves_its_code_and_not_its_message(tracer, exporter):
    with pytest.raises(NotThere), tracer.span("work"):
        raise NotThere("user anna has no flat")
    [span] = exporter.get_finished_spans()
    assert span.attributes["error.type"] == "not-there"
    assert not span.status.is_ok
    assert "anna" not in span.to_json()


@pytest.mark.parametrize(("status", "ok"), [(200, True), (404, True), (500, False), (503, False)])
def test_an_answer_that_is_our_failure_marks_its_span(tracer, exporter, status, ok):
    with tracer.span("request", kind="server") as span:
        span.set({"http.response.status_code": status})
    assert exporter.get_finished_spans()[0].status.is_ok == ok


def test_a_batch_is_the_first_traces_work_and_the_others_are_linked_to_it(tracer, exporter):
    with tracer.batch("process", [traceparent(1), traceparent(2), traceparent(1)]) as carried:
        with tracer.span("encode"):
            pass
    by_trace = {span.context.trace_id: span for span in exporter.get_finished_spans() if span.name == "process"}
    [encode] = [span for span in exporter.get_finished_spans() if span.name == "encode"]
    work, beside = by_trace[1], by_trace[2]
    assert encode.parent.span_id == work.context.span_id
    assert [link.context.span_id for link in beside.links] == [work.context.span_id]
    assert [link.context.trace_id for link in work.links] == [2]
    assert work.attributes["messaging.batch.message_count"] == 3
    assert carried[0] == carried[2] == f"00-{1:032x}-{work.context.span_id:016x}-01"
    assert carried[1] == f"00-{2:032x}-{beside.context.span_id:016x}-01"


def test_a_batch_of_many_traces_is_traced_for_the_first_of_them_only(tracer, exporter):
    parents = [traceparent(number) for number in range(1, 1_001)]
    with tracer.batch("process", parents) as carried:
        pass
    assert len(exporter.get_finished_spans()) == MAX_TRACES_PER_BATCH
    assert carried[MAX_TRACES_PER_BATCH:] == parents[MAX_TRACES_PER_BATCH:]


def test_events_without_a_trace_begin_one_and_unrecorded_ones_stay_so(tracer, exporter):
    with tracer.batch("process", [None, UNRECORDED]) as carried:
        pass
    [span] = exporter.get_finished_spans()
    assert span.parent is None
    assert carried == [f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01", UNRECORDED]
    exporter.clear()
    with tracer.batch("process", [UNRECORDED]) as carried:
        pass
    assert carried == [UNRECORDED]
    assert exporter.get_finished_spans() == ()


def test_a_failing_batch_ends_the_spans_of_all_its_traces(tracer, exporter):
    with pytest.raises(NotThere), tracer.batch("process", [traceparent(1), traceparent(2)]):
        raise NotThere
    assert {span.context.trace_id for span in exporter.get_finished_spans()} == {1, 2}


def test_a_share_of_the_traces_begun_here_is_recorded_and_all_that_a_caller_records(exporter):
    tracer = OpenTelemetryTracer(exporter, "test", sample_ratio=0.0, at_once=True)
    with tracer.span("own") as own:
        assert own.traceparent.endswith("-00")
    with tracer.span("theirs", parent=CALLERS):
        pass
    assert [span.name for span in exporter.get_finished_spans()] == ["theirs"]


@pytest.mark.parametrize("nonsense", ["", "nonsense", f"00-{'0' * 32}-{'cd' * 8}-01", f"ff-{'ab' * 16}-{'cd' * 8}-01"])
def test_what_is_no_traceparent_begins_a_new_trace(tracer, exporter, nonsense):
    with tracer.span("work", parent=nonsense):
        pass
    assert exporter.get_finished_spans()[0].parent is None


def test_without_an_exporter_nothing_is_traced_and_contexts_pass_through(tmp_path):
    tracer = open_tracer(TracingSettings(), "test", tmp_path)
    assert tracer is NO_TRACING
    assert not tracer.enabled
    with tracer.span("work", parent=CALLERS) as span:
        span.set({"a": 1})
        assert span.traceparent is None
        assert tracer.headers() == {}
    parents = [CALLERS, None]
    with tracer.batch("process", parents) as carried:
        assert carried is parents


def test_the_context_goes_through_the_headers_of_a_record():
    assert parent_in(record_headers(CALLERS)) == CALLERS
    assert record_headers(None) == {}
    assert parent_in({"riverlight-version": b"1:2"}) is None


def test_the_file_exporter_writes_an_object_a_line_and_keeps_one_full_file(tmp_path):
    path = tmp_path / "traces" / "gateway.jsonl"
    tracer = OpenTelemetryTracer(FileSpanExporter(path, max_bytes=2_000), "gateway", at_once=True)
    for number in range(20):
        with tracer.span(f"work {number}"):
            pass
    tracer.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["gateway.jsonl", "gateway.jsonl.1"]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[-1]["name"] == "work 19"
    assert lines[-1]["resource"]["attributes"]["service.name"] == "riverlight-gateway"
    assert path.stat().st_size < 4_000


def test_settings_open_a_file(tmp_path):
    tracer = open_tracer(TracingSettings(exporter="file"), "canary", tmp_path)
    with tracer.span("work"):
        pass
    tracer.close()
    assert json.loads((tmp_path / "traces/canary.jsonl").read_text())["name"] == "work"

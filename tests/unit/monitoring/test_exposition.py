import time
import urllib.error
import urllib.request

import pytest

from monitoring.catalogue import OUTBOX_PENDING
from monitoring.exposition import MetricsPort, serve_metrics
from monitoring.recorder import Recorder


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def stuck_server():
    recorder = Recorder()
    recorder.set(OUTBOX_PENDING, 4)
    server = serve_metrics(recorder, "127.0.0.1", 0, ready=lambda: (False, "no commit for 31 s"))
    yield server
    server.close()


def test_metrics_are_served(stuck_server):
    status, body = get(stuck_server.port, "/metrics")
    assert status == 200
    assert "riverlight_stream_outbox_pending_records 4.0" in body


def test_a_live_process_that_is_not_ready_says_why(stuck_server):
    assert get(stuck_server.port, "/livez") == (200, "ok\n")
    assert get(stuck_server.port, "/readyz") == (503, "no commit for 31 s\n")


def test_nothing_else_is_served(stuck_server):
    assert get(stuck_server.port, "/table")[0] == 404


def test_a_port_that_another_replica_still_holds_is_taken_over_when_it_is_free():
    before = serve_metrics(Recorder(), "127.0.0.1", 0)
    recorder = Recorder()
    recorder.set(OUTBOX_PENDING, 5)
    port = MetricsPort(recorder, "127.0.0.1", before.port, retry_s=0.01)
    try:
        assert "pending_records" not in get(before.port, "/metrics")[1]
        before.close()
        deadline = time.monotonic() + 10
        while True:
            try:
                body = get(before.port, "/metrics")[1]
                break
            except urllib.error.URLError:
                assert time.monotonic() < deadline
        assert "riverlight_stream_outbox_pending_records 5.0" in body
    finally:
        port.close()
    with pytest.raises(urllib.error.URLError):
        get(before.port, "/metrics")


def test_port_0_is_no_port():
    MetricsPort(Recorder(), "127.0.0.1", 0).close()

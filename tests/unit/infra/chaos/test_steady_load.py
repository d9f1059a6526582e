"""Calls at a steady pace: none waits for another, and what became of each is known."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from infra.chaos.steady_load import Answer, Call, SteadyLoad, counted, disturbed_s, percentile

PROBLEM = b'{"detail": "too many requests are waiting", "code": "overloaded"}'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/gone":
            self.close_connection = True
            return
        if self.path == "/slow":
            time.sleep(0.5)
        self.send_response(429 if self.path == "/full" else 200)
        if self.path == "/full":
            self.send_header("retry-after", "1")
        body = PROBLEM if self.path == "/full" else b"{}"
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def loaded(url: str, path: str, rate: float, seconds: float) -> list[Answer]:
    with SteadyLoad(url, lambda number: Call("kind", path, b"{}", (str(number),)), rate) as load:
        time.sleep(seconds)
    assert load.begun == len(load.answers)
    assert sorted(int(one.call.ids[0]) for one in load.answers) == list(range(load.begun))
    return load.answers


def test_calls_begin_at_their_pace_however_long_answers_take(url: str) -> None:
    answers = loaded(url, "/slow", 40, 1.0)
    assert 30 <= len(answers) <= 45
    assert all(one.good and one.took_s >= 0.5 for one in answers)


def test_a_refusal_is_known_with_what_it_says(url: str) -> None:
    answers = loaded(url, "/full", 20, 0.5)
    assert {(one.status, one.retry_after, one.good) for one in answers} == {(429, True, False)}
    assert counted(answers) == f"{len(answers)} kind: 429 too many requests are waiting"


def test_no_answer_is_no_success(url: str) -> None:
    answers = loaded(url, "/gone", 20, 0.3)
    assert answers
    assert all(one.status == 0 and "Disconnected" in one.error for one in answers)


def answer(at_s: float, took_s: float, status: int) -> Answer:
    return Answer(Call("kind", "/", b""), at_s, took_s, status)


def test_a_disturbance_lasts_from_its_beginning_to_the_last_bad_answer() -> None:
    answers = [answer(0, 1, 500), answer(4, 3, 0), answer(6, 2, 503), answer(9, 0.5, 200), answer(11, 1, 500)]
    assert disturbed_s(answers, [(5, 10), (10, 20)]) == 3  # 8 - 5; the other one 12 - 10
    assert disturbed_s(answers, [(8.5, 11)]) == 0


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile(range(1, 101), 99) == 99
    assert percentile([5.0], 99) == 5
    assert percentile([3, 1, 2], 50) == 2
    assert percentile([], 99) == 0

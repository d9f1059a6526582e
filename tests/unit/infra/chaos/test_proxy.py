"""The proxy passes bytes on, and every fault is what it says, on connections that are open already, too."""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from infra.chaos.proxy import Fault, FaultProxy


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(4096):
            self.request.sendall(data)


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with FaultProxy(*server.server_address) as running:  # type: ignore[misc]
            yield running
        server.shutdown()


def connect(proxy: FaultProxy) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    connection.settimeout(5)
    return connection


def ask(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    got = b""
    while len(got) < len(data) and (part := connection.recv(4096)):
        got += part
    return got


def test_without_a_fault_bytes_pass_in_both_directions(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        data = bytes(range(256)) * 1000
        threading.Thread(target=connection.sendall, args=(data,), daemon=True).start()
        got = b""
        while len(got) < len(data):
            got += connection.recv(65536)
    assert got == data
    assert proxy.connections == 1


def test_a_delay_holds_every_chunk_back_in_both_directions(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        assert ask(connection, b"quick") == b"quick"
        proxy.set(Fault(delay_s=0.2))
        begun = time.monotonic()
        assert ask(connection, b"slow") == b"slow"
        assert time.monotonic() - begun >= 0.4  # at least: what the fault promises, whatever the machine does


def test_dropping_ends_open_connections_and_refuses_new_ones_until_it_heals(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        assert ask(connection, b"hello") == b"hello"
        proxy.set(Fault(drop=True))
        assert ended(connection)
    with connect(proxy) as connection:
        assert ended(connection)
    proxy.set(Fault())
    with connect(proxy) as connection:
        assert ask(connection, b"again") == b"again"


def test_half_open_answers_nothing_closes_nothing_and_goes_on_when_it_heals(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        assert ask(connection, b"hello") == b"hello"
        proxy.set(Fault(half_open=True))
        connection.sendall(b"anybody?")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(10)
        proxy.set(Fault())
        connection.settimeout(5)
        assert connection.recv(10) == b"anybody?"


def test_a_connection_is_cut_after_as_many_bytes_as_asked(proxy: FaultProxy) -> None:
    proxy.set(Fault(cut_after_bytes=10))
    with connect(proxy) as connection:
        assert ask(connection, b"0123456789abcdef") == b"0123456789"
        assert ended(connection)


def ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(10) == b""
    except ConnectionError:
        return True

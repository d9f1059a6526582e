"""The question whether a broker answers, against sockets that say all sorts of things."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from core.errors import ConfigurationError, Unavailable
from infra.broker.probe import ask, split_bootstrap, wait_until_ready
from infra.ports import free_port


@pytest.fixture
def answering() -> Iterator[Callable[[bytes], str]]:
    servers: list[socket.socket] = []

    def start(answer: bytes) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return f"127.0.0.1:{server.getsockname()[1]}"

    yield start
    for server in servers:
        server.close()


def metadata(*brokers: tuple[str, int]) -> bytes:
    body = struct.pack(">ii", 7, len(brokers))
    for number, (host, port) in enumerate(brokers):
        body += struct.pack(">ih", number, len(host)) + host.encode() + struct.pack(">ih", port, -1)
    body += struct.pack(">ii", 0, 0)
    return struct.pack(">i", len(body)) + body


def test_a_broker_names_its_cluster(answering: Callable[[bytes], str]) -> None:
    answer = ask(answering(metadata(("127.0.0.1", 9092), ("kafka-2.example.org", 9093))))
    assert answer.brokers == ("127.0.0.1:9092", "kafka-2.example.org:9093")
    assert answer.controller_id == 0


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not in the Kafka protocol"),
        (b"", "closed before the answer"),
        (struct.pack(">i", 6) + b"\x00\x00\x00\x07\x00\x00", "not in the Kafka protocol"),
        (metadata(), "no broker of the cluster is ready"),
    ],
)
def test_what_is_not_a_ready_broker_is_told_apart(
    answering: Callable[[bytes], str], answer: bytes, message: str
) -> None:
    with pytest.raises(Unavailable, match=message):
        ask(answering(answer))


def test_nobody_there_is_an_error_after_the_time_limit() -> None:
    with pytest.raises(Unavailable, match="not ready after 0 s: no broker answers"):
        wait_until_ready(f"127.0.0.1:{free_port()}", 0.2)


@pytest.mark.parametrize("wrong", ["kafka", ":9092", "host:", "host:0", "host:99999", "host:port"])
def test_an_address_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="is not HOST:PORT"):
        split_bootstrap(wrong)


def test_the_first_of_several_bootstrap_servers_is_taken() -> None:
    assert split_bootstrap("[::1]:9092, other:9093") == ("::1", 9092)

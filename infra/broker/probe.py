"""Ask an address whether a Kafka broker answers there: one Metadata request over a plain socket.

A client library is the wrong tool for this question: it retries for ever, logs each failure and keeps threads. The
request below (Metadata v1, no topics) is spoken by every broker since 0.10.
"""

import socket
import struct
import time
from dataclasses import dataclass

from core.errors import ConfigurationError, Unavailable

_METADATA, _VERSION, _CORRELATION = 3, 1, 7
_CLIENT = b"riverlight-probe"
_MAX_ANSWER_BYTES = 1_000_000


@dataclass(frozen=True)
class BrokerAnswer:
    """What a broker said about its cluster."""

    brokers: tuple[str, ...]  # advertised addresses, host:port
    controller_id: int


def split_bootstrap(bootstrap: str) -> tuple[str, int]:
    """Return host and port of the first of comma-separated bootstrap servers.

    Raises:
        ConfigurationError: it is not `HOST:PORT`.
    """
    first = bootstrap.split(",")[0].strip()
    host, colon, port = first.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigurationError(f"broker address {first!r} is not HOST:PORT, e.g. 127.0.0.1:9092")
    return host.strip("[]"), int(port)


def ask(bootstrap: str, timeout_s: float = 2.0) -> BrokerAnswer:
    """Send one Metadata request and return the answer.

    Raises:
        Unavailable: nothing listens there, it does not speak the Kafka protocol, or no broker has registered yet.
    """
    host, port = split_bootstrap(bootstrap)
    body = struct.pack(">hhih", _METADATA, _VERSION, _CORRELATION, len(_CLIENT)) + _CLIENT + struct.pack(">i", 0)
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(struct.pack(">i", len(body)) + body)
            (size,) = struct.unpack(">i", _exactly(connection, 4))
            if not 0 < size <= _MAX_ANSWER_BYTES:
                raise Unavailable(f"{host}:{port} answers, but not in the Kafka protocol")
            answer = _parse(_exactly(connection, size))
    except OSError as error:
        raise Unavailable(f"no broker answers at {host}:{port}: {error or type(error).__name__}") from error
    except (struct.error, UnicodeDecodeError) as error:
        raise Unavailable(f"{host}:{port} answers, but not in the Kafka protocol") from error
    if not answer.brokers:
        raise Unavailable(f"{host}:{port} answers, but no broker of the cluster is ready")
    return answer


def wait_until_ready(bootstrap: str, timeout_s: float) -> BrokerAnswer:
    """Ask until a broker answers.

    Raises:
        Unavailable: it did not within `timeout_s`; the message is that of the last try.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return ask(bootstrap)
        except Unavailable as error:
            if time.monotonic() >= deadline:
                raise Unavailable(f"broker not ready after {timeout_s:.0f} s: {error}") from error
            time.sleep(0.05)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("the connection was closed before the answer was complete")
        data += part
    return data


def _parse(data: bytes) -> BrokerAnswer:
    at = 4  # the correlation id
    (count,) = struct.unpack_from(">i", data, at)
    at += 4
    brokers = []
    for _ in range(count):
        (length,) = struct.unpack_from(">h", data, at + 4)
        at += 6
        host = data[at : at + length].decode("utf-8")
        at += length
        (port, rack) = struct.unpack_from(">ih", data, at)
        at += 6 + max(rack, 0)
        brokers.append(f"{host}:{port}")
    (controller,) = struct.unpack_from(">i", data, at)
    return BrokerAnswer(tuple(brokers), controller)

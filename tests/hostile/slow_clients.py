"""Clients that send slowly, or without end, over plain sockets."""

import asyncio
import contextlib
import time
from dataclasses import dataclass

#: How a multipart body with the boundary `b` begins its file.
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
_HEAD = "POST /v1/events/uploads HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"


@dataclass(frozen=True)
class Ending:
    """How a slow connection ended: the status it was answered with (0: none), and after how long."""

    status: int
    after_s: float


async def drip(host: str, port: int, *, body: bool, every_s: float, for_s: float) -> Ending:
    """Send a request byte by byte: its head for ever, or a whole head and then its body. Return how it was ended."""
    began = time.monotonic()
    head = _HEAD + ("Content-Length: 4000\r\n\r\n" if body else "X-Slow: ")
    status = 0
    writer = None
    try:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(head.encode())
        answer = asyncio.create_task(reader.read(64))
        while time.monotonic() - began < for_s and not answer.done():
            writer.write(b"x")
            await writer.drain()
            await asyncio.wait({answer}, timeout=every_s)
        if answer.done() and (text := answer.result()):
            status = int(text.split()[1])
        answer.cancel()
    except (ConnectionError, OSError):
        pass
    finally:
        if writer is not None:
            with contextlib.suppress(Exception):
                writer.close()
    return Ending(status, time.monotonic() - began)


async def pour(host: str, port: int, path: str, *, total: int, chunked: bool) -> tuple[int, int]:
    """Send a body of `total` bytes, without its length when `chunked`; return the status and the bytes got rid of."""
    reader, writer = await asyncio.open_connection(host, port)
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {total}"
    kind = "Content-Type: multipart/form-data; boundary=b"
    writer.write(f"POST {path} HTTP/1.1\r\nHost: gateway\r\n{kind}\r\n{length}\r\n\r\n".encode())
    begin = b"%x\r\n" % len(PART) + PART + b"\r\n" if chunked else PART
    writer.write(begin)
    piece = b"x" * 65_536
    framed = b"%x\r\n" % len(piece) + piece + b"\r\n" if chunked else piece
    sent = 0
    answer = asyncio.create_task(reader.read(64))
    try:
        while sent < total and not answer.done():
            writer.write(framed)
            sent += len(piece)
            await asyncio.wait_for(writer.drain(), 30)
            await asyncio.sleep(0)
    except (ConnectionError, TimeoutError):
        pass
    with contextlib.suppress(ConnectionError, TimeoutError):
        text = await asyncio.wait_for(answer, 30)
        writer.close()
        return (int(text.split()[1]) if text else 0), sent
    return 0, sent

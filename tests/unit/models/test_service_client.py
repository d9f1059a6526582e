"""A service that hangs is unavailable in time, however it hangs: who asks has a deadline of their own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from core.errors import Unavailable
from models.service_client import ServiceClient

PATIENCE_S = 0.4
DEADLINE_S = PATIENCE_S / 0.6  # that of the uploads' handler, which gives the encoder six tenths of it

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def a_service(answer: Answer) -> AsyncIterator[str]:
    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except ConnectionError:
            pass  # the client had enough
        finally:
            writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65_536):
        pass


async def answers_byte_by_byte(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while not reader.at_eof():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("answer", [says_nothing, answers_byte_by_byte])
async def test_a_service_that_hangs_is_unavailable_before_the_deadline_of_who_asks(answer: Answer) -> None:
    async with a_service(answer) as url:
        client = ServiceClient("the service", url, "/v1")
        try:
            async with asyncio.timeout(DEADLINE_S):
                with pytest.raises(Unavailable, match=r"did not answer in 0\.4 s"):
                    await client.post("/ask", b"{}", PATIENCE_S)
        finally:
            await client.aclose()


async def test_connections_that_are_all_taken_are_not_waited_for_longer_either() -> None:
    async with a_service(says_nothing) as url:
        client = ServiceClient("the service", url, "/v1", max_connections=1)
        try:
            async with asyncio.timeout(DEADLINE_S):
                ended = await asyncio.gather(
                    *(client.post("/ask", b"{}", PATIENCE_S) for _ in range(3)), return_exceptions=True
                )
        finally:
            await client.aclose()
    assert [type(one) for one in ended] == [Unavailable] * 3

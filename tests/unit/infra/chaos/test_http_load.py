"""The load on the collector: what was accepted, refused or left without an answer is known of every batch."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

from infra.chaos.http_load import Batch, CollectorLoad

Answer = Callable[[int], tuple[int, bool]]  # number of the call -> status, and whether to answer at all
BATCHES = [Batch((f"e{number}",), b"[%d]" % number) for number in range(40)]


@asynccontextmanager
async def collector(answer: Answer, bodies: list[bytes], wait: Callable[[], Awaitable[None]] | None = None):
    calls = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                bodies.append(await reader.readexactly(length))
                status, answered = answer(calls)
                calls += 1
                if wait is not None:
                    await wait()
                if not answered:
                    break
                writer.write(b"HTTP/1.1 %d Whatever\r\ncontent-length: 2\r\n\r\n{}" % status)
                await writer.drain()
        except EOFError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_refused_batch_is_sent_again_until_it_is_accepted() -> None:
    bodies: list[bytes] = []
    async with collector(lambda number: (429 if number % 3 == 0 else 202, True), bodies) as port:
        load = CollectorLoad("127.0.0.1", port, BATCHES)
        tally = await load.closed_loop(4, 20)
    assert load.accepted == {name for batch in BATCHES for name in batch.ids}
    assert tally.calls[202] == tally.accepted_events == len(BATCHES)
    assert tally.calls[429] == len(bodies) - len(BATCHES) > 0


async def test_a_call_without_an_answer_is_uncertain_and_settled_later() -> None:
    bodies: list[bytes] = []
    async with collector(lambda number: (202, number != 5), bodies) as port:
        load = CollectorLoad("127.0.0.1", port, BATCHES)
        tally = await load.closed_loop(1, 20)
        assert tally.calls[0] == len(load.uncertain) == 1
        (left,) = load.uncertain
        assert not load.accepted & set(left.ids)
        await load.settle()
    assert load.uncertain == []
    assert load.accepted == {name for batch in BATCHES for name in batch.ids}
    assert bodies.count(left.body) == 2


async def test_the_open_loop_does_not_wait_and_counts_what_it_could_not_begin() -> None:
    freed, full = asyncio.Event(), asyncio.Event()
    bodies: list[bytes] = []

    async def hang() -> None:
        if len(bodies) == 3:
            full.set()
        await freed.wait()

    async with collector(lambda number: (202, True), bodies, hang) as port:
        load = CollectorLoad("127.0.0.1", port, BATCHES)
        running = asyncio.create_task(load.open_loop(200, 0.5, connections=3))
        await full.wait()
        await asyncio.sleep(0.5)  # the load's own time goes on
        freed.set()
        tally = await running
    assert tally.calls[202] == 3
    assert tally.not_sent > 10


async def test_well_means_several_accepted_answers_in_a_row() -> None:
    bodies: list[bytes] = []
    async with collector(lambda number: (503 if number in (0, 2) else 202, True), bodies) as port:
        load = CollectorLoad("127.0.0.1", port, BATCHES)
        await load.until_well(3, within_s=10, timeout_s=20)
    assert len(bodies) == 6  # refused, accepted, refused, and three in a row

"""Load on the collector: as much as it takes, then several times as much, at a pace that does not wait for answers.

A client of few instructions (HTTP/1.1 over an asyncio protocol), because it shares the machine with what it measures.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

ANSWER_S = 30.0


@dataclass(frozen=True)
class Batch:
    """One call's worth of events: their ids, and the body that holds them."""

    ids: tuple[str, ...]
    body: bytes


@dataclass
class Tally:
    """What became of calls: how many by status (0: no answer), events accepted, seconds of each answer by status."""

    calls: Counter[int] = field(default_factory=Counter)
    accepted_events: int = 0
    seconds: dict[int, list[float]] = field(default_factory=dict)
    not_sent: int = 0  # arrivals that found every connection busy
    took_s: float = 0.0


class CollectorLoad:
    """Sends batches to `POST /v1/events/interactions`; a batch that was not accepted goes back to be sent again."""

    def __init__(self, host: str, port: int, batches: Sequence[Batch]) -> None:
        self._address = (host, port)
        self._head = (
            f"POST /v1/events/interactions HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
        ).encode()
        self._waiting = deque(batches)
        self.accepted: set[str] = set()
        self.uncertain: list[Batch] = []  # sent, and no answer came: they may have been taken

    async def closed_loop(self, clients: int, seconds: float, *, leave: int = 0) -> Tally:
        """Let each of some clients send as soon as it has its answer: what comes out is the capacity.

        Ends early when only `leave` batches are left.
        """
        tally = Tally()
        end = time.monotonic() + seconds

        async def client() -> None:
            connection = _Connection(self._address)
            while time.monotonic() < end and len(self._waiting) > leave:
                await self._call(connection, self._waiting.popleft(), tally)
            connection.close()

        begun = time.monotonic()
        await asyncio.gather(*(client() for _ in range(clients)))
        tally.took_s = time.monotonic() - begun
        return tally

    async def open_loop(self, calls_per_s: float, seconds: float, connections: int) -> Tally:
        """Begin calls at a steady pace, answered or not, on at most so many connections."""
        tally = Tally()
        free = [_Connection(self._address) for _ in range(connections)]
        running: set[asyncio.Task[None]] = set()
        begun, number = time.monotonic(), 0

        async def one(connection: "_Connection", batch: Batch) -> None:
            await self._call(connection, batch, tally)
            free.append(connection)

        while (elapsed := time.monotonic() - begun) < seconds and self._waiting:
            while number < elapsed * calls_per_s and self._waiting:
                number += 1
                if free:
                    task = asyncio.create_task(one(free.pop(), self._waiting.popleft()))
                    running.add(task)
                    task.add_done_callback(running.discard)
                else:
                    tally.not_sent += 1
            await asyncio.sleep(0.005)
        await asyncio.gather(*running)
        tally.took_s = time.monotonic() - begun
        for connection in free:
            connection.close()
        return tally

    async def settle(self) -> None:
        """Send what had no answer until it has one, so that it is known what must be there."""
        connection = _Connection(self._address)
        self._waiting = deque(self.uncertain)
        self.uncertain = []
        while self._waiting:
            await self._call(connection, self._waiting.popleft(), Tally())
            self._waiting.extend(self.uncertain)
            self.uncertain = []
        connection.close()

    async def until_well(self, answers: int, within_s: float, timeout_s: float) -> float:
        """Return how long it took until so many calls in a row were accepted, each within a time."""
        connection = _Connection(self._address)
        begun, well = time.monotonic(), 0
        while well < answers and time.monotonic() - begun < timeout_s and self._waiting:
            tally = Tally()
            sent = time.monotonic()
            await self._call(connection, self._waiting.popleft(), tally)
            well = well + 1 if tally.calls[202] and time.monotonic() - sent <= within_s else 0
            await asyncio.sleep(0.05)
        connection.close()
        return time.monotonic() - begun

    async def _call(self, connection: "_Connection", batch: Batch, tally: Tally) -> None:
        begun = time.monotonic()
        status = await connection.post(self._head + b"content-length: %d\r\n\r\n" % len(batch.body) + batch.body)
        tally.calls[status] += 1
        tally.seconds.setdefault(status, []).append(time.monotonic() - begun)
        if status == 202:
            tally.accepted_events += len(batch.ids)
            self.accepted.update(batch.ids)
        elif status == 0:
            self.uncertain.append(batch)
        else:
            self._waiting.append(batch)


class _Connection(asyncio.Protocol):
    """One kept-alive connection, opened when it is first needed and again after an error; one request at a time."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None
        self._received = b""

    async def post(self, request: bytes) -> int:
        """Send a whole request; return the status of the answer, 0 when there was none."""
        try:
            async with asyncio.timeout(ANSWER_S):
                loop = asyncio.get_running_loop()
                if self._transport is None:
                    self._transport, _ = await loop.create_connection(lambda: self, *self._address)
                self._received = b""
                self._answer = loop.create_future()
                self._transport.write(request)
                return await self._answer
        except (OSError, TimeoutError, ValueError):
            self.close()
            return 0

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or self._answer is None or self._answer.done():
            return
        head = head.lower()
        length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
        if len(body) < int(length or b"0"):
            return
        if b"connection: close" in head or not length:
            self.close()
        self._answer.set_result(int(head.split(None, 2)[1]))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed before it answered"))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

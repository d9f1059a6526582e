"""Load on the collector: as much as it takes, then several times as much, at a pace that does not wait for answers.

A client of few instructions (HTTP/1.1 over asyncio streams), because it shares the machine with what it measures.
"""

import asyncio
import contextlib
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
        status = await connection.post("/v1/events/interactions", batch.body)
        tally.calls[status] += 1
        tally.seconds.setdefault(status, []).append(time.monotonic() - begun)
        if status == 202:
            tally.accepted_events += len(batch.ids)
            self.accepted.update(batch.ids)
        elif status == 0:
            self.uncertain.append(batch)
        else:
            self._waiting.append(batch)


class _Connection:
    """One kept-alive connection, opened when it is first needed and again after an error."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes) -> int:
        """Return the status of the answer; 0 when there was none."""
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {self._address[0]}:{self._address[1]}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        try:
            async with asyncio.timeout(ANSWER_S):
                if self._streams is None:
                    self._streams = await asyncio.open_connection(*self._address)
                reader, writer = self._streams
                writer.write(head.encode() + body)
                await writer.drain()
                answer = (await reader.readuntil(b"\r\n\r\n")).lower()
                status = int(answer.split(None, 2)[1])
                length = answer.partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length or b"0"))
                if b"connection: close" in answer or not length:
                    self.close()
                return status
        except (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError):
            self.close()
            return 0

    def close(self) -> None:
        if self._streams is not None:
            with contextlib.suppress(RuntimeError):
                self._streams[1].close()
            self._streams = None

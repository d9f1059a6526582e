"""A TCP proxy that misbehaves on request: slow, deaf, half-open, cut off. It runs in a thread of its own.

What is asked for applies to connections that are open already, too, so a fault begins at the moment it is set.
"""

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from typing import Self

_CHUNK = 64 * 1024


@dataclass(frozen=True)
class Fault:
    """How connections are treated. The default is to pass everything on.

    Attributes:
        delay_s: how long each chunk waits before it is passed on, in either direction.
        drop: new connections are closed at once, and those that are open are, too.
        half_open: nothing is passed on and nothing is closed: the peer seems to be there and never answers.
        cut_after_bytes: a connection is cut after this many bytes from the server.
    """

    delay_s: float = 0.0
    drop: bool = False
    half_open: bool = False
    cut_after_bytes: int | None = None


class FaultProxy:
    """Listens on a free loopback port and passes connections on to a server, through the `fault` of the moment.

    Use it as a context manager; `port` is where it listens.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._fault = Fault()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._listening = threading.Event()
        self._stopping: asyncio.Event | None = None
        self._changed: asyncio.Event | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.connections = 0  # accepted so far

    def __enter__(self) -> Self:
        self._thread.start()
        self._listening.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._stopping is not None
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    def set(self, fault: Fault) -> None:
        """Treat connections like this from now on; `Fault()` heals."""
        self._loop.call_soon_threadsafe(self._set, fault)

    # --- in the loop -------------------------------------------------------------------------------------------

    def _set(self, fault: Fault) -> None:
        self._fault = fault
        assert self._changed is not None
        self._changed.set()  # those that wait look again
        self._changed = asyncio.Event()
        if fault.drop:
            for writer in list(self._open):
                writer.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stopping, self._changed = asyncio.Event(), asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._stopping.wait()
        server.close()
        for writer in list(self._open):
            writer.transport.abort()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            if self._fault.drop:
                return
            with contextlib.suppress(OSError, asyncio.CancelledError):
                server_reader, server_writer = await asyncio.open_connection(*self._target)
                self._open.add(server_writer)
                try:
                    ways = [
                        asyncio.ensure_future(self._pass(reader, server_writer, counted=False)),
                        asyncio.ensure_future(self._pass(server_reader, writer, counted=True)),
                    ]
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)
                finally:
                    self._open.discard(server_writer)
                    server_writer.close()
        finally:
            self._open.discard(writer)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool) -> None:
        passed = 0
        while data := await reader.read(_CHUNK):
            while self._fault.half_open:
                assert self._changed is not None
                await self._changed.wait()
            if self._fault.delay_s:
                await asyncio.sleep(self._fault.delay_s)
            limit = self._fault.cut_after_bytes
            if counted and limit is not None:
                data = data[: max(0, limit - passed)]
            writer.write(data)
            await writer.drain()
            passed += len(data)
            if counted and limit is not None and passed >= limit:
                return

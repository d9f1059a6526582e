"""A body is counted as it arrives, waited for without a place, and what comes after its answer is thrown away."""

import asyncio
from collections.abc import Iterable

import pytest
from starlette.types import Message

from core.errors import Overloaded, TooLarge
from serving.gateway import body as bodies
from serving.gateway.body import AHEAD_BYTES, LINGER_BYTES, BodyGivenUp, CountedBody
from serving.gateway.places import Places


class Client:
    """Sends what it is told to, and then nothing any more."""

    def __init__(self, parts: Iterable[Message | float]) -> None:
        self._parts = iter(parts)
        self.taken = 0

    async def __call__(self) -> Message:
        for part in self._parts:
            if isinstance(part, float):
                await asyncio.sleep(part)
                continue
            self.taken += 1
            return part
        await asyncio.Event().wait()
        raise AssertionError


def part(size: int, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


GONE: Message = {"type": "http.disconnect"}


def body_of(
    client: Client, *, limit: int = 10**9, places: Places | None = None, length: str | None = "1"
) -> CountedBody:
    headers = [] if length is None else [(b"content-length", length.encode())]
    scope = {"type": "http", "method": "POST", "headers": headers}
    return CountedBody(scope, client, limit, places or Places(1, 1, 4))


@pytest.mark.parametrize(
    ("parts", "taken"),
    [
        ([part(10), part(10, more=False)], 2),
        ([part(AHEAD_BYTES), part(10, more=False)], 1),
        ([part(AHEAD_BYTES - 1), part(1), part(10, more=False)], 2),
        ([part(10), GONE], 2),
    ],
    ids=["all of a small one", "the beginning of a large one", "in parts", "until the client goes away"],
)
async def test_what_came_ahead_is_returned_as_if_it_came_now(parts, taken):
    client = Client(parts)
    body = body_of(client)
    await body.begin()
    assert client.taken == taken
    assert [await body() for _ in parts] == parts


@pytest.mark.parametrize("length", [None, "0"])
async def test_who_sends_no_body_is_not_waited_for(length):
    await asyncio.wait_for(body_of(Client([]), length=length).begin(), 5)


async def test_a_body_in_chunks_is_waited_for():
    client = Client([part(10, more=False)])
    scope = {"type": "http", "method": "POST", "headers": [(b"transfer-encoding", b"chunked")]}
    await CountedBody(scope, client, 100, Places(1, 1, 1)).begin()
    assert client.taken == 1


async def test_a_body_is_given_up_as_soon_as_it_is_too_large():
    client = Client([part(60), part(60), part(60)])
    body = body_of(client, limit=100)
    with pytest.raises(BodyGivenUp):
        await body.begin()
    assert isinstance(body.problem, TooLarge) and client.taken == 2
    with pytest.raises(BodyGivenUp):  # whoever asks again is told again
        await body()


async def test_no_more_bodies_are_waited_for_than_may_be():
    places = Places(1, 1, 1)
    waiting = asyncio.create_task(body_of(Client([]), places=places).begin())
    await asyncio.sleep(0)
    body = body_of(Client([part(1, more=False)]), places=places)
    with pytest.raises(BodyGivenUp):
        await body.begin()
    assert isinstance(body.problem, Overloaded)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await body_of(Client([part(1, more=False)]), places=places).begin()  # its turn is free again


@pytest.mark.parametrize("placed", [False, True], ids=["without a place", "in its place"])
async def test_a_deadline_that_came_while_the_client_was_waited_for_says_so(placed):
    places = Places(1, 1, 4)
    body = body_of(Client([]), places=places)
    async with places.taken() as place:
        body.place = place if placed else None
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await body()
    assert body.slow


async def test_a_deadline_that_came_while_a_place_was_waited_for_is_not_the_clients_fault():
    places = Places(1, 1, 4)
    body = body_of(Client([0.1, part(1)]), places=places)
    taken = asyncio.Event()

    async def other():
        async with places.taken():
            taken.set()
            await asyncio.Event().wait()

    async with places.taken() as body.place:
        another = asyncio.create_task(other())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await body()
        assert taken.is_set()  # the place was given away, and is not there when the client has sent
    assert not body.slow
    another.cancel()


async def test_who_sends_on_at_once_keeps_its_place():
    places = Places(1, 1, 4)
    body = body_of(Client([part(1), part(1, more=False)]), places=places)
    async with places.taken() as body.place:
        await body()
        await body()
        assert places._free.locked()


async def test_what_comes_after_the_answer_is_thrown_away_to_its_end():
    client = Client([part(60), part(60), part(1000), part(1000, more=False)])
    body = body_of(client, limit=100)
    with pytest.raises(BodyGivenUp):
        await body.begin()
    await asyncio.wait_for(body.linger(), 5)
    assert client.taken == 4


async def test_a_body_without_end_is_not_thrown_away_for_ever(monkeypatch):
    size = LINGER_BYTES // 8
    client = Client(part(size) for _ in range(1000))
    await body_of(client).linger()
    assert client.taken == 8
    monkeypatch.setattr(bodies, "LINGER_S", 0.05)
    await asyncio.wait_for(body_of(Client([])).linger(), 5)


async def test_nothing_is_waited_for_from_a_client_that_went_away():
    await asyncio.wait_for(body_of(Client([part(1), GONE])).linger(), bodies.LINGER_S / 2)

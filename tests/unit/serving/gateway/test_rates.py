"""Goal G27: the rate of one caller holds, the others do not notice, and nobody can write their own address."""

import time

import httpx
import pytest
import time_machine

from core.access.roles import Role
from core.access.tokens import TokenVerifier
from core.clock import SystemClock
from core.errors import RateLimited
from core.settings import HttpSettings, RateSettings
from monitoring.catalogue import RATE_LIMIT_STORAGE_FAILURES, REQUESTS_RATE_LIMITED
from monitoring.recorder import Recorder
from serving.access import Door
from serving.gateway.api import create_api
from serving.gateway.rates import Counters, Kind, RateLimiter
from tests.unit.core.access.token_factory import TokenFactory
from tests.unit.serving.gateway.conftest import Shape


def limiter(**settings: str) -> RateLimiter:
    return RateLimiter(RateSettings(**settings), Recorder())


async def allowed(limits: RateLimiter, caller: str, kind: Kind = Kind.search) -> bool:
    try:
        await limits.take(kind, caller)
    except RateLimited as error:
        assert error.retry_after_s >= 1
        return False
    return True


async def test_g27_one_caller_a_hundredfold_is_held_to_the_rate_and_a_thousand_others_are_not():
    limits, rate, minutes = limiter(search="60/minute"), 60, 3
    heavy = others = refused = 0
    with time_machine.travel(1_800_000_000.0, tick=False) as clock:
        for second in range(60 * minutes):
            for _ in range(100):
                heavy += await allowed(limits, "heavy")
            for number in range(second % 20, 1000, 20):  # each of a thousand three times a minute
                if await allowed(limits, f"user-{number}"):
                    others += 1
                else:
                    refused += 1
            clock.shift(1)
    wanted = rate * minutes
    print(f"G27: {heavy} of {100 * 60 * minutes} calls at {rate}/minute over {minutes} min ({heavy / wanted - 1:+.1%})")
    print(f"G27: of {others} calls by 1,000 others {refused} were refused")
    assert abs(heavy - wanted) <= 0.05 * wanted
    assert refused == 0


async def test_a_burst_is_answered_up_to_the_rate_and_the_window_slides():
    limits = limiter(search="10/minute")
    with time_machine.travel(1_800_000_000.0, tick=False) as clock:
        assert [await allowed(limits, "a") for _ in range(12)] == [True] * 10 + [False] * 2
        clock.shift(59)
        assert not await allowed(limits, "a")
        clock.shift(61)
        assert [await allowed(limits, "a") for _ in range(10)] == [True] * 10


async def test_kinds_are_counted_apart_and_several_rates_must_all_hold():
    limits = limiter(search="2/second;3/minute", media="1/minute", read="")
    with time_machine.travel(1_800_000_000.0, tick=False) as clock:
        assert [await allowed(limits, "a") for _ in range(3)] == [True, True, False]
        clock.shift(2)
        assert [await allowed(limits, "a") for _ in range(2)] == [True, False]
        assert await allowed(limits, "a", Kind.media)
        assert all([await allowed(limits, "a", Kind.read) for _ in range(5000)])


async def test_counters_are_bounded_and_those_whose_time_is_over_go_first():
    counters = Counters(max_counters=1000)
    with time_machine.travel(1_800_000_000.0, tick=False) as clock:
        for number in range(5000):
            await counters.acquire_sliding_window_entry(f"user-{number}", 10, 60)
        assert len(counters) == 1000
        clock.shift(121)
        await counters.acquire_sliding_window_entry("another", 10, 60)
        assert len(counters) == 1


async def test_a_shared_storage_that_is_away_limits_in_each_replica_instead():
    recorder = Recorder()
    limits = RateLimiter(RateSettings(search="2/minute", storage="redis://127.0.0.1:1/0"), recorder)
    assert [await allowed(limits, "a") for _ in range(2)] == [True, True]
    with pytest.raises(RateLimited):
        await limits.take(Kind.search, "a")
    assert recorder.value(RATE_LIMIT_STORAGE_FAILURES) == 3
    assert recorder.value(REQUESTS_RATE_LIMITED, kind="search") == 1


async def test_beyond_the_rate_the_answer_is_429_with_a_time_to_come_again(make_world):
    world = make_world(Shape(rates=RateSettings(read="3/minute")))
    answers = [await world.client.get("/v1/index") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    refused = answers[-1]
    assert (refused.headers["content-type"], refused.json()["code"]) == ("application/problem+json", "rate-limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    for path in ("/livez", "/readyz", "/metrics"):
        assert (await world.client.get(path)).status_code == 200


def client_at(world, address: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=create_api(world.deps), client=(address, 1234))
    return httpx.AsyncClient(transport=transport, base_url="http://gateway")


async def test_an_address_that_a_caller_writes_itself_counts_for_nothing(make_world):
    world = make_world(Shape(rates=RateSettings(read="5/minute")))
    async with client_at(world, "203.0.113.9") as client:
        statuses = [
            (await client.get("/v1/index", headers={"x-forwarded-for": f"198.51.100.{n}"})).status_code
            for n in range(10)
        ]
    assert statuses == [200] * 5 + [429] * 5


async def test_behind_a_trusted_proxy_callers_are_told_apart_by_what_the_proxy_wrote(make_world):
    http = HttpSettings(trusted_proxies=("10.0.0.0/8",))
    world = make_world(Shape(rates=RateSettings(read="2/minute"), http=http))
    async with client_at(world, "10.1.2.3") as client:

        async def ask(forwarded: str) -> int:
            return (await client.get("/v1/index", headers={"x-forwarded-for": forwarded})).status_code

        assert [await ask("198.51.100.1") for _ in range(3)] == [200, 200, 429]
        assert await ask("198.51.100.2") == 200
        # What stands left of the proxy's own entry was sent by the caller.
        assert [await ask(f"192.0.2.{n}, 198.51.100.3, 10.9.9.9") for n in range(3)] == [200, 200, 429]
        assert [await ask(f"2001:db8:0:1::{n:x}") for n in range(3)] == [200, 200, 429]


async def test_callers_with_tokens_are_counted_by_subject_and_wrong_tokens_by_address(make_world, tmp_path):
    factory = TokenFactory(tmp_path / "access")
    door = Door(TokenVerifier(factory.settings, factory.folder.public_file, SystemClock()))
    world = make_world(Shape(auth=factory.settings, door=door, rates=RateSettings(read="2/minute", refused="3/minute")))

    async def ask(token: str) -> int:
        return (await world.client.get("/v1/index", headers={"authorization": f"Bearer {token}"})).status_code

    ada = [factory.right(Role.reader, subject="ada", iat=int(time.time()) - n) for n in range(3)]
    assert [await ask(token) for token in ada] == [200, 200, 429]  # another token is not another caller
    assert [await ask("wrong") for _ in range(4)] == [401, 401, 401, 429]
    assert await ask(factory.right(Role.reader, subject="grace")) == 200

"""Where calls are counted: in the process, or in a Redis that several replicas share."""

from collections.abc import Iterator

import pytest

from core.errors import ConfigurationError, RateLimited
from core.settings import RateSettings, load_settings
from infra.redis_server import RedisServer, find_redis, running_redis
from monitoring.catalogue import RATE_LIMIT_STORAGE_FAILURES
from monitoring.recorder import Recorder
from serving.gateway.rates import Kind, RateLimiter


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    try:
        program = find_redis(load_settings().home)
    except ConfigurationError as error:
        pytest.skip(str(error))
    with running_redis(program, tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
def storage(request: pytest.FixtureRequest) -> str:
    return "memory://" if request.param == "memory" else f"redis://{request.getfixturevalue('redis').url}/0"


async def allowed(limits: RateLimiter, caller: str) -> bool:
    try:
        await limits.take(Kind.search, caller)
    except RateLimited as error:
        assert 1 <= error.retry_after_s <= 3600
        return False
    return True


async def test_calls_are_counted_up_to_the_rate_for_each_caller_apart(storage: str) -> None:
    recorder = Recorder()
    limits = RateLimiter(RateSettings(search="5/hour", storage=storage), recorder)
    assert [await allowed(limits, "ada") for _ in range(7)] == [True] * 5 + [False] * 2
    assert await allowed(limits, "grace")
    assert recorder.value(RATE_LIMIT_STORAGE_FAILURES) == 0


async def test_replicas_that_share_a_redis_share_the_rate(redis: RedisServer) -> None:
    settings = RateSettings(search="6/hour", storage=f"redis://{redis.url}/1")
    replicas = [RateLimiter(settings, Recorder()) for _ in range(3)]
    answers = [await allowed(replicas[number % 3], "ada") for number in range(12)]
    assert answers == [True] * 6 + [False] * 6

"""G10: the online feature store is down, then slow."""

import contextlib
import time

from core.clock import SystemClock
from core.errors import Unavailable
from features.reader import FeatureReader
from infra.chaos.goal import Goal, Play
from infra.chaos.ledger import Plan
from infra.chaos.proxy import Fault, FaultProxy
from infra.chaos.result import Outcome
from infra.chaos.stage import ARCHIVE, FEATURES, READY_S, Stage
from infra.ports import free_port
from infra.redis_server import RedisServer, find_redis

READ_S = 2.5  # the time-out on Redis is 2 s
CATCH_UP_S = 30.0
_SLOW_S = 2.5  # for each answer


def play(play: Play) -> Outcome:
    down_s, slow_s, rate = play.pick(60, 4), play.pick(30, 5), play.pick(100, 60)
    redis_port = free_port()
    with FaultProxy("127.0.0.1", redis_port) as proxy:
        features = {"online_store": "redis", "redis_url": f"127.0.0.1:{proxy.port}"}
        with play.stage(features=features) as stage:
            server = RedisServer(find_redis(stage.tools), stage.home / "redis", redis_port)
            try:
                server.start()
                return _outage(play, stage, server, proxy, down_s, slow_s, rate)
            finally:
                server.stop()


def _outage(
    play: Play, stage: Stage, server: RedisServer, proxy: FaultProxy, down_s: int, slow_s: int, rate: int
) -> Outcome:
    stage.worker("behaviour", (FEATURES, ARCHIVE)).wait_ready(READY_S)
    ledger = stage.ledger(Plan(rate * (down_s + slow_s + 6), upload_share=0.0))
    producer = stage.produce(ledger.sent, rate=rate, batch=10)
    producer.wait_for(rate * 2, 60)
    reader = FeatureReader.open(stage.home, stage.settings.features, SystemClock())
    user = next(iter(ledger.model().counted))[1]
    try:
        play.timeline.add("redis-server killed (SIGKILL)")
        server.stop()
        reads_down = _read_for(reader, user, down_s)
        lag_down = stage.lag()
        server.start()
        play.timeline.add("redis-server answers again, slowly")
        proxy.set(Fault(delay_s=_SLOW_S))
        reads_slow = _read_for(reader, user, slow_s)
        lag_slow = stage.lag()
        proxy.set(Fault())
        play.timeline.add("redis-server is as it was")
    finally:
        reader.close()
    begun = time.monotonic()
    producer.wait(600)
    verdict, _ = stage.settle(ledger.model(), 120)
    recovered_s = time.monotonic() - begun
    slowest = max(*reads_down, *reads_slow)
    broken: tuple[str, ...] = ()
    if slowest > READ_S:
        broken += (f"a read took {slowest:.1f} s, promised {READ_S:g} s",)
    for when, lag in (("down", lag_down), ("slow", lag_slow)):
        if lag > rate * 20:
            broken += (f"counting stood still while Redis was {when}: {lag} records behind",)
    figures = {
        "read_ms_worst_while_down": 1000 * max(reads_down),
        "read_ms_worst_while_slow": 1000 * max(reads_slow),
        "records_behind_after_down": lag_down,
        "records_behind_after_slow": lag_slow,
    }
    note = "there is no circuit breaker: while Redis is slow, each read waits for its time-out (2 s) before it fails"
    return Outcome(ledger.events, verdict, recovered_s, broken, figures, (*stage.took_part(), "redis-server"), (note,))


def _read_for(reader: FeatureReader, user: str, seconds: float) -> list[float]:
    """Read one row again and again; return how long each read took, whatever it said."""
    took: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.monotonic()
        with contextlib.suppress(Unavailable):  # the answer that is promised
            reader.user_features([user])
        took.append(time.monotonic() - begun)
        time.sleep(0.1)
    return took


GOAL = Goal(
    name="G10",
    title="Redis down and slow",
    what="The online feature store (a real redis-server) is killed for 60 s, comes back and takes 2.5 s for each "
    "answer for 30 s; events go on arriving.",
    promise=f"counting goes on; no read takes longer than {READ_S:g} s; afterwards every row is exact",
    play=play,
)

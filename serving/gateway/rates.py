"""How often one caller may call, by kind of call. Counted in a sliding window (the `limits` package), here or in Redis.

The count of the window before is weighed by how much of it is still within a window from now: two counters a caller,
however many calls.
"""

import hashlib
import time
from collections import OrderedDict
from enum import StrEnum
from math import floor

import limits.aio.storage as limits_storage
import structlog
from limits import RateLimitItem, parse_many
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.storage import storage_from_string
from limits.storage.base import TimestampedSlidingWindow

from core.errors import RateLimited
from core.settings import RateSettings
from monitoring.catalogue import RATE_LIMIT_STORAGE_FAILURES, REQUESTS_RATE_LIMITED
from monitoring.recorder import Recorder

_log = structlog.get_logger(__name__)
_MAX_COUNTERS = 200_000
_SHARED_WITHIN_S = 0.25


class Kind(StrEnum):
    """Kinds of calls, each with a rate of its own. The names are those of `RateSettings`."""

    search = "search"
    media = "media"
    events = "events"
    read = "read"
    maintenance = "maintenance"
    refused = "refused"  # requests whose token is not valid
    free = "free"  # probes, scrapes, and the sign-in page: never limited


class RateLimiter:
    """Counts calls and refuses those beyond the rate."""

    def __init__(self, settings: RateSettings, recorder: Recorder) -> None:
        self._recorder = recorder
        self._items: dict[Kind, list[RateLimitItem]] = {}
        for kind in Kind:
            if rate := getattr(settings, kind, ""):
                self._items[kind] = parse_many(rate)
        self._here = SlidingWindowCounterRateLimiter(Counters())
        self._shared = None
        if not settings.storage.startswith("memory:"):
            storage = storage_from_string(
                f"async+{settings.storage}",
                implementation="redispy",
                socket_timeout=_SHARED_WITHIN_S,
                socket_connect_timeout=_SHARED_WITHIN_S,
                wrap_exceptions=True,
            )
            assert isinstance(storage, limits_storage.Storage)
            self._shared = SlidingWindowCounterRateLimiter(storage)

    async def take(self, kind: Kind, caller: str) -> None:
        """Count one call.

        Raises:
            RateLimited: it is one too many; the error says when to come again.
        """
        for item in self._items.get(kind, ()):
            # A digest: who calls is no business of the store that counts.
            key = (kind.value, hashlib.sha256(caller.encode(errors="replace")).hexdigest()[:24])
            counted_by, hit = await self._hit(item, *key)
            if not hit:
                self._recorder.count(REQUESTS_RATE_LIMITED, kind=kind.value)
                window = await counted_by.get_window_stats(item, *key)
                raise RateLimited(
                    f"more than {item} of this kind ({kind}); come again later",
                    retry_after_s=min(max(window.reset_time - time.time(), 1.0), float(item.get_expiry())),
                )

    async def _hit(self, item: RateLimitItem, *key: str) -> tuple[SlidingWindowCounterRateLimiter, bool]:
        if self._shared is not None:
            try:
                return self._shared, await self._shared.hit(item, *key)
            except Exception as error:  # whatever the client raises: a store that is away must not take the API along
                self._recorder.count(RATE_LIMIT_STORAGE_FAILURES)
                _log.warning("rate_limit_storage_failed", error=type(error).__name__)
        return self._here, await self._here.hit(item, *key)


class Counters(limits_storage.Storage, limits_storage.SlidingWindowCounterSupport, TimestampedSlidingWindow):
    """Counters in this process, a bounded number of them.

    The package's own storage in memory looks at every counter again at nearly every call, which would let whoever comes
    from many addresses slow down everybody. Here the oldest counters go first: those whose time is over, as a rule.
    """

    STORAGE_SCHEME = ["async+riverlight-counters"]

    def __init__(self, max_counters: int = _MAX_COUNTERS) -> None:
        super().__init__()
        self._max = max_counters
        self._counters: OrderedDict[str, tuple[int, float]] = OrderedDict()  # count and end, by key

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        count, end = self._alive(key, time.time()) or (0, time.time() + expiry)
        self._counters[key] = (count + amount, end)
        self._forget_old()
        return count + amount

    async def get(self, key: str) -> int:
        alive = self._alive(key, time.time())
        return alive[0] if alive else 0

    async def get_expiry(self, key: str) -> float:
        alive = self._alive(key, time.time())
        return alive[1] if alive else time.time()

    async def clear(self, key: str) -> None:
        self._counters.pop(key, None)

    async def check(self) -> bool:
        return True

    async def reset(self) -> int | None:
        number = len(self._counters)
        self._counters.clear()
        return number

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        before, weight_s, current, _ = await self.get_sliding_window(key, expiry)
        if floor(before * weight_s / expiry + current) + amount > limit:
            return False
        _, current_key = self.sliding_window_keys(key, expiry, time.time())
        await self.incr(current_key, 2 * expiry, amount)
        return True

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        now = time.time()
        before_key, current_key = self.sliding_window_keys(key, expiry, now)
        left_s = (1 - (now / expiry) % 1) * expiry
        return await self.get(before_key), left_s, await self.get(current_key), left_s + expiry

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        for one in self.sliding_window_keys(key, expiry, time.time()):
            await self.clear(one)

    def _alive(self, key: str, now: float) -> tuple[int, float] | None:
        found = self._counters.get(key)
        return found if found is not None and found[1] > now else None

    def _forget_old(self) -> None:
        now = time.time()
        while self._counters:
            key, (_, end) = next(iter(self._counters.items()))
            if end > now and len(self._counters) <= self._max:
                return
            del self._counters[key]

    def __len__(self) -> int:
        return len(self._counters)

"""Telling of features: those who ask at the same time are told together; a decision is told of once."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from core.errors import Unavailable
from core.moderation_totals import PostTotals, Totals, decode_totals, totals_key
from core.ports import OutgoingRecord, StoredRecord
from core.settings import FeatureSettings, StreamSettings
from core.topics import DECISIONS, FEATURES
from features.online import OnlineStore
from storage.moderation.totals import TotalsReader
from streams.agents.moderate_posts import PostModerator
from streams.agents.moderation_features import TotalsWriter
from streams.moderation.feed import FeatureFeed
from tests.fakes.publisher import FakePublisher
from tests.unit.streams.moderation.world import World


class SlowTotals(TotalsReader):
    """Reads as often as `gate` was released; knows what it was asked for. Fails as often as it is told to."""

    def __init__(self, world: World) -> None:
        super().__init__(world.catalogue.database, world.clock)
        self.gate = threading.Semaphore(0)
        self.asked: list[tuple[list[str], list[str]]] = []
        self.failures = 0

    def read(self, author_ids: Sequence[str], post_ids: Sequence[str]) -> list[Totals]:
        self.asked.append((sorted(author_ids), sorted(post_ids)))
        self.gate.acquire(timeout=5)
        if self.failures:
            self.failures -= 1
            raise Unavailable("the catalogue does not answer")
        return super().read(author_ids, post_ids)


async def until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not check():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_who_asks_while_others_are_told_is_told_together_with_all_who_wait(world: World) -> None:
    totals, publisher = SlowTotals(world), FakePublisher()
    feed = FeatureFeed(totals, publisher)
    first = asyncio.create_task(feed.changed(posts=["p0"]))
    await until(lambda: totals.asked)
    others = [asyncio.create_task(feed.changed(posts=[f"p{n}"], authors=[f"a{n}"])) for n in range(1, 9)]
    await asyncio.sleep(0.01)
    totals.gate.release(10)
    await asyncio.gather(first, *others)
    together = ([f"a{n}" for n in range(1, 9)], [f"p{n}" for n in range(1, 9)])
    assert totals.asked == [([], ["p0"]), together]
    assert {record.key for record in publisher.of(FEATURES.name)} == {"p0", *together[0], *together[1]}
    await feed.changed(posts=["later"])
    assert totals.asked[-1] == ([], ["later"])


async def test_when_telling_fails_each_who_waits_tries_again_and_is_told_if_that_fails(world: World) -> None:
    totals, publisher = SlowTotals(world), FakePublisher()
    feed = FeatureFeed(totals, publisher)
    totals.gate.release(10)
    totals.failures = 2
    ended = await asyncio.gather(*(feed.changed(posts=[f"p{n}"]) for n in range(4)), return_exceptions=True)
    assert [type(end) for end in ended].count(Unavailable) == 2
    assert {record.key for record in publisher.of(FEATURES.name)} >= {
        f"p{n}" for n, end in enumerate(ended) if end is None
    }


async def test_who_is_cancelled_while_telling_leaves_it_to_those_who_wait(world: World) -> None:
    totals, publisher = SlowTotals(world), FakePublisher()
    feed = FeatureFeed(totals, publisher)
    tasks = [asyncio.create_task(feed.changed(posts=[f"p{n}"])) for n in range(3)]
    await until(lambda: totals.asked)
    totals.gate.release()
    await tasks[0]
    await until(lambda: len(totals.asked) == 2)
    tasks[1].cancel()
    totals.gate.release(10)
    await tasks[2]
    assert tasks[1].cancelled()
    assert totals.asked == [([], ["p0"]), ([], ["p1", "p2"]), ([], ["p1", "p2"])]
    assert {record.key for record in publisher.of(FEATURES.name)} == {"p0", "p1", "p2"}


class Told:
    """The agent that tells, on what the world's agents published."""

    def __init__(self, world: World, home: Path) -> None:
        self.world = world
        self.online = OnlineStore.open(home, FeatureSettings())
        self.writer = TotalsWriter(lambda: self.online, world.feed, world.recorder, StreamSettings())

    @property
    def features(self) -> list[OutgoingRecord]:
        return self.world.publisher.of(FEATURES.name)

    def decisions(self) -> list[OutgoingRecord]:
        pending = self.world.catalogue.outbox_pending(1_000)
        self.world.catalogue.outbox_sent([number for number, _ in pending])
        return [record for _, record in pending if record.topic == DECISIONS.name]

    async def process(self, records: Sequence[OutgoingRecord]) -> int:
        """Give it records; return how many posts it told of."""
        before = len(self.features)
        stored = [StoredRecord(one.topic, 0, 0, one.key, one.value, {}, 0) for one in records]
        await self.writer.process(stored, lambda: True)
        return sum(isinstance(decode_totals(one.value), PostTotals) for one in self.features[before:])


@pytest.fixture
def told(world: World, tmp_path: Path) -> Told:
    return Told(world, tmp_path)


async def test_a_decision_that_was_told_of_is_not_told_of_again(world: World, told: Told) -> None:
    await PostModerator(world.store, world.judges)([world.written(f"p{n}", "a cat") for n in range(3)])
    by_who_decided, decisions = list(told.features), told.decisions()
    posts = [one for record in by_who_decided if isinstance(one := decode_totals(record.value), PostTotals)]
    assert {totals_key(one) for one in posts} == {"p0", "p1", "p2"}
    assert all(one.decision_id for one in posts)
    assert await told.process(by_who_decided + decisions) == 0
    assert await told.process(decisions) == 0


async def test_after_a_restart_a_decision_is_told_of_once_more(world: World, told: Told, tmp_path: Path) -> None:
    await PostModerator(world.store, world.judges)([world.written("p0", "a cat")])
    assert await told.process(told.features) == 0
    assert await Told(world, tmp_path).process(told.decisions()) == 1


async def test_a_decision_that_nobody_told_of_is_told_of_also_when_it_is_not_the_first(
    world: World, told: Told
) -> None:
    await PostModerator(world.store, world.judges)([world.written("p0", "hate .999")])
    await told.process([*told.features, *told.decisions()])
    [before] = world.store.in_force(["p0"]).values()
    world.store.open_appeal(before.decision_id, "author", "it was a quotation")
    job = world.store.lease("reviewer")
    assert job is not None
    world.store.decide(job.job_id, "reviewer", "allow", None, "it quotes somebody else")
    assert await told.process(told.decisions()) == 1

"""The benchmark's check of what must not be shown finds each way in which a recommender can show it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import numpy as np
import pytest
from aiohttp import web

from core import events, topics
from core.errors import Unavailable
from core.moderation import Verdict, decode_verdict
from core.ports import OutgoingRecord
from infra.bench import recommendation_changes as checked
from infra.bench import recommendation_load as load
from infra.bench.recommendation_changes import Changes, ask_while_changing
from serving.recommendation import answering as answers_of
from serving.recommendation.seen import Seen
from tests.unit.serving.recommendation.answering_world import Answering

VIDEOS, K, CLIENTS, ANSWERS = 400, 20, 4, 600
EFFECT_S, LATE_S = 0.1, 0.4

Told = events.AnyEvent | Verdict
Reaches = Callable[[Told], float | None]


class Feed:
    """Stands where the benchmark has a broker: what it acknowledges reaches the live state, if `reaches` says so.

    `reaches` gives the delay in seconds, or None for an event that is lost on the way.
    """

    def __init__(self, answering: Answering, reaches: Reaches) -> None:
        self.answering = answering
        self.reaches = reaches
        self.told: list[Told] = []

    async def publish(self, records: Sequence[OutgoingRecord]) -> None:
        for record in records:
            event, apply = self._read(record)
            self.told.append(event)
            delay_s = self.reaches(event)
            if delay_s == 0:
                apply(event)
            elif delay_s is not None:
                asyncio.get_running_loop().call_later(delay_s, apply, event)

    def _read(self, record: OutgoingRecord) -> tuple[Told, Callable[..., object]]:
        """Return what a record says, and what applies it."""
        if record.topic == topics.VERDICTS.name:
            return decode_verdict(record.value), self.answering.restrictions.current.apply
        stream = "interactions" if "interactions" in record.topic else "uploads"
        return events.decode(record.value, stream), self.answering.state.apply

    def close(self) -> None:
        """It is memory alone."""


@asynccontextmanager
async def serving(answering: Answering) -> AsyncIterator[str]:
    """Serve a recommender's homepages over HTTP, with as much of an answer as the check reads."""

    async def homepage(request: web.Request) -> web.Response:
        found = await answering.ids(request.match_info["user_id"], k=int(request.query["k"]))
        return web.json_response({"results": [{"item_id": one} for one in found], "degraded": []})

    app = web.Application()
    app.router.add_get("/v1/recommendations/{user_id}", homepage)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Run the benchmark's check against a recommender that events reach as they are said to."""
    monkeypatch.setattr(checked, "EFFECT_S", EFFECT_S)
    monkeypatch.setattr(checked, "CHANGES_PER_S", 300.0)
    answering = Answering(tmp_path, temperature=0.05)
    now = answering.clock.time = datetime.now(UTC)

    async def check(reaches: Reaches, *, videos: int = VIDEOS) -> tuple[Changes, Feed]:
        feed = Feed(answering, reaches)
        for record in load.videos(0, videos, now):
            answering.apply(events.decode(record.value, "uploads"))
        monkeypatch.setattr(checked, "KafkaPublisher", lambda *args, **named: feed)
        changes = Changes()
        async with serving(answering) as url:
            await ask_while_changing(url, "", changes, ANSWERS, CLIENTS, K)
        return changes, feed

    yield check
    answering.close()


def at_once(event: Told) -> float | None:
    return 0.0


def losing(*kinds: type) -> Reaches:
    return lambda event: None if isinstance(event, kinds) else 0.0


def named_by(told: Told) -> str:
    """Return the video that something is about."""
    return told.item_ids[0] if isinstance(told, Verdict) else told.data.item_id


def shown(changes: Changes) -> set[str]:
    """Return the videos that were found where they must not be."""
    return {one.split(" to ")[0] for one in changes.shown}


async def test_nothing_is_found_of_a_recommender_that_is_right(check):
    changes, feed = await check(at_once)
    assert changes.shown == []
    assert changes.answers >= ANSWERS
    assert changes.looked_at > 0.9 * K * ANSWERS  # an answer of one video would prove next to nothing
    assert changes.made == len(feed.told) > 50
    assert {type(event) for event in feed.told} == {
        events.Watch,
        events.Hide,
        events.UploadHidden,
        events.UploadDeleted,
        Verdict,
    }


@pytest.mark.parametrize(
    "lost",
    [events.Watch, events.Hide, events.UploadHidden, events.UploadDeleted, Verdict],
    ids=lambda kind: kind.__name__,
)
async def test_it_finds_that_events_of_a_kind_are_lost(check, lost):
    changes, feed = await check(losing(lost))
    named = {named_by(event) for event in feed.told if isinstance(event, lost)}
    assert changes.shown
    assert shown(changes) <= named


async def test_it_finds_that_what_was_seen_is_forgotten(check, monkeypatch):
    monkeypatch.setattr(Seen, "mask", lambda self, rows: np.zeros(len(rows), np.bool_))
    changes, feed = await check(at_once)
    assert shown(changes)
    assert shown(changes) <= {event.data.item_id for event in feed.told if isinstance(event, events.Watch)}


async def test_it_finds_that_nobody_looks_at_what_may_be_shown(check, monkeypatch):
    """Generators leave most of it out by themselves; what they have at hand for a while is not looked through again."""
    monkeypatch.setattr(answers_of, "refusals", lambda state, viewer, rows, least: np.zeros(len(rows), np.uint8))
    monkeypatch.setattr(
        "serving.recommendation.videos.Videos.admissible", lambda self, rows, region: np.ones(len(rows), np.bool_)
    )
    changes, feed = await check(at_once)
    gone = {named_by(event) for event in feed.told if not isinstance(event, events.Watch | events.Hide)}
    assert shown(changes) & gone


async def test_it_finds_that_changes_take_effect_too_late(check):
    changes, _ = await check(lambda event: LATE_S)
    ages_s = [float(one.split(", ")[1].split(" s")[0]) for one in changes.shown]
    assert ages_s
    assert min(ages_s) >= EFFECT_S - 0.05 and min(ages_s) < LATE_S


async def test_answers_that_hold_nothing_are_no_proof(check):
    with pytest.raises(Unavailable, match=f"{ANSWERS} answers without a video"):
        await check(at_once, videos=0)


def test_only_what_was_acknowledged_long_enough_before_the_question_counts():
    changes = Changes(items={"gone": 10.0}, pairs={("v", "watched"): 10.0})
    changes.check("v", 10.0 + checked.EFFECT_S, ["gone", "watched"])  # it may be on its way still
    changes.check("v", 9.0, ["gone", "watched"])  # asked before
    changes.check("another", 20.0, ["watched", "other"])  # who did not watch it
    assert (changes.answers, changes.shown) == (3, [])
    changes.check("v", 10.1 + checked.EFFECT_S, ["other", "gone"])
    changes.check("v", 20.0, ["watched"])
    assert changes.shown == [
        "gone to v, 1.1 s after it was acknowledged",
        "watched to v, 10.0 s after it was acknowledged",
    ]
    assert changes.answers == 5

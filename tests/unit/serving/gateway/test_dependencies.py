"""What is configured reaches the recommender and the moderation desk that a replica opens."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core import events
from core.entries import Version
from core.errors import ConfigurationError
from core.settings import BrokerSettings, CatalogueSettings, Settings
from models.moderation.policy import packaged_policy
from serving.exchange import Exchange
from serving.gateway import dependencies
from serving.recommendation.recommend import RecommendQuery
from serving.recommendation.topic_log import STREAMS
from storage.catalogue import Catalogue, Item
from tests.fakes.entry_log import MemoryEntryLog
from tests.fakes.moderator import FakeModerator
from tests.fakes.publisher import FakePublisher
from tests.unit.serving.gateway.conftest import DIM, MODEL, HashEmbedding, World
from tests.unit.serving.recommendation import live_events as ev
from tests.unit.serving.recommendation import trained_world as trained

VIDEOS = 40


class NoBroker(FakePublisher):
    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__()

    def close(self) -> None:
        """There is nothing to close."""


class MemoryLogs:
    def __init__(self, bootstrap: str) -> None:
        self.open = True

    def topic(self, name: str) -> MemoryEntryLog:
        return MemoryEntryLog()

    def close(self) -> None:
        self.open = False


class Opened:
    """A gateway as a replica opens it, on logs in memory."""

    def __init__(self, deps: dependencies.GatewayDeps, streams: dict[str, MemoryEntryLog]) -> None:
        self.deps = deps
        self.streams = streams

    @property
    def recommendation(self) -> dependencies.RunningRecommender:
        assert self.deps.recommendation is not None
        return self.deps.recommendation

    def tell(self, stream: str, *told: events.AnyEvent) -> None:
        counts = self.recommendation.follower.counts
        before = sum(counts.values())
        for event in told:
            self.streams[stream].append(events.event_key(event), events.encode(event))
        World.until(lambda: sum(counts.values()) == before + len(told))

    async def ask(self, user_id: str = "somebody") -> Any:
        World.until(lambda: self.recommendation.follower.ready()[0])
        World.until(lambda: self.recommendation.model is None or self.recommendation.model.ready()[0])
        return await self.recommendation.recommender.recommend(RecommendQuery(user_id), Exchange())

    def payload(self, answer: Any) -> dict[str, Any]:
        trace = self.deps.traces.get(answer.trace_id)
        assert trace is not None
        return trace.payload


@pytest.fixture
async def open_with(tmp_path, monkeypatch):
    opened = []

    def open_with(moderator: FakeModerator | None = None, **sections: dict[str, Any]) -> Opened:
        streams = {stream: MemoryEntryLog() for stream in STREAMS}
        monkeypatch.setattr(dependencies, "followed", lambda logs: streams)
        monkeypatch.setattr(dependencies, "KafkaLogs", MemoryLogs)
        monkeypatch.setattr(dependencies, "KafkaPublisher", NoBroker)
        plain = Settings(home=tmp_path, broker=BrokerSettings(bootstrap="nowhere:9092"))
        settings = plain.model_copy(
            update={name: getattr(plain, name).model_copy(update=values) for name, values in sections.items()}
        )
        deps = dependencies.open_gateway(
            settings, HashEmbedding(None), dim=DIM, model_version=MODEL, moderator=moderator
        )
        opened.append(Opened(deps, streams))
        return opened[-1]

    yield open_with
    for one in opened:
        await one.deps.close()


def films() -> list[events.AnyEvent]:
    return [ev.created(f"v{one}", one, title=f"title of {one}", owner_id=f"by-{one}") for one in range(VIDEOS)]


@pytest.mark.parametrize(("share", "kept"), [(0.0, False), (1.0, True)])
async def test_the_share_of_answers_whose_features_are_logged(open_with, share, kept):
    opened = open_with(learning={"feature_log_share": share})
    opened.tell("uploads", *films())
    opened.tell("interactions", ev.did("Like", "somebody", "v3", 100))
    for _ in range(5):
        payload = opened.payload(await opened.ask())
        assert ("features" in payload) == kept
        if kept:
            assert [(past[0], past[1]) for past in payload["features"]["history"]] == [("v3", "like")]


async def test_a_share_between_logs_some_answers(open_with):
    opened = open_with(learning={"feature_log_share": 0.5})
    opened.tell("uploads", *films())
    found = ["features" in opened.payload(await opened.ask()) for _ in range(60)]
    assert 0 < sum(found) < 60  # by chance of 2^-59 not


async def test_the_sizes_of_answers_and_promises(open_with):
    opened = open_with(
        recommendation={"default_k": 3, "per_generator": 7, "promised_impressions": 2, "promise_hours": 5.0}
    )
    opened.tell("uploads", *films())
    answer = await opened.ask()
    assert len(answer.results) == 3
    assert max(len(places) for places, _ in answer.considered.candidates.proposed.values()) == 7
    promised = opened.recommendation.recommender.promises()
    assert (promised.impressions, promised.hours) == (2, 5.0)


@pytest.mark.parametrize(("ahead_s", "outcome"), [(100.0, "invalid"), (1_000.0, "applied")])
async def test_how_far_ahead_of_the_clock_an_event_may_be(open_with, ahead_s, outcome):
    opened = open_with(streams={"max_future_s": ahead_s})
    later = datetime.now(UTC) + timedelta(seconds=500)
    opened.tell("uploads", ev.created("v0", (later - ev.START).total_seconds()))
    assert opened.recommendation.follower.counts == {outcome: 1}


async def test_the_model_of_the_settings_comes_from_the_registry_of_the_home(open_with, tmp_path):
    label = trained.register(trained.registry_in(tmp_path), tmp_path / "weights")
    opened = open_with(recommendation={"ranker_deadline_s": 5.0, "generator_deadline_s": 5.0})
    opened.tell("uploads", *(ev.created(item, 0, owner_id=f"by-{item}") for item in trained.feedback().items))
    assert (await opened.ask()).scored_by == label


async def test_another_model_and_none(open_with):
    assert open_with(recommendation={"model": "mine@test"}).recommendation.model.describe()["reference"] == "mine@test"
    assert open_with(recommendation={"model": ""}).recommendation.model is None


async def test_it_is_left_out_when_it_is_not_enabled(open_with):
    assert open_with(recommendation={"enabled": False}).deps.recommendation is None


async def test_requests_at_once_and_sizes_of_the_state(open_with, monkeypatch):
    given = {}
    real = dependencies.open_recommender
    monkeypatch.setattr(
        dependencies, "open_recommender", lambda *args, **named: given.update(named) or real(*args, **named)
    )
    opened = open_with(serving={"max_ongoing_requests": 13}, recommendation={"max_users": 2})
    assert given["at_once"] == 13
    opened.tell("users", *(ev.profile(f"u{one}", one) for one in range(5)))
    assert opened.recommendation.follower.describe()["users"] == 2


async def test_what_has_caught_up_is_spared_by_the_garbage_collector(open_with, monkeypatch):
    spared = []
    monkeypatch.setattr(dependencies, "spare_what_lives", lambda: spared.append(1))
    opened = open_with()
    World.until(lambda: opened.recommendation.follower.ready()[0] and opened.deps.follower.ready()[0])
    assert len(spared) == 2  # the index and the recommender's state


async def test_the_state_is_saved_in_the_home(open_with, tmp_path):
    opened = open_with()
    opened.tell("uploads", *films())
    World.until(lambda: opened.recommendation.follower.ready()[0])
    written = opened.recommendation.follower.snapshot()
    assert written.parent == tmp_path / "recommendation"


@pytest.mark.parametrize("enabled", [True, False])
async def test_moderation_is_opened_where_it_is_enabled_and_somebody_scores(open_with, enabled):
    assert (open_with(FakeModerator(), moderation={"enabled": enabled}).deps.moderation is not None) == enabled
    assert open_with(None, moderation={"enabled": enabled}).deps.moderation is None


async def test_the_policy_that_the_settings_name_is_the_one_of_the_desk(open_with, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_bytes(packaged_policy().replace(b"name: default", b"name: ours"))
    moderation = open_with(FakeModerator(), moderation={"policy": policy}).deps.moderation
    assert moderation is not None
    assert moderation.policy.policy.name == "ours"
    policy.write_text("name: broken")
    with pytest.raises(ConfigurationError):
        open_with(FakeModerator(), moderation={"policy": policy})


async def test_videos_of_the_catalogue_are_there_though_the_log_has_forgotten_them(open_with, tmp_path):
    catalogue = Catalogue.open(f"sqlite:///{tmp_path / 'catalogue.db'}", CatalogueSettings())
    catalogue.apply_items("test", [("evt-old", old_film())])
    catalogue.close()
    opened = open_with()
    assert [one.item_id for one in (await opened.ask()).results] == ["old"]


def old_film() -> Item:
    return Item(
        item_id="old",
        owner_id="somebody",
        kind="video",
        media_id="0" * 64,
        title="An old film",
        description="",
        tags=(),
        language="en",
        category="",
        visibility="public",
        blocked_regions=(),
        state="active",
        unsafe=False,
        version=Version.of(ev.START, 0),
        event_id="evt-old",
        created_at=ev.START,
        updated_at=ev.START,
    )


async def test_what_looked_at_the_log_leaves_it(open_with):
    opened = open_with()
    await opened.deps.close()
    assert not opened.deps.logs.open

"""What models see while serving is what training joins from the archive for the same moment, and nothing later."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from core import topics
from core.events import encode
from core.ports import StoredRecord
from core.settings import CatalogueSettings, RecommendationSettings
from features.archive import ArchiveWriter
from infra.recommendation_skew import as_of, skew
from infra.recommendation_stream import read_platform
from models.recommendation.feedback import users_of as users_of_feedback
from models.recommendation.labels import label
from models.recommendation.learning.traffic import traffic_of
from monitoring.recorder import Recorder
from serving.exchange import Exchange
from serving.recommendation.opening import state_of
from serving.recommendation.recommend import Recommender, RecommendQuery
from serving.recommendation.served_state import ServedState
from serving.recommendation.trained.items import TrainedItems
from serving.recommendation.trained.viewers import users_of
from serving.traces import TraceStore
from storage.catalogue import Catalogue
from tests.unit.serving.recommendation import live_events as ev
from tests.unit.serving.recommendation.answering_world import StoppedClock

MOMENT_S = 100_000.0
VIDEOS = [ev.created(f"v{n}", n, title=f"about {n}") for n in range(200)]


def history() -> list[Any]:
    """More than is kept: watches of all lengths, opinions that change, impressions, a report, a search, a follow."""
    rng = np.random.default_rng(0)
    happened: list[Any] = []
    for n in range(150):
        happened.append(ev.watched("u", f"v{n}", 1_000 + 10 * n, share=float(rng.random())))
    for n in range(60):
        happened.append(ev.did("Impression", "u", f"v{n + 100}", 5_000 + n))
    happened += [
        ev.did("Like", "u", "v3", 6_000),
        ev.did("Dislike", "u", "v3", 6_010),
        ev.did("Dislike", "u", "v4", 6_020),
        ev.did("Like", "u", "v4", 6_030),
        ev.did("Report", "u", "v5", 6_040, value="spam"),
        ev.did("Search", "u", None, 6_050, value="cats"),
        ev.did("Follow", "u", "maker", 6_060),
        ev.watched("other", "v1", 6_070),
    ]
    return happened


def archive(folder: Path, topic: str, happened: list[Any]) -> None:
    records = [
        StoredRecord(topic, 0, n, event.subject, encode(event), {}, int(event.time.timestamp() * 1000))
        for n, event in enumerate(happened)
    ]
    ArchiveWriter(folder).write(topic, records, epoch="e")


@pytest.fixture
async def answered(tmp_path: Path) -> Any:
    """An archive of everything, and the trace of an answer given in the middle of it."""
    before = [*history(), ev.watched("late", "v9", 10.0)]
    after = [ev.did("Like", "u", "v7", MOMENT_S + 5), ev.did("Dislike", "u", "v8", MOMENT_S + 6)]
    people = [ev.profile("u", 1.0, age_band="25-34", country="NL"), ev.profile("u", MOMENT_S + 1, age_band="35-44")]
    archive(tmp_path / "archive", topics.UPLOADS.name, VIDEOS)
    archive(tmp_path / "archive", topics.INTERACTIONS.name, [*before, *after])
    archive(tmp_path / "archive", topics.USERS.name, people)
    settings = RecommendationSettings()
    state, clock = state_of(settings), StoppedClock()
    traces = TraceStore(Catalogue.open(f"sqlite:///{tmp_path / 'catalogue.db'}", CatalogueSettings()))
    recommender = Recommender(
        served=ServedState(state),
        ready=lambda: (True, ""),
        traces=traces,
        settings=settings,
        recorder=Recorder(),
        clock=clock,
        feature_log_share=1.0,
    )
    for event in [*VIDEOS, people[0], *before]:
        state.apply(event)
    clock.time = ev.START + timedelta(seconds=MOMENT_S)
    answer = await recommender.recommend(RecommendQuery("u"), Exchange())
    for event in [people[1], *after]:
        state.apply(event)
    yield tmp_path / "archive", traces.get(answer.trace_id), answer, state
    recommender.close()
    traces.close()


async def test_the_logged_features_are_those_of_the_archive_at_that_moment(answered: Any) -> None:
    folder, trace, _, _ = answered
    logged = trace.payload["features"]
    assert len(logged["history"]) == 150  # 100 of what they did, 50 of what they were shown
    found = skew(folder, [("u", logged)])
    assert (found.compared, found.history_equal, found.profile_equal) == (1, 1, 1)
    then = as_of(read_platform(folder, until=ev.at(MOMENT_S)), "u")
    assert then["profile"]["age_band"] == "25-34"
    assert "v7" not in {item for item, kind, *_ in then["history"] if kind == "like"}


async def test_a_later_moment_or_another_history_is_told_apart(answered: Any) -> None:
    folder, trace, _, _ = answered
    logged = trace.payload["features"]
    later = {**logged, "now": ev.at(MOMENT_S + 60).isoformat()}
    found = skew(folder, [("u", later), ("u", {**logged, "history": logged["history"][1:]})])
    assert (found.history_equal, found.profile_equal) == (0, 1)


async def test_the_model_gets_the_same_user_from_serving_and_from_the_archive(answered: Any) -> None:
    """To the last step: the arrays that towers and ranker are given."""
    folder, _, answer, state = answered
    viewer = answer.viewer
    platform = read_platform(folder, until=ev.at(MOMENT_S))
    rows = as_of(platform, "u")["history"]
    kept = {(item, round(at, 3)) for item, _, at, _ in rows}
    happened = [
        one
        for one in platform.known_to(())
        if one.row.user_id == "u" and (one.row.item_id, round(one.row.time.timestamp(), 3)) in kept
    ]
    traffic = traffic_of(happened, None, tuple(f"v{n}" for n in range(200)))
    offline = users_of_feedback(label(traffic.log), [0])
    serving = users_of(viewer, TrainedItems({f"v{n}": n for n in range(200)}, state.videos), None, 0)
    assert serving.history[serving.history >= 0].tolist() == offline.history[offline.history >= 0].tolist()
    assert serving.disliked[serving.disliked >= 0].tolist() == offline.disliked[offline.disliked >= 0].tolist()
    assert len(serving.history[0]) > 10


async def test_features_are_logged_for_the_share_that_is_asked(answered: Any) -> None:
    from serving.recommendation.feature_log import is_logged

    seeds = np.random.default_rng(0).integers(0, 2**63, 20_000, dtype=np.uint64).astype(object) * 2
    assert sum(is_logged(int(seed), 0.05) for seed in seeds) == pytest.approx(1_000, rel=0.15)
    assert not any(is_logged(int(seed), 0.0) for seed in seeds)
    assert msgspec.json.encode(answered[1].payload)

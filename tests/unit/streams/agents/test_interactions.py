"""The interactions agent over a real engine: freshness is what was really pushed, surfaces are a closed set."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.clock import SystemClock
from core.errors import Unavailable
from core.events import Click, Impression, Interaction, Watch, Watched, encode
from core.ports import StoredRecord
from core.settings import FeatureSettings
from core.topics import INTERACTIONS
from features.engine import FeatureEngine, SurfaceTotals
from features.state import FeatureState
from monitoring import catalogue as metrics
from monitoring.recorder import Recorder
from streams.agents.interactions import MEASURED_PER_PUSH, FeaturePusher, FeatureUpdater, Unpushed, record_surfaces
from streams.decoding import Delivered

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
FRESH = {"system": "features", "effect": "feature"}


class Clock(SystemClock):
    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time


class OnlineRows:
    """Stands for the online store: takes rows, or does not answer."""

    def __init__(self) -> None:
        self.down = False
        self.rows = 0

    def write(self, view: object, ids: list[str], *_: object) -> None:
        if self.down:
            raise Unavailable("the store is down")
        self.rows += len(ids)

    def close(self) -> None:
        pass


class World:
    def __init__(self, folder: Path) -> None:
        self.clock, self.recorder, self.online = Clock(), Recorder(), OnlineRows()
        settings = FeatureSettings()
        state = FeatureState.open(folder / "state.db")
        self.engine = FeatureEngine(folder, state, lambda: self.online, settings, self.clock)  # type: ignore[arg-type]
        self.unpushed = Unpushed(self.recorder, self.clock)
        self.update = FeatureUpdater(self.engine, self.recorder, self.unpushed, "epoch", settings.max_lateness_days)
        self.pusher = FeaturePusher(self.engine, self.recorder, self.unpushed, 0.25)
        self._offset = 0

    def delivered(
        self, age_s: float = 0.0, kind: type = Impression, surface: str = "visual_search", seconds: float | None = None
    ) -> Delivered:
        at = self.clock.now() - timedelta(seconds=age_s)
        value = Watched(seconds=seconds) if seconds is not None else None
        data = Interaction(user_id="user-1", item_id="item-1", surface=surface, value=value)
        event = kind(id=f"evt-{self._offset}", source="t", time=at, subject="user-1", data=data)
        arrived = int(self.clock.now().timestamp() * 1000)
        record = StoredRecord(INTERACTIONS.name, 0, self._offset, "user-1", encode(event), {}, arrived)
        self._offset += 1
        return Delivered(event, encode(event), record)

    def freshness_sum(self) -> float:
        return self.recorder.registry.get_sample_value("riverlight_freshness_seconds_sum", FRESH) or 0.0


@pytest.fixture
def world(tmp_path: Path):
    world = World(tmp_path)
    yield world
    world.engine.close()


async def test_freshness_is_the_age_of_events_when_their_rows_are_in_the_online_store(world: World) -> None:
    world.clock.time += timedelta(seconds=10)
    await world.update([world.delivered(age_s=1), world.delivered(age_s=2)])
    assert world.recorder.value(metrics.FRESHNESS, **FRESH) == 0, "counted is not yet served"
    world.clock.time += timedelta(seconds=3)
    await world.pusher.push()
    assert world.online.rows == 2  # one item, one user
    assert world.recorder.value(metrics.FRESHNESS, **FRESH) == 2
    assert world.freshness_sum() == pytest.approx(4 + 5)
    await world.pusher.push()
    assert world.recorder.value(metrics.FRESHNESS, **FRESH) == 2, "each event is measured once"


async def test_events_from_before_the_start_and_late_ones_do_not_count_as_stale_features(world: World) -> None:
    rejected = await world.update([world.delivered(age_s=3600), world.delivered(age_s=8 * 86_400)])
    assert len(rejected) == 1
    await world.pusher.push()
    assert world.online.rows == 2
    assert world.recorder.value(metrics.FRESHNESS, **FRESH) == 0


async def test_an_outage_of_the_online_store_is_part_of_the_freshness(world: World) -> None:
    await world.update([world.delivered()])
    world.online.down = True
    await world.pusher.push()
    assert world.recorder.value(metrics.FRESHNESS, **FRESH) == 0
    assert world.recorder.value(metrics.FEATURES_PENDING) == 2
    world.online.down = False
    world.clock.time += timedelta(seconds=30)
    await world.pusher.push(sweep=True)
    assert world.freshness_sum() == pytest.approx(30)
    assert world.recorder.value(metrics.FEATURES_PENDING) == 0


def test_measuring_freshness_is_bounded(world: World) -> None:
    times = [NOW + timedelta(seconds=n) for n in range(MEASURED_PER_PUSH + 5)]
    world.unpushed.counted(times)
    taken = world.unpushed.take()
    assert taken == times[:MEASURED_PER_PUSH], "the ones that wait longest"
    world.unpushed.counted(times[-5:])
    world.unpushed.put_back(taken)
    assert world.unpushed.take() == taken


async def test_online_metrics_per_surface_with_unknown_surfaces_together(world: World) -> None:
    batch = [world.delivered() for _ in range(4)] + [
        world.delivered(kind=Click),
        world.delivered(kind=Watch, seconds=6.0),
        world.delivered(surface="made-up-1"),
        world.delivered(surface="made-up-2", kind=Click),
    ]
    await world.update(batch)
    assert world.recorder.value(metrics.INTERACTIONS, kind="impression", surface="other") == 1
    assert world.recorder.value(metrics.INTERACTIONS, kind="impression", surface="visual_search") == 4
    world.clock.time += timedelta(seconds=1)  # a window ends before its moment
    record_surfaces(world.engine.surfaces(), world.recorder)
    for window in ("day", "week", "month"):
        labels = {"surface": "visual_search", "window": window}
        assert world.recorder.value(metrics.ONLINE_CTR, **labels) == pytest.approx(0.25)
        assert world.recorder.value(metrics.ONLINE_TIME_SPENT, **labels) == pytest.approx(6)
        assert world.recorder.value(metrics.ONLINE_TIME_PER_IMPRESSION, **labels) == pytest.approx(1.5)
    assert b"made-up" not in world.recorder.render()[0]
    await world.update(batch)  # delivered again
    record_surfaces(world.engine.surfaces(), world.recorder)
    assert world.recorder.value(metrics.ONLINE_CTR, surface="visual_search", window="day") == pytest.approx(0.25)


def test_a_surface_without_impressions_has_no_rate_rather_than_zero() -> None:
    recorder = Recorder()
    record_surfaces([SurfaceTotals("home", "day", 0, 0, 0.0)], recorder)
    rate = recorder.registry.get_sample_value("riverlight_online_ctr_ratio", {"surface": "home", "window": "day"})
    assert rate is not None and math.isnan(rate)

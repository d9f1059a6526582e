"""Housekeeping over a real catalogue, with a clock that is told what time it is."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.clock import SystemClock
from core.errors import Unavailable
from core.settings import CatalogueSettings, FeatureSettings
from monitoring import catalogue as metrics
from monitoring.recorder import Recorder
from storage.catalogue import Catalogue, TraceRecord
from streams import housekeeping
from streams.housekeeping import Housekeeping, Pruned

START = datetime(2026, 11, 1, tzinfo=UTC)


class Clock(SystemClock):
    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def catalogue(tmp_path: Path, clock: Clock):
    catalogue = Catalogue.open(f"sqlite:///{tmp_path / 'c.db'}", CatalogueSettings(), clock=clock)
    yield catalogue
    catalogue.close()


def keeper(catalogue: object, clock: Clock, recorder: Recorder | None = None) -> Housekeeping:
    settings = CatalogueSettings(trace_retention_days=5)
    features = FeatureSettings(max_lateness_days=7)
    return Housekeeping(catalogue, recorder or Recorder(), clock, settings, features)  # type: ignore[arg-type]


def test_traces_go_after_their_retention_and_not_before(catalogue: Catalogue, clock: Clock) -> None:
    catalogue.put_traces([TraceRecord("old", "visual_search", START, {})])
    catalogue.put_traces([TraceRecord("new", "visual_search", START + timedelta(days=1), {})])
    clock.time = START + timedelta(days=5)
    assert keeper(catalogue, clock).prune() == Pruned(0, 0)
    clock.time += timedelta(seconds=1)
    recorder = Recorder()
    assert keeper(catalogue, clock, recorder).prune() == Pruned(0, 1)
    assert catalogue.trace("old") is None
    assert catalogue.trace("new") is not None
    assert recorder.value(metrics.PRUNED, table="traces") == 1


def test_an_applied_event_is_remembered_as_long_as_it_can_come_again(catalogue: Catalogue, clock: Clock) -> None:
    catalogue.apply_items("index-upload", [("evt-1", None)])
    clock.time = START + timedelta(days=7 + 31)
    assert keeper(catalogue, clock).prune() == Pruned(0, 0)
    assert catalogue.seen("index-upload", ["evt-1"]) == {"evt-1"}
    clock.time += timedelta(seconds=1)
    assert keeper(catalogue, clock).prune() == Pruned(1, 0)
    assert catalogue.seen("index-upload", ["evt-1"]) == set()


def test_pruning_is_repeated_and_outlives_a_catalogue_that_does_not_answer(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "EVERY_S", 0.0)
    monkeypatch.setattr(housekeeping, "RETRY_S", 0.0)

    class Flaky:
        calls = 0

        def prune_inbox(self, older_than: datetime) -> int:
            self.calls += 1
            if self.calls == 1:
                raise Unavailable("locked")
            return 0

        def prune_traces(self, older_than: datetime) -> int:
            if self.calls == 4:
                done.set()
            return 0

    async def run() -> None:
        task = asyncio.create_task(keeper(flaky, clock).run())
        async with asyncio.timeout(10):
            await asyncio.to_thread(done.wait)
        assert not task.done()
        task.cancel()

    done = threading.Event()
    flaky = Flaky()
    asyncio.run(run())

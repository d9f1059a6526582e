"""Counting survives kill -9: a child process is killed at seeded moments and started again where Kafka would."""

import multiprocessing
import random
import signal
import time
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from core.settings import FeatureSettings
from features.engine import FeatureEngine
from features.reader import FeatureReader
from tests.unit.features.interaction_factory import ManualClock, expected_features, located, random_events

EVENTS, SEED, BATCH, KILLS = 5_000, 11, 100, 5
ROOT = Path(__file__).resolve().parents[3]


def crash_events() -> list:
    return random_events(EVENTS, seed=SEED, users=60, items=40)


def child(home: Path, position: int, report: Connection) -> None:
    """Apply and flush from `position` on, telling the parent after each batch how far it is."""
    events = crash_events()
    engine = FeatureEngine.open(home, FeatureSettings(), ManualClock(events[-1].time + timedelta(minutes=1)))
    while position < len(events):
        engine.apply(located(events[position : position + BATCH], first=position))
        position = min(len(events), position + BATCH)
        report.send(position)
        engine.flush()
    engine.close()


@pytest.mark.integration
def test_killed_at_any_moment_and_replayed_the_counts_are_those_of_the_oracle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["features.online", __name__])  # Feast is imported once, not per child
    rng = random.Random(SEED)
    position, kills = 0, 0
    while position < EVENTS:
        receiving, sending = processes.Pipe(duplex=False)
        process = processes.Process(target=child, args=(tmp_path, position, sending))
        process.start()
        sending.close()
        # Killed some batches later, and a random moment into the next apply or flush; at the end left alone.
        batches = rng.randrange(2, 9) if kills < KILLS else EVENTS
        reached = position
        try:
            while batches:
                reached = receiving.recv()
                batches -= 1
        except EOFError:
            pass  # it is through
        if not batches:
            time.sleep(rng.random() * 0.06)  # not a wait: the moment of death
            process.kill()
            kills += 1
        process.join()
        assert process.exitcode == (0 if batches else -signal.SIGKILL)
        # Kafka starts again from its last commit, which is behind what was applied.
        position = EVENTS if batches else max(0, reached - rng.randrange(0, 3 * BATCH))
    assert kills == KILLS

    events = crash_events()
    clock = ManualClock(events[-1].time + timedelta(minutes=1))
    engine = FeatureEngine.open(tmp_path, FeatureSettings(), clock)
    engine.flush()
    reader = FeatureReader.open(tmp_path, FeatureSettings(), clock)
    for key, read in (("item_id", reader.item_features), ("user_id", reader.user_features)):
        expected = expected_features(events, key, clock.now())
        assert {row.entity_id: dict(row.values) for row in read(list(expected))} == expected
    engine.close()
    reader.close()

"""On a real broker: what people do with recommendations is counted by a worker, and learned from the log."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core import topics
from core.events import Click, Interaction, encode
from core.ports import OutgoingRecord
from core.settings import CatalogueSettings
from infra.ports import free_port
from models.recommendation.learning.version import position_of
from models.registry.packaged import open_registry
from storage.catalogue import Catalogue, TraceRecord
from tests.integration.stream_harness import make_topics, publish, until, worker

sys.path.insert(0, str(Path(__file__).parents[1] / "unit/infra/cli"))
from recommendation_home import MODEL, register_base, watches, write_home

pytestmark = pytest.mark.integration


@pytest.fixture
def broker(embedded_bootstrap: str) -> str:
    make_topics(embedded_bootstrap)
    return embedded_bootstrap


def test_a_click_on_a_recommendation_is_counted_by_version_and_generator(tmp_path: Path, broker: str) -> None:
    now = datetime.now(UTC)
    shown = {"item_id": "a", "score": 1.0, "position": 0, "generators": ["fresh"], "propensity": 1.0}
    catalogue = Catalogue.open(f"sqlite:///{tmp_path / 'catalogue.db'}", CatalogueSettings())
    catalogue.put_traces([TraceRecord("answer", "recommendation", now, {"scored_by": "m/1", "candidates": [shown]})])
    catalogue.close()
    clicked = Interaction(user_id="u", item_id="a", surface="home", trace_id="answer")
    event = Click(id="evt-click", source="t", time=now, subject="u", data=clicked)
    with worker(tmp_path, broker, "recommendation-outcomes", free_port()) as running:
        publish(broker, [OutgoingRecord(topics.INTERACTIONS.name, "u", encode(event))])
        name = "riverlight_recommendation_outcomes_total"
        until(lambda: running.metric(name, version="m/1", outcome="click") == 1, "the click is counted")
        name = "riverlight_recommendation_generator_outcomes_total"
        assert running.metric(name, generator="fresh", outcome="click") == 1


def test_following_learns_from_the_log_and_a_termination_ends_it_cleanly(tmp_path: Path, broker: str) -> None:
    write_home(tmp_path)
    first = register_base(tmp_path, tmp_path / "first")
    environment = {
        **os.environ,
        "RIVERLIGHT_HOME": str(tmp_path),
        "RIVERLIGHT_LEARNING__MIN_USERS": "5",
        "RIVERLIGHT_LEARNING__MARGIN": "1.0",
        "RIVERLIGHT_LEARNING__INTERVAL_S": "0",
        "OMP_NUM_THREADS": "1",
    }
    riverlight = str(Path(sys.executable).with_name("riverlight"))
    command = [riverlight, "learn", "recommendation", "--follow", "--broker", broker, "-o", "json"]
    log = (tmp_path / "log").open("w")
    follower = subprocess.Popen(
        [*command, "--min-events", "100"], env=environment, stdout=subprocess.PIPE, stderr=log, text=True
    )
    try:
        assert follower.stdout is not None
        made = json.loads(follower.stdout.readline())  # what the archive held and the base had not learned
        assert made["parent"] == first
        fresh = watches(each=4, seed=5, first_minute=2_000, prefix="x")
        publish(broker, [OutgoingRecord(topics.INTERACTIONS.name, e.subject, encode(e)) for e in fresh])
        second = json.loads(follower.stdout.readline())
        assert second["parent"] == (made["version"] if made["promoted"] else first)
        assert second["taught_events"] > 0
        follower.send_signal(signal.SIGTERM)
        assert follower.wait(timeout=30) == 0
    finally:
        if follower.poll() is None:
            follower.kill()
        log.close()
    served = open_registry(tmp_path).show(MODEL).manifest
    if second["promoted"]:
        assert len(position_of(served)) == 2  # of the archive's topic, and of the one that was followed

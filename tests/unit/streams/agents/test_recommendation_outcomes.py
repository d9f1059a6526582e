"""What people do with recommended videos becomes counts by version and generator, by the traces of their answers."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core import events
from core.errors import Unavailable
from core.events import Interaction, Watched, encode, encode_frame
from core.ports import StoredRecord
from core.settings import CatalogueSettings
from core.topics import INTERACTIONS
from monitoring import catalogue as metrics
from monitoring.recorder import Recorder
from storage.catalogue import Catalogue, TraceRecord
from streams.agents.recommendation_outcomes import OutcomeCounter

NOW = datetime(2026, 11, 1, tzinfo=UTC)
PAYLOAD: dict[str, Any] = {
    "scored_by": "system/1",
    "candidates": [{"item_id": "a", "score": 1.0, "position": 0, "generators": ["fresh", "local"], "propensity": 1.0}],
}


def did(kind: str, item: str, n: int, trace_id: str | None = "t", value: Any = None) -> Any:
    data = Interaction(user_id="u", item_id=item, trace_id=trace_id, value=value)
    return getattr(events, kind)(id=f"e{n}", source="t", time=NOW, subject="u", data=data)


def record(value: bytes) -> StoredRecord:
    return StoredRecord(INTERACTIONS.name, 0, 0, "u", value, {}, 0)


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    found = Catalogue.open(f"sqlite:///{tmp_path / 'catalogue.db'}", CatalogueSettings())
    found.put_traces(
        [TraceRecord("t", "recommendation", NOW, PAYLOAD), TraceRecord("s", "visual_search", NOW, PAYLOAD)]
    )
    return found


async def test_outcomes_are_counted_by_version_and_by_each_generator(catalogue: Catalogue) -> None:
    recorder = Recorder()
    counter = OutcomeCounter(catalogue.traces, recorder, patience_s=0)
    frame = [did("Impression", "a", 1), did("Click", "a", 2), did("Watch", "a", 3, value=Watched(seconds=50, of_s=50))]
    await counter.process([record(encode_frame(frame)), record(encode(did("Dislike", "a", 4)))], lambda: True)
    for outcome in ("impression", "click", "completed", "dislike"):
        assert recorder.value(metrics.RECOMMENDATION_OUTCOMES, version="system/1", outcome=outcome) == 1
        for generator in ("fresh", "local"):
            assert recorder.value(metrics.RECOMMENDATION_GENERATOR_OUTCOMES, generator=generator, outcome=outcome) == 1
    assert recorder.value(metrics.RECOMMENDATION_WATCHED, version="system/1") == 50


async def test_one_bad_event_of_a_frame_and_quotes_in_another_cost_the_rest_nothing(catalogue: Catalogue) -> None:
    recorder = Recorder()
    counter = OutcomeCounter(catalogue.traces, recorder, patience_s=0)
    frame = encode_frame([did("Click", "a", 1), did("Comment", "a", 2, value='a "quote"')])
    await counter.process([record(frame[:-1] + b',{"type":"riverlight.interaction.like"}]')], lambda: True)
    assert recorder.value(metrics.RECOMMENDATION_OUTCOMES, version="system/1", outcome="click") == 1


async def test_what_names_another_answer_or_none_or_was_not_shown_counts_nothing(catalogue: Catalogue) -> None:
    recorder = Recorder()
    counter = OutcomeCounter(catalogue.traces, recorder, patience_s=0)
    other = [did("Click", "a", 1, "s"), did("Click", "a", 2, "gone"), did("Click", "a", 3, None), did("Click", "b", 4)]
    await counter.process([record(encode_frame(other)), record(b'no json, but "trace_id"')], lambda: True)
    assert recorder.value(metrics.RECOMMENDATION_OUTCOMES, version="system/1", outcome="click") == 0
    assert recorder.value(metrics.RECOMMENDATION_UNATTRIBUTED) == 1


async def test_a_trace_that_is_written_a_moment_later_is_found(catalogue: Catalogue) -> None:
    recorder = Recorder()
    asked: list[Sequence[str]] = []

    def late(trace_ids: Sequence[str]) -> dict[str, TraceRecord]:
        asked.append(trace_ids)
        return {} if len(asked) == 1 else catalogue.traces(trace_ids)

    counter = OutcomeCounter(late, recorder, patience_s=0)
    await counter.process([record(encode(did("Click", "a", 1)))], lambda: True)
    await counter.process([record(encode(did("Click", "a", 2)))], lambda: True)
    assert recorder.value(metrics.RECOMMENDATION_OUTCOMES, version="system/1", outcome="click") == 2
    assert len(asked) == 2  # the second batch knew the answer


async def test_a_catalogue_that_is_away_stops_nothing(catalogue: Catalogue) -> None:
    def away(trace_ids: Sequence[str]) -> dict[str, TraceRecord]:
        raise Unavailable("away")

    recorder = Recorder()
    await OutcomeCounter(away, recorder, patience_s=0).process([record(encode(did("Click", "a", 1)))], lambda: True)
    assert recorder.value(metrics.RECOMMENDATION_UNATTRIBUTED) == 1

"""recommendation-outcomes: what people do with recommended videos, counted by version and generator as it happens.

Only metrics come of it, so it promises less than other agents: an event delivered again counts again, one that names an
answer which nobody remembers is counted as such, and a catalogue that does not answer is waited for a little, not for
ever. The exact figures come from the archive: `riverlight evaluate recommendation --online`.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import faust
import structlog
from faust.types import AgentT

from core import topics
from core.errors import ConfigurationError, Unavailable
from core.events import AnyEvent
from core.ports import StoredRecord
from models.recommendation.online import KIND, Answer, Attributed, answer_of, attribute, names_answer
from monitoring import catalogue as metrics
from monitoring.recorder import Recorder
from storage.catalogue import TraceRecord
from streams.agent import record_agent
from streams.decoding import valid_events
from streams.dependencies import StreamDeps

NAME = "recommendation-outcomes"
REMEMBERED = 20_000  # answers, and trace ids that are none: a few kB each
WRITTEN_WITHIN_S = 1.0  # traces are written behind their answers
_BATCH, _WITHIN_S = 2_000, 0.5

_log = structlog.get_logger("streams.recommendation_outcomes")

#: Returns the traces there are of some ids. Raises Unavailable.
Look = Callable[[Sequence[str]], Mapping[str, TraceRecord]]


class OutcomeCounter:
    """The processor: decodes what names an answer, looks the answers up, and counts."""

    def __init__(self, look: Look, recorder: Recorder, *, patience_s: float = WRITTEN_WITHIN_S) -> None:
        """`patience_s`: how long an answer's trace may be behind the first event that names it."""
        self.waiting_for = ""
        self._look = look
        self._recorder = recorder
        self._patience_s = patience_s
        self._answers: OrderedDict[str, Answer | None] = OrderedDict()

    async def process(self, records: Sequence[StoredRecord], owned: Callable[[], bool]) -> None:
        events = [event for record in records for event in _events(record) if names_answer(event)]
        if not events:
            return
        answers = await self._answers_of({str(event.data.trace_id) for event in events})
        for event in events:
            answer = answers.get(str(event.data.trace_id))
            one = attribute(event, answer)
            if one is not None:
                self._count(one)
        self._recorder.count(metrics.EVENTS, len(events), agent=NAME, outcome="applied")

    def _count(self, one: Attributed) -> None:
        version = one.answer.scored_by
        if one.watched_s:
            self._recorder.count(metrics.RECOMMENDATION_WATCHED, one.watched_s, version=version)
        if one.outcome is None:
            return
        self._recorder.count(metrics.RECOMMENDATION_OUTCOMES, version=version, outcome=one.outcome)
        for generator in one.option.generators:
            self._recorder.count(metrics.RECOMMENDATION_GENERATOR_OUTCOMES, generator=generator, outcome=one.outcome)

    async def _answers_of(self, trace_ids: set[str]) -> dict[str, Answer | None]:
        """Return the answers of trace ids, None for those of something else, or that nobody knows."""
        known = {trace_id: self._answers[trace_id] for trace_id in trace_ids if trace_id in self._answers}
        missing = sorted(trace_ids - known.keys())
        if not missing:
            return known
        found = await self._traces(missing)
        if len(found) < len(missing):
            await asyncio.sleep(self._patience_s)
            found |= await self._traces([trace_id for trace_id in missing if trace_id not in found])
        for trace_id in missing:
            trace = found.get(trace_id)
            answer = answer_of(trace_id, trace.payload) if trace is not None and trace.kind == KIND else None
            known[trace_id] = self._answers[trace_id] = answer
            if trace is None:
                self._recorder.count(metrics.RECOMMENDATION_UNATTRIBUTED)
        while len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)
        return known

    async def _traces(self, trace_ids: Sequence[str]) -> dict[str, TraceRecord]:
        try:
            return dict(await asyncio.to_thread(self._look, trace_ids))
        except Unavailable as error:
            _log.warning("traces cannot be read; events are not attributed", error=str(error))
            return {}


def _events(record: StoredRecord) -> list[AnyEvent]:
    """Return a record's events, none of one that names no answer. What is not valid is left out: others see to it."""
    value = record.value
    if value is None or b'"trace_id"' not in value:
        return []
    return valid_events(record, topics.INTERACTIONS.stream or "")


def register(app: faust.App, deps: StreamDeps) -> AgentT:
    if deps.catalogue is None:
        raise ConfigurationError(f"agent {NAME} needs the catalogue")
    return record_agent(
        app,
        deps,
        topics=[topics.INTERACTIONS.name],
        name=NAME,
        processor=OutcomeCounter(deps.catalogue.traces, deps.recorder),
        batch_size=_BATCH,
        within_s=_WITHIN_S,
    )

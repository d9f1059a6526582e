"""What people did with the recommendations of a platform: archived interactions, joined to the answers they name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from core import topics
from core.errors import NotFound
from core.events import AnyEvent
from core.settings import Settings
from features.archive import read_events
from infra.recommendation_skew import Skew, skew
from models.metrics.bootstrap import mean_interval
from models.recommendation.online import (
    KIND,
    Answer,
    OnlineFigures,
    Outcome,
    answer_of,
    figures,
    names_answer,
    shown_rewards,
)
from models.recommendation.policies import Comparison, Scoring, compare
from storage.catalogue import Catalogue

_TRACES_AT_ONCE = 500
_LOGS_COMPARED = 50  # each reads the archive as of its moment


@dataclass(frozen=True)
class Online:
    """Figures of the archived interactions, the intervals of click-through rates, and estimates of other policies."""

    figures: OnlineFigures
    ctr: dict[str, tuple[float, float, float]]  # by version: mean over impressions, and the 95 % interval
    policies: list[Comparison]
    skew: Skew  # of the answers whose traces keep features, at most `_LOGS_COMPARED`


def evaluate_online(
    settings: Settings,
    *,
    since: datetime | None = None,
    policies: Sequence[tuple[str, Scoring, float]] = (),
    reward: Outcome = "click",
) -> Online:
    """Attribute archived interactions to the answers whose traces are kept (`catalogue.trace_retention_days`).

    Args:
        since: the earliest interaction.
        policies: name, scoring and temperature of each policy to estimate off-policy; reward: what they earn.

    Raises:
        NotFound: nothing is archived, or no interaction names an answer that is known.
        InvalidInput: an estimate is not possible; the message says why.
    """
    home = settings.home.resolve()
    events = [event for event in _events(home / "archive") if since is None or event.time >= since]
    asked = {str(event.data.trace_id): event.data.user_id for event in events if names_answer(event)}
    answers, logs = _answers(settings, asked)
    found, attributed = figures(events, answers)
    if not attributed:
        why = ", ".join(f"{count:,} {reason}" for reason, count in sorted(found.left_out.items())) or "there are none"
        raise NotFound(
            f"none of the archived interactions is about a video of a known answer ({why}); applications name the "
            "answer as `trace_id`, and traces are kept for catalogue.trace_retention_days"
        )
    shown, clicked = shown_rewards(attributed)
    rates: dict[str, tuple[float, float, float]] = {}
    for version in found.versions:
        own = [value for (answer, _), value in zip(shown, clicked, strict=True) if answer.scored_by == version]
        if own:
            rates[version] = (sum(own) / len(own), *mean_interval(np.asarray(own, np.float64)))
    estimates = []
    if policies:
        rewarded, earned = shown_rewards(attributed, reward)
        estimates = [
            compare(rewarded, earned, scoring, policy=name, temperature=temperature)
            for name, scoring, temperature in policies
        ]
    return Online(found, rates, estimates, skew(home / "archive", logs[-_LOGS_COMPARED:]))


def _events(archive: Path) -> list[AnyEvent]:
    folder = archive / topics.INTERACTIONS.name
    if not folder.is_dir():
        raise NotFound(f"there is no archive of interactions at {folder}; it is written while the system runs")
    return [archived.event for archived in read_events(archive, topics.INTERACTIONS.name)]


def _answers(
    settings: Settings, asked: Mapping[str, str]
) -> tuple[dict[str, Answer], list[tuple[str, Mapping[str, Any]]]]:
    """Return the answers that trace ids name, and the features that some kept, with whose they are."""
    logs: list[tuple[str, Mapping[str, Any]]] = []
    catalogue = Catalogue.open(settings.catalogue_url, settings.catalogue)
    answers: dict[str, Answer] = {}
    try:
        ordered = sorted(asked)
        for start in range(0, len(ordered), _TRACES_AT_ONCE):
            for trace_id, trace in catalogue.traces(ordered[start : start + _TRACES_AT_ONCE]).items():
                if trace.kind == KIND:
                    answers[trace_id] = answer_of(trace_id, trace.payload)
                    if "features" in trace.payload:
                        logs.append((asked[trace_id], trace.payload["features"]))
    finally:
        catalogue.close()
    return answers, logs

"""Does serving see what training would? Logged features of answers against the archive as of the same moment."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from infra.recommendation_stream import Platform, read_platform
from models.recommendation.interactions import EventRow

HISTORY_KEPT, IMPRESSIONS_KEPT = 100, 50  # as `serving/recommendation/audience.py` keeps
_AS_SERVED = {"report": "hide"}  # what serving takes a kind for


@dataclass(frozen=True)
class Skew:
    """How many logged answers were compared, and how many agree in each part."""

    compared: int
    history_equal: int
    profile_equal: int


def as_of(platform: Platform, user_id: str) -> dict[str, Any]:
    """Return what the archive says of a user, in the form of `serving/recommendation/feature_log.py`.

    `platform` is read with `until` at the moment that is asked about: a point-in-time join.
    """
    own = [one.row for one in platform.known_to(()) if one.row.user_id == user_id]
    own.sort(key=lambda row: row.time, reverse=True)
    shown = [row for row in own if row.kind == "impression"][:IMPRESSIONS_KEPT]
    did = [row for row in own if row.kind != "impression"][:HISTORY_KEPT]
    history = sorted([*did, *shown], key=lambda row: row.time, reverse=True)
    return {
        "history": [
            (row.item_id, _AS_SERVED.get(row.kind, row.kind), row.time.timestamp(), _value(row)) for row in history
        ],
        "profile": platform.users.get(user_id),
    }


def skew(archive: Path, logs: Iterable[tuple[str, Mapping[str, Any]]]) -> Skew:
    """Compare the features that answers logged with the archive. `logs` are user ids and their `features` of a trace.

    Events that happened before an answer and reached the recommender after it count as a difference: that is what the
    models did not know.
    """
    compared = same_history = same_profile = 0
    for user_id, features in logs:
        moment = datetime.fromisoformat(features["now"])
        then = as_of(read_platform(archive, until=moment), user_id)
        compared += 1
        same_history += _comparable(features["history"]) == _comparable(then["history"])
        same_profile += features["profile"] == then["profile"]
    return Skew(compared, same_history, same_profile)


def _comparable(history: Iterable[Iterable[Any]]) -> list[tuple[Any, ...]]:
    """Order what happened at the same time, and round what a float cannot keep."""
    return sorted((round(at, 3), item, kind, round(value, 4)) for item, kind, at, value in history)


def _value(row: EventRow) -> float:
    if row.kind != "watch" or row.watched_s is None:
        return 0.0
    return min(1.0, row.watched_s / row.of_s) if row.of_s else row.watched_s

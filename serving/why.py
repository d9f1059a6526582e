""" "Why not?": says why an item is not in a recorded answer, from the trace and from what is known now."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec
import numpy as np

from core.entries import IndexEntry
from core.ports import SearchFilter
from models.index.filters import allows
from serving.restrictions.restriction import Restriction
from storage.catalogue import Item, TraceRecord

_DETAILS: Mapping[str, str] = {
    "gone": "it was deleted while the answer was made",
    "changed": "its image was replaced while the answer was made",
    "hidden": "it is hidden",
    "enforced": "it was taken down",
    "unsafe": "a verdict took it out of search",
    "private": "it is private or unlisted",
    "blocked-region": "it is blocked in the viewer's region",
    "query-image": "it is the image that was asked about",
    "below-min-score": "it is not similar enough",
    "duplicate": "it shows the same image as a better result",
    "near-duplicate": "it shows almost the same image as a better result",
    "beyond-k": "enough better results were found",
}


@dataclass(frozen=True)
class Reason:
    """Where an item is in an answer, or why it is not there. `score` is its cosine to the query, lowered if demoted.

    `harm` and `decision_id` are those of the verdict that takes it down or lowers it.
    """

    item_id: str
    in_answer: bool
    reason: str
    detail: str
    score: float | None = None
    position: int | None = None
    because_of: str | None = None
    harm: str | None = None
    decision_id: str | None = None


def explain(
    trace: TraceRecord,
    item_id: str,
    *,
    entry: IndexEntry | None,
    item: Item | None,
    restriction: Restriction | None = None,
) -> Reason:
    """Say why `item_id` is, or is not, in the answer of `trace`.

    A candidate's fate is in the trace. About an item that was none, the trace says what was asked; `entry` (the live
    index), `item` (the catalogue) and `restriction` (the verdicts) say what the item is now.
    """
    for verdict in trace.payload["candidates"]:
        if verdict["item_id"] == item_id:
            return because_of_restriction(_fate(verdict), recorded_restriction(trace, item_id))
    if entry is None:
        return _not_indexed(item_id, item)
    if restriction is not None and restriction.enforced and entry.state != "hidden":
        return because_of_restriction(Reason(item_id, False, "enforced", _DETAILS["enforced"]), restriction)
    found = _of_no_candidate(trace, entry)
    return because_of_restriction(found, restriction) if found.reason == "beyond-k" else found


def recorded_restriction(trace: TraceRecord, item_id: str) -> Restriction | None:
    """Return what restricted a candidate when the answer was made."""
    recorded = trace.payload.get("restricted", {}).get(item_id)
    return msgspec.convert(recorded, Restriction) if recorded is not None else None


def because_of_restriction(reason: Reason, restriction: Restriction | None) -> Reason:
    """Return the reason with what restricts the item added, where that has to do with it."""
    if restriction is None or restriction.enforced != (reason.reason == "enforced"):
        return reason
    said = f"{reason.detail}; {restriction.said()}"
    return replace(reason, detail=said, harm=restriction.harm, decision_id=restriction.decision_id)


def _of_no_candidate(trace: TraceRecord, entry: IndexEntry) -> Reason:
    item_id = entry.item_id
    if entry.state == "hidden" or entry.unsafe or entry.visibility != "public":
        reason = "hidden" if entry.state == "hidden" else "unsafe" if entry.unsafe else "private"
        return Reason(item_id, False, reason, _DETAILS[reason])
    where = _filters(trace.payload["asked"].get("filters", {}))
    if not allows(entry, where):
        return Reason(item_id, False, "filtered", "the filters of the search leave it out")
    if entry.model_version != trace.payload["model_version"]:
        return Reason(item_id, False, "other-model", f"it is embedded by {entry.model_version} now; scores differ")
    return _by_score(trace, entry)


def _fate(verdict: Mapping[str, Any]) -> Reason:
    score, position = verdict["score"], verdict["position"]
    if position is not None:
        return Reason(verdict["item_id"], True, "answered", f"it is result {position + 1}", score, position)
    reason = verdict["reason"]
    because_of = verdict["because_of"]
    detail = _DETAILS[reason] + (f" ({because_of})" if because_of else "")
    return Reason(verdict["item_id"], False, reason, detail, score, because_of=because_of)


def _not_indexed(item_id: str, item: Item | None) -> Reason:
    if item is None:
        return Reason(item_id, False, "unknown", "no item of this id is known")
    if item.state != "active":
        return Reason(item_id, False, item.state, f"the item is {item.state}")
    return Reason(item_id, False, "not-indexed", "the item is known, but its entry has not reached the index")


def _by_score(trace: TraceRecord, entry: IndexEntry) -> Reason:
    query = np.frombuffer(base64.b64decode(trace.payload["vector"]), dtype="<f4")
    score = float(query @ np.frombuffer(entry.vector, dtype="<f4"))
    if score < trace.payload["rules"]["min_score"]:
        return Reason(entry.item_id, False, "below-min-score", _DETAILS["below-min-score"], score)
    restricted = trace.payload.get("restricted", {})
    scores = [one["score"] for one in trace.payload["candidates"] if one["item_id"] not in restricted]
    if scores and score <= min(scores):
        return Reason(entry.item_id, False, "beyond-k", _DETAILS["beyond-k"], score)
    if entry.version.time_us > _microseconds(trace.created_at):
        return Reason(entry.item_id, False, "newer", "it came, or changed, after the answer was made", score)
    return Reason(
        entry.item_id,
        False,
        "not-found",
        "the approximate index did not find it, or it reached the index after the answer was made",
        score,
    )


def _filters(values: Mapping[str, Any]) -> SearchFilter:
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return SearchFilter(**fields)


def _microseconds(time: datetime) -> int:
    return int(time.timestamp() * 1_000_000)

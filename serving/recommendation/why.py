"""Why a video is in an answer, and why another is not: in words, from verdicts and from what is known now."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from serving.recommendation.reranking import Place
from serving.recommendation.verdicts import Verdict
from serving.recommendation.videos import Videos
from serving.restrictions.restriction import Restriction
from serving.why import Reason as AnswerReason
from serving.why import because_of_restriction, recorded_restriction
from storage.catalogue import TraceRecord

#: What a generator says for a video, the most personal first: the first that applies is told first.
_BECAUSE: Mapping[str, str] = {
    "follows": "You follow its creator",
    "content": "Like what you liked or searched for",
    "neighbours": "Watched by people who watch what you watch",
    "item-knn": "Watched by people who watch what you watch",
    "transitions": "Often liked after what you liked last",
    "ease": "Liked with what you like",
    "wals": "Liked by people like you",
    "two-tower": "Close to your taste",
    "two-tower-id": "Close to your taste",
    "two-tower-new": "New, and close to your taste",
    "content-trained": "Like what you liked",
    "trending": "Watched more and more right now",
    "local": "Popular in your country or language",
    "popular": "Popular",
    "popularity": "Popular",
    "fresh": "New",
    "exploration": "New, and few have seen it yet",
}
_MOST_REASONS = 3  # told of one video
_DETAILS: Mapping[str, str] = {
    "deleted": "it was deleted",
    "hidden": "it is hidden",
    "enforced": "it was taken down",
    "private": "it is private",
    "unlisted": "it is unlisted",
    "blocked-region": "it is blocked in the viewer's country",
    "hidden-by-viewer": "the viewer hid or reported it",
    "seen": "the viewer has seen it",
    "demoted": "it is demoted further than what is recommended",
    "not-scored": "so many better proposals came that it was not scored",
    "duplicate": "it is the same video as a better result",
    "near-duplicate": "it is almost the same as a better result",
    "creator-cap": "its creator has as many places as one may have",
    "beyond-k": "enough better videos were found",
}


class Reason(msgspec.Struct, frozen=True):
    """Where a video is in the answer a viewer would get now, or why it is not there.

    `harm` and `decision_id` are those of the verdict that takes it down or lowers it.
    """

    item_id: str
    in_answer: bool
    reason: str
    detail: str
    verdict: Verdict
    harm: str | None = None
    decision_id: str | None = None


def because(generators: Sequence[str], place: Place) -> str:
    """Say in words why a video was recommended."""
    if place is Place.exploration:
        return _BECAUSE["exploration"]
    words = list(dict.fromkeys(text for name, text in _BECAUSE.items() if name in generators))[:_MOST_REASONS]
    said = "; ".join([words[0], *(word.lower() for word in words[1:])]) if words else "Shown for want of better"
    return f"{said}; by a small creator" if place is Place.small_creator else said


def fate_now(verdicts: Sequence[Verdict], item_id: str, k: int, restriction: Restriction | None = None) -> Reason:
    """Say what became of a video that was considered, whether or not a generator proposed it.

    `restriction` is what verdicts make of it.
    """
    reason = _fate_now(verdicts, item_id, k)
    if restriction is None or restriction.enforced != (reason.reason == "enforced"):
        return reason
    said = f"{reason.detail}; {restriction.said()}"
    return msgspec.structs.replace(reason, detail=said, harm=restriction.harm, decision_id=restriction.decision_id)


def _fate_now(verdicts: Sequence[Verdict], item_id: str, k: int) -> Reason:
    [verdict] = [one for one in verdicts if one.item_id == item_id]
    proposed = bool(verdict.generators)
    if verdict.position is not None:
        if proposed:
            return Reason(item_id, True, "answered", f"it is result {verdict.position + 1}", verdict)
        detail = f"no generator proposed it; had one done so, it would be result {verdict.position + 1}"
        return Reason(item_id, False, "not-proposed", detail, verdict)
    assert verdict.reason is not None
    detail = _detail(verdict.reason, verdict.because_of)
    if verdict.rank is not None and verdict.reason == "beyond-k":
        detail += f": it is number {verdict.rank + 1} by score, and {k} were asked for"
    if proposed or verdict.rank is None:  # what may not be shown is not shown, whoever proposes it
        return Reason(item_id, False, verdict.reason, detail, verdict)
    return Reason(item_id, False, "not-proposed", f"no generator proposed it; had one done so: {detail}", verdict)


def explain(trace: TraceRecord, item_id: str, videos: Videos) -> AnswerReason:
    """Say why a video is, or is not, in the recorded answer of `trace`.

    A candidate's fate is in the trace. Of a video that was none, `videos` says what it is now.
    """
    restriction = recorded_restriction(trace, item_id)
    for verdict in trace.payload["candidates"]:
        if verdict["item_id"] == item_id:
            return because_of_restriction(_recorded(verdict), restriction)
    for reason, item_ids in trace.payload["others"].items():
        if item_id in item_ids:
            return because_of_restriction(AnswerReason(item_id, False, reason, _detail(reason)), restriction)
    row = videos.row_of(item_id)
    if row is None:
        return AnswerReason(item_id, False, "unknown", "no video of this id is known to the recommender")
    state = videos.state(row)
    if state != "active":
        return because_of_restriction(AnswerReason(item_id, False, state, _detail(state)), videos.restriction(row))
    if videos.created_s[row] > trace.created_at.timestamp():
        return AnswerReason(item_id, False, "newer", "it was uploaded after the answer was made")
    detail = "no generator proposed it; a video that was seen, or is blocked in the viewer's country, is not proposed"
    return AnswerReason(item_id, False, "not-proposed", detail)


def _recorded(verdict: Mapping[str, Any]) -> AnswerReason:
    item_id, score, position = verdict["item_id"], verdict["score"], verdict["position"]
    if position is not None:
        return AnswerReason(item_id, True, "answered", f"it is result {position + 1}", score, position)
    because_of = verdict["because_of"]
    return AnswerReason(
        item_id, False, verdict["reason"], _detail(verdict["reason"], because_of), score, because_of=because_of
    )


def _detail(reason: str, because_of: str | None = None) -> str:
    return _DETAILS[reason] + (f" ({because_of})" if because_of else "")

"""What became of every candidate, as an explanation shows it and a trace keeps it."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from serving.recommendation.answering import Considered
from serving.recommendation.ports import Candidates, Scores, Viewer
from serving.recommendation.reranking import Fate, Place, RerankRules
from serving.recommendation.videos import Videos
from serving.restrictions.restriction import Restriction

SYSTEM = "recommendation"
_RESTRICTED = 200  # of which a trace says what restricts them
_IN_FULL = 50  # candidates a trace keeps in full, beside the answer; of the others what became of them


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """One candidate: what it scored and why, and its place in the answer or why it has none."""

    item_id: str
    generators: list[str]
    score: float | None  # None for one that was not scored
    rank: int | None  # by score, from 0
    objectives: dict[str, float]
    position: int | None  # in the answer, from 0
    reason: str | None = None
    because_of: str | None = None  # the result that it duplicates
    place: str | None = None  # in the answer: score, exploration, small-creator
    propensity: float | None = None  # the chance this place had to go to it, given the places before it


def verdicts(videos: Videos, considered: Considered, limit: int | None = None) -> list[Verdict]:
    """Return a verdict for every candidate, or the first `limit`: the answer in order, then the others by score."""
    rows, scores, m = considered.candidates.rows, considered.scored.scores, considered.n_scored
    reranked = considered.reranked
    by_score = np.argsort(-scores, kind="stable")
    rank = np.empty(m, np.int64)
    rank[by_score] = np.arange(m)
    position = {place: at for at, place in enumerate(reranked.chosen.tolist())}
    others = [place for place in by_score.tolist() if place not in position]
    order = [*position, *others, *range(m, len(rows))][:limit]
    proposed_by = generators_of(considered.candidates, order)
    made = []
    for place in order:
        at = position.get(place)
        is_scored = place < m
        original = int(reranked.because_of[place]) if is_scored else -1
        made.append(
            Verdict(
                item_id=videos.item_id(int(rows[place])),
                generators=proposed_by[place],
                score=_rounded(scores[place]) if is_scored else None,
                rank=int(rank[place]) if is_scored else None,
                objectives=_known(considered.scored.objectives, place) if is_scored else {},
                position=at,
                reason=None if at is not None else Fate(int(considered.fates[place])).word,
                because_of=videos.item_id(int(rows[original])) if original >= 0 else None,
                place=None if at is None else Place(int(reranked.places[at])).name.replace("_", "-"),
                propensity=None if at is None else round(float(reranked.propensities[at]), 9),
            )
        )
    return made


def generators_of(candidates: Candidates, places: Iterable[int]) -> dict[int, list[str]]:
    """Return, for each of some places of candidates, the generators that proposed it, whose own best come first."""
    found: dict[int, list[tuple[int, str]]] = {int(place): [] for place in places}
    for name, (proposed, _) in candidates.proposed.items():
        for rank, place in enumerate(proposed.tolist()):
            if place in found:
                found[place].append((rank, name))
    return {place: [name for _, name in sorted(by)] for place, by in found.items()}


def payload(
    videos: Videos,
    viewer: Viewer,
    considered: Considered | None,
    *,
    rules: RerankRules,
    asked: Mapping[str, Any],
    scored_by: str,
    degraded: Iterable[str],
    seed: int,
    stages_s: Mapping[str, float],
) -> dict[str, Any]:
    """Return everything that decided an answer, for its trace. It does not say whose answer it is.

    `candidates` are verdicts: the answer and the best of the others; `others` are ids by reason; `restricted` are the
    candidates that moderation takes down or lowers, the first of them in full.
    """
    kept: list[Verdict] = []
    others: dict[str, list[str]] = {}
    generators: dict[str, Any] = {}
    restricted: dict[str, Restriction] = {}
    if considered is not None:
        candidates = considered.candidates
        kept = verdicts(videos, considered, len(considered.reranked.chosen) + _IN_FULL)
        in_full = {verdict.item_id for verdict in kept}
        for row in candidates.rows[videos.factors(candidates.rows) < 1][:_RESTRICTED].tolist():
            if (found := videos.restriction(row)) is not None:
                restricted[videos.item_id(row)] = found
        words = [fate.word for fate in Fate]
        for row, fate in zip(candidates.rows.tolist(), considered.fates.tolist(), strict=True):
            item_id = videos.item_id(row)
            if item_id not in in_full:
                others.setdefault(words[fate], []).append(item_id)
        generators = {
            name: {
                "proposed": len(candidates.proposed[name][0]) if name in candidates.proposed else 0,
                "ms": round(candidates.timings_s[name] * 1000, 3) if name in candidates.timings_s else None,
            }
            for name in sorted({*candidates.proposed, *candidates.timings_s, *candidates.degraded})
        }
    return {
        "asked": {name: value for name, value in asked.items() if value is not None},
        "viewer": {
            "known": viewer.known,
            "interactions": len(viewer.history),
            "follows": len(viewer.follows),
            "queries": len(viewer.queries),
            "country": viewer.country,
            "language": viewer.language,
            "device": viewer.device,
        },
        "rules": rules,
        "seed": str(seed),  # 64 bits: more than a JSON number holds
        "scored_by": scored_by,
        "degraded": list(degraded),
        "videos": videos.rows,
        "generators": generators,
        "candidates": kept,
        "others": others,
        "restricted": restricted,
        "stages_ms": {name: round(taken * 1000, 3) for name, taken in stages_s.items()},
    }


def _known(objectives: Mapping[str, Scores], place: int) -> dict[str, float]:
    """Return what a candidate's score is made of, without what is not known of it."""
    return {name: _rounded(values[place]) for name, values in objectives.items() if not np.isnan(values[place])}


def _rounded(value: float) -> float:
    return round(float(value), 5)

"""What became of every candidate, as an explanation shows it and a trace keeps it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

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
    return _verdicts(videos, considered, _by_score(considered)[:limit])


def _by_score(considered: Considered) -> list[int]:
    """Return the places of all candidates: those in the answer in order, then the others by score."""
    m, chosen = considered.n_scored, considered.reranked.chosen
    others = np.argsort(-considered.scored.scores, kind="stable")
    others = others[~np.isin(others, chosen)]
    return [*chosen.tolist(), *others.tolist(), *range(m, len(considered.candidates.rows))]


def _verdicts(videos: Videos, considered: Considered, places: Sequence[int]) -> list[Verdict]:
    """Return the verdicts of candidates. An answer has dozens for its trace, so columns are cut, not single values."""
    rows, m, reranked = considered.candidates.rows, considered.n_scored, considered.reranked
    scored = np.array([place for place in places if place < m], np.int64)
    rank = np.empty(m, np.int64)
    rank[np.argsort(-considered.scored.scores, kind="stable")] = np.arange(m)
    position = {place: at for at, place in enumerate(reranked.chosen.tolist())}
    proposed_by = generators_of(considered.candidates, places)
    because_of = dict(zip(scored.tolist(), reranked.because_of[scored].tolist(), strict=True))
    scores = dict(zip(scored.tolist(), _rounded(considered.scored.scores[scored]), strict=True))
    ranks = dict(zip(scored.tolist(), rank[scored].tolist(), strict=True))
    objectives = _known(considered.scored.objectives, scored)
    made = []
    for place in places:
        at, original = position.get(place), because_of.get(place, -1)
        made.append(
            Verdict(
                item_id=videos.item_id(int(rows[place])),
                generators=proposed_by[place],
                score=scores.get(place),
                rank=ranks.get(place),
                objectives=objectives.get(place, {}),
                position=at,
                reason=None if at is not None else Fate(int(considered.fates[place])).word,
                because_of=videos.item_id(int(rows[original])) if original >= 0 else None,
                place=None if at is None else Place(int(reranked.places[at])).name.replace("_", "-"),
                propensity=None if at is None else round(float(reranked.propensities[at]), 9),
            )
        )
    return made


def generators_of(candidates: Candidates, places: Sequence[int]) -> dict[int, list[str]]:
    """Return, for each of some places of candidates, the generators that proposed it, whose own best come first."""
    found: dict[int, list[tuple[int, str]]] = {int(place): [] for place in places}
    wanted = np.zeros(len(candidates.rows), np.bool_)
    wanted[list(found)] = True
    for name, (proposed, _) in candidates.proposed.items():
        ranks = np.flatnonzero(wanted[proposed])
        for rank, place in zip(ranks.tolist(), proposed[ranks].tolist(), strict=True):
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
        in_full = _by_score(considered)[: len(considered.reranked.chosen) + _IN_FULL]
        kept = _verdicts(videos, considered, in_full)
        for row in candidates.rows[videos.factors(candidates.rows) < 1][:_RESTRICTED].tolist():
            if (found := videos.restriction(row)) is not None:
                restricted[videos.item_id(row)] = found
        fates = considered.fates.astype(np.int16)
        fates[in_full] = -1
        for fate in np.unique(fates[fates >= 0]).tolist():
            others[Fate(fate).word] = videos.item_ids(candidates.rows[fates == fate].tolist())
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
    }


def _known(objectives: Mapping[str, Scores], places: NDArray[np.int64]) -> dict[int, dict[str, float]]:
    """Return what the scores of candidates are made of, by place, without what is not known of them."""
    names = list(objectives)
    columns = [_rounded(objectives[name][places]) for name in names]
    return {
        place: {name: value for name, value in zip(names, values, strict=True) if value == value}  # NaN is not
        for place, *values in zip(places.tolist(), *columns, strict=True)
    }


def _rounded(values: Scores) -> list[float]:
    found: list[float] = values.astype(np.float64).round(5).tolist()
    return found

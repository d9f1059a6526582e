"""From proposals to an answer: admission, scores, re-ranking, and a last look at the live state. No waiting but for the
ranker, so it runs in a thread."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.settings import RecommendationSettings
from serving.exchange import Exchange
from serving.recommendation.admission import refusals
from serving.recommendation.candidates import Proposals, chosen, united, with_rows
from serving.recommendation.engine import Engine
from serving.recommendation.ports import Candidates, Proposal, Viewer
from serving.recommendation.reranking import Fate, Pool, Reranked, RerankRules, rerank
from serving.recommendation.scoring import Scored

LAST_RESORT = "last-resort"  # the popular and the new, where generators failed and left nothing
_LOOKS = 3  # at the live state after re-ranking; what is taken down even then is left out without a substitute


@dataclass(frozen=True)
class Considered:
    """All candidates of an answer and what became of each.

    Candidates `(n,)` are ordered so that the scored ones come first: `scored` and `reranked` are about the first `m`.
    """

    candidates: Candidates
    fates: NDArray[np.uint8]  # (n,), of `Fate`
    scored: Scored  # (m,)
    reranked: Reranked  # (m,)

    @property
    def n_scored(self) -> int:
        return len(self.scored.scores)


def consider(
    engine: Engine,
    viewer: Viewer,
    proposals: Proposals,
    rules: RerankRules,
    settings: RecommendationSettings,
    *,
    seed: int,
    exchange: Exchange,
    also: Sequence[int] = (),
) -> Considered:
    """Choose an answer from proposals.

    Args:
        seed: of the choices that chance makes.
        exchange: gets the time of the stages.
        also: rows to consider although nobody may have proposed them.
    """
    state = engine.state
    with exchange.stage("score"):
        candidates = united(proposals, settings.candidates * 4)
        if proposals.missing and not len(candidates.rows):
            candidates = united(_last_resort(engine, proposals, settings.candidates), settings.candidates)
        known = np.flatnonzero(candidates.rows < state.videos.rows)
        candidates = with_rows(chosen(candidates, known), also)
        refused = refusals(state, viewer, candidates.rows, settings.min_factor)
        order = _scored_first(candidates, refused, settings.candidates, also)
        candidates, refused = chosen(candidates, order.places), refused[order.places]
        m = order.n_scored
        scored = engine.scorer.score(viewer, chosen(candidates, np.arange(m)))
    with exchange.stage("rerank"):
        pool = _pool(engine, candidates, scored, m)
        reranked = _rerank_live(engine, viewer, pool, refused[:m], rules, settings.min_factor, seed)
    fates = np.where(refused == 0, np.uint8(Fate.not_scored), refused)
    fates[:m] = reranked.fates
    return Considered(candidates, fates, scored, reranked)


@dataclass(frozen=True)
class _Order:
    places: NDArray[np.int64]
    n_scored: int


def _scored_first(candidates: Candidates, refused: NDArray[np.uint8], limit: int, also: Sequence[int]) -> _Order:
    """Order candidates so that those to score come first: at most `limit` that may be shown, and `also`."""
    wanted = refused == 0
    wanted[np.cumsum(wanted) > limit] = False
    if also:
        wanted |= (refused == 0) & np.isin(candidates.rows, np.array(also))
    first = np.flatnonzero(wanted)
    return _Order(np.concatenate([first, np.flatnonzero(~wanted)]), len(first))


def _pool(engine: Engine, candidates: Candidates, scored: Scored, m: int) -> Pool:
    videos, rows = engine.state.videos, candidates.rows[:m]
    creator = videos.creator[rows]
    whole = videos.factors(rows) == 1  # what is demoted has no places kept for it
    return Pool(
        rows=rows,
        scores=scored.scores,
        creator=creator,
        media=videos.media[rows],
        content=videos.content[rows],
        small=engine.exposure.small(creator) & whole,
        due=engine.ledger.is_due(rows) & whole,
    )


def _rerank_live(
    engine: Engine,
    viewer: Viewer,
    pool: Pool,
    refused: NDArray[np.uint8],
    rules: RerankRules,
    min_factor: float,
    seed: int,
) -> Reranked:
    """Re-rank, and again without what the live state does not allow any more by then."""
    for _ in range(_LOOKS):
        reranked = rerank(pool, refused, rules, np.random.default_rng(seed))
        now = refusals(engine.state, viewer, pool.rows[reranked.chosen], min_factor)
        if not now.any():
            return reranked
        refused = refusals(engine.state, viewer, pool.rows, min_factor)
    stays = now == 0
    fates = reranked.fates.copy()
    fates[reranked.chosen] = now
    return replace(
        reranked,
        chosen=reranked.chosen[stays],
        places=reranked.places[stays],
        propensities=reranked.propensities[stays],
        fates=fates,
    )


def _last_resort(engine: Engine, proposals: Proposals, limit: int) -> Proposals:
    """Return the popular and the new as proposals: lists that are at hand, whatever the generators do."""
    state = engine.state
    rows = np.concatenate([state.popularity.top()[0][:limit], state.videos.newest.best()[0][:limit]])
    _, first = np.unique(rows, return_index=True)
    rows = rows[np.sort(first)]
    proposal = Proposal(rows.astype(np.int64), np.zeros(len(rows), np.float32))
    return Proposals({LAST_RESORT: proposal}, proposals.missing, proposals.timings_s)


def seconds(value: float) -> float | None:
    """Return a duration, or None where it is not known."""
    return float(value) if math.isfinite(value) else None

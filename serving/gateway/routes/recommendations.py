"""`/v1/recommendations`: the videos of somebody's homepage, and why another is not among them."""

import asyncio
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Response

from core.errors import NotFound
from serving.exchange import Exchange
from serving.gateway.dependencies import GatewayDeps, deps_of, exchange_of
from serving.gateway.recommendation_schemas import (
    NotRecommended,
    Promises,
    RecommendationAnswer,
    RecommendationExplanation,
    RecommendationVerdict,
    RecommendedVideo,
    RecommenderState,
    ServedModel,
)
from serving.recommendation.opening import RunningRecommender
from serving.recommendation.recommend import Recommendation, RecommendQuery
from serving.recommendation.verdicts import Verdict

router = APIRouter(prefix="/v1", tags=["recommendations"])

Deps = Annotated[GatewayDeps, Depends(deps_of)]
Exchanged = Annotated[Exchange, Depends(exchange_of)]
Id = Annotated[str, Path(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
K = Annotated[int | None, Query(ge=1, description="Most videos.")]
Country = Annotated[
    str | None,
    Query(pattern="^[A-Z]{2}$", description="Where the viewer is (ISO 3166-1 alpha-2); else what their profile says."),
]
Language = Annotated[str | None, Query(min_length=1, max_length=35, description="What the viewer speaks (BCP 47).")]
Device = Annotated[str | None, Query(min_length=1, max_length=64)]


@router.get("/recommendations/{user_id}", summary="Videos for a homepage", response_model=RecommendationAnswer)
async def recommend(
    user_id: Id,
    deps: Deps,
    exchange: Exchanged,
    k: K = None,
    device: Device = None,
    country: Country = None,
    language: Language = None,
    explain: Annotated[bool, Query(description="Also answer with every candidate and what became of it.")] = False,
) -> Response:
    """Return videos for a user, best first, each with what speaks for it.

    What the user has seen, hidden or reported never comes up again, nor what was taken down (by its owner or by
    moderation) or is blocked where they are, from the moment the event is applied. Somebody nobody knows gets an
    answer, too. An answer that had to do without a part of the recommender says so (`degraded`).
    """
    recommender = _running(deps).recommender
    answer = await recommender.recommend(RecommendQuery(user_id, k, country, language, device), exchange)
    return Response(_answered(answer, exchange, explain).model_dump_json(), media_type="application/json")


@router.get("/recommendations/{user_id}/why-not/{item_id}", summary="Why is a video not recommended?")
async def why_not(
    user_id: Id,
    item_id: Id,
    deps: Deps,
    exchange: Exchanged,
    k: K = None,
    device: Device = None,
    country: Country = None,
    language: Language = None,
) -> NotRecommended:
    """Say why a video is not in the answer that the user would get now, or where it is in it. Nothing is recorded.

    A video that no generator proposed is scored and ranked as if one had.
    """
    query = RecommendQuery(user_id, k, country, language, device)
    reason = await _running(deps).recommender.why_not(query, item_id, exchange)
    return NotRecommended(
        item_id=item_id,
        in_answer=reason.in_answer,
        reason=reason.reason,
        detail=reason.detail,
        candidate=_verdict(reason.verdict),
        harm=reason.harm,
        decision_id=reason.decision_id,
    )


@router.get("/recommender", summary="The recommender")
async def recommender(deps: Deps) -> RecommenderState:
    """Return what the recommender knows, its place in the log, and what became of its promises to new videos."""
    running = _running(deps)
    ready, _ = running.follower.ready()
    promises = await asyncio.to_thread(running.recommender.promises)
    return RecommenderState(
        ready=ready,
        model=ServedModel(**running.model.describe()) if running.model is not None else None,
        promises=Promises(**msgspec.structs.asdict(promises)),
        log=running.follower.describe(),
    )


def _running(deps: GatewayDeps) -> RunningRecommender:
    if deps.recommendation is None:
        raise NotFound("this system makes no recommendations: recommendation.enabled is false")
    return deps.recommendation


def _answered(answer: Recommendation, exchange: Exchange, explain: bool) -> RecommendationAnswer:
    return RecommendationAnswer(
        results=[RecommendedVideo(**msgspec.structs.asdict(one)) for one in answer.results],
        trace_id=answer.trace_id,
        known=answer.viewer.known,
        scored_by=answer.scored_by,
        degraded=list(answer.degraded),
        note=answer.note,
        took_ms=round(exchange.elapsed_s * 1000, 3),
        explain=RecommendationExplanation(
            candidates=[_verdict(one) for one in answer.verdicts()],
            stages_ms={name: round(seconds * 1000, 3) for name, seconds in exchange.stages_s.items()},
        )
        if explain
        else None,
    )


def _verdict(verdict: Verdict) -> RecommendationVerdict:
    return RecommendationVerdict(**msgspec.structs.asdict(verdict))

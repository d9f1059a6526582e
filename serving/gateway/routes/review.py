"""`/v1/review`: the side of reviewers. Who reviews is said by their token."""

import asyncio
from collections import defaultdict
from dataclasses import asdict
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Response

from core.access.roles import Principal
from core.errors import InvalidInput, NotFound
from core.ids import MEDIA_ID_PATTERN
from core.moderation import HarmClass
from serving.exchange import Exchange
from serving.gateway.dependencies import GatewayDeps, caller_of, deps_of, exchange_of
from serving.gateway.moderation_schemas import (
    AuthorOut,
    DossierOut,
    JobOut,
    Jobs,
    LeaseIn,
    PostOut,
    ReviewedOut,
    ReviewIn,
)
from serving.gateway.routes.moderation import appeal_out, decision_out, desk_of
from serving.moderation.blurring import blurred
from serving.moderation.dossier import read_dossier
from storage.moderation import ReviewJob, StoredPost

router = APIRouter(prefix="/v1/review", tags=["review"])

Deps = Annotated[GatewayDeps, Depends(deps_of)]
Exchanged = Annotated[Exchange, Depends(exchange_of)]
Caller = Annotated[Principal, Depends(caller_of)]
JobId = Annotated[str, Path(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
Kind = Literal["decision", "appeal", "sample", "reopened"]


@router.get("/jobs", summary="What waits for a person")
async def jobs(
    deps: Deps,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    harm: HarmClass | None = None,
    kind: Kind | None = None,
) -> Jobs:
    """Return free jobs, those first whose review is expected to prevent the most harmful impressions."""
    desk = desk_of(deps)
    found = await desk.call(lambda: desk.store.next_jobs(limit, harm, kind))
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for (of_kind, state), number in (await desk.call(desk.store.count_jobs)).items():
        counts[of_kind][state] = number
    return Jobs(jobs=[job_out(one) for one in found], counts=dict(counts))


@router.post("/lease", summary="Take the next job")
async def lease_next(told: LeaseIn, deps: Deps, caller: Caller) -> DossierOut:
    """Take the most important job that is for this reviewer. 404 when none waits."""
    desk = desk_of(deps)
    job = await desk.lease(reviewer_of(caller, told.reviewer), harm=told.harm, kind=told.kind)
    if job is None:
        raise NotFound("no job waits for you")
    return await _dossier(deps, job.job_id)


@router.get("/jobs/{job_id}", summary="One job, with everything about it")
async def job(job_id: JobId, deps: Deps) -> DossierOut:
    """Return a job with the post, its author, their history, reports, scores, evidence and policy."""
    return await _dossier(deps, job_id)


@router.post("/jobs/{job_id}/lease", summary="Take a job")
async def lease(job_id: JobId, told: LeaseIn, deps: Deps, caller: Caller) -> DossierOut:
    """Take this job, or keep it for longer. 409 while another reviewer has it."""
    await desk_of(deps).lease(reviewer_of(caller, told.reviewer), job_id)
    return await _dossier(deps, job_id)


@router.post("/jobs/{job_id}/release", summary="Put a job back")
async def release(job_id: JobId, told: LeaseIn, deps: Deps, caller: Caller) -> JobOut:
    """Put a job back into the queue."""
    return job_out(await desk_of(deps).release(job_id, reviewer_of(caller, told.reviewer)))


@router.post("/jobs/{job_id}/decision", summary="Decide a job")
async def decide(job_id: JobId, told: ReviewIn, deps: Deps, caller: Caller, exchange: Exchanged) -> ReviewedOut:
    """Decide about the post of a job that the reviewer holds. It comes into force at once, and stands until the post
    changes. The same decision again changes nothing; 409 when the lease ran out or the post has changed."""
    reviewed = await desk_of(deps).decide(
        job_id,
        reviewer_of(caller, told.reviewer),
        told.action,
        told.harm,
        told.reason,
        trace_id=exchange.trace_id,
    )
    return ReviewedOut(
        job=job_out(reviewed.job),
        decision=decision_out(reviewed.decision),
        appeal=appeal_out(reviewed.appeal) if reviewed.appeal is not None else None,
    )


@router.get(
    "/media/{media_id}",
    summary="A picture of a post, for reviewers",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}},
)
async def media(
    media_id: Annotated[str, Path(pattern=MEDIA_ID_PATTERN)],
    deps: Deps,
    clear: Annotated[bool, Query(description="As it is; otherwise grey and out of focus.")] = False,
) -> Response:
    """Return a JPEG of stored media (of a video, its middle frame), whatever was decided about it.

    It is grey and out of focus unless it is asked for as it is: nobody has to see it to know that it is there.
    """
    desk_of(deps)
    data = await deps.thumbnails.get(media_id)
    if not clear:
        data = await asyncio.to_thread(blurred, data)
    return Response(data, media_type="image/jpeg", headers={"cache-control": "private, no-store"})


def reviewer_of(caller: Principal, named: str | None) -> str:
    """Return who reviews: by the token, or, where access is open, by what the request says.

    Raises InvalidInput where nobody is named, or somebody else than the token says.
    """
    subject = caller.subject
    if subject is None and named is None:
        raise InvalidInput("access is open, so the request has to say who reviews: `reviewer`")
    if subject is not None and named not in (None, subject):
        raise InvalidInput(f"the token is of {subject!r}, the request names {named!r} as reviewer")
    return subject or str(named)


def job_out(one: ReviewJob) -> JobOut:
    """Return a job as reviewers see it."""
    plain = asdict(one)
    return JobOut(**{name: plain[name] for name in JobOut.model_fields})


async def _dossier(deps: GatewayDeps, job_id: str) -> DossierOut:
    desk = desk_of(deps)
    found = await desk.call(lambda: read_dossier(desk, job_id))
    return DossierOut(
        job=job_out(found.job),
        post=_post(found.post),
        decision=decision_out(found.decision),
        history=[decision_out(one) for one in found.history],
        author=AuthorOut(
            author_id=found.author.author_id,
            facts=msgspec.structs.asdict(found.author.facts),
            strikes=[asdict(strike) for strike in found.author.strikes],
        ),
        author_posts=[_post(one) for one in found.author_posts],
        reactions=asdict(found.reactions),
        reports=[
            {"harm": one.harm, "note": one.note, "reported_at": one.reported_at, "outcome": one.outcome}
            for one in found.reports
        ],
        appeal=appeal_out(found.appeal) if found.appeal is not None else None,
        appeal_text=found.appeal.text if found.appeal is not None else None,
        policy=found.policy.model_dump(mode="json") if found.policy is not None else None,
    )


def _post(one: StoredPost) -> PostOut:
    return PostOut(
        post_id=one.post_id,
        author_id=one.author_id,
        text=one.text,
        media_ids=list(one.media_ids),
        links=list(one.links),
        language=one.language,
        posted_at=one.posted_at,
        state=one.state,
    )

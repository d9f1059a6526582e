"""`/console/review`: the queue of what waits for a person, and one job with everything about it."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse

from core.access.roles import Principal
from core.errors import NotFound
from core.moderation import HARM_CLASSES, HarmClass
from models.moderation.policy.messages import messages
from serving.gateway.dependencies import GatewayDeps, caller_of, deps_of
from serving.gateway.pages import page
from serving.gateway.routes.moderation import desk_of
from serving.gateway.routes.review import JobId, Kind
from serving.moderation.dossier import read_dossier
from serving.moderation.highlights import pieces, regions
from storage.moderation.jobs import JobKind, JobState

router = APIRouter(include_in_schema=False)

Deps = Annotated[GatewayDeps, Depends(deps_of)]
Caller = Annotated[Principal, Depends(caller_of)]

_SHOWN = 100
_MEASURED_DAYS = 7
_QUEUE = "/console/review"
_KINDS: Mapping[JobKind, str] = {
    "decision": "The machine is not sure, or demoted meanwhile.",
    "appeal": "The author objects to a decision.",
    "sample": "Drawn by chance, to measure how much harm is seen.",
    "reopened": "A person decided; the machine found something new since.",
}


@router.get("/console/review", response_class=HTMLResponse)
async def queue(deps: Deps, caller: Caller, harm: HarmClass | None = None, kind: Kind | None = None) -> HTMLResponse:
    try:
        desk = desk_of(deps)
    except NotFound as error:
        return _missing(deps, caller, str(error))
    waiting, held = await desk.call(lambda: (desk.store.next_jobs(_SHOWN, harm, kind), desk.store.held_jobs()))
    counts, oldest = await desk.call(lambda: (desk.store.count_jobs(), desk.store.oldest_job()))
    measures = await desk.measures(_MEASURED_DAYS)
    return page(
        "review.html",
        deps,
        caller,
        here=_QUEUE,
        waiting=waiting,
        held=held,
        n_open={one: _open(counts, one) - sum(job.kind == one for job in held) for one in _KINDS},
        oldest=oldest,
        harm=harm,
        kind=kind,
        kinds=_KINDS,
        harms=HARM_CLASSES,
        shown=_SHOWN,
        measures=measures,
        measured_days=_MEASURED_DAYS,
        now=desk.clock.now(),
        reviewer=caller.subject,
        wellness_after_jobs=desk.settings.wellness_after_jobs,
    )


@router.get("/console/review/{job_id}", response_class=HTMLResponse)
async def job(job_id: JobId, deps: Deps, caller: Caller) -> HTMLResponse:
    try:
        desk = desk_of(deps)
        dossier = await desk.call(lambda: read_dossier(desk, job_id))
    except NotFound as error:
        return _missing(deps, caller, str(error))
    notice = await desk.notice_of(dossier.in_force, "en")
    return page(
        "review-job.html",
        deps,
        caller,
        here=_QUEUE,
        dossier=dossier,
        job=dossier.job,
        post=dossier.post,
        decision=dossier.decision,
        pieces=pieces(dossier.post.text, dossier.decision.evidence),
        regions=regions(dossier.decision.evidence),
        notice=notice,
        grounds=messages("en")["ground"],
        kinds=_KINDS,
        harms=HARM_CLASSES,
        now=desk.clock.now(),
        reviewer=caller.subject,
        wellness_after_jobs=desk.settings.wellness_after_jobs,
    )


def _open(counts: Mapping[tuple[JobKind, JobState], int], kind: JobKind) -> int:
    """Return how many jobs of a kind are not closed, held or not: a lease that ran out still says `leased`."""
    return counts.get((kind, "open"), 0) + counts.get((kind, "leased"), 0)


def _missing(deps: GatewayDeps, caller: Principal, why: str) -> HTMLResponse:
    return page("review-missing.html", deps, caller, here=_QUEUE, status=404, why=why)

"""`/v1/moderation`, `/v1/posts`, `/v1/decisions`: the side of authors, readers and applications."""

from dataclasses import asdict
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Path, Query

from core.access.roles import Principal, Role
from core.clock import Clock
from core.errors import Forbidden, InvalidInput, NotFound
from core.events import Interaction, Report, encode
from core.ids import event_id
from core.moderation import Decision, PostScores, PostToScore, Reason
from serving.exchange import Exchange
from serving.gateway.dependencies import GatewayDeps, caller_of, deps_of, exchange_of
from serving.gateway.moderation_schemas import (
    AppealIn,
    AppealOut,
    DecisionOut,
    Judged,
    MeasuresOut,
    NoticeOut,
    PolicyOut,
    PostToJudge,
    ReasonOut,
    ReportAccepted,
    ReportIn,
)
from serving.moderation.desk import ModerationDesk
from storage.moderation import Appeal

router = APIRouter(prefix="/v1", tags=["moderation"])

Deps = Annotated[GatewayDeps, Depends(deps_of)]
Exchanged = Annotated[Exchange, Depends(exchange_of)]
Caller = Annotated[Principal, Depends(caller_of)]
Id = Annotated[str, Path(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
_SOURCE = "gateway"
_APPLICATIONS = {Role.producer, Role.admin}
_KNOWS_AUTHORS = {*_APPLICATIONS, Role.reviewer}


def desk_of(deps: GatewayDeps) -> ModerationDesk:
    """Return the desk. Raises NotFound where moderation is off."""
    if deps.moderation is None:
        raise NotFound("this system does not moderate: moderation.enabled is false")
    return deps.moderation


@router.post("/moderation/score", summary="What would be decided about a post?")
async def score(asked: PostToJudge, deps: Deps, exchange: Exchanged, caller: Caller) -> Judged:
    """Score a post and apply the policy in force. Nothing is recorded and nothing follows from it.

    Where the models do not answer, the action is what the policy says of failures: a person would look. To name an
    author takes the role producer, reviewer or admin: the answer tells of their strikes.
    """
    if asked.author_id is not None and caller.roles.isdisjoint(_KNOWS_AUTHORS):
        raise Forbidden("what is known of an author counts for producer, reviewer and admin: leave author_id out")
    post = PostToScore(
        post_id=asked.post_id,
        text=asked.text,
        language=asked.language,
        media_ids=list(asked.media_ids),
        links=list(asked.links),
        device=asked.device,
        posted_at=deps.clock.now(),
    )
    with exchange.stage("score"):
        preview = await desk_of(deps).preview(post, asked.author_id, explain=asked.explain)
    scores = preview.scores if isinstance(preview.scores, PostScores) else None
    return Judged(
        harm=scores.scores if scores else {},
        action=preview.outcome.action,
        reasons=[_reason(one) for one in preview.outcome.reasons],
        evidence=[msgspec.to_builtins(one) for one in scores.evidence] if scores else [],
        signals=scores.signals if scores else {},
        missing=scores.missing if scores else [],
        failure=None if isinstance(preview.scores, PostScores) else preview.scores.message,
        language=scores.language if scores else asked.language,
        model_version=scores.model_version if scores else "",
        policy_version=preview.outcome.policy_version,
        trace_id=exchange.trace_id,
        took_ms=round(exchange.elapsed_s * 1000, 3),
    )


@router.get("/moderation/policy", summary="The policy in force")
async def policy(deps: Deps) -> PolicyOut:
    """Return the policy that decides now, and what is wrong with its file, if anything is."""
    state = desk_of(deps).policy.state
    return PolicyOut(
        version=state.policy.version,
        source=state.source,
        error=state.error,
        policy=state.policy.model_dump(mode="json"),
    )


@router.get("/moderation/measures", summary="How well moderation works")
async def measures(
    deps: Deps,
    days: Annotated[float, Query(ge=0.01, le=400, allow_inf_nan=False, description="Of the last days.")] = 7.0,
) -> MeasuresOut:
    """Return prevalence, harmful impressions, valid appeals, the proactive rate, reports by class and time to action.

    Intervals are of 95 %; what is unknown is null. Counted at most once a minute.
    """
    return MeasuresOut.model_validate(msgspec.to_builtins(await desk_of(deps).measures(days)))


@router.get("/posts/{post_id}/decision", summary="What was decided about a post, and why")
async def decision(
    post_id: Id,
    deps: Deps,
    language: Annotated[str, Query(max_length=35, description="Of the notice: en, de, es, fr; else English.")] = "en",
) -> NoticeOut:
    """Return the statement of reasons for the author: what was decided, on which ground and facts, by whom or what,
    and how to object. It names no reporter and no reviewer."""
    desk = desk_of(deps)
    found = await desk.in_force(post_id)
    told = await desk.notice_of(found, language)
    return NoticeOut(
        **{name: getattr(told, name) for name in NoticeOut.model_fields if name not in ("evidence", "trace_id")},
        evidence=[msgspec.to_builtins(one) for one in told.evidence],
        trace_id=found.trace_id,
    )


@router.get("/posts/{post_id}/decisions", summary="Every decision about a post")
async def decisions(post_id: Id, deps: Deps) -> list[DecisionOut]:
    """Return every decision about a post, oldest first; the last one is in force. 404 when there is none."""
    desk = desk_of(deps)
    found = await desk.call(lambda: desk.store.decisions_of(post_id))
    if not found:
        raise NotFound(f"nothing was decided about post {post_id!r} (yet)")
    return [decision_out(one) for one in found]


@router.post("/posts/{post_id}/reports", status_code=202, summary="Report a post")
async def report(post_id: Id, told: ReportIn, deps: Deps, exchange: Exchanged, caller: Caller) -> ReportAccepted:
    """Report a post as harmful. It is an event like any other; a post that is not there yet can be reported, too.

    The same person's second report of the same class counts no more. With the role producer or admin one reports for
    anybody, otherwise as the subject of one's token: 403 for another reporter.
    """
    desk_of(deps)
    if caller.roles.isdisjoint(_APPLICATIONS) and told.reporter_id != caller.subject:
        raise Forbidden(f"the token is of {caller.subject!r}, the report names {told.reporter_id!r} as reporter")
    event = _report_event(post_id, told, deps.clock)
    collected = await deps.collector.collect("interactions", encode(event), traceparent=exchange.traceparent)
    if not collected.accepted:
        raise InvalidInput(f"the report was not taken: {collected.rejected[0].error}")
    return ReportAccepted(event_id=event.id, queued=collected.queued)


@router.post("/decisions/{decision_id}/appeals", status_code=201, summary="Appeal a decision")
async def appeal(decision_id: Id, told: AppealIn, deps: Deps) -> AppealOut:
    """Open an appeal of the post's author. A person who has not decided about the post before looks at it.

    409 when the decision is not in force any more, or was appealed already; 403 for anybody but the author.
    """
    return appeal_out(await desk_of(deps).appeal(decision_id, told.author_id, told.text))


@router.get("/appeals/{appeal_id}", summary="One appeal")
async def one_appeal(appeal_id: Id, deps: Deps) -> AppealOut:
    """Return an appeal and what became of it."""
    desk = desk_of(deps)
    found = await desk.call(lambda: desk.store.appeal(appeal_id))
    if found is None:
        raise NotFound(f"there is no appeal {appeal_id!r}")
    return appeal_out(found)


def decision_out(one: Decision) -> DecisionOut:
    """Return a decision as reviewers see it."""
    plain = {name: getattr(one, name) for name in DecisionOut.model_fields if name not in ("reasons", "evidence")}
    return DecisionOut(
        **plain,
        reasons=[_reason(reason) for reason in one.reasons],
        evidence=[msgspec.to_builtins(evidence) for evidence in one.evidence],
    )


def appeal_out(one: Appeal) -> AppealOut:
    """Return an appeal without its text, which is the author's and the reviewers'."""
    plain = asdict(one)
    return AppealOut(**{name: plain[name] for name in AppealOut.model_fields})


def _reason(reason: Reason) -> ReasonOut:
    return ReasonOut(**msgspec.structs.asdict(reason))


def _report_event(post_id: str, told: ReportIn, clock: Clock) -> Report:
    harm = told.harm or ""
    said = "\n".join(part for part in (harm, told.note) if part)  # `post-reactions` reads the class in the first line
    return Report(
        id=event_id(_SOURCE, "report", post_id, told.reporter_id, harm, told.note),
        source=_SOURCE,
        time=clock.now(),
        subject=told.reporter_id,
        data=Interaction(user_id=told.reporter_id, item_id=post_id, surface="report", value=said or None),
    )

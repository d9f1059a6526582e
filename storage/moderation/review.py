"""Review: what a person decides of a job comes into force like any decision, and stands until the post changes."""

from dataclasses import dataclass, replace

import msgspec

from core import topics
from core.entries import Version
from core.errors import Conflict, Forbidden, InvalidInput
from core.ids import derived_id
from core.moderation import ACTIONS, HARM_CLASSES, Action, Decision, HarmClass, Label, Reason, encode_moderation
from core.ports import OutgoingRecord
from storage.catalogue.base import clean
from storage.moderation import appeals, decisions, jobs, labels, posts, reports
from storage.moderation.appeals import Appeal
from storage.moderation.audit import Entry
from storage.moderation.jobs import ReviewJob
from storage.moderation.leases import check_held, not_for, wanted
from storage.moderation.recording import apply_decisions
from storage.moderation.waiting import RESTRICTING, close_appeal, close_jobs
from storage.moderation.work import Work

REASON_LENGTH = 5_000  # characters


@dataclass(frozen=True)
class Review:
    """What a person makes of a post. `factor` is what the scores of a demoted post are multiplied with."""

    action: Action
    harm: HarmClass | None
    reason: str
    factor: float = 0.5
    trace_id: str = ""


@dataclass(frozen=True)
class Reviewed:
    """What came of a job: the decision that is in force by it, and the appeal that it settled."""

    job: ReviewJob
    decision: Decision
    appeal: Appeal | None = None


def decide(work: Work, job_id: str, reviewer: str, review: Review) -> Reviewed:
    """Let a reviewer's decision come into force and close the job; the same call again returns the same.

    Raises:
        NotFound: there is no such job.
        InvalidInput: no reason is given, or no harm for a restriction.
        Forbidden: the job has become one about the reviewer's own decision or report.
        Conflict: the reviewer does not hold the job, or the post has changed since they took it.
    """
    review = _checked(review)
    job = wanted(work, job_id)
    work.load([job.post_id])
    if job.state == "done":
        return _repeated(work, job, reviewer, review)
    check_held(job, reviewer, work.now)
    because = not_for(work, job, reviewer)
    if because:
        raise Forbidden(f"job {job.job_id} is not for {reviewer} any more: {because}")
    post = work.posts[job.post_id]
    if post.version != job.seen:
        raise Conflict(f"post {post.post_id} has changed since {reviewer} took job {job_id}: release it and look again")
    before = decisions.read(work.connection, [post.decision_id or ""])[post.decision_id or ""]
    [decision] = apply_decisions(work, [_decision(work, job, reviewer, review, before, list(post.item_ids))])
    appeal = _hear(work, job, reviewer, before, decision)
    done = _close(work, job, decision)
    _label(work, [job, *_samples(work, job, decision)], before, decision, post.language)
    reports.settle(work.connection, post.post_id, "upheld" if decision.action in RESTRICTING else "rejected")
    return Reviewed(done, decision, appeal)


def _checked(review: Review) -> Review:
    reason = clean(review.reason).strip()
    if not reason or len(reason) > REASON_LENGTH:
        raise InvalidInput(f"a decision needs a reason, in 1 to {REASON_LENGTH:,} characters; got {len(reason):,}")
    if review.action not in ("allow", *RESTRICTING):
        raise InvalidInput(f"a person allows, demotes or enforces; {review.action!r} is none of these")
    if review.action in RESTRICTING and review.harm not in HARM_CLASSES:
        raise InvalidInput(f"to {review.action} a post needs a harm, one of {', '.join(HARM_CLASSES)}")
    if not 0 < review.factor <= 1:
        raise InvalidInput(f"a demotion's factor is in (0, 1]; got {review.factor}")
    harm = review.harm if review.action in RESTRICTING else None
    return replace(review, reason=reason, harm=harm)


def _decision(
    work: Work, job: ReviewJob, reviewer: str, review: Review, before: Decision, item_ids: list[str]
) -> Decision:
    """Return a person's decision; what the machine said of the post goes on with it."""
    said = [reason for reason in before.reasons if reason.rule != "reviewer"]
    if job.kind == "reopened" and job.reason not in {reason.rule for reason in said}:
        # What the machine found since is known to the person from here on: it asks for no third look.
        said.append(Reason(rule=job.reason, action="review", harm=job.harm, detail="found since a person decided"))
    return msgspec.structs.replace(
        before,
        decision_id=derived_id(job.job_id, "review"),
        action=review.action,
        version=Version.of(work.now, 0),
        reasons=[Reason(rule="reviewer", action=review.action, harm=review.harm, detail=job.kind), *said],
        actor="appeal" if job.kind == "appeal" else "reviewer",
        actor_id=reviewer,
        automated=False,
        harm=review.harm,
        factor=review.factor if review.action == "demote" else 1.0,
        item_ids=item_ids,
        note=review.reason,
        supersedes=before.decision_id,
        event_id=job.job_id,
        trace_id=review.trace_id,
        decided_at=work.now,
    )


def _repeated(work: Work, job: ReviewJob, reviewer: str, review: Review) -> Reviewed:
    made = decisions.read(work.connection, [job.outcome_id or ""]).get(job.outcome_id or "")
    same = (
        made is not None
        and job.reviewer == reviewer
        and made.event_id == job.job_id
        and (made.actor_id, made.action, made.harm, made.note)
        == (clean(reviewer), review.action, review.harm, review.reason)
    )
    if made is None or not same:
        raise Conflict(f"job {job.job_id} is closed: it was decided already")
    return Reviewed(job, made, appeals.read(work.connection, job.appeal_id) if job.appeal_id else None)


def _hear(work: Work, job: ReviewJob, reviewer: str, before: Decision, decision: Decision) -> Appeal | None:
    """Settle the appeal that the job is for, or the one that a decision for another reason has answered."""
    appeal = appeals.open_of_posts(work.connection, [job.post_id]).get(job.post_id)
    if appeal is None:
        return None
    milder = ACTIONS.index(decision.action) < ACTIONS.index(before.action)
    if job.kind != "appeal" and not milder:
        waiting = next(one for one in jobs.of_posts(work.connection, [job.post_id]) if one.kind == "appeal")
        jobs.change(work.connection, waiting.job_id, decision_id=decision.decision_id)
        return None
    close_appeal(work, appeal, "reversed" if milder else "upheld", reviewer, decision.decision_id)
    return appeals.read(work.connection, appeal.appeal_id)


def _close(work: Work, job: ReviewJob, decision: Decision) -> ReviewJob:
    """Close the job as done, and the others that the decision has answered as moot."""
    connection, because = work.connection, "a person decided the post"
    jobs.change(
        connection,
        job.job_id,
        state="done",
        closed_at=work.now,
        closed_because="decided",
        outcome_id=decision.decision_id,
    )
    answered = {"decision", "reopened"}
    if not appeals.open_of_posts(connection, [job.post_id]):
        answered.add("appeal")
    others = [one.job_id for one in jobs.of_posts(connection, [job.post_id]) if one.kind in answered]
    close_jobs(work, others, because)
    payload = {"job": job.job_id, "kind": job.kind, "decision": decision.decision_id}
    work.entries.append(Entry(f"reviewer:{job.reviewer}", "job.decided", job.post_id, payload))
    done = jobs.read(connection, job.job_id)
    assert done is not None  # it was just changed
    return done


def _samples(work: Work, job: ReviewJob, decision: Decision) -> list[ReviewJob]:
    """Close the post's sample job as answered by a decision for another reason: prevalence counts it all the same."""
    found = [one for one in jobs.of_posts(work.connection, [job.post_id]) if one.kind == "sample"]
    for one in found:
        jobs.change(
            work.connection,
            one.job_id,
            state="done",
            closed_at=work.now,
            closed_because="a person decided the post",
            outcome_id=decision.decision_id,
        )
    return found


def _label(work: Work, answered: list[ReviewJob], before: Decision, decision: Decision, language: str) -> None:
    harms = dict.fromkeys(HARM_CLASSES, False) if decision.action == "allow" else {}
    if decision.harm is not None:
        harms[decision.harm] = True
    made = [
        Label(
            label_id=derived_id(decision.decision_id, f"label.{job.job_id}"),
            post_id=decision.post_id,
            source="sample" if job.kind == "sample" else "appeal" if job.kind == "appeal" else "review",
            harms=harms,
            action=decision.action,
            harm=decision.harm,
            before=before.action,
            sample_rate=job.sample_rate,
            reviewer_id=decision.actor_id,
            decision_id=decision.decision_id,
            language=language,
            scores=decision.scores,
            policy_version=decision.policy_version,
            model_version=decision.model_version,
            event_id=job.job_id,
            labelled_at=work.now,
        )
        for job in answered
    ]
    labels.add(work.connection, made)
    posts.put_label(work.connection, decision.post_id, decision.action, decision.harm)
    for label in made:
        work.outgoing.append(OutgoingRecord(topics.LABELS.name, label.post_id, encode_moderation(label)))

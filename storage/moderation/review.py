"""Review: people take jobs, decide them, and hear appeals.

A job belongs to who holds its lease. Nobody reviews their own post, one they reported, or an appeal against their own
decision. What a person decides comes into force like any other decision, and stands until the post changes.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from core import topics
from core.entries import Version
from core.errors import Conflict, Forbidden, InvalidInput, NotFound
from core.ids import derived_id
from core.moderation import ACTIONS, HARM_CLASSES, Action, Decision, HarmClass, Label, Reason, encode_moderation
from core.ports import OutgoingRecord
from storage.catalogue.base import clean
from storage.moderation import appeals, decisions, jobs, labels, posts, reports
from storage.moderation.appeals import Appeal
from storage.moderation.audit import Entry
from storage.moderation.jobs import JobKind, ReviewJob
from storage.moderation.recording import RESTRICTING, Recording

REASON_LENGTH = 5_000  # characters
_LOOKED_AT = 50  # jobs looked through at once for one that a reviewer may take


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


# --- leases ----------------------------------------------------------------------------------------------------------


def lease(
    recording: Recording,
    reviewer: str,
    job_id: str | None,
    lasting: timedelta,
    harm: HarmClass | None,
    kind: JobKind | None,
) -> ReviewJob | None:
    """Give a reviewer the named job, or the first one of the queue that they may take; None when there is none.

    Raises:
        NotFound: there is no such job.
        Conflict: it is closed, or somebody else holds it.
        Forbidden: it is not for this reviewer.
    """
    job = _first_allowed(recording, reviewer, harm, kind) if job_id is None else _wanted(recording, job_id)
    if job is None:
        return None
    if job_id is not None:
        _check_free(job, reviewer, recording.now)
        because = _not_for(recording, job, reviewer)
        if because:
            raise Forbidden(f"job {job.job_id} is not for {reviewer}: {because}")
    post = posts.read(recording.connection, [job.post_id])[job.post_id]
    until = recording.now + lasting
    # To extend a lease is not to look at the post again.
    seen = job.seen if job.seen is not None and job.held_by(recording.now) == reviewer else post.version
    jobs.change(
        recording.connection,
        job.job_id,
        state="leased",
        reviewer=reviewer,
        leased_until=until,
        seen_time_us=seen.time_us,
        seen_seq=seen.seq,
    )
    payload = {"job": job.job_id, "until": until.isoformat()}
    recording.entries.append(Entry(f"reviewer:{reviewer}", "job.leased", job.post_id, payload))
    return replace(job, state="leased", reviewer=reviewer, leased_until=until, seen=seen)


def release(recording: Recording, job_id: str, reviewer: str) -> ReviewJob:
    """Put a job back into the queue. Raises NotFound, and Conflict when the reviewer does not hold it."""
    job = _wanted(recording, job_id)
    _check_held(job, reviewer, recording.now)
    jobs.change(recording.connection, job_id, state="open", reviewer=None, leased_until=None)
    recording.entries.append(Entry(f"reviewer:{reviewer}", "job.released", job.post_id, {"job": job_id}))
    return replace(job, state="open", reviewer=None, leased_until=None)


def _first_allowed(
    recording: Recording, reviewer: str, harm: HarmClass | None, kind: JobKind | None
) -> ReviewJob | None:
    offset = 0
    while found := jobs.queue(recording.connection, recording.now, _LOOKED_AT, offset, harm, kind):
        for job in found:
            if not _not_for(recording, job, reviewer):
                return job
        offset += _LOOKED_AT
    return None


def _not_for(recording: Recording, job: ReviewJob, reviewer: str) -> str:
    """Tell why a job is not for a reviewer; empty when it is."""
    connection = recording.connection
    post = posts.read(connection, [job.post_id]).get(job.post_id)
    if post is not None and post.author_id == reviewer:
        return "it is about their own post"
    if reports.by(connection, job.post_id, reviewer):
        return "they reported the post"
    if job.kind == "appeal":
        appeal = appeals.read(connection, job.appeal_id or "")
        against = {job.decision_id} | ({appeal.decision_id} if appeal else set())
        made = decisions.read(connection, sorted(against)).values()
        if any(one.actor in ("reviewer", "appeal") and one.actor_id == reviewer for one in made):
            return "the appeal is against their own decision"
    return ""


def _wanted(recording: Recording, job_id: str) -> ReviewJob:
    job = jobs.read(recording.connection, job_id)
    if job is None:
        raise NotFound(f"there is no review job {job_id!r}")
    return job


def _check_free(job: ReviewJob, reviewer: str, now: datetime) -> None:
    if job.state not in jobs.OPEN:
        raise Conflict(f"job {job.job_id} is closed: {job.closed_because}")
    holder = job.held_by(now)
    if holder not in (None, reviewer):
        raise Conflict(f"job {job.job_id} is with another reviewer until {job.leased_until:%H:%M:%S} UTC")


def _check_held(job: ReviewJob, reviewer: str, now: datetime) -> None:
    _check_free(job, reviewer, now)
    if job.held_by(now) != reviewer:
        raise Conflict(f"{reviewer} does not hold job {job.job_id} (any more): take it again")


# --- decisions -------------------------------------------------------------------------------------------------------


def decide(recording: Recording, job_id: str, reviewer: str, review: Review) -> Reviewed:
    """Let a reviewer's decision come into force and close the job; the same call again returns the same.

    Raises:
        NotFound: there is no such job.
        InvalidInput: no reason is given, or no harm for a restriction.
        Forbidden: the job has become one about the reviewer's own decision or report.
        Conflict: the reviewer does not hold the job, or the post has changed since they took it.
    """
    review = _checked(review)
    job = _wanted(recording, job_id)
    recording.load([job.post_id])
    if job.state == "done":
        return _repeated(recording, job, reviewer, review)
    _check_held(job, reviewer, recording.now)
    because = _not_for(recording, job, reviewer)
    if because:
        raise Forbidden(f"job {job.job_id} is not for {reviewer} any more: {because}")
    post = recording.posts[job.post_id]
    if post.version != job.seen:
        raise Conflict(f"post {post.post_id} has changed since {reviewer} took job {job_id}: release it and look again")
    before = decisions.read(recording.connection, [post.decision_id or ""])[post.decision_id or ""]
    [decision] = recording.apply_decisions([_decision(recording, job, reviewer, review, before, list(post.item_ids))])
    appeal = _hear(recording, job, reviewer, before, decision)
    done = _close(recording, job, decision)
    _label(recording, [job, *_samples(recording, job, decision)], before, decision, post.language)
    reports.settle(recording.connection, post.post_id, "upheld" if decision.action in RESTRICTING else "rejected")
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
    recording: Recording, job: ReviewJob, reviewer: str, review: Review, before: Decision, item_ids: list[str]
) -> Decision:
    """Return a person's decision; what the machine said of the post goes on with it."""
    return msgspec.structs.replace(
        before,
        decision_id=derived_id(job.job_id, "review"),
        action=review.action,
        version=Version.of(recording.now, 0),
        reasons=[Reason(rule="reviewer", action=review.action, harm=review.harm, detail=job.kind)],
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
        decided_at=recording.now,
    )


def _repeated(recording: Recording, job: ReviewJob, reviewer: str, review: Review) -> Reviewed:
    made = decisions.read(recording.connection, [job.outcome_id or ""]).get(job.outcome_id or "")
    same = (
        made is not None
        and job.reviewer == reviewer
        and made.event_id == job.job_id
        and (made.actor_id, made.action, made.harm, made.note)
        == (clean(reviewer), review.action, review.harm, review.reason)
    )
    if made is None or not same:
        raise Conflict(f"job {job.job_id} is closed: it was decided already")
    return Reviewed(job, made, appeals.read(recording.connection, job.appeal_id) if job.appeal_id else None)


def _hear(recording: Recording, job: ReviewJob, reviewer: str, before: Decision, decision: Decision) -> Appeal | None:
    """Settle the appeal that the job is for, or the one that a decision for another reason has answered."""
    appeal = appeals.open_of_posts(recording.connection, [job.post_id]).get(job.post_id)
    if appeal is None:
        return None
    milder = ACTIONS.index(decision.action) < ACTIONS.index(before.action)
    if job.kind != "appeal" and not milder:
        waiting = next(one for one in jobs.of_posts(recording.connection, [job.post_id]) if one.kind == "appeal")
        jobs.change(recording.connection, waiting.job_id, decision_id=decision.decision_id)
        return None
    recording.close_appeal(appeal, "reversed" if milder else "upheld", reviewer, decision.decision_id)
    return appeals.read(recording.connection, appeal.appeal_id)


def _close(recording: Recording, job: ReviewJob, decision: Decision) -> ReviewJob:
    """Close the job as done, and the others that the decision has answered as moot."""
    connection, because = recording.connection, "a person decided the post"
    jobs.change(
        connection,
        job.job_id,
        state="done",
        closed_at=recording.now,
        closed_because="decided",
        outcome_id=decision.decision_id,
    )
    answered = {"decision", "reopened"}
    if not appeals.open_of_posts(connection, [job.post_id]):
        answered.add("appeal")
    others = [one.job_id for one in jobs.of_posts(connection, [job.post_id]) if one.kind in answered]
    recording.close_jobs(others, because)
    payload = {"job": job.job_id, "kind": job.kind, "decision": decision.decision_id}
    recording.entries.append(Entry(f"reviewer:{job.reviewer}", "job.decided", job.post_id, payload))
    done = jobs.read(connection, job.job_id)
    assert done is not None  # it was just changed
    return done


def _samples(recording: Recording, job: ReviewJob, decision: Decision) -> list[ReviewJob]:
    """Close the post's sample job as answered by a decision for another reason: prevalence counts it all the same."""
    found = [one for one in jobs.of_posts(recording.connection, [job.post_id]) if one.kind == "sample"]
    for one in found:
        jobs.change(
            recording.connection,
            one.job_id,
            state="done",
            closed_at=recording.now,
            closed_because="a person decided the post",
            outcome_id=decision.decision_id,
        )
    return found


def _label(
    recording: Recording, answered: list[ReviewJob], before: Decision, decision: Decision, language: str
) -> None:
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
            labelled_at=recording.now,
        )
        for job in answered
    ]
    labels.add(recording.connection, made)
    posts.put_label(recording.connection, decision.post_id, decision.action, decision.harm)
    for label in made:
        recording.outgoing.append(OutgoingRecord(topics.LABELS.name, label.post_id, encode_moderation(label)))


# --- appeals ---------------------------------------------------------------------------------------------------------


def open_appeal(
    recording: Recording, decision_id: str, author_id: str, text: str, within: timedelta, priority: float
) -> Appeal:
    """Open an appeal and the job for it; the same appeal again, while it is open, returns it.

    Raises:
        NotFound: there is no such decision.
        Forbidden: the caller is not the author of the post.
        InvalidInput: no text, a decision that restricts nothing, or one too old.
        Conflict: the decision is not in force any more, was made of an appeal, or has one that is open.
    """
    connection, text = recording.connection, clean(text).strip()
    decision = decisions.read(connection, [decision_id]).get(decision_id)
    if decision is None:
        raise NotFound(f"there is no decision {decision_id!r}")
    recording.load([decision.post_id])
    post = recording.posts[decision.post_id]
    if post.author_id != author_id:
        raise Forbidden(f"only the author of post {post.post_id} can appeal decision {decision_id}")
    if not text or len(text) > appeals.TEXT_LENGTH:
        raise InvalidInput(f"an appeal needs 1 to {appeals.TEXT_LENGTH:,} characters of text; got {len(text):,}")
    earlier = appeals.of_decision(connection, decision_id)
    if earlier and earlier[-1].state == "open":
        if earlier[-1].text == text:
            return earlier[-1]
        raise Conflict(f"decision {decision_id} has an open appeal, {earlier[-1].appeal_id}")
    if earlier or appeals.open_of_posts(connection, [post.post_id]):
        raise Conflict(f"decision {decision_id} was appealed already, or post {post.post_id} has an open appeal")
    _check_appealable(decision, post.state == "active" and post.decision_id == decision_id)
    if recording.now - decision.decided_at > within:
        raise InvalidInput(
            f"decision {decision_id} is of {decision.decided_at:%Y-%m-%d}: an appeal is possible for {within.days} days"
        )
    return _opened(recording, decision, author_id, text, priority)


def _check_appealable(decision: Decision, in_force: bool) -> None:
    if not in_force:
        raise Conflict(f"decision {decision.decision_id} is not in force any more")
    if decision.action not in RESTRICTING:
        raise InvalidInput(f"decision {decision.decision_id} ({decision.action}) restricts nothing to appeal against")
    if decision.actor == "appeal":
        raise Conflict(f"decision {decision.decision_id} was made of an appeal and is final")


def _opened(recording: Recording, decision: Decision, author_id: str, text: str, priority: float) -> Appeal:
    appeal = Appeal(
        appeal_id=derived_id(decision.decision_id, "appeal"),
        decision_id=decision.decision_id,
        post_id=decision.post_id,
        author_id=author_id,
        text=text,
        state="open",
        opened_at=recording.now,
    )
    job = ReviewJob(
        job_id=derived_id(appeal.appeal_id, "review-job.appeal"),
        kind="appeal",
        post_id=decision.post_id,
        decision_id=decision.decision_id,
        appeal_id=appeal.appeal_id,
        priority=priority,
        reason="the author appeals",
        harm=decision.harm,
        sample_rate=None,
        created_at=recording.now,
        state="open",
    )
    appeals.add(recording.connection, appeal)
    jobs.add(recording.connection, [job])
    payload = {"appeal": appeal.appeal_id, "decision": decision.decision_id, "job": job.job_id}
    recording.entries.append(Entry("author", "appeal.opened", decision.post_id, payload))
    return appeal

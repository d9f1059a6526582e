"""Appealing: who can object to which decision, and until when."""

from datetime import timedelta

from core.errors import Conflict, Forbidden, InvalidInput, NotFound
from core.ids import derived_id
from core.moderation import Decision
from storage.catalogue.base import clean
from storage.moderation import appeals, decisions, jobs
from storage.moderation.appeals import Appeal
from storage.moderation.audit import Entry
from storage.moderation.jobs import ReviewJob
from storage.moderation.waiting import RESTRICTING
from storage.moderation.work import Work


def open_appeal(work: Work, decision_id: str, author_id: str, text: str, within: timedelta, priority: float) -> Appeal:
    """Open an appeal and the job for it; the same appeal again, while it is open, returns it.

    Raises:
        NotFound: there is no such decision.
        Forbidden: the caller is not the author of the post.
        InvalidInput: no text, a decision that restricts nothing, or one too old.
        Conflict: the decision is not in force any more, was made of an appeal, or has one that is open.
    """
    connection, text = work.connection, clean(text).strip()
    decision = decisions.read(connection, [decision_id]).get(decision_id)
    if decision is None:
        raise NotFound(f"there is no decision {decision_id!r}")
    work.load([decision.post_id])
    post = work.posts[decision.post_id]
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
    if work.now - decision.decided_at > within:
        raise InvalidInput(
            f"decision {decision_id} is of {decision.decided_at:%Y-%m-%d}: an appeal is possible for {within.days} days"
        )
    return _opened(work, decision, author_id, text, priority)


def _check_appealable(decision: Decision, in_force: bool) -> None:
    if not in_force:
        raise Conflict(f"decision {decision.decision_id} is not in force any more")
    if decision.action not in RESTRICTING:
        raise InvalidInput(f"decision {decision.decision_id} ({decision.action}) restricts nothing to appeal against")
    if decision.actor == "appeal":
        raise Conflict(f"decision {decision.decision_id} was made of an appeal and is final")


def _opened(work: Work, decision: Decision, author_id: str, text: str, priority: float) -> Appeal:
    appeal = Appeal(
        appeal_id=derived_id(decision.decision_id, "appeal"),
        decision_id=decision.decision_id,
        post_id=decision.post_id,
        author_id=author_id,
        text=text,
        state="open",
        opened_at=work.now,
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
        created_at=work.now,
        state="open",
    )
    appeals.add(work.connection, appeal)
    jobs.add(work.connection, [job])
    payload = {"appeal": appeal.appeal_id, "decision": decision.decision_id, "job": job.job_id}
    work.entries.append(Entry("author", "appeal.opened", decision.post_id, payload))
    return appeal

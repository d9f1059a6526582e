"""Leases: who may take a review job, and for how long it is theirs.

Nobody reviews their own post, one they reported, or an appeal against their own decision.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from core.errors import Conflict, Forbidden, NotFound
from core.moderation import HarmClass
from storage.moderation import appeals, decisions, jobs, posts, reports
from storage.moderation.audit import Entry
from storage.moderation.jobs import JobKind, JobRow, ReviewJob
from storage.moderation.work import Work

_LOOKED_AT = 50  # jobs looked through at once for one that a reviewer may take


def lease(
    work: Work,
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
    job = _first_allowed(work, reviewer, harm, kind) if job_id is None else wanted(work, job_id)
    if job is None:
        return None
    if job_id is not None:
        _check_free(job, reviewer, work.now)
        because = not_for(work, job, reviewer)
        if because:
            raise Forbidden(f"job {job.job_id} is not for {reviewer}: {because}")
    post = posts.read(work.connection, [job.post_id])[job.post_id]
    until = work.now + lasting
    # To extend a lease is not to look at the post again.
    seen = job.seen if job.seen is not None and job.held_by(work.now) == reviewer else post.version
    jobs.change(
        work.connection,
        job.job_id,
        state="leased",
        reviewer=reviewer,
        leased_until=until,
        seen_time_us=seen.time_us,
        seen_seq=seen.seq,
    )
    payload = {"job": job.job_id, "until": until.isoformat()}
    work.entries.append(Entry(f"reviewer:{reviewer}", "job.leased", job.post_id, payload))
    return replace(job, state="leased", reviewer=reviewer, leased_until=until, seen=seen)


def release(work: Work, job_id: str, reviewer: str) -> ReviewJob:
    """Put a job back into the queue. Raises NotFound, and Conflict when the reviewer does not hold it."""
    job = wanted(work, job_id)
    check_held(job, reviewer, work.now)
    jobs.change(work.connection, job_id, state="open", reviewer=None, leased_until=None)
    work.entries.append(Entry(f"reviewer:{reviewer}", "job.released", job.post_id, {"job": job_id}))
    return replace(job, state="open", reviewer=None, leased_until=None)


def held(connection: Connection, now: datetime) -> list[ReviewJob]:
    """Return the jobs that somebody holds, those first whose lease ends first: about as many as there are reviewers."""
    statement = select(JobRow.job_id).where(JobRow.state == "leased", JobRow.leased_until > now)
    found = [jobs.read(connection, job_id) for job_id in connection.scalars(statement.order_by(JobRow.leased_until))]
    return [job for job in found if job is not None]


def _first_allowed(work: Work, reviewer: str, harm: HarmClass | None, kind: JobKind | None) -> ReviewJob | None:
    offset = 0
    while found := jobs.queue(work.connection, work.now, _LOOKED_AT, offset, harm, kind):
        for job in found:
            if not not_for(work, job, reviewer):
                return job
        offset += _LOOKED_AT
    return None


def not_for(work: Work, job: ReviewJob, reviewer: str) -> str:
    """Tell why a job is not for a reviewer; empty when it is."""
    connection = work.connection
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


def wanted(work: Work, job_id: str) -> ReviewJob:
    """Return a job. Raises NotFound when there is none."""
    job = jobs.read(work.connection, job_id)
    if job is None:
        raise NotFound(f"there is no review job {job_id!r}")
    return job


def _check_free(job: ReviewJob, reviewer: str, now: datetime) -> None:
    if job.state not in jobs.OPEN:
        raise Conflict(f"job {job.job_id} is closed: {job.closed_because}")
    holder = job.held_by(now)
    if holder not in (None, reviewer):
        raise Conflict(f"job {job.job_id} is with another reviewer until {job.leased_until:%H:%M:%S} UTC")


def check_held(job: ReviewJob, reviewer: str, now: datetime) -> None:
    """Raise Conflict unless the job is the reviewer's."""
    _check_free(job, reviewer, now)
    if job.held_by(now) != reviewer:
        raise Conflict(f"{reviewer} does not hold job {job.job_id} (any more): take it again")

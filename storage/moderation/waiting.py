"""What waits for a person: jobs and appeals, opened, refreshed and closed as posts and decisions change."""

from collections.abc import Collection, Sequence

from core.errors import InvalidInput
from core.ids import derived_id
from core.moderation import Decision
from storage.catalogue.base import clean
from storage.moderation import appeals, jobs
from storage.moderation.appeals import Appeal
from storage.moderation.audit import Entry
from storage.moderation.decisions import StaleDecision
from storage.moderation.jobs import NewJob, ReviewJob
from storage.moderation.work import Work

RESTRICTING = ("demote", "enforce")


def follow_up(work: Work, made: Sequence[Decision], wanted: Sequence[NewJob], repeated: Collection[str]) -> list[str]:
    """Settle the jobs and appeals that decisions of a machine leave without sense, and open those that are wanted.

    Args:
        repeated: posts whose decision was there already, and so are its jobs.

    Returns:
        The ids of wanted jobs that are open now.
    """
    decided = {decision.post_id: decision for decision in made}
    wanted = [job for job in wanted if job.post_id not in repeated]
    asked = {(job.post_id, job.kind) for job in wanted}
    moot = [
        job.job_id
        for job in jobs.of_posts(work.connection, list(decided))
        if job.kind in ("decision", "reopened") and (job.post_id, job.kind) not in asked
    ]
    close_jobs(work, moot, "the post was decided again")
    for post_id, appeal in appeals.open_of_posts(work.connection, list(decided)).items():
        _follow_appeal(work, appeal, decided[post_id])
    return open_jobs(work, wanted)


def _follow_appeal(work: Work, appeal: Appeal, decision: Decision) -> None:
    """An appeal goes on against what the machine decided since, if that restricts the post, too."""
    job = next(job for job in jobs.of_posts(work.connection, [appeal.post_id]) if job.kind == "appeal")
    if decision.action in RESTRICTING:
        jobs.change(work.connection, job.job_id, decision_id=decision.decision_id)
    else:
        close_jobs(work, [job.job_id], "nothing restricts the post any more")
        close_appeal(work, appeal, "moot")


def open_jobs(work: Work, wanted: Sequence[NewJob]) -> list[str]:
    """Open jobs, or refresh what is open already; a job that was closed is not opened by the same cause again."""
    if not wanted:
        return []
    found: list[str] = []
    open_now = {(job.post_id, job.kind): job for job in jobs.of_posts(work.connection, [one.post_id for one in wanted])}
    ids = [derived_id(one.cause or _about(work, one), f"review-job.{one.kind}") for one in wanted]
    there = jobs.known(work.connection, ids)
    new: list[ReviewJob] = []
    for job_id, one in zip(ids, wanted, strict=True):
        about, current = _about(work, one), open_now.get((one.post_id, one.kind))
        if job_id in there and (current is None or current.job_id != job_id):
            continue
        if current is not None:
            found.append(current.job_id)
            jobs.change(
                work.connection,
                current.job_id,
                decision_id=about,
                rank=-one.priority,
                reason=clean(one.reason),
                harm=one.harm,
            )
            continue
        job = ReviewJob(
            job_id=job_id,
            kind=one.kind,
            post_id=one.post_id,
            decision_id=about,
            appeal_id=None,
            priority=one.priority,
            reason=one.reason,
            harm=one.harm,
            sample_rate=one.sample_rate,
            created_at=work.now,
            state="open",
        )
        open_now[(one.post_id, one.kind)] = job
        new.append(job)
        found.append(job_id)
        payload = {"job": job_id, "kind": one.kind, "decision": about, "harm": one.harm}
        work.entries.append(Entry("system", "job.opened", one.post_id, payload))
    jobs.add(work.connection, new)
    return found


def _about(work: Work, wanted: NewJob) -> str:
    current, post = work.in_force.get(wanted.post_id), work.posts.get(wanted.post_id)
    if wanted.kind == "appeal":
        raise InvalidInput("a job for an appeal is opened by the appeal: call open_appeal")
    if current is None or post is None or post.state == "deleted":
        raise StaleDecision({wanted.post_id: "it has no decision to review"})
    return current.decision_id


def settle(work: Work, post_ids: Sequence[str], because: str, kinds: Sequence[str] | None = None) -> None:
    """Close the open jobs about posts, and their appeals with them, as moot."""
    found = [job for job in jobs.of_posts(work.connection, post_ids) if kinds is None or job.kind in kinds]
    close_jobs(work, [job.job_id for job in found], because)
    if kinds is None or "appeal" in kinds:
        for appeal in appeals.open_of_posts(work.connection, post_ids).values():
            close_appeal(work, appeal, "moot")


def close_appeal(
    work: Work,
    appeal: Appeal,
    state: appeals.AppealState,
    reviewer: str | None = None,
    outcome_id: str | None = None,
) -> None:
    """Record what became of an appeal."""
    appeals.close(work.connection, appeal.appeal_id, state, work.now, reviewer, outcome_id)
    payload = {"appeal": appeal.appeal_id, "decision": appeal.decision_id, "outcome": outcome_id}
    actor = "system" if reviewer is None else f"reviewer:{reviewer}"
    work.entries.append(Entry(actor, f"appeal.{state}", appeal.post_id, payload))


def close_jobs(work: Work, job_ids: Sequence[str], because: str) -> None:
    """Close jobs about which nothing is left to decide."""
    if job_ids:
        jobs.close(work.connection, job_ids, because, work.now)
        work.entries.append(Entry("system", "jobs.closed", "", {"jobs": sorted(job_ids), "because": because}))

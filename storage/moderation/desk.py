"""The review desk: the calls by which people work the queue and authors appeal."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from core.errors import InvalidInput
from core.moderation import HarmClass
from storage.catalogue.base import clean
from storage.moderation import appealing, appeals, jobs, leases, review
from storage.moderation.appeals import Appeal, AppealState
from storage.moderation.jobs import JobKind, JobState, ReviewJob
from storage.moderation.review import Review, Reviewed
from storage.moderation.transactions import Transactions


class ReviewDesk(Transactions):
    """Review jobs, leases, people's decisions, appeals."""

    def next_jobs(
        self,
        limit: int = 20,
        harm: HarmClass | None = None,
        kind: JobKind | None = None,
        reason: str | None = None,
    ) -> list[ReviewJob]:
        """Return free jobs: greatest priority first, then the oldest. `reason`: only those opened for it."""
        with self._database.reading() as connection:
            return jobs.queue(connection, self._clock.now(), limit, 0, harm, kind, reason)

    def held_jobs(self) -> list[ReviewJob]:
        """Return the jobs that somebody holds; the lease that ends first comes first."""
        with self._database.reading() as connection:
            return leases.held(connection, self._clock.now())

    def job(self, job_id: str) -> ReviewJob | None:
        """Return a job in whatever state it is."""
        with self._database.reading() as connection:
            return jobs.read(connection, job_id)

    def jobs_of(
        self, post_ids: Sequence[str], states: Sequence[JobState] = ("open", "leased", "done", "moot")
    ) -> list[ReviewJob]:
        """Return the jobs about posts, oldest first."""
        with self._database.reading() as connection:
            return jobs.of_posts(connection, post_ids, states)

    def count_jobs(self) -> dict[tuple[JobKind, JobState], int]:
        """Return how many jobs there are of each kind in each state."""
        with self._database.reading() as connection:
            return jobs.count(connection)

    def oldest_job(self) -> datetime | None:
        """Return since when the longest waiting job has waited."""
        with self._database.reading() as connection:
            return jobs.oldest(connection)

    def lease(
        self,
        reviewer: str,
        job_id: str | None = None,
        *,
        minutes: float = 15.0,
        harm: HarmClass | None = None,
        kind: JobKind | None = None,
    ) -> ReviewJob | None:
        """Give a reviewer the named job, or the next one that is for them; None when there is none.

        A lease that ran out is free for anybody. To lease again what one holds extends it.

        Raises:
            NotFound: there is no such job.
            Conflict: it is closed, or another reviewer holds it.
            Forbidden: the post is the reviewer's, was reported by them, or the appeal is against their own decision.
        """
        with self._working() as work:
            return leases.lease(work, _id(reviewer), job_id, timedelta(minutes=minutes), harm, kind)

    def release(self, job_id: str, reviewer: str) -> ReviewJob:
        """Put a job back into the queue. Raises NotFound, and Conflict when the reviewer does not hold it."""
        with self._working() as work:
            return leases.release(work, job_id, _id(reviewer))

    def decide(
        self,
        job_id: str,
        reviewer: str,
        action: str,
        harm: HarmClass | None,
        reason: str,
        *,
        factor: float = 0.5,
        trace_id: str = "",
    ) -> Reviewed:
        """Let a reviewer's decision come into force and close the job; the same call again returns the same.

        The decision, its verdict and a label are published. A restriction that is taken back takes everything with it:
        the verdict becomes clear, the author's strike goes.

        Raises:
            NotFound: there is no such job.
            InvalidInput: no reason, no harm for a restriction, or an action that is not allow, demote or enforce.
            Forbidden: the job has become one about the reviewer's own decision or report.
            Conflict: the reviewer does not hold the job, it is closed, or the post has changed since they took it.
        """
        given = Review(action, harm, reason, factor, trace_id)  # type: ignore[arg-type]  # checked before it is used
        with self._working() as work:
            return review.decide(work, job_id, _id(reviewer), given)

    def open_appeal(
        self, decision_id: str, author_id: str, text: str, *, within_days: float = 30.0, priority: float = 0.0
    ) -> Appeal:
        """Open an author's appeal against the decision in force for their post, and a job for another reviewer.

        The same appeal again, while it is open, returns it.

        Raises:
            NotFound: there is no such decision.
            Forbidden: the caller is not the post's author.
            InvalidInput: no text or too much, a decision that restricts nothing, or one older than `within_days`.
            Conflict: the decision is not in force any more, was made of an appeal, or was appealed already.
        """
        with self._working() as work:
            return appealing.open_appeal(work, decision_id, author_id, text, timedelta(days=within_days), priority)

    def appeal(self, appeal_id: str) -> Appeal | None:
        """Return an appeal in whatever state it is."""
        with self._database.reading() as connection:
            return appeals.read(connection, appeal_id)

    def appeals_of(self, decision_id: str) -> list[Appeal]:
        """Return the appeals against a decision, oldest first."""
        with self._database.reading() as connection:
            return appeals.of_decision(connection, decision_id)

    def count_appeals(self) -> dict[AppealState, int]:
        """Return how many appeals there are in each state."""
        with self._database.reading() as connection:
            return appeals.count(connection)


def _id(reviewer: str) -> str:
    if not reviewer:
        raise InvalidInput("a reviewer needs an id")
    return clean(reviewer)

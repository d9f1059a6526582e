"""Review jobs: what waits for a person, in which order, and who has taken it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from sqlalchemy import BigInteger, CheckConstraint, Connection, Index, Row, Select, func, insert, select, text, update
from sqlalchemy.orm import Mapped, mapped_column

from core.entries import Version
from core.moderation import HarmClass
from storage.catalogue.base import Base, UtcDateTime, chunks, clean

#: `decision`: the machine is uncertain, or demoted. `appeal`: an author objects. `sample`: drawn to measure prevalence.
#: `reopened`: a person's decision that a machine would see again.
JobKind = Literal["decision", "appeal", "sample", "reopened"]
#: `moot`: nothing is left to decide (the post is gone, or was decided otherwise).
JobState = Literal["open", "leased", "done", "moot"]


@dataclass(frozen=True)
class NewJob:
    """A job to open. A post has at most one open job of a kind: asking again refreshes it.

    `priority` orders the queue, the greatest first (expected harmful impressions prevented). `sample_rate` is the
    share of impressions (or posts) that a sample job stands for. `cause` makes the job's id: the same cause never
    opens a second job; left out, it is the decision in force.
    """

    post_id: str
    kind: JobKind
    priority: float
    reason: str
    harm: HarmClass | None = None
    sample_rate: float | None = None
    cause: str = ""


@dataclass(frozen=True)
class ReviewJob:
    """A job as it stands. `decision_id` is the decision it is about; `outcome_id` the one that a person made of it.

    `seen` is the version of the post that the reviewer took: a post that changed since has to be looked at again.
    """

    job_id: str
    kind: JobKind
    post_id: str
    decision_id: str
    appeal_id: str | None
    priority: float
    reason: str
    harm: HarmClass | None
    sample_rate: float | None
    created_at: datetime
    state: JobState
    reviewer: str | None = None
    leased_until: datetime | None = None
    seen: Version | None = None
    closed_at: datetime | None = None
    closed_because: str = ""
    outcome_id: str | None = None

    def held_by(self, now: datetime) -> str | None:
        """Return whose the job is at the moment."""
        held = self.state == "leased" and self.leased_until is not None and self.leased_until > now
        return self.reviewer if held else None


class JobRow(Base):
    __tablename__ = "review_jobs"
    __table_args__ = (
        CheckConstraint("state IN ('open', 'leased', 'done', 'moot')", name="state"),
        # The queue is read along this index, so everything in it ascends.
        Index("ix_review_jobs_state_rank_created_at_job_id", "state", "rank", "created_at", "job_id"),
        Index(
            "uq_review_jobs_post_id_kind",
            "post_id",
            "kind",
            unique=True,
            sqlite_where=text("state IN ('open', 'leased')"),
            postgresql_where=text("state IN ('open', 'leased')"),
        ),
        Index("ix_review_jobs_post_id_created_at", "post_id", "created_at"),
    )

    job_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    post_id: Mapped[str]
    decision_id: Mapped[str]
    appeal_id: Mapped[str | None]
    rank: Mapped[float]  # the priority with its sign turned
    reason: Mapped[str]
    harm: Mapped[str | None]
    sample_rate: Mapped[float | None]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    state: Mapped[str]
    reviewer: Mapped[str | None]
    leased_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    seen_time_us: Mapped[int | None] = mapped_column(BigInteger)
    seen_seq: Mapped[int | None] = mapped_column(BigInteger)
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    closed_because: Mapped[str]
    outcome_id: Mapped[str | None]


OPEN: tuple[JobState, ...] = ("open", "leased")


def read(connection: Connection, job_id: str) -> ReviewJob | None:
    """Return a job in whatever state it is."""
    row = connection.execute(select(JobRow.__table__).where(JobRow.job_id == job_id)).first()
    return _job(row) if row else None


def known(connection: Connection, job_ids: Sequence[str]) -> set[str]:
    """Return those of the job ids that are there."""
    found: set[str] = set()
    for some in chunks(job_ids):
        found.update(connection.scalars(select(JobRow.job_id).where(JobRow.job_id.in_(some))))
    return found


def of_posts(connection: Connection, post_ids: Sequence[str], states: Sequence[JobState] = OPEN) -> list[ReviewJob]:
    """Return the jobs about posts, oldest first."""
    found: list[ReviewJob] = []
    for some in chunks(post_ids):
        # States are looked at here: SQLite would rather go through every open job than through those of these posts.
        statement = select(JobRow.__table__).where(JobRow.post_id.in_(some))
        rows = connection.execute(statement.order_by(JobRow.created_at, JobRow.job_id))
        found += [_job(row) for row in rows if row.state in states]
    return found


def queue(
    connection: Connection,
    now: datetime,
    limit: int,
    offset: int = 0,
    harm: HarmClass | None = None,
    kind: JobKind | None = None,
    reason: str | None = None,
) -> list[ReviewJob]:
    """Return free jobs in order: greatest priority first, then the oldest. A lease that ran out frees its job."""

    def ordered(statement: Select[Any]) -> list[ReviewJob]:
        if harm is not None:
            statement = statement.where(JobRow.harm == harm)
        if kind is not None:
            statement = statement.where(JobRow.kind == kind)
        if reason is not None:
            statement = statement.where(JobRow.reason == reason)
        statement = statement.order_by(JobRow.rank, JobRow.created_at, JobRow.job_id).limit(limit + offset)
        return [_job(row) for row in connection.execute(statement)]

    columns = select(JobRow.__table__)
    free = ordered(columns.where(JobRow.state == "open"))
    free += ordered(columns.where(JobRow.state == "leased", JobRow.leased_until <= now))
    free.sort(key=lambda job: (-job.priority, job.created_at, job.job_id))
    return free[offset : offset + limit]


def count(connection: Connection) -> dict[tuple[JobKind, JobState], int]:
    """Return how many jobs there are of each kind in each state."""
    rows = connection.execute(select(JobRow.kind, JobRow.state, func.count()).group_by(JobRow.kind, JobRow.state))
    return {(cast(JobKind, row[0]), cast(JobState, row[1])): row[2] for row in rows}


def oldest(connection: Connection) -> datetime | None:
    """Return since when the longest waiting job has waited."""
    return connection.scalar(select(func.min(JobRow.created_at)).where(JobRow.state.in_(OPEN)))


def add(connection: Connection, jobs: Sequence[ReviewJob]) -> None:
    """Add jobs."""
    if jobs:
        connection.execute(insert(JobRow.__table__), [_row(job) for job in jobs])  # type: ignore[arg-type]


def change(connection: Connection, job_id: str, **values: Any) -> None:
    """Set columns of a job."""
    connection.execute(update(JobRow).where(JobRow.job_id == job_id).values(**values))


def close(connection: Connection, job_ids: Sequence[str], because: str, now: datetime) -> None:
    """Close open jobs about which nothing is left to decide."""
    for some in chunks(job_ids):
        statement = update(JobRow).where(JobRow.job_id.in_(some))
        connection.execute(statement.values(state="moot", closed_at=now, closed_because=because))


def _row(job: ReviewJob) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "kind": job.kind,
        "post_id": job.post_id,
        "decision_id": job.decision_id,
        "appeal_id": job.appeal_id,
        "rank": -job.priority,
        "reason": clean(job.reason),
        "harm": job.harm,
        "sample_rate": job.sample_rate,
        "created_at": job.created_at,
        "state": job.state,
        "reviewer": job.reviewer,
        "leased_until": job.leased_until,
        "seen_time_us": None if job.seen is None else job.seen.time_us,
        "seen_seq": None if job.seen is None else job.seen.seq,
        "closed_at": job.closed_at,
        "closed_because": job.closed_because,
        "outcome_id": job.outcome_id,
    }


def _job(row: Row[Any]) -> ReviewJob:
    return ReviewJob(
        job_id=row.job_id,
        kind=cast(JobKind, row.kind),
        post_id=row.post_id,
        decision_id=row.decision_id,
        appeal_id=row.appeal_id,
        priority=-row.rank,
        reason=row.reason,
        harm=cast(HarmClass | None, row.harm),
        sample_rate=row.sample_rate,
        created_at=row.created_at,
        state=cast(JobState, row.state),
        reviewer=row.reviewer,
        leased_until=row.leased_until,
        seen=None if row.seen_time_us is None else Version(row.seen_time_us, row.seen_seq),
        closed_at=row.closed_at,
        closed_because=row.closed_because,
        outcome_id=row.outcome_id,
    )

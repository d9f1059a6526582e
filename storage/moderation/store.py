"""The store of record of moderation: one object over its tables; each call is one transaction."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import Connection

from core.clock import Clock, SystemClock
from core.errors import InvalidInput
from core.moderation import Decision, HarmClass, Label
from storage.catalogue import inbox
from storage.catalogue.base import clean
from storage.catalogue.database import Database
from storage.moderation import (
    appeals,
    audit,
    authors,
    decisions,
    jobs,
    labels,
    posts,
    reactions,
    reports,
    review,
    scanning,
)
from storage.moderation.appeals import Appeal
from storage.moderation.audit import AuditEntry, Entry, Head
from storage.moderation.authors import Author, Counts, ProfileChange
from storage.moderation.jobs import JobKind, JobState, NewJob, ReviewJob
from storage.moderation.posts import StoredPost
from storage.moderation.reactions import ReactionDelta, Reactions
from storage.moderation.recording import NO_CAUSES, Cause, Recorded, Recording
from storage.moderation.reports import Report, Reporter
from storage.moderation.review import Review, Reviewed
from storage.moderation.scanning import ScannedPost


class ModerationStore:
    """Moderation's part of the catalogue, over the same database. Synchronous and thread-safe.

    Every call is one transaction, which also holds its audit entries and its records for the outbox. Every call raises
    Unavailable when the database does not answer, or another writer holds it for too long; the same call may then be
    repeated: each one changes nothing the second time.
    """

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()

    # --- posts and decisions -----------------------------------------------------------------------------------

    def record(
        self,
        consumer: str,
        event_ids: Sequence[str],
        posts: Sequence[StoredPost] = (),
        decisions: Sequence[Decision] = (),
        jobs: Sequence[NewJob] = (),
        causes: Mapping[str, Cause] = NO_CAUSES,
    ) -> Recorded:
        """Record what a consumer made of some events: posts, decisions of a machine, and jobs for people.

        Posts are applied by version. A deleted post loses its content; its verdict becomes a tombstone, its jobs and
        appeals moot. A decision comes into force, with a version above the one before it, and is published with its
        verdict. A decision whose id is there already changes nothing, nor do the jobs of its post.

        Args:
            consumer: in whose inbox the events are recorded.
            event_ids: of the events that this call is about.
            posts: new versions, in any order.
            decisions: at most one a post (more are a chain). `supersedes` names the decision in force, or is None.
            jobs: to open. Open `decision` and `reopened` jobs of a post that is decided without asking for them close.
            causes: by event id, when decisions' causes happened, and their traces.

        Raises:
            StaleDecision (a Conflict): posts have moved on since the caller looked. Nothing is done.
            InvalidInput: a version of a post or a decision names another author than the post's.
        """
        with self._recording(causes) as recording:
            inbox.record(recording.connection, consumer, event_ids, recording.now)
            about = [post.post_id for post in posts]
            about += [decision.post_id for decision in decisions]
            about += [job.post_id for job in jobs]
            recording.load(about)
            recording.apply_posts(posts)
            made = recording.apply_decisions(decisions)
            repeated = {decision.post_id for decision in decisions} - {decision.post_id for decision in made}
            return Recorded(tuple(made), tuple(recording.follow_up(made, jobs, repeated)))

    def posts(self, post_ids: Sequence[str]) -> dict[str, StoredPost]:
        """Return those of the posts that are known, by id; `decision_id` names the decision in force."""
        with self._database.reading() as connection:
            return posts.read(connection, post_ids)

    def posts_of(self, author_id: str, limit: int = 100) -> list[StoredPost]:
        """Return an author's posts, newest first."""
        with self._database.reading() as connection:
            return posts.read_of_author(connection, author_id, limit)

    def scan_posts(
        self,
        since: datetime,
        after: tuple[datetime, str] | None = None,
        limit: int = 5000,
        until: datetime | None = None,
    ) -> list[ScannedPost]:
        """Return up to `limit` active posts with what was last scored and decided, oldest first.

        Args:
            since: the earliest `posted_at`.
            after: where to go on: the `place` of the last post of the page before.
            until: the `posted_at` to stop before.
        """
        with self._database.reading() as connection:
            return scanning.scan(connection, since, after, limit, until)

    def decision(self, decision_id: str) -> Decision | None:
        """Return a decision, in force or not."""
        return self.decisions([decision_id]).get(decision_id)

    def decisions(self, decision_ids: Sequence[str]) -> dict[str, Decision]:
        """Return those of the decisions that are known, by id."""
        with self._database.reading() as connection:
            return decisions.read(connection, decision_ids)

    def in_force(self, post_ids: Sequence[str]) -> dict[str, Decision]:
        """Return, by post, the decision in force."""
        with self._database.reading() as connection:
            found = posts.read(connection, post_ids)
            pointers = [post.decision_id for post in found.values() if post.decision_id is not None]
            return {one.post_id: one for one in decisions.read(connection, pointers).values()}

    def decisions_of(self, post_id: str) -> list[Decision]:
        """Return every decision about a post, oldest first; the last one is in force."""
        with self._database.reading() as connection:
            return decisions.history(connection, post_id)

    def labels_of(self, post_id: str) -> list[Label]:
        """Return what people said of a post, oldest first."""
        with self._database.reading() as connection:
            return labels.of_post(connection, post_id)

    def scan_labels(self, since: datetime, after: Label | None = None, limit: int = 1000) -> list[Label]:
        """Return what people said from a time on, oldest first; `after` is the last label of the page before."""
        with self._database.reading() as connection:
            return labels.scan(connection, since, after, limit)

    # --- authors, reactions, reports ---------------------------------------------------------------------------

    def authors(self, author_ids: Sequence[str]) -> dict[str, Author]:
        """Return what is known of authors; of one never seen, counts of zero."""
        with self._database.reading() as connection:
            return authors.read(connection, author_ids, self._clock.now())

    def authors_before(self, written: Mapping[str, str]) -> dict[str, Author]:
        """Return, by post, what is known of its author apart from that post: what models are told when they score it.

        Args:
            written: by post, its author; posts may be unknown yet.
        """
        with self._database.reading() as connection:
            found = posts.read(connection, list(written))
            received = reports.count(connection, list(found))
            own = {
                post_id: Counts(1, post.words, post.profane_words, received.get(post_id, 0))
                for post_id, post in found.items()
                if post.author_id == written[post_id]
            }
            asked = {post_id: (author_id, own.get(post_id, Counts())) for post_id, author_id in written.items()}
            return authors.before(connection, asked, self._clock.now())

    def apply_profiles(self, consumer: str, changes: Sequence[ProfileChange], event_ids: Sequence[str] = ()) -> None:
        """Apply profiles from events, the newest version of each; a field that is not in it becomes unknown."""
        newest: dict[str, ProfileChange] = {}
        for change in changes:
            before = newest.get(change.profile.user_id)
            if before is None or change.version > before.version:
                newest[change.profile.user_id] = change
        with self._writing() as connection:
            ids = {*event_ids, *(change.event_id for change in changes)}
            inbox.record(connection, consumer, sorted(ids), self._clock.now())
            authors.write_profiles(connection, list(newest.values()))

    def add_reactions(
        self,
        consumer: str,
        deltas: Sequence[ReactionDelta],
        event_ids: Sequence[str] = (),
        followers: Mapping[str, tuple[str, int]] | None = None,
    ) -> None:
        """Count reactions, each event exactly once: one that the consumer has applied before adds nothing.

        Counts are no decisions, so there is no audit entry.

        Args:
            consumer: in whose inbox the events are recorded.
            deltas: what events add to posts; of one event, only the first counts.
            event_ids: of further events that add nothing.
            followers: by event id, an author and how many followers the event adds to them.
        """
        followers = followers or {}
        own = {delta.event_id: delta for delta in reversed(deltas)}
        with self._writing() as connection:
            ids = sorted({*own, *followers, *event_ids})
            seen = inbox.seen(connection, consumer, ids)
            inbox.record(connection, consumer, [one for one in ids if one not in seen], self._clock.now())
            reactions.add(
                connection, [delta for event_id, delta in own.items() if event_id not in seen], self._clock.now()
            )
            followed: dict[str, int] = {}
            for event_id, (author_id, number) in followers.items():
                if event_id not in seen:
                    followed[author_id] = followed.get(author_id, 0) + number
            authors.count_followers(connection, followed)

    def reactions(self, post_ids: Sequence[str]) -> dict[str, Reactions]:
        """Return what others did with posts; zeros where nobody did anything."""
        with self._database.reading() as connection:
            return reactions.read(connection, post_ids, reports.count(connection, post_ids))

    def add_reports(
        self, given: Sequence[Report], *, consumer: str | None = None, event_ids: Sequence[str] = ()
    ) -> list[Report]:
        """Keep reports, one per post, reporter and harm; return those that are new.

        A report of a post that is not there (yet) is kept, and counts for its author when the post arrives.
        """
        with self._recording() as recording:
            connection = recording.connection
            if consumer is not None:
                inbox.record(connection, consumer, event_ids, recording.now)
            new = reports.add(connection, given)
            by_post: dict[str, int] = {}
            for report in new:
                by_post[report.post_id] = by_post.get(report.post_id, 0) + 1
                payload = {"harm": report.harm, "event": report.event_id}
                recording.entries.append(Entry("reader", "post.reported", report.post_id, payload))
            received: dict[str, int] = {}
            for post in posts.read(connection, list(by_post)).values():
                if post.author_id:
                    received[post.author_id] = received.get(post.author_id, 0) + by_post[post.post_id]
            authors.count_reports(connection, received)
            return new

    def reports_of(self, post_ids: Sequence[str]) -> dict[str, list[Report]]:
        """Return each post's reports, oldest first."""
        with self._database.reading() as connection:
            return reports.of_posts(connection, post_ids)

    def reporters(self, reporter_ids: Sequence[str]) -> dict[str, Reporter]:
        """Return how reporters have done: how often people agreed with them."""
        with self._database.reading() as connection:
            return reports.reporters(connection, reporter_ids)

    # --- review ------------------------------------------------------------------------------------------------

    def next_jobs(self, limit: int = 20, harm: HarmClass | None = None, kind: JobKind | None = None) -> list[ReviewJob]:
        """Return free jobs: greatest priority first, then the oldest."""
        with self._database.reading() as connection:
            return jobs.queue(connection, self._clock.now(), limit, 0, harm, kind)

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
        with self._recording() as recording:
            return review.lease(recording, _id(reviewer), job_id, timedelta(minutes=minutes), harm, kind)

    def release(self, job_id: str, reviewer: str) -> ReviewJob:
        """Put a job back into the queue. Raises NotFound, and Conflict when the reviewer does not hold it."""
        with self._recording() as recording:
            return review.release(recording, job_id, _id(reviewer))

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
        with self._recording() as recording:
            return review.decide(recording, job_id, _id(reviewer), given)

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
        with self._recording() as recording:
            return review.open_appeal(recording, decision_id, author_id, text, timedelta(days=within_days), priority)

    def appeal(self, appeal_id: str) -> Appeal | None:
        """Return an appeal in whatever state it is."""
        with self._database.reading() as connection:
            return appeals.read(connection, appeal_id)

    def appeals_of(self, decision_id: str) -> list[Appeal]:
        """Return the appeals against a decision, oldest first."""
        with self._database.reading() as connection:
            return appeals.of_decision(connection, decision_id)

    def count_appeals(self) -> dict[appeals.AppealState, int]:
        """Return how many appeals there are in each state."""
        with self._database.reading() as connection:
            return appeals.count(connection)

    # --- audit -------------------------------------------------------------------------------------------------

    def audit_head(self) -> Head:
        """Return the number and hash of the newest audit entry."""
        with self._database.reading() as connection:
            return audit.head(connection)

    def audit_entries(self, subject: str | None = None, limit: int = 100) -> list[AuditEntry]:
        """Return the newest audit entries, newest first."""
        with self._database.reading() as connection:
            return audit.read(connection, subject, limit)

    # --- transactions ------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._database.writing() as connection:
            audit.lock(connection)
            yield connection

    @contextmanager
    def _recording(self, causes: Mapping[str, Cause] = NO_CAUSES) -> Iterator[Recording]:
        with self._writing() as connection:
            recording = Recording(connection, self._clock.now(), causes)
            yield recording
            recording.finish()


def _id(reviewer: str) -> str:
    if not reviewer:
        raise InvalidInput("a reviewer needs an id")
    return clean(reviewer)

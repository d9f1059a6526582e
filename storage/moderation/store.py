"""The store of record of moderation: one object over its tables; each call is one transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from core.moderation import Decision, Label
from storage.catalogue import inbox
from storage.moderation import authors, decisions, draws, exposure, labels, posts, reactions, reports, scanning
from storage.moderation.audit import Entry
from storage.moderation.authors import Author, Counts, ProfileChange
from storage.moderation.decisions import Told
from storage.moderation.desk import ReviewDesk
from storage.moderation.governance import Governance
from storage.moderation.jobs import NewJob
from storage.moderation.measuring import Measuring
from storage.moderation.posts import StoredPost
from storage.moderation.reactions import ReactionDelta, Reactions
from storage.moderation.recording import Recorded, apply_decisions, apply_posts
from storage.moderation.reports import Report, Reporter
from storage.moderation.scanning import ScannedPost
from storage.moderation.waiting import follow_up
from storage.moderation.work import NO_CAUSES, NOTHING_TOLD, Cause


class ModerationStore(ReviewDesk, Governance, Measuring):
    """Moderation's part of the catalogue, over the same database. Synchronous and thread-safe.

    Every call is one transaction, which also holds its audit entries and its records for the outbox. Every call raises
    Unavailable when the database does not answer, or another writer holds it for too long; the same call may then be
    repeated: each one changes nothing the second time.
    """

    # --- posts and decisions -----------------------------------------------------------------------------------

    def record(
        self,
        consumer: str,
        event_ids: Sequence[str],
        posts: Sequence[StoredPost] = (),
        decisions: Sequence[Decision] = (),
        jobs: Sequence[NewJob] = (),
        causes: Mapping[str, Cause] = NO_CAUSES,
        told: Mapping[str, Told] = NOTHING_TOLD,
    ) -> Recorded:
        """Record what a consumer made of some events: posts, decisions of a machine, and jobs for people.

        Posts are applied by version. A deleted post loses its content; what restricts it stays in force; its jobs and
        appeals moot. A decision comes into force, with a version above the one before it, and is published with its
        verdict. A decision whose id is there already changes nothing, nor do the jobs of its post.

        Args:
            consumer: in whose inbox the events are recorded.
            event_ids: of the events that this call is about.
            posts: new versions, in any order.
            decisions: at most one a post (more are a chain). `supersedes` names the decision in force, or is None.
            jobs: to open. Open `decision` and `reopened` jobs of a post that is decided without asking for them close.
            causes: by event id, when decisions' causes happened, and their traces.
            told: by decision id, what it was made of beside scores; backtests read it.

        Raises:
            StaleDecision (a Conflict): posts have moved on since the caller looked. Nothing is done.
            InvalidInput: a version of a post or a decision names another author than the post's.
        """
        with self._working(causes, told) as work:
            inbox.record(work.connection, consumer, event_ids, work.now)
            about = [post.post_id for post in posts]
            about += [decision.post_id for decision in decisions]
            about += [job.post_id for job in jobs]
            work.load(about)
            apply_posts(work, posts)
            made = apply_decisions(work, decisions)
            repeated = {decision.post_id for decision in decisions} - {decision.post_id for decision in made}
            return Recorded(tuple(made), tuple(follow_up(work, made, jobs, repeated)))

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
        drawn: Mapping[str, float] | None = None,
    ) -> None:
        """Count reactions, each event exactly once: one that the consumer has applied before adds nothing.

        Counts are no decisions, so there is no audit entry.

        Args:
            consumer: in whose inbox the events are recorded.
            deltas: what events add to posts; of one event, only the first counts.
            event_ids: of further events that add nothing.
            followers: by event id, an author and how many followers the event adds to them.
            drawn: by event id, the share with which its impression was drawn to measure prevalence.
        """
        followers, drawn = followers or {}, drawn or {}
        own = {delta.event_id: delta for delta in reversed(deltas)}
        with self._writing() as connection:
            ids = sorted({*own, *followers, *event_ids})
            seen = inbox.seen(connection, consumer, ids)
            inbox.record(connection, consumer, [one for one in ids if one not in seen], self._clock.now())
            fresh = [delta for event_id, delta in own.items() if event_id not in seen]
            reactions.add(connection, fresh, self._clock.now())
            exposure.add_late(connection, fresh)
            draws.add(connection, [one for one in fresh if one.event_id in drawn], drawn, self._clock.now())
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
        with self._working() as work:
            connection = work.connection
            if consumer is not None:
                inbox.record(connection, consumer, event_ids, work.now)
            new = reports.add(connection, given)
            by_post: dict[str, int] = {}
            for report in new:
                by_post[report.post_id] = by_post.get(report.post_id, 0) + 1
                payload = {"harm": report.harm, "event": report.event_id}
                work.entries.append(Entry("reader", "post.reported", report.post_id, payload))
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

"""Recording: the one place where decisions come into force, and all that follows from one in the same transaction.

Posts are applied by version. A decision must supersede the one in force (optimistic concurrency), and gets a version
above it. With it go: the post's pointer, the author's strike, review jobs and appeals that it settles, records for
`moderation.decisions.v1` and `moderation.verdicts.v1`, and the audit entry.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

import msgspec
from sqlalchemy import Connection

from core import topics
from core.entries import Version, tombstone_headers
from core.errors import InvalidInput
from core.ids import derived_id
from core.moderation import Decision, encode_moderation, verdict_of
from core.ports import OutgoingRecord
from storage.catalogue import outbox
from storage.catalogue.base import clean
from storage.moderation import appeals, audit, authors, decisions, jobs, posts, reactions, reports, sweeps
from storage.moderation.appeals import Appeal
from storage.moderation.audit import Entry
from storage.moderation.authors import Strike, Tally
from storage.moderation.decisions import InForce, Parts, StaleDecision
from storage.moderation.jobs import NewJob, ReviewJob
from storage.moderation.posts import StoredPost

RESTRICTING = ("demote", "enforce")
PEOPLE = ("reviewer", "appeal")


@dataclass(frozen=True)
class Cause:
    """What is known of the event that caused a decision: when it happened, and its trace."""

    event_time: datetime | None = None
    traceparent: str | None = None


NO_CAUSES: Mapping[str, Cause] = MappingProxyType({})


@dataclass(frozen=True)
class Recorded:
    """What a call changed: the decisions as they came into force (with their versions), and jobs now open."""

    decisions: tuple[Decision, ...] = ()
    job_ids: tuple[str, ...] = ()


@dataclass
class Recording:
    """The work of one transaction. `causes` are by event id."""

    connection: Connection
    now: datetime
    causes: Mapping[str, Cause] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    outgoing: list[OutgoingRecord] = field(default_factory=list)
    posts: dict[str, StoredPost] = field(default_factory=dict)
    in_force: dict[str, InForce] = field(default_factory=dict)

    def load(self, post_ids: Iterable[str]) -> None:
        """Read posts and what is in force for them."""
        self.posts = posts.read(self.connection, list(dict.fromkeys(post_ids)))
        pointers = [post.decision_id for post in self.posts.values() if post.decision_id is not None]
        self.in_force = decisions.in_force(self.connection, pointers)

    def finish(self) -> None:
        """Write what is for the outbox and the audit log, in the order it came about."""
        outbox.add(self.connection, self.outgoing, self.now)
        audit.append(self.connection, self.entries, self.now)

    # --- posts -------------------------------------------------------------------------------------------------

    def apply_posts(self, given: Sequence[StoredPost]) -> None:
        """Write those posts that are newer than what is there; count them for their authors.

        Raises:
            InvalidInput: a version of a post has another author than the one before.
        """
        newest: dict[str, StoredPost] = {}
        for post in given:
            before = newest.get(post.post_id) or self.posts.get(post.post_id)
            if before is None or post.version > before.version:
                newest[post.post_id] = _succeeding(post, before)
        if not newest:
            return
        written = [newest[post_id] for post_id in sorted(newest)]
        posts.write(self.connection, written)
        self._count(written)
        for post in written:
            before = self.posts.get(post.post_id)
            self.posts[post.post_id] = post
            if post.state == "deleted" and (before is None or before.state == "active"):
                self._delete(post, before)
        listed = {post.post_id: _text(post.version) for post in written if post.state == "active"}
        if listed:
            self.entries.append(Entry("system", "posts.recorded", "", {"posts": listed}))

    def _count(self, written: Sequence[StoredPost]) -> None:
        tallies: dict[str, Tally] = {}
        early = reports.count(self.connection, [post.post_id for post in written if self._is_new(post)])
        for post in written:
            if not post.author_id:
                continue  # a deletion of a post that never arrived
            before, new = self.posts.get(post.post_id), self._is_new(post)
            tally = tallies.setdefault(post.author_id, Tally())
            tally.posts += new
            tally.reports += early.get(post.post_id, 0)
            tally.words += post.words - (before.words if before else 0)
            tally.profane_words += post.profane_words - (before.profane_words if before else 0)
            tally.first_seen = min(tally.first_seen or post.posted_at, post.posted_at)
        authors.count(self.connection, tallies)

    def _is_new(self, post: StoredPost) -> bool:
        """Tell whether this is the first that is known of whose post it is."""
        before = self.posts.get(post.post_id)
        return bool(post.author_id) and not (before and before.author_id)

    def _delete(self, post: StoredPost, before: StoredPost | None) -> None:
        self.settle([post.post_id], "the post was deleted")
        reactions.forget_comments(self.connection, [post.post_id])
        current = self.in_force.get(post.post_id)
        # Above the decision in force, and below the one that comes if the post is posted again: that one leaves room.
        version = post.version if current is None else max(post.version, _after(current.version, 1))
        self.outgoing.append(
            OutgoingRecord(topics.VERDICTS.name, post.post_id, None, self._headers(post.event_id, version))
        )
        self.entries.append(Entry("system", "post.deleted", post.post_id, {"version": _text(post.version)}))

    # --- decisions ---------------------------------------------------------------------------------------------

    def apply_decisions(self, given: Sequence[Decision]) -> list[Decision]:
        """Bring decisions into force; return them as they are stored. One that is there already changes nothing.

        Raises:
            StaleDecision: a decision does not supersede the one in force, would overrule a person although the post
                is the same, or is about a post that is deleted or unknown.
            InvalidInput: a decision names another author than its post's.
        """
        there = decisions.known(self.connection, [decision.decision_id for decision in given])
        stale: dict[str, str] = {}
        parts: list[Parts] = []
        for decision in given:
            if decision.decision_id in there:
                continue
            there.add(decision.decision_id)
            reason = self._stale(decision)
            if reason:
                stale[decision.post_id] = reason
                continue
            parts.append(self._bring_into_force(decision))
        if stale:
            raise StaleDecision(stale)
        decisions.append(self.connection, parts)
        posts.put_in_force(self.connection, {one.decision.post_id: one.decision.decision_id for one in parts})
        self._strike([one.decision for one in parts])
        sweeps.count_decisions(self.connection, [one.decision for one in parts])
        for one in parts:
            self._publish(one)
        return [one.decision for one in parts]

    def _stale(self, decision: Decision) -> str:
        post, current = self.posts.get(decision.post_id), self.in_force.get(decision.post_id)
        if post is None:
            return "there is no such post"
        if post.state == "deleted":
            return "it is deleted"
        if post.author_id != decision.author_id:
            raise InvalidInput(
                f"decision {decision.decision_id} names {decision.author_id!r} as the author of post {post.post_id}, "
                f"which is by {post.author_id!r}"
            )
        if decision.supersedes != (current and current.decision_id):
            return f"decision {decision.supersedes} is superseded by {current.decision_id if current else None}"
        if current and current.actor in PEOPLE and decision.actor not in PEOPLE and current.of == post.version:
            return (
                f"a person decided ({current.decision_id}), which stands until the post changes: reopen a job instead"
            )
        return ""

    def _bring_into_force(self, decision: Decision) -> Parts:
        post, current = self.posts[decision.post_id], self.in_force.get(decision.post_id)
        version = max(decision.version, post.version)
        if current is not None:
            version = max(version, _after(current.version, 2))
        decision = msgspec.structs.replace(decision, version=version)
        decision = decisions.cleaned(decision)
        parts = Parts.of_decision(decision, post.version)
        self.in_force[post.post_id] = decisions.in_force_of(decision, post.version)
        self.posts[post.post_id] = replace(post, decision_id=decision.decision_id)
        return parts

    def _strike(self, made: Sequence[Decision]) -> None:
        last = {decision.post_id: decision for decision in made}
        standing = [one for one in last.values() if one.action == "enforce"]
        authors.unstrike(self.connection, [one.post_id for one in last.values() if one.action != "enforce"])
        authors.strike(
            self.connection,
            [(one.author_id, Strike(one.post_id, one.decision_id, one.harm, one.decided_at)) for one in standing],
        )

    def _publish(self, parts: Parts) -> None:
        decision, of = parts.decision, parts.of
        cause = self.causes.get(decision.event_id, Cause())
        headers = self._headers(decision.event_id)
        verdict = verdict_of(decision, cause.event_time)
        for topic, record in ((topics.DECISIONS, decision), (topics.VERDICTS, verdict)):
            self.outgoing.append(OutgoingRecord(topic.name, decision.post_id, encode_moderation(record), headers))
        actor = f"{decision.actor}:{decision.actor_id}" if decision.actor_id else decision.actor
        about = {
            "decision": decision.decision_id,
            "action": decision.action,
            "harm": decision.harm,
            "automated": decision.automated,
            "policy": decision.policy_version,
            "model": decision.model_version,
            "supersedes": decision.supersedes,
            "of": _text(of),
            **parts.digests(),
        }
        self.entries.append(Entry(actor, "decision.made", decision.post_id, about))

    def _headers(self, event_id: str, version: Version | None = None) -> dict[str, bytes]:
        traceparent = self.causes.get(event_id, Cause()).traceparent
        headers = {} if traceparent is None else {"traceparent": traceparent.encode()}
        return headers if version is None else {**headers, **tombstone_headers(version)}

    # --- jobs and appeals --------------------------------------------------------------------------------------

    def follow_up(self, made: Sequence[Decision], wanted: Sequence[NewJob], repeated: Collection[str]) -> list[str]:
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
            for job in jobs.of_posts(self.connection, list(decided))
            if job.kind in ("decision", "reopened") and (job.post_id, job.kind) not in asked
        ]
        self.close_jobs(moot, "the post was decided again")
        for post_id, appeal in appeals.open_of_posts(self.connection, list(decided)).items():
            self._follow_appeal(appeal, decided[post_id])
        return self.open_jobs(wanted)

    def _follow_appeal(self, appeal: Appeal, decision: Decision) -> None:
        """An appeal goes on against what the machine decided since, if that restricts the post, too."""
        job = next(job for job in jobs.of_posts(self.connection, [appeal.post_id]) if job.kind == "appeal")
        if decision.action in RESTRICTING:
            jobs.change(self.connection, job.job_id, decision_id=decision.decision_id)
        else:
            self.close_jobs([job.job_id], "nothing restricts the post any more")
            self.close_appeal(appeal, "moot")

    def open_jobs(self, wanted: Sequence[NewJob]) -> list[str]:
        """Open jobs, or refresh what is open already; a job that was closed is not opened by the same cause again."""
        if not wanted:
            return []
        found: list[str] = []
        open_now = {
            (job.post_id, job.kind): job for job in jobs.of_posts(self.connection, [one.post_id for one in wanted])
        }
        ids = [derived_id(one.cause or self._about(one), f"review-job.{one.kind}") for one in wanted]
        there = jobs.known(self.connection, ids)
        new: list[ReviewJob] = []
        for job_id, one in zip(ids, wanted, strict=True):
            about, current = self._about(one), open_now.get((one.post_id, one.kind))
            if job_id in there and (current is None or current.job_id != job_id):
                continue
            if current is not None:
                found.append(current.job_id)
                jobs.change(
                    self.connection,
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
                created_at=self.now,
                state="open",
            )
            open_now[(one.post_id, one.kind)] = job
            new.append(job)
            found.append(job_id)
            payload = {"job": job_id, "kind": one.kind, "decision": about, "harm": one.harm}
            self.entries.append(Entry("system", "job.opened", one.post_id, payload))
        jobs.add(self.connection, new)
        return found

    def _about(self, wanted: NewJob) -> str:
        current, post = self.in_force.get(wanted.post_id), self.posts.get(wanted.post_id)
        if wanted.kind == "appeal":
            raise InvalidInput("a job for an appeal is opened by the appeal: call open_appeal")
        if current is None or post is None or post.state == "deleted":
            raise StaleDecision({wanted.post_id: "it has no decision to review"})
        return current.decision_id

    def settle(self, post_ids: Sequence[str], because: str, kinds: Sequence[str] | None = None) -> None:
        """Close the open jobs about posts, and their appeals with them, as moot."""
        found = [job for job in jobs.of_posts(self.connection, post_ids) if kinds is None or job.kind in kinds]
        self.close_jobs([job.job_id for job in found], because)
        if kinds is None or "appeal" in kinds:
            for appeal in appeals.open_of_posts(self.connection, post_ids).values():
                self.close_appeal(appeal, "moot")

    def close_appeal(
        self,
        appeal: Appeal,
        state: appeals.AppealState,
        reviewer: str | None = None,
        outcome_id: str | None = None,
    ) -> None:
        """Record what became of an appeal."""
        appeals.close(self.connection, appeal.appeal_id, state, self.now, reviewer, outcome_id)
        payload = {"appeal": appeal.appeal_id, "decision": appeal.decision_id, "outcome": outcome_id}
        actor = "system" if reviewer is None else f"reviewer:{reviewer}"
        self.entries.append(Entry(actor, f"appeal.{state}", appeal.post_id, payload))

    def close_jobs(self, job_ids: Sequence[str], because: str) -> None:
        if job_ids:
            jobs.close(self.connection, job_ids, because, self.now)
            self.entries.append(Entry("system", "jobs.closed", "", {"jobs": sorted(job_ids), "because": because}))


def _succeeding(post: StoredPost, before: StoredPost | None) -> StoredPost:
    """Return a post as it is stored over an older version of it."""
    if before is None:
        return post
    if post.author_id and before.author_id and post.author_id != before.author_id:
        raise InvalidInput(
            f"post {post.post_id} is by {before.author_id!r}; its version of event {post.event_id} says "
            f"{post.author_id!r}, and a post does not change hands"
        )
    deleted = post.state == "deleted"
    return replace(
        post,
        author_id=before.author_id or post.author_id,
        posted_at=min(before.posted_at, post.posted_at),
        words=before.words if deleted else post.words,
        profane_words=before.profane_words if deleted else post.profane_words,
        decision_id=before.decision_id,
        label=before.label,
        label_harm=before.label_harm,
    )


def _after(version: Version, steps: int) -> Version:
    return Version(version.time_us, version.seq + steps)


def _text(version: Version) -> str:
    return version.header().decode()

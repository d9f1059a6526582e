"""Recording: the one place where decisions come into force, and all that follows from one in the same transaction.

Posts are applied by version. A decision must supersede the one in force (optimistic concurrency), and gets a version
above it. With it go: the post's pointer, the author's strike, review jobs and appeals that it settles, records for
`moderation.decisions.v1` and `moderation.verdicts.v1`, and the audit entry.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from core import topics
from core.entries import Version, tombstone_headers
from core.errors import InvalidInput
from core.moderation import Decision, Verdict, encode_moderation, verdict_of
from core.ports import OutgoingRecord
from core.topics import Topic
from storage.moderation import authors, decisions, exposure, posts, reactions, reports, sweeps, waiting
from storage.moderation.audit import Entry
from storage.moderation.authors import Strike, Tally
from storage.moderation.decisions import NOT_TOLD, Parts, StaleDecision, Told
from storage.moderation.posts import StoredPost
from storage.moderation.work import Cause, Work

PEOPLE = ("reviewer", "appeal")


@dataclass(frozen=True)
class Recorded:
    """What a call changed: the decisions as they came into force (with their versions), and jobs now open."""

    decisions: tuple[Decision, ...] = ()
    job_ids: tuple[str, ...] = ()


# --- posts -------------------------------------------------------------------------------------------------


def apply_posts(work: Work, given: Sequence[StoredPost]) -> None:
    """Write those posts that are newer than what is there; count them for their authors.

    Raises:
        InvalidInput: a version of a post has another author than the one before.
    """
    newest: dict[str, StoredPost] = {}
    for post in sorted(given, key=lambda post: post.version):
        before = newest.get(post.post_id) or work.posts.get(post.post_id)
        if before is None or post.version > before.version:
            newest[post.post_id] = _succeeding(post, before)
    if not newest:
        return
    written = [newest[post_id] for post_id in sorted(newest)]
    posts.write(work.connection, written)
    _count(work, written)
    for post in written:
        before = work.posts.get(post.post_id)
        work.posts[post.post_id] = post
        if post.state == "deleted":
            follow_deletion(work, post, before)
    listed = {post.post_id: _text(post.version) for post in written if post.state == "active"}
    if listed:
        work.entries.append(Entry("system", "posts.recorded", "", {"posts": listed}))


def _count(work: Work, written: Sequence[StoredPost]) -> None:
    tallies: dict[str, Tally] = {}
    early = reports.count(work.connection, [post.post_id for post in written if _is_new(work, post)])
    for post in written:
        if not post.author_id:
            continue  # a deletion of a post that never arrived
        before, new = work.posts.get(post.post_id), _is_new(work, post)
        tally = tallies.setdefault(post.author_id, Tally())
        tally.posts += new
        tally.reports += early.get(post.post_id, 0)
        tally.words += post.words - (before.words if before else 0)
        tally.profane_words += post.profane_words - (before.profane_words if before else 0)
        tally.first_seen = min(tally.first_seen or post.posted_at, post.posted_at)
    authors.count(work.connection, tallies)


def _is_new(work: Work, post: StoredPost) -> bool:
    """Tell whether this is the first that is known of whose post it is."""
    before = work.posts.get(post.post_id)
    return bool(post.author_id) and not (before and before.author_id)


def follow_deletion(work: Work, post: StoredPost, before: StoredPost | None, *, lift: bool = False) -> None:
    """Do what follows from a post being gone; the post itself is written by the caller.

    What restricts the post stays in force, or its author would have what it showed back by deleting it; `lift` takes
    it away all the same (the person is erased, and what they uploaded with them).
    """
    current = work.in_force.get(post.post_id)
    restricted = current is not None and current.action in waiting.RESTRICTING
    if before is not None and before.state == "deleted":
        if lift and restricted:
            _lift(work, post, current)
        return
    if lift or not restricted:
        _lift(work, post, current)
    waiting.settle(work, [post.post_id], "the post was deleted")
    reactions.forget_comments(work.connection, [post.post_id])
    work.entries.append(Entry("system", "post.deleted", post.post_id, {"version": _text(post.version)}))


def _lift(work: Work, post: StoredPost, current: decisions.InForce | None) -> None:
    # Above the decision in force, and below the one that comes if the post is posted again: that one leaves room.
    version = post.version if current is None else max(post.version, _after(current.version, 1))
    work.outgoing.append(
        OutgoingRecord(topics.VERDICTS.name, post.post_id, None, _headers(work, post.event_id, version))
    )


# --- decisions ---------------------------------------------------------------------------------------------


def apply_decisions(work: Work, given: Sequence[Decision]) -> list[Decision]:
    """Bring decisions into force; return them as they are stored. One that is there already changes nothing.

    Raises:
        StaleDecision: a decision does not supersede the one in force, would overrule a person although the post
            is the same, or is about a post that is deleted or unknown.
        InvalidInput: a decision names another author than its post's.
    """
    there = decisions.known(work.connection, [decision.decision_id for decision in given])
    stale: dict[str, str] = {}
    parts: list[Parts] = []
    restricted: list[bool] = []  # whether the decision before each restricted its post
    for decision in given:
        if decision.decision_id in there:
            continue
        there.add(decision.decision_id)
        reason = _stale(work, decision)
        if reason:
            stale[decision.post_id] = reason
            continue
        current = work.in_force.get(decision.post_id)
        restricted.append(current is not None and current.action in waiting.RESTRICTING)
        parts.append(_bring_into_force(work, decision))
    if stale:
        raise StaleDecision(stale)
    decisions.append(work.connection, parts)
    posts.put_in_force(work.connection, {one.decision.post_id: one.decision.decision_id for one in parts})
    _strike(work, [one.decision for one in parts])
    sweeps.count_decisions(work.connection, [one.decision for one in parts])
    for one, was_restricted in zip(parts, restricted, strict=True):
        _publish(work, one, was_restricted)
    return [one.decision for one in parts]


def _stale(work: Work, decision: Decision) -> str:
    post, current = work.posts.get(decision.post_id), work.in_force.get(decision.post_id)
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
        return f"a person decided ({current.decision_id}), which stands until the post changes: reopen a job instead"
    return ""


def _bring_into_force(work: Work, decision: Decision) -> Parts:
    post, current = work.posts[decision.post_id], work.in_force.get(decision.post_id)
    version = max(decision.version, post.version)
    if current is not None:
        version = max(version, _after(current.version, 2))
    decision = msgspec.structs.replace(decision, version=version)
    decision = decisions.cleaned(decision)
    parts = Parts.of_decision(decision, post.version, _told(work, decision))
    work.in_force[post.post_id] = decisions.in_force_of(decision, post.version)
    work.posts[post.post_id] = replace(post, decision_id=decision.decision_id)
    return parts


def _told(work: Work, decision: Decision) -> Told:
    """What a machine was told; a person's decision keeps what the one before was made of."""
    if decision.decision_id in work.told or decision.supersedes is None:
        return work.told.get(decision.decision_id, NOT_TOLD)
    return decisions.told(work.connection, decision.supersedes) if decision.actor in PEOPLE else NOT_TOLD


def _strike(work: Work, made: Sequence[Decision]) -> None:
    last = {decision.post_id: decision for decision in made}
    standing = [one for one in last.values() if one.action == "enforce"]
    authors.unstrike(work.connection, [one.post_id for one in last.values() if one.action != "enforce"])
    authors.strike(
        work.connection,
        [(one.author_id, Strike(one.post_id, one.decision_id, one.harm, one.decided_at)) for one in standing],
    )
    exposure.note(work.connection, [one.post_id for one in standing])


def _publish(work: Work, parts: Parts, was_restricted: bool) -> None:
    """Publish a decision, and its verdict where it restricts the post or lifts what did: most posts never have one."""
    decision, of = parts.decision, parts.of
    cause = work.causes.get(decision.event_id, Cause())
    headers = _headers(work, decision.event_id)
    verdict = verdict_of(decision, cause.event_time)
    told: list[tuple[Topic, Decision | Verdict]] = [(topics.DECISIONS, decision)]
    told += [(topics.VERDICTS, verdict)] if was_restricted or verdict.state != "clear" else []
    for topic, record in told:
        work.outgoing.append(OutgoingRecord(topic.name, decision.post_id, encode_moderation(record), headers))
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
    work.entries.append(Entry(actor, "decision.made", decision.post_id, about))


def _headers(work: Work, event_id: str, version: Version | None = None) -> dict[str, bytes]:
    traceparent = work.causes.get(event_id, Cause()).traceparent
    headers = {} if traceparent is None else {"traceparent": traceparent.encode()}
    return headers if version is None else {**headers, **tombstone_headers(version)}


def _succeeding(post: StoredPost, before: StoredPost | None) -> StoredPost:
    """Return a post as it is stored over an older version of it."""
    if before is None:
        return replace(post, decision_id=None, label=None, label_harm=None)
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
        label=None,  # it was about the content before
        label_harm=None,
    )


def _after(version: Version, steps: int) -> Version:
    return Version(version.time_us, version.seq + steps)


def _text(version: Version) -> str:
    return version.header().decode()

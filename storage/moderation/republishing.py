"""Republishing: the verdicts of the store of record once more, for a topic that has lost them.

Each verdict has the version that it had, so whoever knows it already takes no notice. Posts that were restricted once
and are not any more are told of as well: an older verdict about them may be all that is left in the topic.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from core import topics
from core.entries import AGAIN_HEADER, Version, tombstone_headers
from core.moderation import encode_moderation, verdict_of
from core.ports import OutgoingRecord
from storage.catalogue.base import chunks
from storage.moderation import decisions
from storage.moderation.audit import Entry
from storage.moderation.decisions import DecisionRow, InForce
from storage.moderation.posts import PostRow, StoredPost
from storage.moderation.waiting import RESTRICTING
from storage.moderation.work import Work


@dataclass(frozen=True)
class Republished:
    """What a call did: posts looked at, verdicts that wait in the outbox now, and where to go on; None: all is done."""

    posts: int
    verdicts: int
    place: str | None


def republish(work: Work, after: str, limit: int, by: str) -> Republished:
    """Put the verdicts of the next posts behind `after` (an id) into the outbox."""
    statement = select(PostRow.post_id).where(PostRow.post_id > after).order_by(PostRow.post_id).limit(limit)
    post_ids = list(work.connection.scalars(statement))
    told = _ever_restricted(work, post_ids)
    work.load(told)
    erased = _erased(work, [post.decision_id for post in work.posts.values() if post.decision_id is not None])
    stored = decisions.read(work.connection, [one.decision_id for one in work.in_force.values()])
    for post_id in sorted(work.posts):
        post, current = work.posts[post_id], work.in_force[post_id]
        if post.state == "deleted" and (current.action not in RESTRICTING or current.decision_id in erased):
            work.outgoing.append(_lifted(post, current))
            continue
        value = encode_moderation(verdict_of(stored[current.decision_id]))
        work.outgoing.append(OutgoingRecord(topics.VERDICTS.name, post_id, value, {AGAIN_HEADER: b"1"}))
    verdicts = len(work.outgoing)
    if verdicts:
        payload = {"verdicts": verdicts, "from": post_ids[0], "to": post_ids[-1]}
        work.entries.append(Entry(f"admin:{by}", "verdicts.republished", "", payload))
    return Republished(len(post_ids), verdicts, post_ids[-1] if len(post_ids) == limit else None)


def _ever_restricted(work: Work, post_ids: Sequence[str]) -> list[str]:
    found: set[str] = set()
    for some in chunks(post_ids):
        wanted = DecisionRow.post_id.in_(some), DecisionRow.action.in_(RESTRICTING)
        found.update(work.connection.scalars(select(DecisionRow.post_id).where(*wanted).distinct()))
    return sorted(found)


def _erased(work: Work, decision_ids: Sequence[str]) -> set[str]:
    """Return those of the decisions whose author was erased: what they uploaded went with them."""
    found: set[str] = set()
    for some in chunks(decision_ids):
        wanted = DecisionRow.decision_id.in_(some), DecisionRow.erased_by.is_not(None)
        found.update(work.connection.scalars(select(DecisionRow.decision_id).where(*wanted)))
    return found


def _lifted(post: StoredPost, current: InForce) -> OutgoingRecord:
    version = max(post.version, Version(current.version.time_us, current.version.seq + 1))
    headers = {**tombstone_headers(version), AGAIN_HEADER: b"1"}
    return OutgoingRecord(topics.VERDICTS.name, post.post_id, None, headers)

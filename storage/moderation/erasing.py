"""Erasing: a person is forgotten, and what was decided stays, under a pseudonym.

The pseudonym is drawn, not derived: nobody can compute it from the id. The audit log says which decisions lost their
personal part, so that a check of it knows that from tampering.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
from sqlalchemy import delete, select, update

from core import topics
from core.entries import Version
from core.moderation import decode_decision, encode_moderation
from storage.catalogue.base import chunks
from storage.catalogue.outbox import OutboxRow
from storage.moderation import appeals, authors, decisions, posts, reactions, reports
from storage.moderation.audit import Entry
from storage.moderation.recording import follow_deletion
from storage.moderation.work import Work


@dataclass(frozen=True)
class Erasure:
    """What was erased, and the name that stands for the person from now on; empty when nothing was known of them."""

    pseudonym: str
    posts: int
    decisions: int


def erase(work: Work, user_id: str) -> Erasure:
    """Forget a person; see `Governance.erase_user`."""
    connection = work.connection
    pseudonym = f"erased-{secrets.token_hex(8)}"
    written = [post.post_id for post in posts.read_of_author(connection, user_id, None)]
    decided = decisions.ids_of_author(connection, user_id)
    known = written or decided or authors.is_known(connection, user_id)
    known = known or reports.is_known(connection, user_id) or reactions.is_known(connection, user_id)
    if not known:
        return Erasure("", 0, 0)
    _erase_posts(work, written, pseudonym)
    _erase_decisions(work, decided, pseudonym)
    _erase_outgoing(work, written)
    authors.erase(connection, user_id, pseudonym)
    reports.erase(connection, user_id, pseudonym)
    appeals.erase(connection, user_id, pseudonym)
    reactions.erase(connection, user_id)
    return Erasure(pseudonym, len(written), len(decided))


def _erase_posts(work: Work, post_ids: Sequence[str], pseudonym: str) -> None:
    """Delete posts as of now: what happened to them before, and is told later, does not bring them back."""
    work.load(post_ids)
    at = Version.of(work.now, 0)
    for post in work.posts.values():
        version = max(at, Version(post.version.time_us, post.version.seq + 1))
        follow_deletion(work, replace(post, state="deleted", version=version), post, lift=True)
        work.posts[post.post_id] = replace(post, state="deleted", version=version, author_id=pseudonym)
    posts.write(work.connection, list(work.posts.values()))


def _erase_decisions(work: Work, decision_ids: Sequence[str], pseudonym: str) -> None:
    if not decision_ids:
        work.entries.append(Entry("system", "user.erased", pseudonym, {"decisions": []}))
    for some in chunks(decision_ids):
        work.entries.append(Entry("system", "user.erased", pseudonym, {"decisions": sorted(some)}))
        decisions.erase(work.connection, some, pseudonym, erased_by=work.flush())


def _erase_outgoing(work: Work, post_ids: Sequence[str]) -> None:
    """Take the person out of what is not sent yet: verdicts altogether, because a tombstone follows them."""
    for some in chunks(post_ids):
        verdicts = OutboxRow.topic == topics.VERDICTS.name, OutboxRow.key.in_(some), OutboxRow.value.is_not(None)
        work.connection.execute(delete(OutboxRow).where(*verdicts))
        waiting = select(OutboxRow.id, OutboxRow.value).where(
            OutboxRow.topic == topics.DECISIONS.name, OutboxRow.key.in_(some)
        )
        for number, value in work.connection.execute(waiting).all():
            assert value is not None  # decisions have no tombstones
            blank = msgspec.structs.replace(decode_decision(value), author_id="", evidence=[], note="")
            statement = update(OutboxRow).where(OutboxRow.id == number)
            work.connection.execute(statement.values(value=encode_moderation(blank)))

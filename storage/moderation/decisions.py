"""Decisions: append-only; a post points to the one in force.

A decision is stored in two parts. `body` holds what stays for ever, and the audit log holds its hash. `words` holds
what is personal (the author, quotes, a person's note); erasing the author replaces it, and the body's hash still holds.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import msgspec
from msgspec import Struct
from sqlalchemy import BigInteger, Connection, Index, LargeBinary, insert, select, update
from sqlalchemy.orm import Mapped, mapped_column

from core.entries import Version
from core.errors import Conflict
from core.moderation import (
    Action,
    ActorKind,
    AuthorFacts,
    ChallengerScores,
    Decision,
    Evidence,
    HarmClass,
    ReactionFacts,
    decode_decision,
    encode_moderation,
)
from storage.catalogue.base import Base, UtcDateTime, chunks, clean


class StaleDecision(Conflict):
    """Decisions that were made of what no longer holds. Nothing of the call was done: look again, decide again."""

    def __init__(self, reasons: dict[str, str]) -> None:
        listed = "; ".join(f"post {post_id}: {reason}" for post_id, reason in reasons.items())
        super().__init__(f"{listed}. Read the posts again and decide from that")
        self.post_ids = tuple(reasons)


class Words(Struct, frozen=True, gc=False):
    """The personal part of a decision."""

    author_id: str
    evidence: list[Evidence] = []
    note: str = ""


class Told(Struct, frozen=True, array_like=True, gc=False):
    """What a decision was made of beside its scores: what was known of the author and of reactions at that time."""

    author: AuthorFacts | None = None
    reactions: ReactionFacts | None = None
    phashes: dict[str, list[str]] = {}  # media id -> perceptual hashes of the image or of the frames
    challenger: ChallengerScores | None = None  # what a second model said of the post; it decided nothing
    features: dict[str, float] = {}  # by name, as training reads them; one that is not known is not here
    known_at: datetime | None = None  # the moment that `author`, `reactions` and `features` are of


NOT_TOLD = Told()


class Scanned(Struct, frozen=True, array_like=True, gc=False):
    """What a backtest needs of a decision beside its columns, quick to read."""

    scores: dict[HarmClass, float | None]
    signals: dict[str, float]
    rules: list[str]
    missing: list[str]
    told: Told = NOT_TOLD


@dataclass(frozen=True)
class InForce:
    """The decision in force for a post, as far as the next one depends on it. `of` is the post's version then."""

    decision_id: str
    post_id: str
    action: Action
    actor: ActorKind
    actor_id: str
    version: Version
    of: Version


class DecisionRow(Base):
    __tablename__ = "decisions"
    __table_args__ = (
        Index("ix_decisions_post_id_version", "post_id", "version_time_us", "version_seq"),
        Index("ix_decisions_actor_id_decision_id", "actor_id", "decision_id"),
    )

    decision_id: Mapped[str] = mapped_column(primary_key=True)
    post_id: Mapped[str]
    author_id: Mapped[str] = mapped_column(index=True)
    action: Mapped[str]
    harm: Mapped[str | None]
    factor: Mapped[float]
    actor: Mapped[str]
    actor_id: Mapped[str]
    policy_version: Mapped[str]
    model_version: Mapped[str]
    version_time_us: Mapped[int] = mapped_column(BigInteger)
    version_seq: Mapped[int] = mapped_column(BigInteger)
    of_time_us: Mapped[int] = mapped_column(BigInteger)  # the version of the post that it is about
    of_seq: Mapped[int] = mapped_column(BigInteger)
    supersedes: Mapped[str | None]
    decided_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    scan: Mapped[bytes] = mapped_column(LargeBinary)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    words: Mapped[bytes] = mapped_column(LargeBinary)
    erased_by: Mapped[int | None] = mapped_column(BigInteger)  # number of the audit entry that tells of the erasure


SCANNED = msgspec.msgpack.Decoder(Scanned)
_PACK = msgspec.msgpack.Encoder()
_JSON = msgspec.json.Encoder()
WORDS = msgspec.json.Decoder(Words)
_IN_FORCE_COLUMNS = (
    DecisionRow.decision_id,
    DecisionRow.post_id,
    DecisionRow.action,
    DecisionRow.actor,
    DecisionRow.actor_id,
    DecisionRow.version_time_us,
    DecisionRow.version_seq,
    DecisionRow.of_time_us,
    DecisionRow.of_seq,
)


@dataclass(frozen=True)
class Parts:
    """A decision as its stored bytes. `digests` is what the audit log says of it."""

    decision: Decision
    of: Version
    body: bytes
    words: bytes
    told: Told = NOT_TOLD

    @classmethod
    def of_decision(cls, decision: Decision, of: Version, told: Told = NOT_TOLD) -> "Parts":
        """Cut a decision about version `of` of its post into what stays and what is personal."""
        body = msgspec.structs.replace(decision, author_id="", evidence=[], note="")
        words = Words(decision.author_id, decision.evidence, decision.note)
        return cls(decision, of, encode_moderation(body), _JSON.encode(words), told)

    def digests(self) -> dict[str, str]:
        return {"body": digest(self.body), "words": digest(self.words)}


def digest(part: bytes) -> str:
    """Return the hash by which the audit log knows a part of a decision: SHA-256 in lower-case hex."""
    return hashlib.sha256(part).hexdigest()


def cleaned(decision: Decision) -> Decision:
    """Return a decision whose words every database and reader can hold."""
    if not decision.note and not decision.actor_id:
        return decision
    return msgspec.structs.replace(decision, note=clean(decision.note), actor_id=clean(decision.actor_id))


def known(connection: Connection, decision_ids: Sequence[str]) -> set[str]:
    """Return those of the decision ids that are there."""
    found: set[str] = set()
    for some in chunks(decision_ids):
        found.update(connection.scalars(select(DecisionRow.decision_id).where(DecisionRow.decision_id.in_(some))))
    return found


def append(connection: Connection, parts: Sequence[Parts]) -> None:
    """Add decisions."""
    if parts:
        connection.execute(insert(DecisionRow.__table__), [_row(one) for one in parts])  # type: ignore[arg-type]


def in_force(connection: Connection, decision_ids: Sequence[str]) -> dict[str, InForce]:
    """Return, by post id, what the decisions say that posts point to."""
    found: dict[str, InForce] = {}
    for some in chunks(decision_ids):
        for row in connection.execute(select(*_IN_FORCE_COLUMNS).where(DecisionRow.decision_id.in_(some))):
            found[row.post_id] = InForce(
                row.decision_id,
                row.post_id,
                cast(Action, row.action),
                cast(ActorKind, row.actor),
                row.actor_id,
                Version(row.version_time_us, row.version_seq),
                Version(row.of_time_us, row.of_seq),
            )
    return found


def in_force_of(decision: Decision, of: Version) -> InForce:
    """Return a decision that was just appended as `in_force` would."""
    return InForce(
        decision.decision_id,
        decision.post_id,
        decision.action,
        decision.actor,
        decision.actor_id,
        decision.version,
        of,
    )


def read(connection: Connection, decision_ids: Sequence[str]) -> dict[str, Decision]:
    """Return those of the decisions that are known, by id."""
    found: dict[str, Decision] = {}
    for some in chunks(decision_ids):
        wanted = DecisionRow.decision_id.in_(some)
        rows = connection.execute(select(DecisionRow.decision_id, DecisionRow.body, DecisionRow.words).where(wanted))
        found.update({row.decision_id: joined(row) for row in rows})
    return found


def ids_of_author(connection: Connection, author_id: str) -> list[str]:
    """Return the ids of all decisions about an author's posts."""
    return list(connection.scalars(select(DecisionRow.decision_id).where(DecisionRow.author_id == author_id)))


def erase(connection: Connection, decision_ids: Sequence[str], pseudonym: str, erased_by: int) -> None:
    """Replace the personal part of decisions. `erased_by` is the audit entry that says so."""
    wanted = DecisionRow.decision_id.in_(decision_ids)
    for row in connection.execute(select(DecisionRow.decision_id, DecisionRow.scan).where(wanted)).all():
        scan = SCANNED.decode(row.scan)
        values = {
            "author_id": pseudonym,
            "words": _JSON.encode(Words(pseudonym)),
            "scan": _PACK.encode(msgspec.structs.replace(scan, told=NOT_TOLD)),
            "erased_by": erased_by,
        }
        connection.execute(update(DecisionRow).where(DecisionRow.decision_id == row.decision_id).values(**values))


def told(connection: Connection, decision_id: str) -> Told:
    """Return what a decision was made of beside its scores."""
    scan = connection.scalar(select(DecisionRow.scan).where(DecisionRow.decision_id == decision_id))
    return NOT_TOLD if scan is None else SCANNED.decode(scan).told


def history(connection: Connection, post_id: str) -> list[Decision]:
    """Return every decision about a post, oldest first."""
    rows = connection.execute(
        select(DecisionRow.body, DecisionRow.words)
        .where(DecisionRow.post_id == post_id)
        .order_by(DecisionRow.version_time_us, DecisionRow.version_seq)
    )
    return [joined(row) for row in rows]


def joined(row: Any) -> Decision:
    """Put a decision together from a row's `body` and `words`."""
    words = WORDS.decode(row.words)
    return msgspec.structs.replace(
        decode_decision(row.body), author_id=words.author_id, evidence=words.evidence, note=words.note
    )


def _row(parts: Parts) -> dict[str, Any]:
    decision = parts.decision
    rules = [reason.rule for reason in decision.reasons]
    scan = Scanned(decision.scores, decision.signals, rules, decision.missing, parts.told)
    return {
        "decision_id": decision.decision_id,
        "post_id": decision.post_id,
        "author_id": decision.author_id,
        "action": decision.action,
        "harm": decision.harm,
        "factor": decision.factor,
        "actor": decision.actor,
        "actor_id": decision.actor_id,
        "policy_version": decision.policy_version,
        "model_version": decision.model_version,
        "version_time_us": decision.version.time_us,
        "version_seq": decision.version.seq,
        "of_time_us": parts.of.time_us,
        "of_seq": parts.of.seq,
        "supersedes": decision.supersedes,
        "decided_at": decision.decided_at,
        "scan": _PACK.encode(scan),
        "body": parts.body,
        "words": parts.words,
        "erased_by": None,
    }

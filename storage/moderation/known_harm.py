"""Known harm: named lists of perceptual hashes of media that were judged before.

Every change of an entry gives it a new number, so a follower reads what is behind the last number it saw.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import BigInteger, Connection, Row, func, select
from sqlalchemy.orm import Mapped, mapped_column

from core.errors import InvalidInput
from core.moderation import HarmClass
from storage.catalogue.base import Base, UtcDateTime, chunks, clean, upsert

_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class KnownHash:
    """An entry of a list: a 64-bit perceptual hash in 16 lower-case hex characters. Removed ones are remembered."""

    list_name: str
    hash: str
    harm: HarmClass
    seq: int
    added_by: str
    added_at: datetime
    removed_at: datetime | None = None


@dataclass(frozen=True)
class KnownChange:
    """What a follower needs of a change: the hash is on the list from `seq` on, or (`removed`) no more."""

    seq: int
    list_name: str
    hash: str
    harm: HarmClass
    removed: bool


class KnownHarmRow(Base):
    __tablename__ = "known_harm"

    list_name: Mapped[str] = mapped_column(primary_key=True)
    hash: Mapped[str] = mapped_column(primary_key=True)
    harm: Mapped[str]
    seq: Mapped[int] = mapped_column(BigInteger, index=True)
    added_by: Mapped[str]
    added_at: Mapped[datetime] = mapped_column(UtcDateTime)
    removed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


def checked(hashes: Sequence[str]) -> list[str]:
    """Return hashes in lower case, each once, in order. Raises InvalidInput for what is no 64-bit hash in hex."""
    found = list(dict.fromkeys(one.lower() for one in hashes))
    for one in found:
        if len(one) != 16 or not _HEX.issuperset(one):
            raise InvalidInput(f"{one[:40]!r} is not a 64-bit hash in 16 hex characters")
    return found


def head(connection: Connection) -> int:
    """Return the number of the newest change; 0 when there is none."""
    return connection.scalar(select(func.max(KnownHarmRow.seq))) or 0


def add(
    connection: Connection, list_name: str, hashes: Sequence[str], harm: HarmClass, by: str, now: datetime
) -> tuple[int, int]:
    """Put hashes on a list; those that are on it for this harm stay as they are. Returns how many, and the head."""
    there: set[str] = set()
    for some in chunks(hashes):
        on_it = KnownHarmRow.list_name == list_name, KnownHarmRow.hash.in_(some), KnownHarmRow.harm == harm
        there.update(connection.scalars(select(KnownHarmRow.hash).where(*on_it, KnownHarmRow.removed_at.is_(None))))
    seq = head(connection)
    rows: list[dict[str, Any]] = []
    for one in hashes:
        if one not in there:
            seq += 1
            rows.append(
                {
                    "list_name": list_name,
                    "hash": one,
                    "harm": harm,
                    "seq": seq,
                    "added_by": clean(by),
                    "added_at": now,
                    "removed_at": None,
                }
            )
    if rows:
        insert = upsert(connection.dialect.name, KnownHarmRow)
        names = ("harm", "seq", "added_by", "added_at", "removed_at")
        statement = insert.on_conflict_do_update(
            index_elements=["list_name", "hash"], set_={name: insert.excluded[name] for name in names}
        )
        connection.execute(statement, rows)
    return len(rows), seq


def remove(connection: Connection, list_name: str, hashes: Sequence[str], now: datetime) -> list[str]:
    """Take hashes off a list; return those that were on it."""
    rows: list[dict[str, Any]] = []
    seq = head(connection)
    for some in chunks(hashes):
        statement = select(KnownHarmRow.__table__).where(
            KnownHarmRow.list_name == list_name, KnownHarmRow.hash.in_(some), KnownHarmRow.removed_at.is_(None)
        )
        for row in connection.execute(statement.order_by(KnownHarmRow.hash)).mappings():
            seq += 1
            rows.append({**row, "seq": seq, "removed_at": now})
    if rows:
        insert = upsert(connection.dialect.name, KnownHarmRow)
        connection.execute(
            insert.on_conflict_do_update(
                index_elements=["list_name", "hash"],
                set_={"seq": insert.excluded.seq, "removed_at": insert.excluded.removed_at},
            ),
            rows,
        )
    return [row["hash"] for row in rows]


def since(connection: Connection, seq: int, limit: int) -> list[KnownChange]:
    """Return the changes behind number `seq`, in order: of an entry that changed twice, the last one only."""
    columns = KnownHarmRow.seq, KnownHarmRow.list_name, KnownHarmRow.hash, KnownHarmRow.harm
    statement = select(*columns, KnownHarmRow.removed_at.is_not(None)).where(KnownHarmRow.seq > seq)
    rows = connection.execute(statement.order_by(KnownHarmRow.seq).limit(limit))
    return [KnownChange(row[0], row[1], row[2], cast(HarmClass, row[3]), bool(row[4])) for row in rows]


def read(connection: Connection, hashes: Sequence[str]) -> list[KnownHash]:
    """Return the entries with these hashes, on whichever list, also removed ones."""
    found: list[KnownHash] = []
    for some in chunks(hashes):
        statement = select(KnownHarmRow.__table__).where(KnownHarmRow.hash.in_(some))
        found += [_known(row) for row in connection.execute(statement.order_by(KnownHarmRow.seq))]
    return found


def count(connection: Connection) -> dict[str, int]:
    """Return how many hashes are on each list."""
    statement = select(KnownHarmRow.list_name, func.count()).where(KnownHarmRow.removed_at.is_(None))
    return {row[0]: row[1] for row in connection.execute(statement.group_by(KnownHarmRow.list_name))}


def _known(row: Row[Any]) -> KnownHash:
    return KnownHash(
        list_name=row.list_name,
        hash=row.hash,
        harm=cast(HarmClass, row.harm),
        seq=row.seq,
        added_by=row.added_by,
        added_at=row.added_at,
        removed_at=row.removed_at,
    )

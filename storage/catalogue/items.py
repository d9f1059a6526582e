"""Items: what was uploaded, and the newest known state of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from sqlalchemy import JSON, BigInteger, CheckConstraint, Connection, Row, and_, func, or_, select
from sqlalchemy.orm import Mapped, mapped_column

from core.entries import Version
from storage.catalogue.base import Base, UtcDateTime, chunks, clean, upsert

State = Literal["active", "hidden", "deleted"]


@dataclass(frozen=True)
class Item:
    """One item as of `version`. A deleted item is only remembered: it has ids, state, version and times."""

    item_id: str
    owner_id: str
    kind: Literal["image", "video"]
    media_id: str
    title: str
    description: str
    tags: tuple[str, ...]
    language: str
    category: str
    visibility: Literal["public", "unlisted", "private"]
    blocked_regions: tuple[str, ...]
    state: State
    unsafe: bool
    version: Version
    event_id: str
    created_at: datetime
    updated_at: datetime


class ItemRow(Base):
    __tablename__ = "items"
    __table_args__ = (CheckConstraint("state IN ('active', 'hidden', 'deleted')", name="state"),)

    item_id: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[str] = mapped_column(index=True)
    kind: Mapped[str]
    media_id: Mapped[str] = mapped_column(index=True)
    title: Mapped[str]
    description: Mapped[str]
    tags: Mapped[list[str]] = mapped_column(JSON)
    language: Mapped[str]
    category: Mapped[str]
    visibility: Mapped[str]
    blocked_regions: Mapped[list[str]] = mapped_column(JSON)
    state: Mapped[str]
    unsafe: Mapped[bool]
    version_time_us: Mapped[int] = mapped_column(BigInteger)
    version_seq: Mapped[int] = mapped_column(BigInteger)
    event_id: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


_KEPT = ("item_id", "created_at")  # by a newer version of the item
_FORGOTTEN = {
    "owner_id": "",
    "media_id": "",
    "title": "",
    "description": "",
    "tags": [],
    "language": "und",
    "category": "",
    "visibility": "private",
    "blocked_regions": [],
}


def write_items(connection: Connection, items: Sequence[Item]) -> None:
    """Write each item unless the row that is there has the same or a newer version. `created_at` is kept."""
    if not items:
        return
    insert = upsert(connection.dialect.name, ItemRow)
    new = insert.excluded
    statement = insert.on_conflict_do_update(
        index_elements=["item_id"],
        set_={column.name: new[column.name] for column in ItemRow.__table__.columns if column.name not in _KEPT},
        where=or_(
            new.version_time_us > ItemRow.version_time_us,
            and_(new.version_time_us == ItemRow.version_time_us, new.version_seq > ItemRow.version_seq),
        ),
    )
    # One order for all writers, so that two batches on PostgreSQL never wait for each other's rows in a circle.
    connection.execute(statement, [_row(item) for item in sorted(items, key=lambda item: item.item_id)])


def read_items(connection: Connection, item_ids: Sequence[str]) -> dict[str, Item]:
    found: dict[str, Item] = {}
    for some in chunks(item_ids):
        rows = connection.execute(select(ItemRow.__table__).where(ItemRow.item_id.in_(some)))
        found.update({row.item_id: _item(row) for row in rows})
    return found


def scan_items(connection: Connection, after: str, limit: int, states: Sequence[str]) -> list[Item]:
    statement = (
        select(ItemRow.__table__)
        .where(ItemRow.item_id > after, ItemRow.state.in_(states))
        .order_by(ItemRow.item_id)
        .limit(limit)
    )
    return [_item(row) for row in connection.execute(statement)]


def count_items(connection: Connection) -> dict[str, int]:
    counts = dict.fromkeys(("active", "hidden", "deleted"), 0)
    rows = connection.execute(select(ItemRow.state, func.count()).group_by(ItemRow.state))
    return counts | {row[0]: row[1] for row in rows}


def _row(item: Item) -> Mapping[str, Any]:
    row: dict[str, Any] = {
        "item_id": item.item_id,
        "owner_id": item.owner_id,
        "kind": item.kind,
        "media_id": item.media_id,
        "title": clean(item.title),
        "description": clean(item.description),
        "tags": [clean(tag) for tag in item.tags],
        "language": clean(item.language),
        "category": clean(item.category),
        "visibility": item.visibility,
        "blocked_regions": list(item.blocked_regions),
        "state": item.state,
        "unsafe": item.unsafe,
        "version_time_us": item.version.time_us,
        "version_seq": item.version.seq,
        "event_id": item.event_id,
        "created_at": item.created_at,
        "updated_at": item.updated_at,
    }
    return {**row, **_FORGOTTEN} if item.state == "deleted" else row


def _item(row: Row[Any]) -> Item:
    return Item(
        item_id=row.item_id,
        owner_id=row.owner_id,
        kind=row.kind,
        media_id=row.media_id,
        title=row.title,
        description=row.description,
        tags=tuple(row.tags),
        language=row.language,
        category=row.category,
        visibility=row.visibility,
        blocked_regions=tuple(row.blocked_regions),
        state=cast(State, row.state),
        unsafe=row.unsafe,
        version=Version(time_us=row.version_time_us, seq=row.version_seq),
        event_id=row.event_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )

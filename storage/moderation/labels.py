"""Labels: what people said of posts, for training and measuring."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, LargeBinary, insert, select, tuple_
from sqlalchemy.orm import Mapped, mapped_column

from core.moderation import Label, decode_label, encode_moderation
from storage.catalogue.base import Base, UtcDateTime


class LabelRow(Base):
    __tablename__ = "labels"

    label_id: Mapped[str] = mapped_column(primary_key=True)
    post_id: Mapped[str] = mapped_column(index=True)
    labelled_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    body: Mapped[bytes] = mapped_column(LargeBinary)


def add(connection: Connection, labels: Sequence[Label]) -> None:
    """Add labels."""
    rows: list[dict[str, Any]] = [
        {
            "label_id": label.label_id,
            "post_id": label.post_id,
            "labelled_at": label.labelled_at,
            "body": encode_moderation(label),
        }
        for label in labels
    ]
    if rows:
        connection.execute(insert(LabelRow.__table__), rows)  # type: ignore[arg-type]


def of_post(connection: Connection, post_id: str) -> list[Label]:
    """Return what people said of a post, oldest first."""
    statement = select(LabelRow.body).where(LabelRow.post_id == post_id)
    return [
        decode_label(body) for body in connection.scalars(statement.order_by(LabelRow.labelled_at, LabelRow.label_id))
    ]


def scan(connection: Connection, since: datetime, after: Label | None, limit: int) -> list[Label]:
    """Return labels from a time on, oldest first; of a longer list those behind `after`."""
    statement = select(LabelRow.body).where(LabelRow.labelled_at >= since)
    if after is not None:
        place = tuple_(LabelRow.labelled_at, LabelRow.label_id)
        statement = statement.where(place > tuple_(after.labelled_at, after.label_id))  # type: ignore[arg-type]
    statement = statement.order_by(LabelRow.labelled_at, LabelRow.label_id).limit(limit)
    return [decode_label(body) for body in connection.scalars(statement)]

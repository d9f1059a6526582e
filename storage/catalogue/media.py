"""Media: what is known about the bytes behind a media id without opening them."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import BigInteger, Connection, Double, select
from sqlalchemy.orm import Mapped, mapped_column

from storage.catalogue.base import Base, UtcDateTime, upsert


@dataclass(frozen=True)
class MediaRecord:
    """Media in the object store; `width` and `height` in pixels, `duration_s` None for a still image."""

    media_id: str
    kind: Literal["image", "video"]
    mime: str
    width: int
    height: int
    duration_s: float | None
    size_bytes: int
    created_at: datetime


class MediaRow(Base):
    __tablename__ = "media"

    media_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    mime: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    duration_s: Mapped[float | None] = mapped_column(Double)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


def add(connection: Connection, record: MediaRecord) -> None:
    connection.execute(upsert(connection.dialect.name, MediaRow).on_conflict_do_nothing(), asdict(record))


def read(connection: Connection, media_id: str) -> MediaRecord | None:
    row = connection.execute(select(MediaRow.__table__).where(MediaRow.media_id == media_id)).mappings().first()
    return MediaRecord(**row) if row else None  # type: ignore[arg-type]  # the columns are the fields

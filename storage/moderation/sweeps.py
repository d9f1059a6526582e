"""Sweeps: a policy applied in stages to what was decided before; each can be taken back."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from sqlalchemy import JSON, CheckConstraint, Connection, Row, Select, and_, func, insert, select, update
from sqlalchemy.orm import Mapped, mapped_column

from core.errors import Conflict, NotFound
from core.moderation import Decision
from storage.catalogue.base import Base, UtcDateTime, clean
from storage.moderation.decisions import DecisionRow
from storage.moderation.posts import PostRow

UNDO = "/undo"  # behind a sweep's id: the actor of decisions that take it back
SweepState = Literal["running", "paused", "done", "undoing", "undone"]
#: What each state can become. Undoing can be interrupted and goes on.
NEXT: dict[SweepState, tuple[SweepState, ...]] = {
    "running": ("running", "paused", "done", "undoing"),
    "paused": ("running", "undoing"),
    "done": ("undoing",),
    "undoing": ("undoing", "undone"),
    "undone": (),
}


@dataclass(frozen=True)
class Sweep:
    """A sweep as it stands. `stages` are the shares of posts done by the end of each, `stage` the one it is in."""

    sweep_id: str
    policy_version: str
    stages: tuple[float, ...]
    stage: int
    state: SweepState
    started_by: str
    reason: str
    started_at: datetime
    updated_at: datetime
    decisions: int = 0
    undone: int = 0


class SweepRow(Base):
    __tablename__ = "sweeps"
    __table_args__ = (CheckConstraint("state IN ('running', 'paused', 'done', 'undoing', 'undone')", name="state"),)

    sweep_id: Mapped[str] = mapped_column(primary_key=True)
    policy_version: Mapped[str]
    stages: Mapped[list[float]] = mapped_column(JSON)
    stage: Mapped[int]
    state: Mapped[str]
    started_by: Mapped[str]
    reason: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    decisions: Mapped[int]
    undone: Mapped[int]


def read(connection: Connection, sweep_id: str) -> Sweep | None:
    """Return a sweep in whatever state it is."""
    row = connection.execute(select(SweepRow.__table__).where(SweepRow.sweep_id == sweep_id)).first()
    return _sweep(row) if row else None


def wanted(connection: Connection, sweep_id: str) -> Sweep:
    """Return a sweep. Raises NotFound when there is none."""
    found = read(connection, sweep_id)
    if found is None:
        raise NotFound(f"there is no sweep {sweep_id!r}")
    return found


def newest(connection: Connection, limit: int) -> list[Sweep]:
    """Return sweeps, newest first."""
    statement = select(SweepRow.__table__).order_by(SweepRow.started_at.desc(), SweepRow.sweep_id).limit(limit)
    return [_sweep(row) for row in connection.execute(statement)]


def add(connection: Connection, sweep: Sweep) -> None:
    """Add a sweep."""
    row = {**vars(sweep), "stages": list(sweep.stages), "reason": clean(sweep.reason)}
    connection.execute(insert(SweepRow.__table__), row)  # type: ignore[arg-type]


def change(connection: Connection, sweep_id: str, **values: Any) -> None:
    """Set columns of a sweep."""
    connection.execute(update(SweepRow).where(SweepRow.sweep_id == sweep_id).values(**values))


def count_decisions(connection: Connection, made: Sequence[Decision]) -> None:
    """Count decisions for the sweeps that made them. Raises Conflict when one of them does not run."""
    by_sweep = Counter(
        decision.actor_id for decision in made if decision.actor == "sweep" and not decision.actor_id.endswith(UNDO)
    )
    for sweep_id, number in by_sweep.items():
        sweep = wanted(connection, sweep_id)
        if sweep.state != "running":
            raise Conflict(f"sweep {sweep_id} is {sweep.state} and decides nothing more")
        change(connection, sweep_id, decisions=SweepRow.decisions + number)


def standing(connection: Connection, sweep_id: str, limit: int) -> list[str]:
    """Return ids of a sweep's decisions that are in force for posts that are not deleted."""
    statement = _standing(select(DecisionRow.decision_id), sweep_id)
    return list(connection.scalars(statement.order_by(DecisionRow.decision_id).limit(limit)))


def count_standing(connection: Connection, sweep_id: str) -> int:
    """Return how many there are of these."""
    return connection.scalar(_standing(select(func.count()).select_from(DecisionRow), sweep_id)) or 0


def _standing(statement: Select[Any], sweep_id: str) -> Select[Any]:
    in_force = and_(PostRow.post_id == DecisionRow.post_id, PostRow.decision_id == DecisionRow.decision_id)
    return statement.join(PostRow, in_force).where(
        DecisionRow.actor_id == sweep_id, DecisionRow.actor == "sweep", PostRow.state == "active"
    )


def _sweep(row: Row[Any]) -> Sweep:
    return Sweep(
        sweep_id=row.sweep_id,
        policy_version=row.policy_version,
        stages=tuple(row.stages),
        stage=row.stage,
        state=cast(SweepState, row.state),
        started_by=row.started_by,
        reason=row.reason,
        started_at=row.started_at,
        updated_at=row.updated_at,
        decisions=row.decisions,
        undone=row.undone,
    )

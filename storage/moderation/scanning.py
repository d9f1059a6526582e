"""Scanning: all posts of a time with what was last scored and decided, for backtests and sweeps."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, func, select, tuple_

from core.moderation import Action, ActorKind, HarmClass
from storage.moderation.decisions import SCANNED, DecisionRow, Told
from storage.moderation.posts import PostRow
from storage.moderation.reactions import ReactionRow
from storage.moderation.reports import ReportRow


@dataclass(frozen=True, slots=True)
class ScannedPost:
    """A post with the decision in force: scores and signals it was made of, and what became of the post since.

    `rules` names the rules of the decision's reasons, `missing` what could not be looked at, `told` what was known of
    the author and of reactions when it was made. The counts are those of now; reports are not weighted. `label` is what
    a person last said (`allow`: harmless), None when nobody looked.
    """

    post_id: str
    author_id: str
    posted_at: datetime
    language: str
    decision_id: str
    action: Action
    harm: HarmClass | None
    factor: float
    actor: ActorKind
    policy_version: str
    model_version: str
    decided_at: datetime
    text: str
    links: list[str]
    media: int
    device: str | None
    scores: dict[HarmClass, float | None]
    signals: dict[str, float]
    rules: list[str]
    missing: list[str]
    told: Told
    impressions: int
    likes: int
    shares: int
    comments: int
    reports: int
    label: Action | None
    label_harm: HarmClass | None

    @property
    def place(self) -> tuple[datetime, str]:
        """Where the scan goes on behind this post."""
        return self.posted_at, self.post_id


_REPORTS = (
    select(func.count())
    .select_from(ReportRow)
    .where(ReportRow.post_id == PostRow.post_id)
    .correlate(PostRow)
    .scalar_subquery()
)
_COLUMNS: tuple[Any, ...] = (
    PostRow.post_id,
    PostRow.author_id,
    PostRow.posted_at,
    PostRow.language,
    DecisionRow.decision_id,
    DecisionRow.action,
    DecisionRow.harm,
    DecisionRow.factor,
    DecisionRow.actor,
    DecisionRow.policy_version,
    DecisionRow.model_version,
    DecisionRow.decided_at,
    DecisionRow.scan,
    PostRow.text,
    PostRow.links,
    PostRow.media_ids,
    PostRow.device,
    func.coalesce(ReactionRow.impressions, 0),
    func.coalesce(ReactionRow.likes, 0),
    func.coalesce(ReactionRow.shares, 0),
    func.coalesce(ReactionRow.comments, 0),
    _REPORTS,
    PostRow.label,
    PostRow.label_harm,
)


def scan(
    connection: Connection, since: datetime, after: tuple[datetime, str] | None, limit: int, until: datetime | None
) -> list[ScannedPost]:
    """Return active posts that have a decision, oldest first, from `since` to before `until`, those behind `after`."""
    statement = (
        select(*_COLUMNS)
        .join(DecisionRow, DecisionRow.decision_id == PostRow.decision_id)
        .outerjoin(ReactionRow, ReactionRow.post_id == PostRow.post_id)
        .where(PostRow.posted_at >= since, PostRow.state == "active")
        .order_by(PostRow.posted_at, PostRow.post_id)
        .limit(limit)
    )
    if until is not None:
        statement = statement.where(PostRow.posted_at < until)
    if after is not None:
        place = tuple_(PostRow.posted_at, PostRow.post_id)
        statement = statement.where(place > tuple_(*after))  # type: ignore[arg-type]
    return [_scanned(row) for row in connection.execute(statement)]


def _scanned(row: Any) -> ScannedPost:
    of = SCANNED.decode(row[12])
    return ScannedPost(
        row[0],
        row[1],
        row[2],
        row[3],
        row[4],
        cast(Action, row[5]),
        cast(HarmClass | None, row[6]),
        row[7],
        cast(ActorKind, row[8]),
        row[9],
        row[10],
        row[11],
        row[13],
        row[14],
        len(row[15]),
        row[16],
        of.scores,
        of.signals,
        of.rules,
        of.missing,
        of.told,
        row[17],
        row[18],
        row[19],
        row[20],
        row[21],
        cast(Action | None, row[22]),
        cast(HarmClass | None, row[23]),
    )

"""Teaching: what learning asks of the store. Nothing here changes a decision."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, func, select

from core.moderation import HarmClass, Label
from storage.catalogue.base import chunks
from storage.moderation import labels
from storage.moderation.decisions import SCANNED, DecisionRow, Told
from storage.moderation.jobs import JobRow
from storage.moderation.posts import PostRow
from storage.moderation.transactions import Transactions

LABELLING = "label."  # what the reasons of jobs begin with that were opened to have a post labelled
_PAGE = 5_000


@dataclass(frozen=True)
class FirstLook:
    """What the machine knew and said of a post when it first decided about the content that the post has now."""

    post_id: str
    decision_id: str
    decided_at: datetime
    model_version: str
    scores: dict[HarmClass, float | None]
    signals: dict[str, float]
    told: Told


class Teaching(Transactions):
    """Reads what models learn from, over the same database as `ModerationStore`. Raises Unavailable as that does."""

    def first_looks(self, post_ids: Sequence[str]) -> dict[str, FirstLook]:
        """Return, by post, the first decision of a machine about its content of now; posts without one are left out.

        The first, because later ones know what people did meanwhile, which is what a label says.
        """
        with self._database.reading() as connection:
            return first_looks(connection, post_ids)

    def labels_since(self, since: datetime) -> list[Label]:
        """Return what people said of posts from a time on, oldest first."""
        found: list[Label] = []
        with self._database.reading() as connection:
            while page := labels.scan(connection, since, found[-1] if found else None, _PAGE):
                found += page
        return found

    def asked_to_label(self, since: datetime) -> int:
        """Return how many posts people were asked to label from a time on."""
        statement = select(func.count()).where(JobRow.reason.startswith(LABELLING), JobRow.created_at >= since)
        with self._database.reading() as connection:
            return int(connection.scalar(statement) or 0)


def first_looks(connection: Connection, post_ids: Sequence[str]) -> dict[str, FirstLook]:
    """See `Teaching.first_looks`."""
    found: dict[str, FirstLook] = {}
    same = and_(DecisionRow.of_time_us == PostRow.version_time_us, DecisionRow.of_seq == PostRow.version_seq)
    columns = (
        DecisionRow.post_id,
        DecisionRow.decision_id,
        DecisionRow.decided_at,
        DecisionRow.model_version,
        DecisionRow.scan,
    )
    for some in chunks(list(dict.fromkeys(post_ids))):
        statement = (
            select(*columns)
            .join(PostRow, and_(PostRow.post_id == DecisionRow.post_id, same))
            .where(DecisionRow.post_id.in_(some), DecisionRow.actor == "model")
            .order_by(DecisionRow.version_time_us, DecisionRow.version_seq)
        )
        for row in connection.execute(statement):
            if row.post_id not in found:
                scan = SCANNED.decode(row.scan)
                found[row.post_id] = FirstLook(
                    row.post_id,
                    row.decision_id,
                    row.decided_at,
                    row.model_version,
                    scan.scores,
                    scan.signals,
                    scan.told,
                )
    return found

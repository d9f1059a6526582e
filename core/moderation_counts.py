"""What moderation's store counts over a time: what `models.moderation.measures` makes measures of."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from core.moderation import Action, HarmClass


class DrawnPost(Struct, kw_only=True, frozen=True, gc=False):
    """One version of a post that impressions drawn by chance showed, and what a person said of that version.

    `weight` is how many impressions the drawn ones stand for: each counts 1 / (the share it was drawn with). `flagged`:
    the post has had a review job for another reason, so it was looked at sooner than what was only drawn.
    """

    post_id: str
    draws: int
    weight: float
    flagged: bool
    action: Action | None = None  # None: nobody has looked
    harm: HarmClass | None = None


class EnforcedPost(Struct, kw_only=True, frozen=True, gc=False):
    """A post that was taken down within the time, and still is."""

    post_id: str
    harm: HarmClass | None
    posted_at: datetime
    enforced_at: datetime
    reported_at: datetime | None  # the first report of it
    impressions: int  # that happened before it was taken down


class ReportedPost(Struct, kw_only=True, frozen=True, gc=False):
    """A post that was up when it was first reported within the time, and when it was next decided about."""

    post_id: str
    reported_at: datetime
    decided_at: datetime | None


class ReportsOf(Struct, kw_only=True, frozen=True, gc=False):
    """Reports of one class of harm; `upheld` and `rejected` by the person who last decided about the post."""

    reports: int
    upheld: int
    rejected: int


class Counted(Struct, kw_only=True, frozen=True, gc=False):
    """Everything counted between two times. Reports without a class are under None."""

    since: datetime
    until: datetime
    drawn: Sequence[DrawnPost]
    enforced: Sequence[EnforcedPost]
    reported: Sequence[ReportedPost]
    reports: Mapping[HarmClass | None, ReportsOf]
    appeals_reversed: int  # of those decided within the time
    appeals_upheld: int
    appeals_open: int  # now
    restricted_by_machine: int  # posts that a machine demoted or took down within the time

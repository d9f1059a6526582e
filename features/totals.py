"""Totals of authors and posts as rows of their views."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from core.moderation_totals import STRIKES_KEPT, AuthorTotals, PostTotals, Totals, totals_key
from features.schema import AS_OF, AUTHOR_TOTALS, POST_TOTALS, REPORTED, TOTALS_VIEWS, View
from features.transforms.moderation import Ints

if TYPE_CHECKING:
    from features.online import OnlineStore

_WRITTEN_AT_ONCE = 2_000


def view_of(totals: Totals) -> View:
    """Return the view that totals are a row of."""
    return AUTHOR_TOTALS if isinstance(totals, AuthorTotals) else POST_TOTALS


def row_of(totals: Totals) -> list[int]:
    """Return the values of a view's row, in the order of its features without `as_of_us`."""
    if isinstance(totals, PostTotals):
        shown = [totals.impressions, totals.likes, totals.shares, totals.comments]
        own = [totals.posts, totals.words, totals.profane_words, totals.struck_us]
        return [*shown, *(totals.reports.get(harm, 0) for harm in REPORTED), *own]
    strikes = [*totals.strikes_us[:STRIKES_KEPT], *[0] * (STRIKES_KEPT - len(totals.strikes_us))]
    counted = [totals.posts, totals.words, totals.profane_words, totals.reports, totals.followers]
    return [*counted, totals.since_us, totals.violations, *strikes]


def columns_of(view: View, rows: Sequence[Sequence[int]]) -> dict[str, Ints]:
    """Return the rows of a view as columns, without `as_of_us`."""
    table = np.array(rows, np.int64).reshape(len(rows), len(view.features) - 1)
    return {feature.name: table[:, place] for place, feature in enumerate(view.features[:-1])}


def newest_of(totals: Iterable[Totals]) -> list[Totals]:
    """Return the newest totals of each author and post."""
    newest: dict[tuple[type, str], Totals] = {}
    for one in totals:
        before = newest.get((type(one), totals_key(one)))
        if before is None or one.as_of_us >= before.as_of_us:
            newest[type(one), totals_key(one)] = one
    return list(newest.values())


def write_newer(online: "OnlineStore", totals: Sequence[Totals]) -> int:
    """Write totals, one of each author and post, where they are newer than what is there; return how many were.

    Raises Unavailable: any of them may still have been written, and writing them again does no harm.
    """
    written = 0
    for view in TOTALS_VIEWS:
        mine = [one for one in totals if view_of(one) is view]
        for first in range(0, len(mine), _WRITTEN_AT_ONCE):
            some = mine[first : first + _WRITTEN_AT_ONCE]
            there = online.read(view, [totals_key(one) for one in some])
            newer = [one for one, row in zip(some, there, strict=True) if row is None or one.as_of_us > int(row[AS_OF])]
            as_of = np.array([one.as_of_us for one in newer], np.int64)
            values = np.array([row_of(one) for one in newer], np.float64).reshape(len(newer), len(view.features) - 1)
            online.write(view, [totals_key(one) for one in newer], as_of, values)
            written += len(newer)
    return written

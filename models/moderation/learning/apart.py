"""What is asked is never taught: posts and their near-duplicates are on one side only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.moderation.groups import near_duplicate_groups


@dataclass(frozen=True)
class Apart:
    """`asks` `(n,)` and `teaches` `(m,)`: which posts may; `groups` `(n,)` of the posts that were judged by hand."""

    asks: NDArray[np.bool_]
    teaches: NDArray[np.bool_]
    groups: NDArray[np.int64]


def apart(judged: Sequence[str], reported: Sequence[str], learned: Sequence[str]) -> Apart:
    """Divide texts by their groups of near-duplicates.

    Args:
        judged: texts that people judged by hand.
        reported: texts that natural labels are about.
        learned: texts that the champion learned from.

    A judged text asks unless the champion has learned one like it: it would be asked about what it knows. A reported
    text teaches unless one like it was judged, whether that one asks or not.
    """
    groups = near_duplicate_groups([*judged, *reported, *learned])
    of_judged, of_reported = groups[: len(judged)], groups[len(judged) : len(judged) + len(reported)]
    known = groups[len(judged) + len(reported) :]
    return Apart(~np.isin(of_judged, known), ~np.isin(of_reported, of_judged), of_judged)

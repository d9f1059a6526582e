"""The re-ranking service of visual search: from nearest neighbours to an answer. Pure functions.

The index returns what is close. Re-ranking decides what may be shown and what is worth showing: it takes out what is
hidden, private, taken down or blocked where the viewer is, the query image itself, copies, near-copies, and whatever is
not similar enough, so that "nothing" is an answer; what is demoted comes later than it would. Every candidate leaves
with a verdict, which is what a trace explains.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.entries import IndexEntry
from core.ports import Hit
from serving.restrictions.restriction import Restriction, lowered

Reason = Literal[
    "gone",  # deleted since the index was searched
    "changed",  # its image was replaced since the index was searched, so the score is of another picture
    "hidden",
    "enforced",  # a post that shows it was taken down
    "unsafe",
    "private",  # private or unlisted, and not the viewer's own
    "blocked-region",
    "query-image",  # the very image that was asked about
    "below-min-score",
    "duplicate",  # the same bytes as a better-ranked result
    "near-duplicate",  # almost the same picture as a better-ranked result
    "beyond-k",
]


# Structs, not dataclasses: dozens are made for each answer, and written as JSON in its trace.
class RerankRules(msgspec.Struct, frozen=True, gc=False):
    """What an answer must satisfy. Scores are cosines; `near_duplicate_bits` is a Hamming distance of 64-bit hashes."""

    k: int
    min_score: float
    near_duplicate_bits: int
    near_duplicate_score: float
    query_media_id: str | None = None
    region: str | None = None  # the viewer's country
    include_private_of: str | None = None


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What became of one candidate: its place among the candidates, and its place in the answer or why it has none."""

    item_id: str
    score: float  # that it was ranked by: its cosine, lowered where it is demoted
    rank: int  # among the candidates, from 0
    position: int | None  # in the answer, from 0; None when removed
    reason: Reason | None = None
    because_of: str | None = None  # the better-ranked item that this one duplicates


@dataclass(frozen=True)
class Reranked:
    """The answer, best first, and a verdict for every candidate, in candidate order.

    The scores of results are lowered where they are demoted. `restricted` has the candidates that are, by item.
    """

    results: list[Hit]
    verdicts: list[Verdict]
    restricted: dict[str, Restriction]


def rerank(
    hits: Sequence[Hit],
    rules: RerankRules,
    current: Callable[[str], IndexEntry | None],
    restriction: Callable[[str, str], Restriction | None],
) -> Reranked:
    """Turn index hits into an answer.

    Whether something is similar enough is a matter of its cosine; where it comes among what is, of the lowered score.

    Args:
        hits: candidates in any order, with their cosines; an item may occur once.
        rules: what the answer must satisfy.
        current: gives an item's entry as it is now. The index already leaves out what must not be shown; looking
            again closes the gap between its search and this answer, and holds should the index ever be wrong.
        restriction: gives what restricts an item of an owner now (`serving.restrictions`).
    """
    restricted = {
        hit.entry.item_id: found
        for hit in hits
        if (found := restriction(hit.entry.item_id, hit.entry.owner_id)) is not None
    }
    scored = [(_score(hit, restricted.get(hit.entry.item_id)), hit) for hit in hits]
    ordered = sorted(scored, key=lambda one: (-_finite(one[0]), one[1].entry.item_id))
    kept: list[_Kept] = []
    results: list[Hit] = []
    verdicts: list[Verdict] = []
    for rank, (score, hit) in enumerate(ordered):
        full = len(results) >= rules.k
        # What comes too late anyway is judged by what the search saw: no need to look again, nor for copies.
        entry = hit.entry if full else current(hit.entry.item_id)
        reason: Reason | None = inadmissible(hit, entry, rules, restricted.get(hit.entry.item_id))
        because_of: str | None = None
        if reason is None and full:
            reason = "beyond-k"
        elif reason is None and entry is not None:
            candidate = _Kept.of(entry)
            reason, because_of = _copy_of(candidate, kept, rules)
            if reason is None:
                kept.append(candidate)
                results.append(Hit(score=score, entry=entry))
        position = len(results) - 1 if reason is None else None
        verdicts.append(Verdict(hit.entry.item_id, score, rank, position, reason, because_of))
    return Reranked(results=results, verdicts=verdicts, restricted=restricted)


def inadmissible(
    hit: Hit, entry: IndexEntry | None, rules: RerankRules, restriction: Restriction | None
) -> Reason | None:
    """Return why this candidate may not be in the answer whatever the others are, or None.

    `hit` is what the index found; `entry` is the item as it is now (None: deleted), `restriction` what restricts it.
    """
    if entry is None:
        return "gone"
    if entry.state == "hidden":
        return "hidden"
    if restriction is not None and restriction.enforced:
        return "enforced"
    if entry.unsafe:
        return "unsafe"
    if entry.visibility != "public" and entry.owner_id != rules.include_private_of:
        return "private"
    if rules.region is not None and rules.region in entry.blocked_regions:
        return "blocked-region"
    if entry.media_id != hit.entry.media_id:
        return "changed"
    if rules.query_media_id is not None and entry.media_id == rules.query_media_id:
        return "query-image"
    if not _finite(hit.score) >= rules.min_score:
        return "below-min-score"
    return None


def hamming(left: str, right: str) -> int:
    """Return how many of 64 bits differ between two perceptual hashes (16 hex characters each).

    An unknown hash (the empty string) is as far as can be (64) from everything, another unknown hash included.
    """
    if not left or not right:
        return 64
    return (int(left, 16) ^ int(right, 16)).bit_count()


@dataclass(frozen=True)
class _Kept:
    item_id: str
    media_id: str
    phash: int | None
    vector: NDArray[np.float32]  # (dim,), length 1

    @classmethod
    def of(cls, entry: IndexEntry) -> "_Kept":
        phash = int(entry.phash, 16) if entry.phash else None
        return cls(entry.item_id, entry.media_id, phash, np.frombuffer(entry.vector, dtype="<f4"))


def _copy_of(
    candidate: _Kept, kept: Sequence[_Kept], rules: RerankRules
) -> tuple[Literal["duplicate", "near-duplicate"] | None, str | None]:
    for better in kept:
        if better.media_id == candidate.media_id:
            return "duplicate", better.item_id
        if candidate.phash is None or better.phash is None:
            continue
        # Both must hold: hashes of flat, simple pictures collide, and an embedding alone calls two zebras the same.
        if (candidate.phash ^ better.phash).bit_count() > rules.near_duplicate_bits:
            continue
        if float(candidate.vector @ better.vector) >= rules.near_duplicate_score:
            return "near-duplicate", better.item_id
    return None, None


def _score(hit: Hit, restriction: Restriction | None) -> float:
    """Return what a candidate is ranked by. What is enforced is in no answer, and keeps its cosine."""
    if restriction is None or restriction.enforced:
        return hit.score
    return max(-1.0, lowered(hit.score, restriction.factor))


def _finite(score: float) -> float:
    return score if math.isfinite(score) else -math.inf

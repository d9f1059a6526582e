"""One hash over a live state, the same for every state that came of the same events, whatever their rows.

The order in which topics are read against each other does not matter to it, nor do repetitions. What depends on that
order is left out: countries' lists, which count by the country a user's profile said at the time, and durations, which
watches say of the video that was there at the time.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from serving.recommendation.audience import packed
from serving.recommendation.columns import SPECIFICATION
from serving.recommendation.live_state import LiveState
from serving.recommendation.popularity import DecayedCounts
from serving.recommendation.videos import DELETED, Videos

_CODES = ("creator", "language", "category", "tags", "regions")
_DIGITS = 6  # of a count's logarithm: sums of floats depend a little on their order


def state_hash(state: LiveState) -> str:
    """Return a SHA-256 in hex over videos, counts and users. Reads everything once; not beside the writer."""
    hashed = hashlib.sha256()
    for part in (_videos(state), _users(state)):
        for line in sorted(json.dumps(values) for values in part):
            hashed.update(line.encode() + b"\n")
    return hashed.hexdigest()


def _videos(state: LiveState) -> Iterator[list[Any]]:
    videos = state.videos
    impressions = state.impressions
    plain = [name for name in SPECIFICATION if name not in (*_CODES, "content", "version_us", "duration_s")]
    for row in range(videos.rows):
        item_id, version = videos.item_id(row), int(videos.column("version_us")[row])
        if videos.flags[row] & DELETED:
            yield [item_id, "deleted", version]
            continue
        yield [
            item_id,
            version,
            videos.title(row),
            *_names(videos, row),
            *(repr(videos.column(name)[row].item()) for name in plain),
            hashlib.sha256(videos.content[row].tobytes()).hexdigest(),
            int(impressions[row]),
            *(_count(counts, row) for counts in (state.popularity.long, state.popularity.short)),
        ]
    for item_id, version, flags in videos.lists(0)["withheld"]:
        yield [item_id, "deleted" if flags & DELETED else flags, version]


def _names(videos: Videos, row: int) -> list[Any]:
    return [
        videos.creator_id(row),
        videos.languages.name(int(videos.language[row])),
        videos.categories.name(int(videos.category[row])),
        [videos.tag_names.name(code) for code in videos.tags[row].tolist() if code >= 0],
        sorted(videos.region_sets.sets[int(videos.column("regions")[row])]),
    ]


def _count(counts: DecayedCounts, row: int) -> float | None:
    """Return the logarithm of a decayed count as it would be at time 0."""
    total = float(counts.sums(np.array([row]))[0])
    if total <= 0 or counts.landmark_s is None:
        return None
    return round(math.log2(total) + counts.landmark_s / counts.half_life_s, _DIGITS)


def _users(state: LiveState) -> Iterator[list[Any]]:
    people, erased = state.audience.capture()
    item_id = state.videos.item_id
    for user_id, person in people:
        _, history, impressions, _, reactions, follows, *rest = packed(user_id, person)
        yield [
            user_id,
            *(sorted([item_id(row), *past] for row, *past in pasts) for pasts in (history, impressions, reactions)),
            sorted(item_id(row) for row in person.seen.rows().tolist()),
            sorted(follows),
            *rest,
        ]
    yield from (["erased", *one] for one in erased)

"""A platform's interactions for tests: two groups with a taste each, before and after a model was trained."""

from datetime import UTC, datetime, timedelta

import numpy as np

from models.recommendation.interactions import EventRow
from models.recommendation.learning.traffic import Happened

START = datetime(2026, 11, 1, tzinfo=UTC)


def watched(
    user: str, item: str, minute: float, *, offset: int, partition: int = 0, epoch: str = "e", share: float = 0.9
) -> Happened:
    time = START + timedelta(minutes=minute)
    row = EventRow("watch", user, item, time, watched_s=share * 100, of_s=100.0)
    return Happened(row, epoch, partition, offset, time.timestamp())


def two_groups(*, users: int = 80, items: int = 40, each: int = 12, seed: int = 0) -> list[Happened]:
    """Even users watch even items, odd ones odd items, one a minute, each near the one before; places are by user."""
    rng = np.random.default_rng(seed)
    last = [int(rng.integers(items // 2)) for _ in range(users)]
    offsets, happened = [0, 0], []
    for number in range(each * users):
        user = number % users
        group = user % 2
        last[user] = (last[user] + int(rng.integers(1, 3))) % (items // 2)
        item = 2 * last[user] + group
        happened.append(watched(f"u{user}", f"i{item}", number, offset=offsets[group], partition=group))
        offsets[group] += 1
    return happened

"""Synthetic feedback: two groups of users, each with its own half of the items, liked in a certain order."""

from dataclasses import replace

import numpy as np

from models.recommendation.features import table_of_columns
from models.recommendation.feedback import Feedback
from models.recommendation.interactions import make_log
from models.recommendation.labels import label

USERS, ITEMS = 40, 30


def two_tastes(*, users: int = USERS, items: int = ITEMS, each: int = 8, seed: int = 0) -> Feedback:
    """Even users like even items, odd ones odd items, and each dislikes two of the others'."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        liked = rng.permutation(np.arange(user % 2, items, 2))[:each]
        other = rng.permutation(np.arange(1 - user % 2, items, 2))[:2]
        start = float(rng.uniform(0, 1e6))
        rows += [(f"u{user}", f"i{item}", 5.0, start + step) for step, item in enumerate(liked)]
        rows += [(f"u{user}", f"i{item}", 1.0, start + 0.5) for item in other]
    log = make_log(
        [row[0] for row in rows],
        [row[1] for row in rows],
        np.asarray([row[3] for row in rows]),
        values=np.asarray([row[2] for row in rows], np.float32),
        users=[f"u{user}" for user in range(users)],
        items=[f"i{item}" for item in range(items)],
    )
    item_table = table_of_columns(
        log.items,
        {
            "title": [f"{'even' if item % 2 == 0 else 'odd'} film {item}" for item in range(items)],
            "tags": ["calm" if item % 2 == 0 else "loud" for item in range(items)],
        },
    )
    user_table = table_of_columns(
        log.users,
        {
            "age": [str(20 + user) for user in range(users)],
            "taste": ["even" if u % 2 == 0 else "odd" for u in range(users)],
        },
    )
    return replace(label(log), item_table=item_table, user_table=user_table)

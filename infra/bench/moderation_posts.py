"""Posts for benchmarks: sentences of the project's own in eight languages, numbered so that no two are the same."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from infra.demo.platform import event
from models.moderation.sentences import edgy_posts, own_posts

AUTHORS = 200
SPAM = "WINNER!! You have won a FREE phone. Claim your prize now: http://win-prizes.top or call 09061701461"


def texts(seed: int, harmful: float = 0.1) -> Iterator[str]:
    """Give sentences without end, a share of them harmful; each ends with its number, so that nothing is remembered."""
    draw = random.Random(seed)
    mine = own_posts("test")
    plain = [post.text for post in (*mine, *edgy_posts()) if not any(post.harm.values())]
    bad = [post.text for post in mine if any(post.harm.values())]
    number = 0
    while True:
        number += 1
        yield f"{draw.choice(bad if draw.random() < harmful else plain)} {number}"


def post_created(post_id: str, text: str, media: Sequence[str] = (), items: Sequence[str] = ()) -> dict[str, Any]:
    """Return the event of a post by one of `AUTHORS` authors."""
    author = f"bench-author-{sum(post_id.encode()) % AUTHORS}"
    data = {
        "post_id": post_id,
        "author_id": author,
        "text": text,
        "media_ids": list(media),
        "item_ids": list(items),
        "device": "phone",
    }
    return event("post.created", post_id, data)

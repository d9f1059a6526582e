"""What a challenger said of the posts that were decided while it ran beside the champion."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from core.errors import NotFound
from infra.moderation_history import case_of, stored_posts
from models.moderation.learning.shadow import Comparison, ShadowRow, compare
from models.moderation.policy import Policy
from storage.moderation import ModerationStore


def shadow(store: ModerationStore, policy: Policy, since: datetime, challenger: str = "") -> Comparison:
    """Compare the challenger with the champion on stored posts that both scored.

    Args:
        challenger: a version, as `moderation/3f2a91c0`; left out, the one that scored the newest posts.

    Raises:
        NotFound: no challenger has scored any post of that time, or not that one.
    """
    pairs: Counter[tuple[str, str]] = Counter()
    newest = ""
    for post in stored_posts(store, since):
        if post.told.challenger is not None:
            newest = post.told.challenger.model_version
            pairs[newest, post.model_version] += 1
    wanted = challenger or newest
    beside = {champion: count for (version, champion), count in pairs.items() if version == wanted}
    if not beside:
        ran = ", ".join(sorted({version for version, _ in pairs})) or "none"
        raise NotFound(
            f"no post since {since:%Y-%m-%d %H:%M} was scored by {wanted or 'a challenger'} (there were: {ran}). "
            "`riverlight models promote moderation VERSION --alias challenger` lets one score live posts"
        )
    champion = max(beside, key=lambda version: beside[version])
    return compare(policy, _rows(store, since, wanted, champion), champion=champion, challenger=wanted)


def _rows(store: ModerationStore, since: datetime, challenger: str, champion: str) -> Iterator[ShadowRow]:
    for post in stored_posts(store, since):
        said = post.told.challenger
        if said is not None and said.model_version == challenger and post.model_version == champion:
            yield ShadowRow(
                case=case_of(post),
                challenger=said,
                label=post.label,
                label_harm=post.label_harm,
                impressions=post.impressions,
            )

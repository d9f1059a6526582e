"""What people said of stored posts, collected for learning: judged by hand, reported, or shown and never reported."""

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from core.clock import Clock, SystemClock
from core.moderation import HARM_CLASSES, Label
from core.settings import LearningModerationSettings
from infra.moderation_history import stored_posts
from models.moderation.learning.examples import (
    Example,
    Floats,
    Known,
    NaturalRule,
    by_hand,
    is_proven,
    reported,
)
from models.moderation.learning.round import is_reported, post_hash
from models.moderation.policy import Policy, weigh
from models.progress import Report
from storage.catalogue import Catalogue
from storage.moderation import ModerationStore, ScannedPost
from storage.moderation.teaching import FirstLook, Teaching
from streams.moderation.judges import post_reports

_AT_ONCE = 2_000
UNTOLD = np.full(len(HARM_CLASSES), np.nan, np.float32)


def silent(stage: str, done: int, total: int) -> None:
    """A report to nobody."""


@dataclass(frozen=True)
class Said:
    """Posts with what people said of them: by hand, and by reports or the lack of them."""

    judged: list[Example]
    natural: list[Example]

    @property
    def reported(self) -> list[Example]:
        """The posts that reports say are harmful."""
        return [one for one in self.natural if is_reported(one)]


class Posts:
    """Collects what people said of stored posts, as far as it is about the content they have now."""

    def __init__(
        self, catalogue: Catalogue, policy: Policy, settings: LearningModerationSettings, clock: Clock | None = None
    ) -> None:
        self._store = ModerationStore(catalogue.database)
        self._teaching = Teaching(catalogue.database)
        self._policy = policy
        self._settings = settings
        self._clock = clock or SystemClock()

    def said(self, report: Report = silent) -> Said:
        """Return the posts of the last `days` that somebody said something of. Raises Unavailable."""
        since = self._clock.now() - timedelta(days=self._settings.days)
        by_post: dict[str, list[Label]] = defaultdict(list)
        for label in self._teaching.labels_since(since):
            by_post[label.post_id].append(label)
        judged: list[Example] = []
        natural: list[Example] = []
        found = self._newest(since)
        for start in range(0, len(found), _AT_ONCE):
            report("collecting posts", start, len(found))
            page = found[start : start + _AT_ONCE]
            looks = self._teaching.first_looks([post.post_id for post in page])
            weights = self._weights([post.post_id for post in page if post.reports])
            for post in page:
                look = looks.get(post.post_id)
                if look is None:
                    continue
                if post.label is not None:  # people judged what it says now; a label of before is not kept with it
                    targets = by_hand(by_post[post.post_id])
                    judged += [Example(known(post, look), targets)] if targets is not None else []
                    continue
                if (taught := weights.get(post.post_id)) is not None:
                    natural.append(Example(known(post, look), taught))
                elif not post.reports and post.action == "allow" and post.impressions >= self._rule.impressions:
                    natural.append(Example(known(post, look), UNTOLD, post.impressions))
        report("collecting posts", len(found), len(found))
        return Said(judged, natural)

    def texts(self, hashes: Sequence[int]) -> list[str]:
        """Return the texts of those posts whose hashes these are, as far as they are still there."""
        wanted = set(hashes)
        if not wanted:
            return []
        since = datetime(1970, 1, 1, tzinfo=UTC)
        return [post.text for post in stored_posts(self._store, since) if post_hash(post.post_id) in wanted]

    @property
    def _rule(self) -> NaturalRule:
        return NaturalRule(self._settings.report_weight, self._settings.impressions)

    def _newest(self, since: datetime) -> list[ScannedPost]:
        """Return the newest `max_posts` posts, and before them whatever people judged."""
        judged: list[ScannedPost] = []
        newest: deque[ScannedPost] = deque()
        for post in stored_posts(self._store, since):
            newest.append(post)
            if len(newest) > self._settings.max_posts and (oldest := newest.popleft()).label is not None:
                judged.append(oldest)
        return [*judged, *newest]

    def _weights(self, post_ids: Sequence[str]) -> dict[str, Floats]:
        """Return what reports teach of posts, weighed as the policy weighs them."""
        store = self._store
        reports = store.reports_of(post_ids)
        people = sorted({one.reporter_id for some in reports.values() for one in some})
        reporters, accounts = store.reporters(people), store.authors(people)
        found = {}
        for post_id, some in reports.items():
            rules = self._policy.reports
            told = [one for one in post_reports(some, reporters, accounts) if is_proven(one, rules)]
            targets = reported(weigh(told, rules, now=self._clock.now()), self._rule)
            if targets is not None:
                found[post_id] = targets
        return found


def known(post: ScannedPost, look: FirstLook) -> Known:
    """Return a post with what was known of it when it was first decided; texts and media are those it has now."""
    return Known(
        post_id=post.post_id,
        text=post.text,
        language=post.language,
        links=len(post.links),
        media=post.media,
        nsfw=look.signals.get("nsfw", float("nan")),
        hour=post.posted_at.hour,
        device=post.device,
        author=look.told.author,
        reactions=look.told.reactions,
    )

"""Seeded videos and viewers for the benchmark of recommendations."""

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np

from core import events, topics
from core.entries import Version
from core.events import AnyEvent, Interaction, Upload
from core.ids import event_id
from core.moderation import Verdict, encode_moderation
from core.ports import OutgoingRecord

USERS = 200
INTERACTIONS = 60_000  # of the viewers, with the videos there are
FOLLOWS_OF_A_USER = 5
_DAYS = 30
_WORDS = 5_000
_KINDS = (events.Click, events.Like, events.Impression, events.Impression)
_SOURCE = "riverlight-bench"


def user(number: int) -> str:
    """Return the id of a viewer."""
    return f"viewer-{number % USERS}"


def videos(start: int, stop: int, now: datetime) -> Iterator[OutgoingRecord]:
    """Yield the uploads of videos `start` to `stop`: 30 days of them, titles of Zipf's words, 20 a creator."""
    rng = np.random.default_rng((17, start))
    oldest = now - timedelta(days=_DAYS)
    for number in range(start, stop):
        item = f"video-{number}"
        age = timedelta(days=_DAYS * float(rng.random()) * 0.999)
        data = Upload(
            item_id=item,
            owner_id=_creator(number),
            kind="video",
            media_id=hashlib.sha256(item.encode()).hexdigest(),  # two that begin alike would be copies of one another
            title=" ".join(f"word{word}" for word in (rng.zipf(1.3, 6) % _WORDS).tolist()),
            category=f"category-{number % 20}",
            language=("en", "de", "fr")[number % 3],
        )
        yield record(
            events.UploadCreated(id=event_id(_SOURCE, item), source=_SOURCE, time=oldest + age, subject=item, data=data)
        )


def past(videos_known: int, now: datetime) -> Iterator[OutgoingRecord]:
    """Yield what the viewers did in the last day, popular videos more often, and whom they follow."""
    rng = np.random.default_rng((18, videos_known))
    for number in range(INTERACTIONS):
        viewer = user(int(rng.integers(USERS)))
        item = f"video-{int(videos_known * rng.random() ** 2)}"
        at = now - timedelta(seconds=86_400 * (1 - number / INTERACTIONS))
        yield did(_KINDS[number % len(_KINDS)], viewer, item, at, f"{videos_known}-{number}")
    for number in range(FOLLOWS_OF_A_USER * USERS):
        creator = _creator(int(rng.integers(videos_known)))
        yield did(events.Follow, user(number), creator, now, f"{videos_known}-follow-{number}")


def did(kind: type[events.InteractionEvent], viewer: str, item: str, at: datetime, name: str) -> OutgoingRecord:
    """Return what somebody did with a video, named uniquely."""
    data = Interaction(user_id=viewer, item_id=item, surface="homepage")
    return record(kind(id=event_id(_SOURCE, name), source=_SOURCE, time=at, subject=viewer, data=data))


def deleted(item: str, at: datetime) -> OutgoingRecord:
    """Return that a video was deleted."""
    data = events.ItemRef(item_id=item)
    return record(
        events.UploadDeleted(id=event_id(_SOURCE, "deleted", item), source=_SOURCE, time=at, subject=item, data=data)
    )


def hidden(item: str, at: datetime) -> OutgoingRecord:
    """Return that a video was taken down."""
    data = events.UploadHiding(item_id=item, hidden=True)
    return record(
        events.UploadHidden(id=event_id(_SOURCE, "hidden", item), source=_SOURCE, time=at, subject=item, data=data)
    )


def enforced(item: str, at: datetime) -> OutgoingRecord:
    """Return a verdict that takes a video down, about a post of its creator that shows it."""
    verdict = Verdict(
        post_id=f"post-of-{item}",
        author_id=_creator(int(item.removeprefix("video-"))),
        state="enforced",
        version=Version.of(at, 0),
        item_ids=[item],
        decided_at=at,
    )
    return OutgoingRecord(topics.VERDICTS.name, verdict.post_id, encode_moderation(verdict))


def record(event: AnyEvent) -> OutgoingRecord:
    """Return the record that carries an event."""
    uploads = isinstance(event, events.UploadCreated | events.UploadDeleted | events.UploadHidden)
    topic = topics.UPLOADS if uploads else topics.INTERACTIONS
    return OutgoingRecord(topic.name, events.event_key(event), events.encode(event))


def _creator(number: int) -> str:
    return f"creator-{number // 20}"

"""The declared topics: name, key, partitions, retention. `riverlight topics apply` makes the broker match."""

from dataclasses import dataclass
from typing import Literal

DAY_MS = 24 * 60 * 60 * 1000
DLQ_SUFFIX = ".dlq"


@dataclass(frozen=True)
class Topic:
    """One topic and its promises.

    `retention_ms` and `retention_bytes` (per partition) bound the log; both are ignored while `cleanup` is "compact".
    """

    name: str
    key: str
    holds: str
    partitions: int = 4
    cleanup: Literal["delete", "compact"] = "delete"
    retention_ms: int = 7 * DAY_MS
    retention_bytes: int = 4 * 1024**3
    max_message_bytes: int = 1024 * 1024
    stream: str | None = None  # the collector stream that feeds it

    @property
    def dlq(self) -> str:
        """The name of the topic's dead-letter topic."""
        return self.name + DLQ_SUFFIX


UPLOADS = Topic(
    "content.uploads.v1",
    key="item id",
    holds="image or video uploaded, changed, hidden, deleted",
    stream="uploads",
    retention_ms=30 * DAY_MS,
)
POSTS = Topic("content.posts.v1", key="post id", holds="post created, changed, deleted", stream="posts")
INTERACTIONS = Topic(
    "content.interactions.v1",
    key="user id",
    holds="impression, click, watch, like, dislike, share, save, comment, search, follow, hide, report",
    stream="interactions",
    retention_ms=30 * DAY_MS,
)
USERS = Topic("content.users.v1", key="user id", holds="profile changes, erasure", stream="users")
STREET_IMAGES = Topic(
    "street.images.v1",
    key="image id",
    holds="street photo with location, attitude and time",
    stream="street-images",
)
INDEX_ENTRIES = Topic(
    "index.entries.v1",
    key="item id",
    holds="embedding, text fields, filters, model version, event time; tombstones",
    cleanup="compact",
)

DECISIONS = Topic(
    "moderation.decisions.v1",
    key="post id",
    holds="what was decided about posts, by whom and why",
    retention_ms=90 * DAY_MS,
)
VERDICTS = Topic(
    "moderation.verdicts.v1",
    key="post id",
    holds="what indexes and feeds need of the decision in force; tombstones",
    cleanup="compact",
)
LABELS = Topic(
    "moderation.labels.v1",
    key="post id",
    holds="review labels and outcomes of appeals",
    retention_ms=90 * DAY_MS,
)

FEATURES = Topic(
    "moderation.features.v1",
    key="author or post id",
    holds="what was counted of an author or of a post, after every change of it",
    retention_ms=30 * DAY_MS,
)

SOURCES: tuple[Topic, ...] = (UPLOADS, POSTS, INTERACTIONS, USERS, STREET_IMAGES)


def dead_letter_topic(topic: Topic) -> Topic:
    """Return the topic that holds what could not be handled from `topic`, in its original bytes."""
    return Topic(
        topic.dlq,
        key="event id",
        holds=f"records of {topic.name} that could not be handled: bytes, headers, place, error, attempts",
        partitions=1,
        retention_ms=30 * DAY_MS,
        max_message_bytes=2 * topic.max_message_bytes,
    )


DEAD_LETTERS: tuple[Topic, ...] = tuple(dead_letter_topic(topic) for topic in SOURCES)

MODERATION: tuple[Topic, ...] = (DECISIONS, VERDICTS, LABELS, FEATURES)

#: What the archive keeps: every event, and what features were as of when.
ARCHIVED: tuple[Topic, ...] = (*SOURCES, FEATURES)

ALL: tuple[Topic, ...] = (*SOURCES, INDEX_ENTRIES, *MODERATION, *DEAD_LETTERS)

BY_STREAM: dict[str, Topic] = {topic.stream: topic for topic in SOURCES if topic.stream}
BY_NAME: dict[str, Topic] = {topic.name: topic for topic in ALL}

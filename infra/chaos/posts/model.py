"""What must have been decided in the end, in plain Python: nothing of the agents or of the policy is used.

What a text deserves is written beside it (`ledger.HARMLESS`, `ledger.HARMFUL`). A machine may ask a person to look at
what is harmless, and may let nobody but a person show what is harmful.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from core.events import (
    AnyEvent,
    Comment,
    Impression,
    Interaction,
    Like,
    Post,
    PostChanged,
    PostCreated,
    PostDeleted,
    Report,
    Share,
    UploadCreated,
)
from infra.chaos.ledger import Sent
from infra.chaos.model import us

RESTRICTING = frozenset({"demote", "enforce"})
OPEN = frozenset({"allow", "review"})


@dataclass(frozen=True)
class PostState:
    """What the catalogue must say of a post. A deleted post keeps neither text nor items."""

    post_id: str
    author_id: str
    state: Literal["active", "deleted"]
    event_id: str  # of its newest version
    time_us: int
    text: str = ""
    item_ids: tuple[str, ...] = ()


@dataclass
class PostsModel:
    """The right final state after a set of events, whatever the order and number of their deliveries."""

    posts: dict[str, PostState] = field(default_factory=dict)
    reactions: dict[str, Counter[str]] = field(default_factory=dict)  # by post: impressions, likes, …, reports
    owners: dict[str, str] = field(default_factory=dict)  # of items
    letters: dict[str, str] = field(default_factory=dict)  # letter id -> error code
    written: set[str] = field(default_factory=set)  # ids of events about posts
    reacted: set[str] = field(default_factory=set)  # ids of reactions
    events: set[str] = field(default_factory=set)  # ids of all good events
    reviewed: dict[str, str] = field(default_factory=dict)  # post -> what a person was told is in force
    harmful: frozenset[str] = frozenset()  # texts

    @classmethod
    def of(cls, sent: Iterable[Sent], harmful: Iterable[str]) -> "PostsModel":
        """Return the state after what was sent, each event once. `harmful`: the texts that are."""
        model = cls(harmful=frozenset(harmful))
        events: dict[str, AnyEvent] = {}
        for one in sent:
            events.update({event.id: event for event in one.good})
            model.letters.update(one.letters)
        for event in sorted(events.values(), key=lambda event: event.time):
            model.events.add(event.id)
            model._apply(event)
        return model

    def allowed(self, post: PostState) -> frozenset[str]:
        """Return the actions of which one must be in force for a post that no person decided."""
        return RESTRICTING if post.text in self.harmful else OPEN

    def _apply(self, event: AnyEvent) -> None:
        match event:
            case PostCreated(data=data) | PostChanged(data=data):
                self.written.add(event.id)
                self.posts[data.post_id] = _state(event, data)
            case PostDeleted(data=ref):
                self.written.add(event.id)
                before = self.posts[ref.post_id]
                self.posts[ref.post_id] = PostState(ref.post_id, before.author_id, "deleted", event.id, us(event.time))
            case UploadCreated(data=upload):
                self.owners[upload.item_id] = upload.owner_id
            case Impression() | Like() | Share() | Comment() | Report():
                self._count(event, event.data)

    def _count(self, event: AnyEvent, data: Interaction) -> None:
        self.reacted.add(event.id)
        names = {Impression: "impressions", Like: "likes", Share: "shares", Comment: "comments", Report: "reports"}
        self.reactions.setdefault(str(data.item_id), Counter())[names[type(event)]] += 1


def _state(event: AnyEvent, data: Post) -> PostState:
    return PostState(data.post_id, data.author_id, "active", event.id, us(event.time), data.text, tuple(data.item_ids))

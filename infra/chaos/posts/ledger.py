"""The ledger of posts: seeded posts, reactions to them, and uploads that share the fate of posts.

It has two halves. What is in the first is decided before anything breaks, and only reactions and people touch it
afterwards; the second is written, changed and deleted while things break. So it is known what every count must be: a
reaction to a post that has not been decided yet counts nowhere, which is promised, but not when it ceases to be true.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core import topics
from core.events import (
    AnyEvent,
    Comment,
    Impression,
    Interaction,
    InteractionEvent,
    Like,
    Post,
    PostChanged,
    PostCreated,
    PostDeleted,
    PostRef,
    Report,
    Share,
    Upload,
    UploadCreated,
    encode,
    event_key,
)
from infra.chaos.ledger import SOURCE, Sent
from infra.chaos.posts.model import PostsModel

#: What everybody agrees about, the models that ship with Riverlight included.
HARMLESS = (
    "Good morning.",
    "The train to the coast leaves at nine.",
    "My tomatoes are finally ripe.",
    "Does anybody know a good dentist?",
    "We painted the kitchen green.",
    "Our cat sleeps all day.",
)
HARMFUL = (
    "WINNER!! You have won a FREE phone. Claim your prize now: http://win-prizes.top or call 09061701461",
    "Congratulations, you won a cash prize of 1000 pounds. Call 09061701461 now to claim it",
    "URGENT! You have won a 1 week FREE membership in our prize jackpot! Txt the word: CLAIM to 81010",
)


_SPAN = timedelta(hours=1)
_REACTIONS: tuple[type[InteractionEvent], ...] = (Impression, Like, Share, Comment, Report)
_WEIGHTS = (60, 15, 5, 15, 5)


@dataclass(frozen=True)
class PostPlan:
    """How much to write. `items`: uploads, each shown by the posts of its owner; `first`: posts of the first half."""

    first: int
    posts: int  # events about posts in the second half
    reactions: int = 0  # to posts of the first half, during the second
    items: int = 0
    harmful_share: float = 0.3
    changed_share: float = 0.2
    deleted_share: float = 0.1
    twice_share: float = 0.05  # of the records of the second half: sent again at once
    poison_share: float = 0.02  # of the records of the second half: not what the schema says
    readers: int = 50


@dataclass(frozen=True)
class PostLedger:
    """What is sent. `first` must be decided before `then` begins; `uploads` come before both."""

    run: str
    uploads: tuple[Sent, ...]
    first: tuple[Sent, ...]
    then: tuple[Sent, ...]
    media: dict[str, str]  # of items

    def model(self, *, whole: bool = True) -> PostsModel:
        """Return what must be there in the end; with `whole` false, after the first half."""
        return PostsModel.of([*self.uploads, *self.first, *(self.then if whole else ())], HARMFUL)

    @property
    def events(self) -> int:
        """How many events are sent, each counted once."""
        every = (*self.uploads, *self.first, *self.then)
        return len({event.id for one in every for event in one.good} | {key for one in every for key in one.letters})


def write_posts(seed: int, run: str, plan: PostPlan, *, start: datetime, media_ids: Sequence[str] = ()) -> PostLedger:
    """Write a ledger of posts.

    Args:
        seed: decides everything but `start`.
        run: what every id begins with.
        start: when the first event happened; the last one is at most an hour later.
        media_ids: stored images, one for each item of the plan.
    """
    return _Writer(random.Random(seed), run, plan, start, media_ids[: plan.items]).write()


class _Writer:
    def __init__(self, rng: random.Random, run: str, plan: PostPlan, start: datetime, media_ids: Sequence[str]) -> None:
        self._rng = rng
        self._run = run
        self._plan = plan
        self._start = start
        self._step = _SPAN / (len(media_ids) + plan.first + plan.posts + plan.reactions + 1)
        self._media = {f"{run}-item-{number}": media_id for number, media_id in enumerate(media_ids)}
        # Two posts or so show an item: about half of the items end up enforced, and some come and go.
        self._shows = min(0.5, 2 * len(media_ids) / max(1, plan.first + plan.posts))
        self._number = 0  # of the event
        self._posts = 0
        self._alive: list[Post] = []  # of the half that is being written
        self._reported: set[str] = set()

    def write(self) -> PostLedger:
        uploads = tuple(self._sent(topics.UPLOADS.name, self._upload(item)) for item in self._media)
        first = tuple(self._sent(topics.POSTS.name, self._created()) for _ in range(self._plan.first))
        reacted_to, self._alive = [post.post_id for post in self._alive], []
        kinds = ["post"] * self._plan.posts + ["reaction"] * (self._plan.reactions if reacted_to else 0)
        self._rng.shuffle(kinds)
        then: list[Sent] = []
        for kind in kinds:
            if kind == "reaction":
                then.append(self._sent(topics.INTERACTIONS.name, self._reaction(reacted_to)))
            elif self._rng.random() < self._plan.poison_share:
                then.append(self._poison())
            else:
                then.append(self._sent(topics.POSTS.name, self._post()))
            if self._rng.random() < self._plan.twice_share:
                then.append(then[-1])
        return PostLedger(self._run, uploads, first, tuple(then), self._media)

    # --- posts -------------------------------------------------------------------------------------------------

    def _post(self) -> AnyEvent:
        drawn = self._rng.random()
        if not self._alive or drawn >= self._plan.changed_share + self._plan.deleted_share:
            return self._created()
        place = self._rng.randrange(len(self._alive))
        post = self._alive[place]
        event_id, time = self._next()
        if drawn < self._plan.deleted_share:
            del self._alive[place]
            data = PostRef(post_id=post.post_id)
            return PostDeleted(id=event_id, source=SOURCE, time=time, subject=post.post_id, data=data)
        self._alive[place] = changed = self._written(post.post_id, post.author_id, post.item_ids)
        return PostChanged(id=event_id, source=SOURCE, time=time, subject=post.post_id, data=changed)

    def _created(self) -> AnyEvent:
        event_id, time = self._next()
        number = self._posts
        self._posts += 1
        # Few posts an author: strikes would make what is decided depend on the order of decisions.
        author = f"{self._run}-author-{number}"
        items = list(self._media)
        shown: list[str] = []
        if items and self._rng.random() < self._shows:
            place = self._rng.randrange(len(items))
            author, shown = f"{self._run}-owner-{place}", [items[place]]
        post = self._written(f"{self._run}-post-{number}", author, shown)
        self._alive.append(post)
        return PostCreated(id=event_id, source=SOURCE, time=time, subject=post.post_id, data=post)

    def _written(self, post_id: str, author_id: str, item_ids: Sequence[str]) -> Post:
        texts = HARMFUL if self._rng.random() < self._plan.harmful_share else HARMLESS
        return Post(
            post_id=post_id,
            author_id=author_id,
            text=self._rng.choice(texts),
            item_ids=list(item_ids),
            language="en",
            device="phone",
        )

    def _poison(self) -> Sent:
        """A post without its text's type: valid JSON with an id, and not what the schema says."""
        event_id, _ = self._next()
        value = (
            b'{"specversion":"1.0","id":"%s","type":"riverlight.post.created","data":{"text":7}}' % event_id.encode()
        )
        return Sent(self._number, topics.POSTS.name, event_id, value, letters={event_id: "invalid-event"})

    # --- the rest ----------------------------------------------------------------------------------------------

    def _reaction(self, post_ids: Sequence[str]) -> AnyEvent:
        post_id = self._rng.choice(post_ids)
        kind = self._rng.choices(_REACTIONS, _WEIGHTS)[0]
        if kind is Report and post_id in self._reported:  # several would change what is decided
            kind = Impression
        value = {Comment: "Well said.", Report: "spam"}.get(kind)
        if kind is Report:
            self._reported.add(post_id)
        event_id, time = self._next()
        user = f"{self._run}-reader-{self._rng.randrange(self._plan.readers)}"
        data = Interaction(user_id=user, item_id=post_id, surface="feed", value=value)
        return kind(id=event_id, source=SOURCE, time=time, subject=user, data=data)

    def _upload(self, item: str) -> AnyEvent:
        event_id, time = self._next()
        # A video to the recommender; who looks at the bytes finds a picture.
        data = Upload(
            item_id=item,
            owner_id=f"{self._run}-owner-{item.rpartition('-')[2]}",
            kind="video",
            media_id=self._media[item],
            title=f"film {item}",
        )
        return UploadCreated(id=event_id, source=SOURCE, time=time, subject=item, data=data)

    def _sent(self, topic: str, event: AnyEvent) -> Sent:
        return Sent(self._number, topic, event_key(event), encode(event), (event,))

    def _next(self) -> tuple[str, datetime]:
        self._number += 1
        return f"{self._run}-e{self._number:07d}", self._start + self._number * self._step

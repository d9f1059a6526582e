"""The ledger: seeded, numbered events of every kind the main job takes, as they are sent, and what must become of them.

The same seed and plan give the same events (their times are relative to `start`), so a run that failed can be
repeated. Every id begins with the name of the run, so that several runs can share a broker.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from core import topics
from core.events import (
    AnyEvent,
    Click,
    Comment,
    Dislike,
    Follow,
    Hide,
    Impression,
    Interaction,
    InteractionEvent,
    ItemRef,
    Like,
    Report,
    Save,
    Search,
    Share,
    Upload,
    UploadChange,
    UploadChanged,
    UploadCreated,
    UploadDeleted,
    UploadHidden,
    UploadHiding,
    Watch,
    Watched,
    encode,
    encode_frame,
    event_key,
)
from core.ports import OutgoingRecord
from infra.chaos.model import Model

SOURCE = "chaos"
_SPAN = timedelta(hours=1)  # the events of a ledger happened within this time
_SURFACES = ("visual_search", "home", "feed", "somewhere-else")
_COUNTED: tuple[type[InteractionEvent], ...] = (Impression, Click, Watch)
_KINDS = (*_COUNTED, Like, Dislike, Share, Save, Comment, Search, Follow, Hide, Report)
_WEIGHTS = (60, 12, 12, *(2 for _ in _KINDS[len(_COUNTED) :]))


@dataclass(frozen=True)
class Plan:
    """What to write: how many events, and how they are mixed."""

    events: int
    upload_share: float = 0.2  # of the events
    uploaded: Literal["image", "video"] = "image"  # what the events say it is; the bytes are pictures either way
    frame_share: float = 0.05  # of the interaction records: frames of 2 to 20 events of one user
    late_share: float = 0.0  # of the interactions: up to 6.9 days old
    too_late_share: float = 0.0  # of the interactions: older than 7 days, hence dead letters
    future_share: float = 0.0  # of the interactions: an hour ahead, hence dead letters
    users: int = 200
    videos: int = 300  # items that are only interacted with


@dataclass(frozen=True)
class Sent:
    """One record as the producer sends it: its good events, and the dead letters it must leave (id -> code).

    `spoiled` are events that are good in themselves, and dead letters because the handler is at fault.
    """

    number: int
    topic: str
    key: str
    value: bytes
    good: tuple[AnyEvent, ...] = ()
    letters: Mapping[str, str] = field(default_factory=dict)
    spoiled: tuple[AnyEvent, ...] = ()

    @property
    def record(self) -> OutgoingRecord:
        return OutgoingRecord(self.topic, self.key, self.value)


@dataclass(frozen=True)
class Ledger:
    """What is sent, in the order it happened, and `model()`: what must be there in the end."""

    run: str
    seed: int
    sent: tuple[Sent, ...]

    def model(self) -> Model:
        letters: dict[str, str] = {}
        for one in self.sent:
            letters.update(one.letters)
        return Model.of((event for one in self.sent for event in one.good), letters)

    @property
    def events(self) -> int:
        """How many events are sent, each counted once, those that cannot be handled included."""
        return sum(len(one.good) + len(one.letters) for one in self.sent)


def write_ledger(seed: int, run: str, plan: Plan, *, start: datetime, media_ids: Sequence[str] = ()) -> Ledger:
    """Write a ledger.

    Args:
        seed: decides everything but `start`.
        run: what every id begins with.
        start: when the first event happened; the last one is at most an hour later.
        media_ids: stored media that uploads may name; needed when the plan has uploads.
    """
    writer = _Writer(random.Random(seed), run, plan, start, media_ids)
    return Ledger(run, seed, tuple(writer.write()))


def shuffled(ledger: Ledger, window: int) -> tuple[Sent, ...]:
    """Return the records in another order: none moves by more than `window` places.

    Uploads of one item keep their order, as the log does for one key, but for every second deletion, which comes
    before everything else about its item.
    """
    rng = random.Random(ledger.seed + 2)
    order = sorted(ledger.sent, key=lambda one: one.number + rng.uniform(0, window))
    places: dict[str, list[int]] = {}
    for place, one in enumerate(order):
        if one.topic == topics.UPLOADS.name:
            places.setdefault(one.key, []).append(place)
    for count, own in enumerate(places.values()):
        chain = sorted((order[place] for place in own), key=lambda one: one.number)
        if count % 2 and chain[-1].good and isinstance(chain[-1].good[0], UploadDeleted):
            chain.insert(0, chain.pop())
        for place, one in zip(own, chain, strict=True):
            order[place] = one
    return tuple(order)


class _Writer:
    def __init__(self, rng: random.Random, run: str, plan: Plan, start: datetime, media_ids: Sequence[str]) -> None:
        self._rng = rng
        self._run = run
        self._plan = plan
        self._start = start
        self._step = _SPAN / max(1, plan.events)
        self._media_ids = tuple(media_ids)
        self._number = 0  # of the event
        self._alive: list[str] = []  # items that are there
        self._hidden: set[str] = set()

    def write(self) -> list[Sent]:
        sent: list[Sent] = []
        while self._number < self._plan.events:
            if self._media_ids and self._rng.random() < self._plan.upload_share:
                sent.append(self._one(len(sent), topics.UPLOADS.name, self._upload()))
            elif self._rng.random() < self._plan.frame_share:
                sent.append(self._frame(len(sent)))
            else:
                sent.append(self._interaction_record(len(sent)))
        return sent

    def _one(self, number: int, topic: str, event: AnyEvent) -> Sent:
        return Sent(number, topic, event_key(event), encode(event), (event,))

    def _frame(self, number: int) -> Sent:
        user = self._user()
        events = tuple(self._interaction(user) for _ in range(self._rng.randint(2, 20)))
        return Sent(number, topics.INTERACTIONS.name, user, encode_frame(events), events)

    def _interaction_record(self, number: int) -> Sent:
        plan, drawn = self._plan, self._rng.random()
        user = self._user()
        if drawn < plan.late_share:
            age = timedelta(days=self._rng.uniform(0.1, 6.9))
            return self._one(number, topics.INTERACTIONS.name, self._interaction(user, -age))
        drawn -= plan.late_share
        for share, shift, code in (
            (plan.too_late_share, -timedelta(days=self._rng.uniform(7.5, 20)), "late-event"),
            (plan.future_share, timedelta(hours=2), "future-event"),  # the events are up to an hour old
        ):
            if drawn < share:
                event = self._interaction(user, shift, counted=True)
                return Sent(number, topics.INTERACTIONS.name, user, encode(event), letters={event.id: code})
            drawn -= share
        return self._one(number, topics.INTERACTIONS.name, self._interaction(user))

    # --- interactions ------------------------------------------------------------------------------------------

    def _user(self) -> str:
        return f"{self._run}-user-{self._rng.randrange(self._plan.users)}"

    def _interaction(self, user: str, shift: timedelta = timedelta(), *, counted: bool = False) -> AnyEvent:
        event_id, time = self._next()
        item = f"{self._run}-video-{self._rng.randrange(self._plan.videos)}"
        if self._alive and self._rng.random() < 0.3:
            item = self._rng.choice(self._alive)
        kind = self._rng.choices(_COUNTED if counted else _KINDS, _WEIGHTS[: len(_COUNTED if counted else _KINDS)])[0]
        value = Watched(seconds=self._rng.randrange(100_000) / 1000) if kind is Watch else None
        data = Interaction(
            user_id=user,
            item_id=None if kind is Search else item,
            surface=self._rng.choice(_SURFACES),
            position=self._rng.randrange(20),
            value=value,
        )
        return kind(id=event_id, source=SOURCE, time=time + shift, subject=user, data=data)

    # --- uploads -----------------------------------------------------------------------------------------------

    def _upload(self) -> AnyEvent:
        drawn = self._rng.random()
        if drawn < 0.45 or not self._alive:
            return self._created()
        item = self._rng.choice(self._alive)
        event_id, time = self._next()
        envelope = {"id": event_id, "source": SOURCE, "time": time, "subject": item}
        if drawn < 0.65:
            change = UploadChange(
                item_id=item,
                title=f"changed by {event_id}",
                description=self._rng.choice(("", "new words")),
                tags=[self._rng.choice(("red", "green", "blue"))],
                category=self._rng.choice(("art", "nature")),
            )
            return UploadChanged(**envelope, data=change)  # type: ignore[arg-type]
        if drawn < 0.85:
            hide = item not in self._hidden
            (self._hidden.add if hide else self._hidden.discard)(item)
            return UploadHidden(**envelope, data=UploadHiding(item_id=item, hidden=hide))  # type: ignore[arg-type]
        self._alive.remove(item)
        self._hidden.discard(item)
        return UploadDeleted(**envelope, data=ItemRef(item_id=item))  # type: ignore[arg-type]

    def _created(self) -> AnyEvent:
        event_id, time = self._next()
        item = f"{self._run}-item-{self._number}"
        self._alive.append(item)
        data = Upload(
            item_id=item,
            owner_id=f"{self._run}-owner-{self._rng.randrange(50)}",
            kind=self._plan.uploaded,
            media_id=self._rng.choice(self._media_ids),
            title=f"picture {self._number}",
            tags=["new"],
            category="photo",
        )
        return UploadCreated(id=event_id, source=SOURCE, time=time, subject=item, data=data)

    def _next(self) -> tuple[str, datetime]:
        self._number += 1
        return f"{self._run}-e{self._number:07d}", self._start + self._number * self._step

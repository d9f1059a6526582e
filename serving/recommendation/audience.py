"""What is known of each user at this moment: what they did lately, what they have seen, whom they follow.

Everything here may be applied twice without effect: sets, newest-wins values, and lists that hold an interaction once.
So a snapshot may be taken beside the writer, and reading a piece of the log again changes nothing.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from msgspec import structs

from core.events import UserProfile
from serving.recommendation.ports import Past, Viewer
from serving.recommendation.seen import Seen

HISTORY_KEPT = 100  # interactions of a user other than impressions
IMPRESSIONS_KEPT = 50
_QUERIES_KEPT = 20
_FOLLOWS_KEPT = 5_000
_REACTIONS_KEPT = 2_000
_NOBODY = Seen()


@dataclass(frozen=True)
class Reactions:
    """What a user said of videos, as rows. What was said last counts; hiding is never taken back."""

    liked: frozenset[int] = frozenset()
    disliked: frozenset[int] = frozenset()
    hidden: frozenset[int] = frozenset()  # hidden or reported by them


class _Person:
    """One user. Everything but `seen` is replaced rather than changed, so readers need no lock."""

    __slots__ = ("device", "follows", "history", "impressions", "profile", "profile_s", "queries", "reactions", "seen")

    def __init__(self) -> None:
        self.history: tuple[Past, ...] = ()  # newest first
        self.impressions: tuple[Past, ...] = ()
        self.seen = Seen()
        self.reactions: dict[int, tuple[float, str]] = {}  # row -> when, like, dislike or hide
        self.follows: dict[str, float] = {}  # creator -> since
        self.queries: tuple[tuple[float, str], ...] = ()  # newest first
        self.profile: UserProfile | None = None
        self.profile_s = 0.0
        self.device: tuple[float, str] | None = None  # when it was used last, and which


class Audience:
    """Users by id. One writer at a time; `viewer`, `seen` and `reactions` may be called from anywhere meanwhile.

    Memory is bounded: of more than `max_users` users, and while all together have seen more than `max_seen` videos,
    those of whom nothing was heard for longest are forgotten; they are new users again.
    """

    def __init__(self, *, max_users: int = 1_000_000, max_seen: int = 50_000_000, erasures_kept: int = 100_000) -> None:
        self._people: OrderedDict[str, _Person] = OrderedDict()  # least recently active first
        self._erased: OrderedDict[str, float] = OrderedDict()  # user -> event time of the erasure
        self._max_users, self._max_seen, self._erasures_kept = max_users, max_seen, erasures_kept
        self._seen_total = 0
        self.forgotten = 0  # users forgotten to stay within bounds

    def __len__(self) -> int:
        return len(self._people)

    @property
    def seen_total(self) -> int:
        """How many videos all users together have seen."""
        return self._seen_total

    # Reading --------------------------------------------------------------------------------------------------

    def viewer(
        self,
        user_id: str,
        now: datetime,
        device: str | None = None,
        country: str | None = None,
        language: str | None = None,
    ) -> Viewer:
        """Return what is known of a user; what the request says of device, country and language comes first."""
        person = self._people.get(user_id)
        if person is None:
            return Viewer(user_id, now, country=country, language=language, device=device)
        profile = person.profile
        if profile is not None:
            country, language = country or profile.country, language or profile.language
        history = person.history
        if person.impressions:
            history = tuple(sorted(history + person.impressions, key=_time, reverse=True))
        return Viewer(
            user_id=user_id,
            now=now,
            known=bool(history or person.queries or person.follows),
            profile=profile,
            country=country,
            language=language,
            device=device or (person.device[1] if person.device is not None else None),
            history=history,
            follows=frozenset(person.follows),
            queries=tuple(query for _, query in person.queries),
        )

    def seen(self, user_id: str) -> Seen:
        """Return what a user has seen, with what they see later; ask again once they may have become known."""
        person = self._people.get(user_id)
        return person.seen if person is not None else _NOBODY

    def reactions(self, user_id: str) -> Reactions:
        """Return what a user said of videos."""
        person = self._people.get(user_id)
        if person is None or not person.reactions:
            return Reactions()
        said = person.reactions.items()
        return Reactions(
            *(frozenset(row for row, (_, what) in said if what == kind) for kind in ("like", "dislike", "hide"))
        )

    def country(self, user_id: str) -> str | None:
        """Return the country a user's profile says."""
        person = self._people.get(user_id)
        return person.profile.country if person is not None and person.profile is not None else None

    # Writing --------------------------------------------------------------------------------------------------

    def interact(self, user_id: str, past: Past, device: str | None = None) -> None:
        """A user did something with a video, which means that they saw it."""
        person = self._person(user_id, past.time_s)
        if person is None:
            return
        if past.kind == "impression":
            person.impressions = _with(person.impressions, past, IMPRESSIONS_KEPT)
        else:
            person.history = _with(person.history, past, HISTORY_KEPT)
        if past.kind in ("like", "dislike", "hide"):
            person.reactions = _reacted(person.reactions, past)
        if person.seen.add(past.row):
            self._seen_total += 1
        if device:
            person.device = max(person.device or (past.time_s, device), (past.time_s, device))
        self._stay_within_bounds()

    def follow(self, user_id: str, creator: str, time_s: float) -> None:
        """A user follows a creator from now on; of too many, the ones followed for longest go."""
        person = self._person(user_id, time_s)
        if person is not None and time_s > person.follows.get(creator, -1.0):
            follows = person.follows | {creator: time_s}
            if len(follows) > _FOLLOWS_KEPT:
                del follows[min(follows, key=lambda name: (follows[name], name))]
            person.follows = follows
        self._stay_within_bounds()

    def search(self, user_id: str, query: str, time_s: float) -> None:
        """A user searched."""
        person = self._person(user_id, time_s)
        if person is not None and query:
            queries = sorted({*person.queries, (time_s, query)}, reverse=True)
            person.queries = tuple(queries[:_QUERIES_KEPT])
        self._stay_within_bounds()

    def change(self, profile: UserProfile, time_s: float) -> bool:
        """Take a user's profile; False when the one there is newer."""
        person = self._person(profile.user_id, time_s)
        if person is None or time_s < person.profile_s:
            return False
        person.profile, person.profile_s = profile, time_s
        self._stay_within_bounds()
        return True

    def erase(self, user_id: str, time_s: float) -> None:
        """Forget a user. What they did up to then stays forgotten, even where it is read later or again."""
        self._erased[user_id] = max(time_s, self._erased.get(user_id, time_s))
        self._erased.move_to_end(user_id)
        if len(self._erased) > self._erasures_kept:
            self._erased.popitem(last=False)
        person = self._people.get(user_id)
        if person is None:
            return
        self._drop(user_id)
        device_s, device = person.device if person.device is not None else (0.0, None)
        for past in (*reversed(person.history), *reversed(person.impressions)):  # they came back, and that came first
            self.interact(user_id, past, device if past.time_s == device_s else None)
        for creator, since in person.follows.items():
            self.follow(user_id, creator, since)
        for asked_s, query in person.queries:
            self.search(user_id, query, asked_s)
        if person.profile is not None:
            self.change(person.profile, person.profile_s)

    def _person(self, user_id: str, time_s: float) -> _Person | None:
        if user_id in self._erased and time_s <= self._erased[user_id]:
            return None
        person = self._people.get(user_id)
        if person is None:
            person = self._people[user_id] = _Person()
        self._people.move_to_end(user_id)
        return person

    def _stay_within_bounds(self) -> None:
        while len(self._people) > self._max_users or (self._seen_total > self._max_seen and len(self._people) > 1):
            self._drop(next(iter(self._people)))
            self.forgotten += 1

    def _drop(self, user_id: str) -> None:
        self._seen_total -= len(self._people.pop(user_id).seen)

    # Saving ---------------------------------------------------------------------------------------------------

    def capture(self) -> tuple[list[tuple[str, _Person]], list[tuple[str, float]]]:
        """Return users and erasures to give to `packed`. Not beside the writer, but it takes little time."""
        return list(self._people.items()), list(self._erased.items())

    def restore(self, people: Iterable[list[Any]], erased: Iterable[tuple[str, float]]) -> None:
        """Take over what `packed` made. Only for an object never written to."""
        self._erased = OrderedDict(erased)
        for one in people:
            self._people[one[0]] = person = _unpacked(one)
            self._seen_total += len(person.seen)


def packed(user_id: str, person: _Person) -> list[Any]:
    """Return all that is known of one user as plain values. May run beside the writer."""
    profile = structs.asdict(person.profile) if person.profile is not None else None
    return [
        user_id,
        [(past.row, past.kind, past.time_s, past.value) for past in person.history],
        [(past.row, past.kind, past.time_s, past.value) for past in person.impressions],
        person.seen.rows().astype("<i4").tobytes(),
        [(row, *said) for row, said in person.reactions.items()],
        list(person.follows.items()),
        list(person.queries),
        profile,
        person.profile_s,
        person.device,
    ]


def _unpacked(values: list[Any]) -> _Person:
    _, history, impressions, seen, reactions, follows, queries, profile, profile_s, device = values
    person = _Person()
    person.history = tuple(Past(*past) for past in history)
    person.impressions = tuple(Past(*past) for past in impressions)
    person.seen = Seen(np.frombuffer(seen, "<i4").astype(np.int32))
    person.reactions = {row: (time_s, what) for row, time_s, what in reactions}
    person.follows = dict(follows)
    person.queries = tuple((time_s, query) for time_s, query in queries)
    person.profile = UserProfile(**profile) if profile is not None else None
    person.profile_s = profile_s
    person.device = (device[0], device[1]) if device is not None else None
    return person


def _with(history: tuple[Past, ...], past: Past, kept: int) -> tuple[Past, ...]:
    """Return a history, newest first, with one more interaction at its place in time; the oldest goes."""
    if not history or past.time_s > history[0].time_s:
        return (past, *history[: kept - 1])
    if past in history:
        return history
    place = next((at for at, other in enumerate(history) if other.time_s <= past.time_s), len(history))
    return (*history[:place], past, *history[place:])[:kept]


def _reacted(reactions: dict[int, tuple[float, str]], past: Past) -> dict[int, tuple[float, str]]:
    """Return reactions with one more: hiding stays, of like and dislike the later one counts."""
    known = reactions.get(past.row)
    said = (past.time_s, past.kind)
    if known is not None and ((known[1] == "hide", known) >= (past.kind == "hide", said)):
        return reactions
    after = reactions | {past.row: said}
    if len(after) > _REACTIONS_KEPT:
        del after[min(after, key=lambda row: after[row])]
    return after


def _time(past: Past) -> float:
    return past.time_s

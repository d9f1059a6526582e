"""Everything the recommender knows at this moment, and what an event does to it."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from core.events import (
    AnyEvent,
    Follow,
    Interaction,
    Report,
    Search,
    Upload,
    UploadChanged,
    UploadCreated,
    UploadDeleted,
    UploadEvent,
    UploadHidden,
    UserChanged,
    UserErased,
    Watched,
    event_type,
)
from serving.recommendation.audience import Audience
from serving.recommendation.popularity import DAY_S, Popularity
from serving.recommendation.ports import Past
from serving.recommendation.recent_ids import RecentIds
from serving.recommendation.videos import Videos
from serving.restrictions.served import Restrictions

OnImpression = Callable[[int, float], None]
OnNewVideo = Callable[[int, float], None]

_SHARE_UNKNOWN = 0.5  # counted for a watch that does not say of how many seconds
_PREFIX = "riverlight.interaction."
_ERASED = "riverlight:erased-user"  # in what waits for a video when its user is erased


@dataclass(eq=False)
class LiveState:
    """Videos, audience and popularity after the same events. One writer at a time calls `apply`; readers need no lock.

    Events of different topics may come in any order: an interaction with an item that is not known yet waits (in a
    bounded buffer, for it may be an image) until the item is. Make one with `empty_state`.
    """

    videos: Videos
    audience: Audience
    popularity: Popularity
    recent_ids: RecentIds
    promised_impressions: int
    waiting_kept: int
    clock_s: float = 0.0  # the newest event time applied
    events: int = 0  # applied
    _impressions: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1_024, np.int64))
    _reached_s: NDArray[np.float64] = field(default_factory=lambda: np.full(1_024, np.nan))
    _waiting: OrderedDict[str, list[AnyEvent]] = field(default_factory=OrderedDict)  # item -> interactions
    _waiting_count: int = 0
    _on_impression: list[OnImpression] = field(default_factory=list)
    _on_new_video: list[OnNewVideo] = field(default_factory=list)

    # Reading --------------------------------------------------------------------------------------------------

    @property
    def impressions(self) -> NDArray[np.int64]:
        """How often each video was shown to somebody `(videos.rows,)`, as the events say."""
        return _as_long(self._impressions, self.videos.rows, 0)

    @property
    def first_seen_s(self) -> NDArray[np.float64]:
        """When each video came to be, event time in s since 1970 `(videos.rows,)`: a promise counts from there."""
        return self.videos.created_s

    @property
    def reached_s(self) -> NDArray[np.float64]:
        """Event time of each video's `promised_impressions`-th impression `(videos.rows,)`; NaN before it."""
        return _as_long(self._reached_s, self.videos.rows, np.nan)

    def on_impression(self, callback: OnImpression) -> None:
        """Have `callback(row, event time in s)` called after each impression that was counted, by the writer."""
        self._on_impression.append(callback)

    def on_new_video(self, callback: OnNewVideo) -> None:
        """Have `callback(row, event time in s)` called after each video that is new, by the writer."""
        self._on_new_video.append(callback)

    # Writing --------------------------------------------------------------------------------------------------

    def apply(self, event: AnyEvent) -> str:
        """Apply one event; once it returns, everything that is read shows it.

        Returns:
            `applied`; `repeated`: its id came before; `waiting`: for its video; `stale`, `unknown`, `other`: as
            `Videos.apply`, or an event that is nothing to a recommender.
        """
        if event.id in self.recent_ids:
            return "repeated"
        outcome = self._apply(event)
        if outcome in ("applied", "waiting"):
            self.recent_ids.add(event.id)  # an unknown item's change may be sent again when the item is there
        return outcome

    def seed(self, event: UploadEvent) -> None:
        """Apply what is known of a video from elsewhere than the log; the log may tell the same again."""
        self._apply(event)

    # Saving ---------------------------------------------------------------------------------------------------

    def counted(self) -> dict[str, Any]:
        """Return a copy of what an event applied twice would count twice. Not beside the writer."""
        return {
            "clock_s": self.clock_s,
            "events": self.events,
            "impressions": self.impressions.copy(),
            "reached_s": self.reached_s.copy(),
            "popularity": self.popularity.capture(),
            "recent_ids": self.recent_ids.capture(),
            "waiting": [event for events in self._waiting.values() for event in events],
        }

    def restore_counted(self, counted: Mapping[str, Any]) -> None:
        """Take over what `counted` returned. Only for a state never written to, once its videos are there."""
        self.clock_s, self.events = counted["clock_s"], counted["events"]
        rows = self.videos.rows
        self._impressions = np.array(_as_long(counted["impressions"], max(1_024, rows), 0))
        self._reached_s = np.array(_as_long(counted["reached_s"], max(1_024, rows), np.nan))
        self.popularity.restore(counted["popularity"])
        self.recent_ids.restore(counted["recent_ids"])
        for event in counted["waiting"]:
            self._waiting.setdefault(event.data.item_id, []).append(event)
            self._waiting_count += 1

    def _apply(self, event: AnyEvent) -> str:
        time_s = event.time.timestamp()
        match event:
            case UploadCreated() | UploadChanged() | UploadHidden() | UploadDeleted():
                outcome = self._upload(event)
            case UserChanged(data=profile):
                outcome = "applied" if self.audience.change(profile, time_s) else "stale"
            case UserErased(data=user):
                self.audience.erase(user.user_id, time_s)
                self._forget_waiting(user.user_id, event.time)
                outcome = "applied"
            case Search(data=data):
                if isinstance(data.value, str):
                    self.audience.search(data.user_id, data.value, time_s)
                outcome = "applied"
            case Follow(data=data):
                self.audience.follow(data.user_id, data.item_id or "", time_s)
                outcome = "applied"
            case _:
                outcome = self._interaction(event) if isinstance(event.data, Interaction) else "other"
        if outcome == "applied":
            self.clock_s = max(self.clock_s, time_s)
            self.events += 1
        return outcome

    def _upload(self, event: UploadCreated | UploadChanged | UploadHidden | UploadDeleted) -> str:
        rows = self.videos.rows
        outcome = self.videos.apply(event)
        data = event.data
        if outcome == "applied":
            row = self.videos.row_of(data.item_id)
            assert row is not None
            if row == rows:
                self._make_room(row)
                for callback in self._on_new_video:
                    callback(row, event.time.timestamp())
            self.popularity.changed(row)
        if isinstance(data, Upload):  # of an image or a video: nobody waits for it any longer
            for waiting in self._pop_waiting(data.item_id):
                if outcome == "applied":
                    self._apply(waiting)
        return outcome

    def _interaction(self, event: AnyEvent) -> str:
        data = event.data
        assert isinstance(data, Interaction) and data.item_id is not None
        row = self.videos.row_of(data.item_id)
        if row is None:
            self._waiting.setdefault(data.item_id, []).append(event)
            self._waiting_count += 1
            while self._waiting_count > self.waiting_kept:
                self._pop_waiting(next(iter(self._waiting)))
            return "waiting"
        time_s = event.time.timestamp()
        kind = "hide" if isinstance(event, Report) else event_type(event).removeprefix(_PREFIX)
        value = share = 0.0
        if kind == "watch":
            value, share = self._watched(row, data.value)
        if data.user_id != _ERASED:
            self.audience.interact(data.user_id, Past(row, kind, time_s, value), data.device)
        self.popularity.count(row, kind, share, time_s, self.audience.country(data.user_id))
        if kind == "impression":
            self._impressions[row] += 1
            if self._impressions[row] == self.promised_impressions:
                self._reached_s[row] = time_s
            for callback in self._on_impression:
                callback(row, time_s)
        return "applied"

    def _watched(self, row: int, value: object) -> tuple[float, float]:
        """Return what `Past.value` is for a watch, and the share to count."""
        if not isinstance(value, Watched):
            return 0.0, _SHARE_UNKNOWN
        if not value.of_s:
            return value.seconds, _SHARE_UNKNOWN
        self.videos.learn_duration(row, value.of_s)
        share = min(1.0, value.seconds / value.of_s)
        return share, share

    def _make_room(self, row: int) -> None:
        if row >= self._impressions.size:
            capacity = row + row // 2 + 1
            self._impressions = _as_long(self._impressions, capacity, 0)
            self._reached_s = _as_long(self._reached_s, capacity, np.nan)

    def _pop_waiting(self, item_id: str) -> list[AnyEvent]:
        events = self._waiting.pop(item_id, [])
        self._waiting_count -= len(events)
        return events

    def _forget_waiting(self, user_id: str, until: datetime) -> None:
        """Leave of what an erased user did only that somebody did it: it still counts for the video."""
        for item_id, events in self._waiting.items():
            if any(event.subject == user_id for event in events):
                self._waiting[item_id] = [_anonymous(event, user_id, until) for event in events]


def empty_state(
    *,
    max_users: int = 1_000_000,
    max_seen: int = 50_000_000,
    long_half_life_s: float = 7 * DAY_S,
    short_half_life_s: float = 6 * 3_600.0,
    recent_ids: int = 200_000,
    promised_impressions: int = 100,
    waiting_kept: int = 20_000,
    restrictions: Restrictions | None = None,
) -> LiveState:
    """Return a state to which nothing was applied.

    Args:
        max_users: users that are remembered at most (`Audience`).
        max_seen: videos seen by all of them together that are remembered at most, four bytes each.
        long_half_life_s: of popularity.
        short_half_life_s: of what is trending.
        recent_ids: event ids kept to know repetitions, about 120 bytes each.
        promised_impressions: impressions after which `reached_s` is set.
        waiting_kept: interactions with unknown items that are kept until the item is known.
        restrictions: what verdicts take down and lower, where there are any.
    """
    videos = Videos(restrictions=restrictions)
    popularity = Popularity(videos, long_half_life_s=long_half_life_s, short_half_life_s=short_half_life_s)
    audience = Audience(max_users=max_users, max_seen=max_seen)
    return LiveState(videos, audience, popularity, RecentIds(recent_ids), promised_impressions, waiting_kept)


def _anonymous(event: AnyEvent, user_id: str, until: datetime) -> AnyEvent:
    if event.subject != user_id or event.time > until or not isinstance(event.data, Interaction):
        return event
    data = replace(event.data, user_id=_ERASED, trace_id=None, device=None)
    return cast(AnyEvent, replace(event, subject=_ERASED, traceparent=None, data=data))


def _as_long(array: NDArray[Any], size: int, fill: float) -> NDArray[Any]:
    """Return an array cut to a size, or a longer one filled up."""
    if array.size >= size:
        return array[:size]
    longer = np.full(size, fill, array.dtype)
    longer[: array.size] = array
    return longer

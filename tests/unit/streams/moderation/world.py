from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from core import events, topics
from core.events import Interaction, Post, PostRef
from core.ports import StoredRecord
from core.settings import CatalogueSettings, ModerationSettings
from models.moderation.known_harm import KnownHarm
from models.moderation.policy import load_policy
from monitoring.recorder import Recorder
from storage.catalogue import Catalogue
from storage.moderation import ModerationStore
from storage.moderation.totals import TotalsReader
from streams.decoding import Delivered
from streams.moderation.feed import FeatureFeed
from streams.moderation.judges import PostJudges
from streams.moderation.known_media import KnownMediaList
from tests.fakes.moderator import FakeModerator
from tests.fakes.publisher import FakePublisher


class HandClock:
    """Stands still until it is told to move, or goes on by `tick` whenever it is looked at."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 1, 12, tzinfo=UTC)
        self.tick = timedelta(0)

    def now(self) -> datetime:
        self.time += self.tick
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def pass_s(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class World:
    """Moderation on a real catalogue, with a moderator that does as it is told."""

    def __init__(self, tmp_path: Path) -> None:
        self.clock = HandClock()
        self.catalogue = Catalogue.open(f"sqlite:///{tmp_path / 'catalogue.db'}", CatalogueSettings(), clock=self.clock)
        self.store = ModerationStore(self.catalogue.database, self.clock)
        self.moderator = FakeModerator()
        self.recorder = Recorder()
        self.settings = ModerationSettings(timeout_s=0.2)
        self.known = KnownMediaList(KnownHarm(), self.store)
        self.policy = load_policy(None)
        self.publisher = FakePublisher()
        self.feed = FeatureFeed(TotalsReader(self.catalogue.database, self.clock), self.publisher)
        self.judges = PostJudges(
            self.store,
            self.moderator,
            lambda: self.policy,
            self.known,
            self.recorder,
            self.clock,
            self.settings,
            self.feed,
        )
        self._offset = 0

    def written(
        self, post_id: str, text: str, kind: str = "PostCreated", after_s: float = 0.0, **more: Any
    ) -> Delivered:
        """Return the event of a post being written."""
        data = Post(post_id=post_id, author_id=more.pop("author_id", "author"), text=text, **more)
        return self._delivered(kind, post_id, data, after_s, topics.POSTS.name)

    def deleted(self, post_id: str, after_s: float = 0.0) -> Delivered:
        return self._delivered("PostDeleted", post_id, PostRef(post_id=post_id), after_s, topics.POSTS.name)

    def did(self, kind: str, item_id: str, user_id: str = "reader", value: Any = None) -> Any:
        self._offset += 1
        data = Interaction(user_id=user_id, item_id=item_id, value=value)
        return getattr(events, kind)(
            id=f"i{self._offset}", source="t", time=self.clock.now(), subject=user_id, data=data
        )

    def _delivered(self, kind: str, post_id: str, data: Any, after_s: float, topic: str) -> Delivered:
        self._offset += 1
        event = getattr(events, kind)(
            id=f"e{self._offset}",
            source="t",
            time=self.clock.now() + timedelta(seconds=after_s),
            subject=post_id,
            data=data,
        )
        return Delivered(event, None, StoredRecord(topic, 0, self._offset, post_id, b"", {}, 0))

    def action(self, post_id: str) -> str:
        return self.store.in_force([post_id])[post_id].action

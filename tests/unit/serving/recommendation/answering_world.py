"""A recommender over a live state that tests feed by hand, with a clock that stands where they put it."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from core.settings import CatalogueSettings, RecommendationSettings
from monitoring.recorder import Recorder
from serving.exchange import Exchange
from serving.recommendation.generators import all_generators
from serving.recommendation.opening import state_of
from serving.recommendation.ports import Generator, Proposal, Ranker, Viewer
from serving.recommendation.recommend import Recommendation, Recommender, RecommendQuery
from serving.recommendation.served_state import ServedState
from serving.restrictions.served import Restrictions
from serving.traces import TraceStore
from storage.catalogue import Catalogue
from tests.unit.serving.recommendation import live_events as ev
from tests.unit.serving.restrictions.verdicts import verdict

MONTH_S = 30 * 86_400.0

#: No chance and no places kept: answers follow from scores alone.
PLAIN: dict[str, Any] = {"temperature": 0.0, "exploration_share": 0.0, "small_creator_share": 0.0, "diversity": 0.0}


class StoppedClock:
    """Shows the time that it was set to."""

    def __init__(self) -> None:
        self.time = ev.START

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def forward(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Fixed:
    """A generator that always proposes the same rows, or does what `during` does first."""

    def __init__(self, name: str, rows: Iterable[int], during: Callable[[], None] = lambda: None) -> None:
        self.name = name
        self.rows = list(rows)
        self.during = during
        self.calls = 0

    def propose(self, viewer: Viewer, limit: int) -> Proposal:
        self.calls += 1
        self.during()
        rows = np.array(self.rows[:limit], np.int64)
        return Proposal(rows, np.linspace(1, 0, len(rows), dtype=np.float32))


class Answering:
    """The recommender and what it answers from."""

    def __init__(
        self,
        folder: Any,
        *,
        generators: Iterable[Generator] | None = None,
        ranker: Ranker | None = None,
        at_once: int = 4,
        **settings: Any,
    ) -> None:
        self.settings = RecommendationSettings(**settings)
        self.clock = StoppedClock()
        self.recorder = Recorder()
        self.restrictions = Restrictions()
        self.state = state_of(self.settings, self.restrictions)
        self.is_ready = True
        self.traces = TraceStore(Catalogue.open(f"sqlite:///{folder / 'catalogue.db'}", CatalogueSettings()))
        given = tuple(generators) if generators is not None else None
        if given is not None:
            self.clock.forward(MONTH_S)  # nothing is owed impressions then, so nobody proposes but who was given
        self.recommender = Recommender(
            served=ServedState(self.state),
            ready=lambda: (self.is_ready, "" if self.is_ready else "still reading"),
            traces=self.traces,
            settings=self.settings,
            recorder=self.recorder,
            clock=self.clock,
            at_once=at_once,
            make_generators=all_generators if given is None else lambda state: given,
            make_ranker=lambda state: ranker,
        )

    def apply(self, *events: Any) -> None:
        for event in events:
            self.state.apply(event)

    def judge(self, item_id: str, state: str = "enforced", **fields: Any) -> None:
        """Apply a verdict about a post that shows a video, and is by its creator."""
        row = self.state.videos.row_of(item_id)
        owner = self.state.videos.creator_id(row) if row is not None else "?"
        post = {"author_id": owner, "item_ids": [item_id], "decision_id": f"decision-{item_id}"}
        assert self.restrictions.current.apply(verdict(f"post-{item_id}", state, **post | fields))

    def stock(self, n: int, **fields: Any) -> None:
        """Upload `n` videos `v0`, `v1` …, of a creator each."""
        for number in range(n):
            words = {"title": f"about subject{number} and thing{number}"} | fields
            self.apply(ev.created(f"v{number}", number, **{"owner_id": f"c{number}", **words}))

    async def ask(self, user_id: str = "nobody", **query: Any) -> Recommendation:
        return await self.recommender.recommend(RecommendQuery(user_id, **query), Exchange())

    async def ids(self, user_id: str = "nobody", **query: Any) -> list[str]:
        return [one.item_id for one in (await self.ask(user_id, **query)).results]

    async def why_not(self, item_id: str, user_id: str = "nobody", **query: Any) -> Any:
        return await self.recommender.why_not(RecommendQuery(user_id, **query), item_id, Exchange())

    def close(self) -> None:
        self.recommender.close()
        self.traces.close()

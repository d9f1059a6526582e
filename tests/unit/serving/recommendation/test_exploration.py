import math

import numpy as np
import pytest

from core.settings import RecommendationSettings
from serving.recommendation.exploration import ExplorationLedger
from serving.recommendation.exposure import CreatorExposure
from serving.recommendation.opening import state_of
from serving.recommendation.ports import Viewer
from tests.unit.serving.recommendation import live_events as ev
from tests.unit.serving.recommendation.answering_world import StoppedClock

HOUR = 3600.0
PROMISED = 3


class Promised:
    def __init__(self):
        self.clock = StoppedClock()
        self.state = state_of(RecommendationSettings(promised_impressions=PROMISED))
        self.ledger = ExplorationLedger(self.state, impressions=PROMISED, hours=24, clock=self.clock)
        self._viewers = 0

    def upload(self, *names, hours=0.0, **fields):
        for name in names:
            self.state.apply(ev.created(name, hours * HOUR, **fields))

    def show(self, name, times, hours=0.0):
        for _ in range(times):
            self._viewers += 1
            self.state.apply(ev.did("Impression", f"viewer{self._viewers}", name, hours * HOUR))

    def at(self, hours):
        self.clock.time = ev.at(hours * HOUR)
        return self

    def owed(self):
        return [self.state.videos.item_id(row) for row in self.ledger.owed()]

    def proposed(self, user_id="somebody", **known):
        rows = self.ledger.propose(Viewer(user_id, self.clock.now(), **known), 10).rows
        return [self.state.videos.item_id(row) for row in rows]

    def counted(self):
        report = self.ledger.report()
        return report.kept, report.broken, report.open


@pytest.fixture
def promised():
    return Promised()


def test_a_new_video_is_owed_impressions_until_it_has_them(promised):
    promised.upload("new")
    assert promised.at(1).owed() == ["new"]
    promised.show("new", PROMISED - 1, hours=1)
    assert promised.at(2).owed() == ["new"]
    promised.show("new", 1, hours=2)
    assert promised.at(3).owed() == []
    assert promised.ledger.is_due(np.array([0])).tolist() == [False]


def test_nothing_is_owed_once_the_time_is_over(promised):
    promised.upload("new")
    assert promised.at(23.9).owed() == ["new"]
    assert promised.at(24.1).owed() == []


def test_what_is_furthest_behind_comes_first(promised):
    promised.upload("early", "served", hours=0)
    promised.upload("late", hours=10)
    promised.show("served", 2, hours=10.1)
    promised.show("late", 1, hours=10.1)
    assert promised.at(12).owed() == ["early", "served", "late"]


def test_promises_are_counted_as_kept_broken_or_open_by_when_the_impressions_came(promised):
    promised.upload("kept", "late", "never", hours=0)
    promised.upload("open", hours=30)
    promised.show("kept", PROMISED, hours=23)
    promised.show("late", PROMISED, hours=25)
    assert promised.at(31).counted() == (1, 2, 1)
    assert promised.ledger.report().kept_ratio == pytest.approx(1 / 3)
    assert promised.at(24 + 7 * 24 + 1).counted() == (0, 1, 0)  # those of the first day are no news any more


def test_a_promise_is_kept_as_soon_as_the_impressions_are_there(promised):
    promised.upload("new")
    promised.show("new", PROMISED, hours=1)
    assert promised.at(2).counted() == (1, 0, 0)


def test_nobody_is_owed_anything_for_what_may_not_be_shown(promised):
    promised.upload("hidden", "deleted", "shown")
    promised.upload("private", visibility="private")
    promised.state.apply(ev.hidden("hidden", 10))
    promised.state.apply(ev.deleted("deleted", 10))
    assert promised.at(1).owed() == ["shown"]
    assert promised.counted() == (0, 0, 1)


def test_before_the_first_promise_has_ended_there_is_no_ratio(promised):
    assert math.isnan(promised.ledger.report().kept_ratio)
    assert promised.counted() == (0, 0, 0)


def test_it_proposes_what_the_viewer_may_see_and_has_not_seen_their_language_first(promised):
    promised.upload("blocked", blocked_regions=["DE"])
    promised.upload("seen", "english", language="en")
    promised.upload("german", language="de-AT")
    promised.state.apply(ev.did("Click", "somebody", "seen", 10))
    assert promised.at(1).proposed(country="DE", language="de") == ["german", "english"]
    assert promised.proposed("another", country="FR") == ["blocked", "seen", "english", "german"]


def test_small_creators_are_the_half_that_was_shown_least(promised):
    for number in range(4):
        promised.upload(f"v{number}", owner_id=f"c{number}")
        promised.show(f"v{number}", number)
    exposure = CreatorExposure(promised.state, promised.clock)
    assert exposure.small(np.array([0, 1, 2, 3])).tolist() == [True, True, False, False]
    assert exposure.small(np.array([99])).tolist() == [True]  # came since


def test_exposure_is_counted_again_after_a_while(promised):
    promised.upload("a", owner_id="a")
    promised.upload("b", owner_id="b")
    promised.show("a", 5)
    exposure = CreatorExposure(promised.state, promised.clock)
    assert exposure.small(np.array([0, 1])).tolist() == [False, True]
    promised.show("b", 9)
    assert exposure.small(np.array([0, 1])).tolist() == [False, True]
    promised.clock.forward(11)
    assert exposure.small(np.array([0, 1])).tolist() == [True, False]


def test_while_there_are_no_videos_everybody_is_small(promised):
    assert CreatorExposure(promised.state, promised.clock).small(np.array([0])).tolist() == [True]

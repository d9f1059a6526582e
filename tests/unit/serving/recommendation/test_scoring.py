import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.settings import RecommendationSettings
from monitoring.catalogue import RECOMMENDATION_RANKER
from monitoring.recorder import Recorder
from serving.recommendation.opening import state_of
from serving.recommendation.ports import Candidates, Past, Viewer
from serving.recommendation.scoring import BLEND, Scorer, blend, fresh
from serving.restrictions.served import Restrictions
from tests.unit.serving.recommendation.live_events import START, created
from tests.unit.serving.restrictions.verdicts import verdict

ONLY_RANKER = {"dislike_weight": 0.0, "freshness_weight": 0.0}
N = 4


class Says:
    """A ranker that says what it was told to."""

    version = "ranker/7"

    def __init__(self, heads=None, during=lambda: None):
        self.heads = heads
        self.during = during

    def predict(self, viewer, candidates):
        self.during()
        return self.heads


def viewer(*history: Past) -> Viewer:
    return Viewer("viewer", START + timedelta(hours=1), history=history)


def candidates(n: int = N, **places: Sequence[int]) -> Candidates:
    proposed = {name: (np.array(one, np.int32), np.ones(len(one), np.float32)) for name, one in places.items()}
    return Candidates(np.arange(n), proposed)


@contextmanager
def scorer_of(ranker: Says, n: int) -> Iterator[Scorer]:
    """Give a scorer over `n` videos of which nothing but the ranker's word counts."""
    settings = RecommendationSettings(**ONLY_RANKER)
    state = state_of(settings)
    for number in range(n):
        state.apply(created(f"v{number}", 0))
    with ThreadPoolExecutor(1) as threads:
        scorer = Scorer(state.videos, settings, recorder=Recorder(), threads=threads, at_once=2, ranker=ranker)
        scorer.ranker = ranker
        yield scorer


@pytest.fixture
def make_scorer():
    threads, recorder = ThreadPoolExecutor(8), Recorder()

    def make(ranker=None, **settings):
        tuned = RecommendationSettings(**{**ONLY_RANKER, **settings})
        restrictions = Restrictions()
        state = state_of(tuned, restrictions)
        for number in range(N):
            state.apply(created(f"v{number}", 0, title=f"word{number}", owner_id=f"c{number // 2}"))
        scorer = Scorer(state.videos, tuned, recorder=recorder, threads=threads, at_once=2, ranker=ranker)
        # for what a test does and looks at:
        scorer.state, scorer.recorder, scorer.restrictions = state, recorder, restrictions
        return scorer

    yield make
    threads.shutdown(wait=False)


def test_several_aims_are_one_score_by_their_weights(make_scorer):
    heads = {"click": [1, 0, 0, 0], "watch": [0, 1, 0, 0.5], "like": [0, 0, 1, 0.5]}
    heads = {name: np.array(values, np.float32) for name, values in heads.items()}
    scored = make_scorer(Says(heads), click_weight=1, watch_weight=2, like_weight=1).score(viewer(), candidates())
    assert scored.scores.tolist() == pytest.approx([0.25, 0.5, 0.25, 0.375])
    assert (scored.scored_by, scored.ranker_missing) == ("ranker/7", None)
    assert scored.objectives["watch"].tolist() == [0, 1, 0, 0.5]


def test_a_task_the_ranker_does_not_know_does_not_count(make_scorer):
    heads = {"click": np.array([0.2, 0.4, 0.6, 0.8], np.float32)}
    scored = make_scorer(Says(heads)).score(viewer(), candidates())
    assert scored.scores.tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_predictions_that_are_no_numbers_count_nothing(make_scorer):
    heads = {"watch": np.array([np.nan, 0.5, np.inf, 7.0], np.float32)}
    scored = make_scorer(Says(heads)).score(viewer(), candidates())
    assert scored.scores.tolist() == [0.0, 0.5, 1.0, 1.0]


def test_what_the_ranker_would_pick_is_scaled_over_the_candidates(make_scorer):
    heads = {"pick": np.array([-3, 5, 1, -7], np.float32), "like": np.array([1, 0, 0, 0], np.float32)}
    scored = make_scorer(Says(heads), pick_weight=3, like_weight=1).score(viewer(), candidates())
    picked = np.array([4, 12, 8, 0]) / 12
    assert scored.objectives["pick"].tolist() == pytest.approx(picked)
    assert scored.scores.tolist() == pytest.approx(0.75 * picked + 0.25 * heads["like"])


def test_one_pick_like_another_is_the_best(make_scorer):
    scored = make_scorer(Says({"pick": np.full(N, -2.0)})).score(viewer(), candidates())
    assert scored.scores.tolist() == [1.0] * N


def test_what_the_ranker_does_not_know_is_blended_and_told_on_its_scale(make_scorer):
    nan = np.nan
    heads = {"pick": np.array([nan, 2, 1, nan], np.float32), "watch": np.array([nan, 0.2, 0.4, nan], np.float32)}
    found = candidates(popular=[3, 1, 2], fresh=[0, 3])
    scored = make_scorer(Says(heads), pick_weight=1, watch_weight=1).score(viewer(), found)
    blended = blend(found)
    assert blended[3] > blended[1] > blended[2] > blended[0] > 0
    below = 0.2 * blended[0] / blended[2]  # the least of the known has 0.2
    assert scored.scores.tolist() == pytest.approx([below, 0.6, 0.2, 0.6])
    assert scored.scored_by == "ranker/7"
    assert np.isnan(scored.objectives["pick"]).tolist() == [True, False, False, True]
    for name, values in {"blend": blended, "blend_told": scored.scores}.items():
        assert scored.objectives[name] == pytest.approx([values[0], nan, nan, values[3]], nan_ok=True)


@given(st.data())
def test_unknown_videos_leave_the_order_and_the_scores_of_the_others(data):
    """Whatever the ranker knows, and wherever generators put the rest."""
    n = data.draw(st.integers(1, 30))
    picks = data.draw(st.lists(st.floats(-9, 9, width=16), min_size=n, max_size=n))
    unknown = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    places = {name: data.draw(st.permutations(range(n))) for name in ("popular", "content", "ease")}
    picks = np.where(unknown, np.nan, np.array(picks, np.float32))
    with scorer_of(Says({"pick": picks}), n) as scorer:
        whole = scorer.score(viewer(), candidates(n, **places))
        known = np.flatnonzero(~unknown)
        if not len(known):
            assert whole.scored_by == BLEND
            return
        scorer.ranker.heads = {"pick": picks[known]}
        alone = scorer.score(viewer(), Candidates(known, {}))
    assert whole.scores[known].tolist() == alone.scores.tolist()
    strangers = np.flatnonzero(unknown)
    by_blend = strangers[np.argsort(blend(candidates(n, **places))[strangers])]
    assert (np.diff(whole.scores[by_blend]) >= 0).all()
    assert ((whole.scores >= 0) & (whole.scores <= alone.scores.max())).all()


def test_without_unknown_videos_nothing_is_blended(make_scorer):
    scored = make_scorer(Says({"pick": np.arange(N)})).score(viewer(), candidates(popular=[3, 1]))
    assert not {"blend", "blend_told"} & scored.objectives.keys()


@pytest.mark.parametrize(
    "heads", [{}, {"watch": np.full(N, np.nan)}, {"watch": np.zeros(N - 1)}, {"something": np.ones(N)}]
)
def test_a_ranker_that_says_nothing_is_done_without(make_scorer, heads):
    scorer = make_scorer(Says(heads))
    scored = scorer.score(viewer(), candidates(popular=[2, 1]))
    assert (scored.scored_by, scored.ranker_missing) == (BLEND, "nothing")
    assert scored.scores.argmax() == 2
    assert scorer.recorder.value(RECOMMENDATION_RANKER, outcome="nothing") >= 1


def test_a_ranker_that_fails_is_done_without(make_scorer):
    def fail():
        raise ValueError("broken")

    scored = make_scorer(Says({}, fail)).score(viewer(), candidates(popular=[3]))
    assert (scored.scored_by, scored.ranker_missing, scored.scores.argmax()) == (BLEND, "failed", 3)


def test_a_ranker_that_hangs_costs_its_deadline_and_then_nothing(make_scorer):
    release = threading.Event()
    scorer = make_scorer(Says({}, release.wait), ranker_deadline_s=0.02)
    said = [scorer.score(viewer(), candidates(popular=[3])).ranker_missing for _ in range(4)]
    release.set()
    assert said == ["late", "late", "busy", "busy"]


def test_without_a_ranker_the_generators_are_blended_and_no_ranker_is_missed(make_scorer):
    scored = make_scorer().score(viewer(), candidates(popular=[0, 1], content=[1]))
    assert (scored.scored_by, scored.ranker_missing) == (BLEND, None)
    assert np.argsort(-scored.scores).tolist()[:2] == [1, 0]


def test_the_blend_is_the_weighted_sum_of_reciprocal_ranks():
    found = blend(candidates(popular=[2, 0]))
    assert found[2] / found[0] == pytest.approx(1 + 1 / 20)
    assert found[1] == found[3] == 0
    everything = {name: [0] for name in ("two-tower", "neighbours", "follows", "content", "trending", "local")}
    assert 0 < blend(candidates(**everything))[0] <= 1


@pytest.mark.parametrize("kind", ["dislike", "hide"])
def test_what_is_like_something_disliked_scores_less(make_scorer, kind):
    scorer = make_scorer(dislike_weight=1.0)
    disliked = scorer.score(viewer(Past(0, kind, 0.0, 0.0)), candidates())
    liked = scorer.score(viewer(Past(0, "like", 0.0, 0.0)), candidates())
    assert disliked.objectives["dislike"][0] == pytest.approx(1.0, abs=1e-5)
    assert disliked.objectives["dislike"][1] >= 0.5  # by the same creator
    assert disliked.scores[0] < disliked.scores[1] < disliked.scores[2:].min()
    assert liked.objectives["dislike"].tolist() == [0] * N


def test_what_is_demoted_counts_its_factor_and_what_nobody_judged_all_of_it(make_scorer):
    scorer = make_scorer(Says({"watch": np.array([0.8, 0.8, 0.8, 0.8], np.float32)}))
    scorer.restrictions.current.apply(verdict("p", "demoted", author_id="c0", item_ids=["v1"], factor=0.4))
    scored = scorer.score(viewer(), candidates())
    assert scored.scores.tolist() == pytest.approx([0.8, 0.32, 0.8, 0.8])
    assert scored.objectives["factor"].tolist() == pytest.approx([1, 0.4, 1, 1])


def test_a_score_below_zero_is_lower_when_demoted_too(make_scorer):
    scorer = make_scorer(dislike_weight=1.0)
    scorer.restrictions.current.apply(verdict("p", "demoted", author_id="c0", item_ids=["v1"], factor=0.4))
    scores = scorer.score(viewer(Past(1, "hide", 0.0, 0.0)), candidates()).scores
    assert scores[1] == pytest.approx(-1.6)


def test_new_counts_more_than_old_and_the_future_not_more_than_now():
    hour = 3600.0
    now = 1e9
    found = fresh(np.array([now, now - hour, now - 1e6 * hour, now + hour]), now, hour)
    assert found.tolist() == pytest.approx([1.0, 0.5, 0.0, 1.0])


def test_no_candidates_have_no_scores(make_scorer):
    nobody = Candidates(np.zeros(0, np.int64), {})
    assert len(make_scorer(Says({"watch": np.zeros(0)})).score(viewer(Past(0, "hide", 0.0, 0.0)), nobody).scores) == 0

"""A trained system online says what it says offline."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.errors import IntegrityError, InvalidInput
from core.events import UserProfile
from models.recommendation.candidates import PER_GENERATOR, propose
from models.recommendation.feedback import PAD
from models.recommendation.interactions import EventRow, log_of_events
from models.recommendation.item_weights import Ease
from models.recommendation.labels import label
from models.recommendation.recommender import best_items
from models.recommendation.weights import Saved, load_model
from serving.recommendation.candidates import Proposals, united
from serving.recommendation.engine import Parts
from serving.recommendation.ports import Past, Viewer
from serving.recommendation.trained import viewers
from serving.recommendation.trained.items import TrainedItems
from serving.recommendation.trained.parts import NEW_VIDEOS, system_over
from serving.recommendation.trained.system import system_of
from serving.recommendation.trained.viewers import profile_cells, users_of
from tests.unit.serving.recommendation import live_events as ev
from tests.unit.serving.recommendation.trained_world import (
    EACH,
    LABEL,
    NEW,
    feedback,
    live_state,
    loaded,
    offline,
    offline_users,
    saved_in,
)

LATER = ev.START + timedelta(days=20)


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    return loaded(tmp_path_factory.mktemp("model"))


def parts_of(system, state, taken=(), **options) -> Parts:
    """Return a system's parts over a state, without those for new videos."""
    over = system_over(system, state, taken, **options)
    assert over.catch_up() == len(over.indexes[-1].index) + (len(feedback().items) if len(over.indexes) == 2 else 0)
    over.close()
    return replace(over.parts, generators=tuple(one for one in over.parts.generators if one.name != NEW_VIDEOS))


@pytest.fixture(
    scope="module",
    params=[(False, 1_000), (True, 1_000), (True, 0)],
    ids=["likes", "likes and dislikes", "towers by an index"],
)
def world(request, system):
    """The state, its parts, and what the offline system says: lists of each generator, candidates and ranks."""
    opinions, scored_whole = request.param
    state, users = live_state(opinions=opinions), offline_users(opinions=opinions)
    scores = [generator.score(users) for generator in offline().generators]
    seen = users.history_matrix(feedback().n_items).toarray() > 0
    if not opinions:  # then the offline system leaves out just what the live one does
        found, ranks = offline().candidates(users), offline().score(users)
    else:
        rows, places = np.nonzero(users.disliked != PAD)
        seen[rows, users.disliked[rows, places]] = True
        found = propose(scores, seen, each=EACH)
        ranks = np.full(seen.shape, -np.inf, np.float32)
        picks = offline().ranker.rank(users, found.items, found.evidence)
        rows, places = np.nonzero(np.isfinite(picks))
        ranks[rows, found.items[rows, places]] = picks[rows, places]
    parts = parts_of(system, state, {"content", "popular"}, scored_whole=scored_whole)
    return state, parts, scores, seen, ranks, 0.1 if scored_whole == 0 else 1e-4  # an index keeps short numbers


def viewer(state, user_id: str) -> Viewer:
    return state.audience.viewer(user_id, LATER)


def asked(state, parts, user_id: str):
    """Ask all generators and unite what they propose, as the recommender does; return the viewer and candidates."""
    who = viewer(state, user_id)
    found = {one.name: one.propose(who, 250) for one in parts.generators}
    return who, united(Proposals(found, {}, {}), 4_000)


def test_each_generator_proposes_what_it_does_offline(world):
    state, parts, scores, seen, _, close = world
    items = feedback().items
    for number, user_id in enumerate(feedback().users):
        who = viewer(state, user_id)
        for generator, matrix in zip(parts.generators, scores, strict=True):
            proposal = generator.propose(who, 250)
            masked = np.where(seen[number], -np.inf, matrix[number]).astype(np.float32)
            best = best_items(masked[None], EACH)[0] if np.ptp(matrix[number]) > 0 else []
            places = [items.index(state.videos.item_id(int(row))) for row in proposal.rows]
            assert proposal.scores == pytest.approx(masked[best], abs=max(1e-5, close / 100)), generator.name
            assert masked[places] == pytest.approx(masked[best], abs=max(1e-5, close / 100)), (
                generator.name
            )  # the same but for ties


def test_candidates_are_ranked_as_offline(world):
    state, parts, _, _, ranks, close = world
    items = feedback().items
    for number, user_id in enumerate(feedback().users):
        who, candidates = asked(state, parts, user_id)
        picks = parts.ranker.predict(who, candidates)["pick"]
        ids = [state.videos.item_id(int(row)) for row in candidates.rows]
        expected = {items[item]: ranks[number, item] for item in np.flatnonzero(np.isfinite(ranks[number]))}
        assert set(ids) == set(expected)
        assert dict(zip(ids, picks.tolist(), strict=True)) == pytest.approx(expected, abs=close)
        order = [ids[place] for place in np.argsort(-picks)]
        assert [expected[item] for item in order] == pytest.approx(sorted(expected.values(), reverse=True), abs=close)


def test_tasks_are_chances_of_every_known_candidate(world):
    state, parts, *_ = world
    who, candidates = asked(state, parts, "u3")
    heads = parts.ranker.predict(who, candidates)
    for name in ("click", "watch", "like"):
        assert ((heads[name] > 0) & (heads[name] < 1)).all()


def test_a_generator_that_was_late_leaves_no_evidence_even_when_it_answers_after_all(world):
    state, parts, scores, seen, _, close = world
    who = viewer(state, "u4")
    found = {one.name: one.propose(who, 250) for one in parts.generators}
    late = united(Proposals({name: one for name, one in found.items() if name != "ease"}, {"ease": "late"}, {}), 4_000)
    picks = parts.ranker.predict(who, late)["pick"]

    users = offline_users(opinions=seen[4].sum() > 8).part(slice(4, 5))
    expected = propose([matrix[4:5] for matrix in scores], seen[4:5], each=EACH)
    place = [generator.name for generator in offline().generators].index("ease") * PER_GENERATOR
    expected.evidence[..., place : place + PER_GENERATOR] = 0
    ranks = dict(
        zip(
            expected.items[0].tolist(),
            offline().ranker.rank(users, expected.items, expected.evidence)[0].tolist(),
            strict=True,
        )
    )
    for row, pick in zip(late.rows, picks, strict=True):
        assert pick == pytest.approx(ranks[feedback().items.index(state.videos.item_id(int(row)))], abs=close)


def test_of_new_videos_the_ranker_says_nothing(world):
    state, parts, *_ = world
    rows = np.array([state.videos.row_of(NEW[0]), state.videos.row_of("i3")])
    who, candidates = asked(state, parts, "u3")
    heads = parts.ranker.predict(who, replace(candidates, rows=rows, proposed={}))
    for values in heads.values():
        assert np.isnan(values).tolist() == [True, False]
    heads = parts.ranker.predict(who, replace(candidates, rows=rows[:1], proposed={}))
    assert all(np.isnan(values).all() for values in heads.values())


def test_fewer_are_proposed_than_listed_and_the_ranker_sees_the_whole_list(world):
    state, parts, *_ = world
    who, candidates = asked(state, parts, "u5")
    picks = dict(zip(candidates.rows.tolist(), parts.ranker.predict(who, candidates)["pick"].tolist(), strict=True))
    again = viewer(state, "u5")
    few = united(Proposals({one.name: one.propose(again, 2) for one in parts.generators}, {}, {}), 4_000)
    assert 2 <= len(few.rows) < len(candidates.rows)
    shorter = parts.ranker.predict(again, few)["pick"]
    assert shorter.tolist() == pytest.approx([picks[row] for row in few.rows.tolist()], abs=1e-5)


def test_a_name_that_a_live_generator_has_gets_another(world):
    names = [one.name for one in world[1].generators]
    assert names[5:] == ["content-trained", "popularity"]


def test_generators_that_cannot_tell_items_apart_propose_nothing_to_a_stranger(system):
    state = live_state()
    found = {
        one.name: len(one.propose(viewer(state, "stranger"), 250).rows)
        for one in parts_of(system, state, ()).generators
    }
    assert [name for name, count in found.items() if not count] == [
        "transitions",
        "ease",
        "item-knn",
        "wals",
        "content",
    ]
    assert found["two-tower"] == found["popularity"] == EACH


def test_whoever_has_seen_almost_everything_is_proposed_what_is_left(system):
    state = live_state()
    for item in feedback().items[3:]:
        state.apply(ev.did("Click", "u9", item, 2e6))
    left = {state.videos.row_of(item) for item in feedback().items[:3]}
    for one in parts_of(system, state, ()).generators:
        proposal = one.propose(viewer(state, "u9"), 250)
        assert set(proposal.rows.tolist()) <= left
        assert np.isfinite(proposal.scores).all()


def test_what_may_not_be_shown_is_not_listed(system):
    state = live_state()
    parts = parts_of(system, state, ())
    first = {one.name: int(one.propose(viewer(state, "u6"), 1).rows[0]) for one in parts.generators}
    for row in set(first.values()):
        state.apply(ev.hidden(state.videos.item_id(row), 2e6))
    for one in parts.generators:
        proposal = one.propose(viewer(state, "u6"), 250)
        assert not set(proposal.rows.tolist()) & set(first.values())
        assert len(proposal.rows)


def test_a_click_of_a_second_ago_counts_at_once(system):
    state = live_state()
    parts = parts_of(system, state, ())
    before = parts.generators[1].propose(viewer(state, "u7"), 250)
    state.apply(ev.watched("u7", state.videos.item_id(int(before.rows[3])), 1.5e6, share=0.9))
    after = parts.generators[1].propose(viewer(state, "u7"), 250)
    assert before.rows[3] not in after.rows
    assert before.rows.tolist() != after.rows.tolist()


def test_users_are_made_once_for_all_who_ask_at_the_same_time(system, monkeypatch):
    state = live_state()
    parts = parts_of(system, state, ())
    made, together = [], threading.Barrier(len(parts.generators))
    real = viewers.users_of
    monkeypatch.setattr(
        "serving.recommendation.trained.asking.users_of", lambda *args: made.append(args[0].user_id) or real(*args)
    )
    who = viewer(state, "u8")

    def ask(generator):
        together.wait()
        return generator.propose(who, 10)

    with ThreadPoolExecutor(len(parts.generators)) as threads:
        assert all(len(one.rows) for one in threads.map(ask, parts.generators))
    assert made == ["u8"]
    parts.generators[0].propose(viewer(state, "u8"), 10)
    assert made == ["u8", "u8"]  # another request


# Items --------------------------------------------------------------------------------------------------------


def test_items_that_come_later_get_their_rows():
    state = live_state()
    items = TrainedItems({"i1": 0, "later": 1}, state.videos)
    row = state.videos.row_of("i1")
    assert items.rows().tolist() == [row, -1]
    for number in range(2_000):
        state.apply(ev.created(f"other{number}", 1))
    state.apply(ev.created("later", 2))
    last = state.videos.rows - 1
    assert items.rows().tolist() == [row, last]
    assert items.numbers(np.array([row, last, last - 1])).tolist() == [0, 1, -1]


# Viewers ------------------------------------------------------------------------------------------------------

_KINDS = ("impression", "click", "watch", "like", "dislike", "share", "save", "comment", "hide")
_events = st.lists(
    st.tuples(st.sampled_from(_KINDS), st.integers(0, 4), st.sampled_from([0.0, 0.3, 0.5, 1.0])), max_size=30
)


@given(_events)
def test_what_is_relevant_is_what_training_says(done):
    rows = [
        EventRow(kind, "u", f"i{item}", ev.at(second), share * 60 if kind == "watch" else None, 60.0)
        for second, (kind, item, share) in enumerate(done)
    ]
    log, _ = log_of_events(rows, items=[f"i{item}" for item in range(5)])
    pairs = label(log)
    past = tuple(
        Past(item, kind, ev.at(second).timestamp(), share if kind == "watch" else 0.0)
        for second, (kind, item, share) in enumerate(done)
    )

    class Same:  # rows are item numbers
        def numbers(self, rows):
            return rows.astype(np.int32)

    users = users_of(Viewer("u", LATER, history=past[::-1]), Same(), None, 0)
    assert [item for item in users.history[0] if item != PAD] == pairs.item[pairs.label > 0].tolist()
    assert [item for item in users.disliked[0] if item != PAD] == pairs.item[pairs.label < 0].tolist()


def test_seconds_watched_of_nobody_knows_how_many_say_nothing():
    class Same:
        def numbers(self, rows):
            return rows.astype(np.int32)

    history = (Past(0, "watch", 2.0, 45.0), Past(1, "watch", 1.0, 0.8))
    assert users_of(Viewer("u", LATER, history=history), Same(), None, 0).history.tolist() == [[1]]


def test_features_are_encoded_as_in_training(system):
    state = live_state()
    items = TrainedItems(system.number_of, state.videos)
    table = feedback().user_features()
    for number, user_id in enumerate(feedback().users):
        users = users_of(viewer(state, user_id), items, system.user_encoder, system.n_user_features)
        assert users.features[0] == pytest.approx(table[number])
    nobody = users_of(viewer(state, "nobody"), items, system.user_encoder, system.n_user_features)
    assert nobody.features.tolist() == [[0.0] * table.shape[1]]
    assert nobody.history.tolist() == [[PAD]]


def test_the_cells_of_a_profile():
    assert profile_cells(UserProfile(user_id="u", age_band="25-34", country="NO")) == {
        "age_band": "25-34",
        "age": "29.5",
        "country": "NO",
    }
    assert profile_cells(UserProfile(user_id="u", age_band="65+"))["age"] == "65"
    assert profile_cells(UserProfile(user_id="u", gender="F")) == {"gender": "F"}


# Loading ------------------------------------------------------------------------------------------------------


def test_a_model_that_is_no_system_is_refused():
    with pytest.raises(InvalidInput, match=r"is the model 'ease' alone.*whole system"):
        system_of(Saved(Ease(), ("a",), (), None, None), "recommendation-ease/1")


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda saved: replace(saved, items=saved.items[:-1]), "scores 30 items, the vocabulary has 29"),
        (lambda saved: replace(saved, user_encoder=None), "do not fit"),
        (lambda saved: setattr(saved.model, "generators", saved.model.generators[:-1]) or saved, "do not fit"),
    ],
)
def test_parts_that_do_not_fit_are_found_when_they_are_loaded(tmp_path, damage, what):
    saved = damage(load_model(saved_in(tmp_path)))
    with pytest.raises(IntegrityError, match=what) as caught:
        system_of(saved, LABEL)
    assert "riverlight models rollback recommendation-quick-system" in str(caught.value)

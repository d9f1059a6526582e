"""What a page of recommendations looks like: one behaviour a test, over arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.recommendation.reranking import Fate, Place, Pool, RerankRules, rerank

DIM = 64
PLAIN = {
    "diversity": 0.0,
    "near_duplicate_score": 0.99,
    "per_creator": 100,
    "small_creator_share": 0.0,
    "exploration_share": 0.0,
    "temperature": 0.0,
}


def rules(k=5, **changes) -> RerankRules:
    return RerankRules(k=k, **{**PLAIN, **changes})


def directions(n, seed=0):
    content = np.random.default_rng(seed).normal(size=(n, DIM))
    return (content / np.linalg.norm(content, axis=1, keepdims=True)).astype(np.float32)


def pool(scores, *, creator=None, media=None, content=None, small=None, due=None) -> Pool:
    n = len(scores)
    return Pool(
        rows=np.arange(n) + 100,
        scores=np.array(scores, np.float32),
        creator=np.array(range(n) if creator is None else creator, np.int32),
        media=np.array(range(1, n + 1) if media is None else media, np.uint64),
        content=directions(n) if content is None else content,
        small=np.zeros(n, np.bool_) if small is None else np.array(small, np.bool_),
        due=np.zeros(n, np.bool_) if due is None else np.array(due, np.bool_),
    )


def ranked(candidates: Pool, how: RerankRules, refused=None, seed=0):
    none = np.zeros(len(candidates), np.uint8)
    return rerank(candidates, none if refused is None else refused, how, np.random.default_rng(seed))


def fates(reranked) -> list[str]:
    return [Fate(one).word for one in reranked.fates.tolist()]


def test_by_score_alone_the_best_come_first_and_the_rest_is_beyond_k():
    found = ranked(pool([0.1, 0.9, 0.5, 0.7]), rules(k=2))
    assert found.chosen.tolist() == [1, 3]
    assert fates(found) == ["beyond-k", "answered", "beyond-k", "answered"]
    assert found.propensities.tolist() == [1.0, 1.0]


def test_what_is_refused_is_never_chosen_and_keeps_its_reason():
    refused = np.array([Fate.seen, 0, Fate.blocked_region, 0], np.uint8)
    found = ranked(pool([0.9, 0.1, 0.8, 0.2]), rules(), refused)
    assert found.chosen.tolist() == [3, 1]
    assert fates(found) == ["seen", "answered", "blocked-region", "answered"]


def test_of_the_same_bytes_only_the_best_is_shown_and_the_others_say_which():
    found = ranked(pool([0.5, 0.9, 0.1], media=[7, 7, 8]), rules())
    assert found.chosen.tolist() == [1, 2]
    assert (fates(found)[0], found.because_of[0]) == ("duplicate", 1)


def test_of_nearly_the_same_content_only_the_best_is_shown():
    content = directions(3)
    content[2] = content[0]
    found = ranked(pool([0.5, 0.4, 0.9], content=content), rules())
    assert found.chosen.tolist() == [2, 1]
    assert (fates(found)[0], found.because_of[0]) == ("near-duplicate", 2)


def test_videos_without_words_are_no_near_duplicates_of_each_other():
    found = ranked(pool([0.5, 0.4, 0.9], content=np.zeros((3, DIM), np.float32)), rules())
    assert found.chosen.tolist() == [2, 0, 1]


def test_one_creator_has_no_more_places_than_one_may_while_there_are_others():
    found = ranked(pool([0.9, 0.8, 0.7, 0.1, 0.05], creator=[1, 1, 1, 2, 3]), rules(k=4, per_creator=2))
    assert found.chosen.tolist() == [0, 1, 3, 4]
    assert fates(found)[2] == "creator-cap"


def test_the_cap_gives_way_when_nobody_else_is_left():
    found = ranked(pool([0.9, 0.8, 0.7, 0.1], creator=[1, 1, 1, 2]), rules(k=4, per_creator=1))
    assert found.chosen.tolist() == [0, 3, 1, 2]


def test_diversity_prefers_another_subject_to_a_slightly_better_score():
    content = np.zeros((3, DIM), np.float32)
    content[0, 0] = 1
    content[1, :2] = 0.9, np.sqrt(1 - 0.81)
    content[2, 2] = 1
    candidates = pool([1.0, 0.9, 0.8], content=content)
    assert ranked(candidates, rules(k=2)).chosen.tolist() == [0, 1]
    assert ranked(candidates, rules(k=2, diversity=0.5)).chosen.tolist() == [0, 2]


def test_small_creators_have_their_share_of_places_whatever_they_score():
    n = 40
    small = np.arange(n) >= 20  # the worse half
    found = ranked(pool(np.linspace(1, 0, n), small=small), rules(k=10, small_creator_share=0.3), seed=1)
    assert 3 <= small[found.chosen].sum() <= 4
    assert Place.small_creator in found.places
    without = ranked(pool(np.linspace(1, 0, n), small=small), rules(k=10))
    assert small[without.chosen].sum() == 0


def test_small_creators_that_are_chosen_by_score_count_for_the_share():
    n = 20
    found = ranked(pool(np.linspace(1, 0, n), small=np.arange(n) < 10), rules(k=10, small_creator_share=0.3))
    assert set(found.places.tolist()) == {Place.score}


def test_new_videos_have_their_share_and_each_of_them_the_same_chance():
    n, due = 30, np.arange(30) >= 25
    counts = np.zeros(n)
    for seed in range(2_000):
        found = ranked(pool(np.linspace(1, 0, n), due=due), rules(k=10, exploration_share=0.1), seed=seed)
        explored = found.chosen[found.places == Place.exploration]
        assert 1 <= explored.size <= 2
        counts[explored] += 1
        assert np.allclose(found.propensities[found.places == Place.exploration][0], 1 / 5)
    assert counts[:25].sum() == 0
    assert counts[25:].min() > 0.8 * counts[25:].mean()


def test_a_share_holds_on_average_for_answers_too_short_for_a_whole_place():
    due = np.arange(20) >= 10
    explored = [
        (ranked(pool(np.linspace(1, 0, 20), due=due), rules(k=3, exploration_share=0.1), seed=seed).places == 1).sum()
        for seed in range(3_000)
    ]
    assert np.mean(explored) == pytest.approx(0.3, abs=0.04)


def test_propensities_are_the_chances_with_which_places_are_given():
    scores, how = [0.5, 0.45, 0.3], rules(k=2, temperature=0.5)
    first = np.zeros(3)
    told = {}
    for seed in range(6_000):
        found = ranked(pool(scores), how, seed=seed)
        first[found.chosen[0]] += 1
        told[int(found.chosen[0])] = found.propensities[0]
    assert sum(told.values()) == pytest.approx(1.0)
    for one, chance in told.items():
        assert first[one] / 6_000 == pytest.approx(chance, abs=0.02)


def test_the_same_seed_gives_the_same_answer():
    candidates, how = (
        pool(np.linspace(0, 1, 50), due=np.arange(50) < 9),
        rules(k=10, temperature=0.2, exploration_share=0.2),
    )
    assert ranked(candidates, how, seed=5).chosen.tolist() == ranked(candidates, how, seed=5).chosen.tolist()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_comes_last(bad):
    found = ranked(pool([bad, 0.2, 0.1]), rules())
    assert found.chosen.tolist() == [1, 2, 0]


def test_nothing_gives_nothing():
    found = ranked(pool([]), rules())
    assert len(found.chosen) == len(found.fates) == 0
    everything_refused = ranked(pool([1.0, 2.0]), rules(), np.full(2, Fate.seen, np.uint8))
    assert len(everything_refused.chosen) == 0


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_candidate_has_one_fate_and_the_answer_breaks_no_rule(data):
    n = data.draw(st.integers(0, 40))
    seed = data.draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    candidates = pool(
        random.normal(size=n),
        creator=random.integers(0, 6, n),
        media=random.integers(1, 30, n),
        content=directions(n, seed)[random.integers(0, max(n, 1), n)] if n else None,
        small=random.random(n) < 0.3,
        due=random.random(n) < 0.2,
    )
    refused = np.where(random.random(n) < 0.3, random.integers(1, Fate.not_scored, n), 0).astype(np.uint8)
    k = data.draw(st.integers(1, 15))
    cap = data.draw(st.integers(1, 4))
    found = ranked(
        candidates,
        rules(k, per_creator=cap, diversity=0.3, temperature=0.05, small_creator_share=0.4, exploration_share=0.2),
        refused,
        seed=seed,
    )
    chosen = found.chosen
    assert len(set(chosen.tolist())) == len(chosen) <= k
    assert (refused[chosen] == 0).all()
    assert (found.fates[chosen] == Fate.answered).all()
    assert ((found.fates == Fate.answered).sum()) == len(chosen)
    assert (found.fates[refused != 0] == refused[refused != 0]).all()
    assert len(set(candidates.media[chosen].tolist())) == len(chosen)
    similarity = candidates.content[chosen] @ candidates.content[chosen].T - np.eye(len(chosen))
    assert not len(chosen) or similarity.max() < 0.99
    assert ((found.propensities > 0) & (found.propensities <= 1)).all()
    copies = np.isin(found.fates, [Fate.duplicate, Fate.near_duplicate])
    assert np.isin(found.because_of[copies], chosen).all() and (found.because_of[~copies] == -1).all()
    if len(chosen) < k:  # nothing that could have been shown was kept back
        assert not np.isin(found.fates, [Fate.beyond_k, Fate.creator_cap]).any()

import copy
from dataclasses import replace

import numpy as np
import pytest
from happenings import two_groups, watched

from core.errors import InvalidInput
from core.settings import LearningSettings
from models.recommendation.item_weights import Ease, EaseConfig, Transitions
from models.recommendation.labels import RelevanceRule, label
from models.recommendation.learning.gate import judge
from models.recommendation.learning.questions import ask, newly_relevant
from models.recommendation.learning.round import Material, Stopped, learn
from models.recommendation.learning.traffic import part, traffic_of
from models.recommendation.learning.version import position_of, write_version
from models.recommendation.learning.widening import nearest_known, widened
from models.recommendation.popularity import Popularity
from models.recommendation.ranker import RankerConfig
from models.recommendation.system import FullSystem, SystemConfig
from models.recommendation.towers import TowerConfig
from models.recommendation.two_tower import IdTwoTower
from models.recommendation.weights import Saved, load_model, save_model
from models.registry.manifest import Manifest

SETTINGS = LearningSettings(min_events=20, min_users=5, margin=0.05, held_out=0.3)
RULE = RelevanceRule()
HALF = 480


def system():
    config = SystemConfig(each=10, held_out=2, ranker=RankerConfig(hidden=16, attention=8, epochs=3, batch_users=16))
    towers = IdTwoTower(TowerConfig(dim=16, epochs=10, heads=2, random_negatives=8, negatives=16, batch_users=16))
    return FullSystem(config, [towers, Ease(EaseConfig(l2=5)), Transitions(), Popularity()])


@pytest.fixture(scope="module")
def history():
    return two_groups(seed=1)


@pytest.fixture(scope="module")
def base(history):
    """A system trained on the first half of the history, and the position that says so."""
    traffic = traffic_of(history[:HALF], None, ())
    feedback = label(traffic.log, RULE)
    model = system()
    model.fit(feedback)
    saved = Saved(model, feedback.items, tuple(one.name for one in model.generators), None, None)
    return saved, {"e": {"0": HALF // 2, "1": HALF // 2}}


def material(history, saved):
    return Material(traffic_of(history, None, saved.items), RULE, None, None)


def test_what_is_learned_is_not_fresh_and_the_cut_is_where_the_next_round_begins(history):
    traffic = traffic_of(history, None, ())
    fresh = traffic.fresh({"e": {"0": 120, "1": 100}})
    assert fresh.sum() == (HALF - 120) + (HALF - 100)
    cut = traffic.cut(fresh, 0.25)
    assert not (cut.teach & cut.test).any()
    assert (cut.teach | cut.test == fresh).all()
    assert (traffic.fresh(cut.positions) == cut.test).all()


def test_a_topic_that_was_made_anew_is_fresh_whatever_its_offsets(history):
    again = [one._replace(epoch="f", offset=0) for one in history[:3]]
    traffic = traffic_of([*history, *again], None, ())
    assert traffic.fresh({"e": {"0": 10_000, "1": 10_000}}).sum() == 3


def test_a_question_knows_only_what_was_before_it(history):
    feedback = label(traffic_of(history, None, ()).log, RULE)
    rows = np.flatnonzero(feedback.label > 0)[50:60]
    questions = ask(feedback, rows)
    for place, row in enumerate(rows):
        known = set(questions.users.history[place].tolist()) - {-1}
        own = feedback.user[:row] == feedback.user[row]
        assert known == set(feedback.item[:row][own].tolist())
        assert int(questions.item[place]) not in known


def test_a_pair_that_was_relevant_before_is_not_new():
    seen = [("a", 0), ("a", 5), ("b", 6)]
    log = traffic_of([watched("u", item, at, offset=n) for n, (item, at) in enumerate(seen)], None, ())
    before = label(part(log.log, np.array([True, False, False])), RULE)
    after = label(log.log, RULE)
    assert [after.items[item] for item in after.item[newly_relevant(after, before)]] == ["b"]


def test_a_round_learns_what_is_fresh_and_is_promoted(history, base):
    saved, learned = base
    outcome = learn(saved, learned, material(history, saved), SETTINGS)
    assert outcome.verdict.promote, outcome.verdict
    assert outcome.verdict.candidate["ndcg@10"] > 0
    assert outcome.taught_events == sum(end for end in outcome.positions["e"].values()) - HALF
    assert set(outcome.refitted) == {"ease", "transitions", "popularity"}


def test_a_round_leaves_the_champion_as_it_was(history, base):
    saved, learned = base
    before = {name: value.copy() for name, value in saved.model.state().items()}
    learn(saved, learned, material(history, saved), SETTINGS)
    assert all((value == before[name]).all() for name, value in saved.model.state().items())


def test_the_same_round_again_gives_the_same_weights(history, base):
    saved, learned = base
    first, second = (learn(saved, learned, material(history, saved), SETTINGS) for _ in range(2))
    assert first.positions == second.positions
    left, right = first.candidate.state(), second.candidate.state()
    assert all(np.array_equal(left[name], right[name]) for name in left)


def test_a_candidate_whose_weights_are_shuffled_is_held(history, base):
    saved, learned = base
    outcome = learn(saved, learned, material(history, saved), SETTINGS)
    spoiled = copy.deepcopy(outcome.candidate)
    rng = np.random.default_rng(0)
    spoiled.restore(
        {
            name: value if name.endswith("sizes") else rng.permutation(value.ravel()).reshape(value.shape)
            for name, value in spoiled.state().items()
        }
    )
    feedback = outcome.feedback
    questions = ask(feedback, np.flatnonzero(feedback.label > 0)[-120:])
    verdict = judge(saved.model, spoiled, questions, feedback, margin=0.01, min_users=5)
    assert not verdict.promote
    assert verdict.candidate["ndcg@10"] < verdict.champion["ndcg@10"]
    assert "lower" in verdict.reason
    assert judge(saved.model, saved.model, questions, feedback, margin=0.01, min_users=5).promote


def test_few_users_are_not_enough_to_promote_anything(history, base):
    saved, learned = base
    strict = SETTINGS.model_copy(update={"min_users": 1_000})
    verdict = learn(saved, learned, material(history, saved), strict).verdict
    assert not verdict.promote
    assert "1000 are needed" in verdict.reason


def test_too_few_events_are_refused_with_their_number(history, base):
    saved, _ = base
    with pytest.raises(InvalidInput, match=r"there are 8 fresh interactions .* needs 20"):
        learn(saved, {"e": {"0": HALF - 4, "1": HALF - 4}}, material(history, saved), SETTINGS)


def test_rounds_after_each_other_learn_every_event_once(tmp_path, history, base):
    saved, learned = base
    total, rounds = 0, 0
    while True:
        try:
            outcome = learn(saved, learned, material(history, saved), SETTINGS)
        except InvalidInput:
            break
        total += outcome.taught_events
        rounds += 1
        # As after a restart: only what was written is there.
        folder = tmp_path / str(rounds)
        parent = Manifest("m", "0" * 64, "2026-11-22", "1", "test", 0, data={"learned": learned})
        manifest = write_version(
            outcome, folder, model="m", parent=parent, command="test", code_version="1", created="2026-11-22",
            minutes={"median_min": 1.0, "newest_min": 1.0},
        )  # fmt: skip
        saved, learned = load_model(folder / "model.safetensors"), position_of(manifest)
    assert rounds >= 2
    assert total == sum(learned["e"].values()) - HALF
    assert not (traffic_of(history, None, saved.items).fresh(learned).sum() >= SETTINGS.min_events)


@pytest.mark.parametrize("after", range(5))
def test_a_round_that_is_stopped_midway_keeps_nothing_and_can_be_made_again(history, base, after):
    saved, learned = base
    asked = iter(range(100))
    with pytest.raises(Stopped, match="nothing was kept"):
        learn(saved, learned, material(history, saved), SETTINGS, stop=lambda: next(asked) >= after)
    assert learned == {"e": {"0": HALF // 2, "1": HALF // 2}}


def test_new_videos_are_proposed_after_a_round_and_not_before(history, base):
    saved, learned = base
    later = [
        watched(f"u{user}", f"new{user % 2}", 2000 + number, offset=HALF + number // 2, partition=user % 2)
        for number, user in enumerate(range(80))
    ]
    traffic = material([*history, *later], saved)
    outcome = learn(saved, learned, traffic, SETTINGS.model_copy(update={"held_out": 0.1}))
    assert outcome.new_items == 2
    feedback = outcome.feedback
    users = ask(feedback, np.flatnonzero(feedback.item == feedback.items.index("new0"))[:5]).users
    old = widened(saved.model, np.zeros((feedback.n_items, 0), np.float32))
    place = feedback.items.index("new0")
    assert (outcome.candidate.score(users)[:, place] > -np.inf).any()
    assert outcome.candidate.generators[3].score(users)[0, place] > 0
    assert old.generators[3].score(users)[0, place] == 0


def test_a_new_video_starts_among_those_that_the_same_people_liked(history):
    new = [watched(f"u{user}", "new", 2000 + user, offset=900 + user, partition=user % 2) for user in range(0, 80, 2)]
    feedback = label(traffic_of([*history, *new], None, ()).log, RULE)
    known = feedback.n_items - 1
    near = nearest_known(feedback, known)
    assert near.sum() == pytest.approx(1.0)
    assert {int(feedback.items[place][1:]) % 2 for place in near.indices} == {0}


def test_a_model_that_keeps_its_training_data_elsewhere_is_not_refitted_on_less(history, base):
    saved, learned = base
    outcome = learn(saved, learned, replace(material(history, saved), elsewhere=10_000), SETTINGS)
    assert outcome.refitted == ()
    assert set(outcome.kept) == {"ease", "transitions", "popularity"}


def test_a_widened_system_answers_as_before_about_what_it_knows(tmp_path, history, base):
    saved, _ = base
    feedback = label(traffic_of(history, None, saved.items).log, RULE)
    users = ask(feedback, np.flatnonzero(feedback.label > 0)[200:210]).users
    wider = widened(saved.model, np.zeros((feedback.n_items + 3, 0), np.float32))
    for before, after in zip(saved.model.generators, wider.generators, strict=True):
        assert np.allclose(after.score(users)[:, : feedback.n_items], before.score(users), atol=1e-5)
    assert (wider.score(users).argmax(axis=1) == saved.model.score(users).argmax(axis=1)).all()
    save_model(saved.model, feedback, tmp_path / "m.safetensors")
    assert load_model(tmp_path / "m.safetensors").items == feedback.items

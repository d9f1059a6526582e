import json
from dataclasses import replace

import numpy as np
import pytest
from tastes import ITEMS, two_tastes

from core.errors import IntegrityError, InvalidInput
from models.recommendation.bpr import Bpr
from models.recommendation.candidates import PER_GENERATOR, evidence_of, propose
from models.recommendation.evaluate import measure
from models.recommendation.feedback import PAD
from models.recommendation.item_weights import Ease, EaseConfig, Transitions
from models.recommendation.popularity import Popularity
from models.recommendation.ranker import RankerConfig
from models.recommendation.splits import leave_last_out
from models.recommendation.system import FullSystem, SystemConfig, _held_out
from models.recommendation.weights import load_model, save_model


def small_system(**ranker):
    settings = {"hidden": 16, "attention": 8, "epochs": 3, "batch_users": 16, **ranker}
    config = SystemConfig(each=10, held_out=2, ranker=RankerConfig(**settings))
    return FullSystem(config, [Ease(EaseConfig(l2=5)), Transitions(), Popularity()])


@pytest.fixture(scope="module")
def fitted():
    split = leave_last_out(two_tastes())
    system = small_system()
    system.fit(split.train)
    return system, split


def test_the_union_of_proposals_without_what_was_seen():
    scores = [np.asarray([[5.0, 4, 3, 2, 1]], np.float32), np.asarray([[1.0, 2, 3, 4, 5]], np.float32)]
    seen = np.asarray([[True, False, False, False, False]])
    found = propose(scores, seen, each=2)
    assert found.items.tolist() == [[1, 2, 3, 4]]
    evidence = found.evidence[0].reshape(4, 2, PER_GENERATOR)
    assert evidence[0, 0].tolist() == [1.0, 1.0, 1.0]  # proposed first by the first generator
    assert evidence[1, 0].tolist() == pytest.approx([1.0, 0.0, 1 / np.log2(3)])
    assert (evidence[0, 1] == 0).all()


def test_a_generator_that_cannot_tell_items_apart_proposes_nothing():
    scores = [np.zeros((1, 4), np.float32), np.asarray([[1.0, 2, 3, 4]], np.float32)]
    found = propose(scores, np.zeros((1, 4), bool), each=2)
    assert found.items.tolist() == [[2, 3]]
    assert (found.evidence[0, :, :PER_GENERATOR] == 0).all()


def test_serving_makes_the_same_evidence_from_lists_as_training_from_matrices():
    rng = np.random.default_rng(0)
    scores = [rng.normal(size=(3, 20)).astype(np.float32) for _ in range(2)]
    seen = rng.random((3, 20)) < 0.2
    found = propose(scores, seen, each=5)
    for row in range(3):
        order = [np.argsort(-np.where(seen[row], -np.inf, matrix[row]), kind="stable")[:5] for matrix in scores]
        lists = [places.astype(np.int32) for places in order]
        values = [matrix[row, places] for matrix, places in zip(scores, order, strict=True)]
        assert evidence_of(lists, values, found.items[row]) == pytest.approx(found.evidence[row], abs=1e-6)


def test_a_generator_that_is_missing_leaves_no_evidence():
    out = evidence_of([np.empty(0, np.int32)], [np.empty(0, np.float32)], np.asarray([1, PAD], np.int32))
    assert (out == 0).all()


def test_the_generators_the_ranker_learns_from_have_not_seen_its_targets():
    feedback = leave_last_out(two_tastes()).train
    held = _held_out(feedback, 3)
    base = held[-1].train.positives()
    known = set(zip(base.user.tolist(), base.item.tolist(), strict=True))
    for split in held:
        rows, items = split.relevant.nonzero()
        assert not known & set(zip(split.users.place[rows].tolist(), items.tolist(), strict=True))


def test_the_full_system_recommends_to_taste_and_never_what_was_seen(fitted):
    system, split = fitted
    result = measure(system.score(split.users), split)
    own = result.lists[:, :3] % 2 == split.users.place[:, None] % 2
    assert own.mean() > 0.9
    seen = split.seen.toarray()
    assert not np.take_along_axis(seen, result.lists[:, :3], axis=1).any()


def test_newcomers_teach_with_nothing_known_of_them_and_all_that_they_came_to_like(fitted):
    _, split = fitted
    examples, _ = small_system().examples(split.train)
    strangers = (examples.users.place == PAD).nonzero()[0]
    assert 0 < len(strangers) < len(split)
    assert (examples.users.history[strangers] == PAD).all() and (examples.users.disliked[strangers] == PAD).all()
    known = (examples.users.place != PAD).nonzero()[0]
    assert (examples.users.history[known] != PAD).any(axis=1).all()
    liked = examples.liked.sum(axis=1)
    assert liked[strangers].mean() > 2 > 1 >= liked[known].mean()  # many of one who is new, one of who is known


def test_of_newcomers_the_ranker_knows_the_taste_by_their_features():
    split = leave_last_out(two_tastes(users=120))
    system = small_system(epochs=15, learning_rate=0.01)
    system.generators = [Popularity()]  # it ranks the same for everybody
    system.config = replace(system.config, each=ITEMS, newcomers=0.9)
    system.fit(split.train)
    nothing = np.full((len(split), 1), PAD, np.int32)
    strangers = replace(split.users, place=nothing[:, 0], history=nothing, disliked=nothing)
    best = np.argsort(-system.score(strangers), axis=1)[:, :3]
    assert (best % 2 == split.users.place[:, None] % 2).mean() > 0.9


def test_tasks_are_chances_and_padding_is_ranked_last(fitted):
    system, split = fitted
    found = system.candidates(split.users)
    found.items[0, -1] = PAD
    ranks, tasks = system.ranker.score_all(split.users, found.items, found.evidence)
    assert tasks.shape == (*found.items.shape, 3) and (tasks >= 0).all() and (tasks <= 1).all()
    assert ranks[0, -1] == -np.inf


def test_nan_features_do_not_reach_the_score(fitted):
    system, split = fitted
    found = system.candidates(split.users)
    users = split.users.part(slice(None))
    users.features[:] = np.nan
    assert np.isfinite(system.ranker.rank(users, found.items, found.evidence)[found.items != PAD]).all()


def test_the_ranker_learns_more_than_the_mean_of_its_generators():
    """One generator is right, one is upside down; the ranker has to find out which."""
    split = leave_last_out(two_tastes(users=80))

    class Reversed(Popularity):
        name = "reversed"

        def score(self, users):
            own = np.arange(ITEMS)[None] % 2 == users.place[:, None] % 2
            return (1.0 - own + 0.01 * np.arange(ITEMS)[None]).astype(np.float32)

    system = small_system(epochs=15, learning_rate=0.01)
    system.generators = [Ease(EaseConfig(l2=5)), Reversed()]
    system.fit(split.train)
    found = system.candidates(split.users)
    naive = np.full((len(split), ITEMS), -np.inf, np.float32)
    rows = np.arange(len(split))[:, None]
    naive[rows, found.items] = found.evidence.sum(axis=2)
    assert measure(system.score(split.users), split).values["ndcg@10"] > measure(naive, split).values["ndcg@10"] + 0.05


def test_a_system_is_saved_and_loaded_whole(fitted, tmp_path):
    system, split = fitted
    save_model(system, split.train, tmp_path / "model.safetensors")
    saved = load_model(tmp_path / "model.safetensors")
    assert saved.items == split.train.items
    assert saved.generators == ("ease", "transitions", "popularity")
    assert np.array_equal(saved.model.score(split.users), system.score(split.users))
    assert saved.user_encoder.encode([{"age": "25"}]).shape == (1, split.users.features.shape[1])


def test_a_ranker_is_saved_alone_with_the_names_of_its_generators(fitted, tmp_path):
    system, split = fitted
    names = tuple(generator.name for generator in system.generators)
    save_model(system.ranker, split.train, tmp_path / "model.safetensors", generators=names)
    saved = load_model(tmp_path / "model.safetensors")
    found = system.candidates(split.users)
    assert saved.generators == names
    assert np.array_equal(
        saved.model.rank(split.users, found.items, found.evidence),
        system.ranker.rank(split.users, found.items, found.evidence),
    )


def test_no_user_id_is_in_the_weights(fitted, tmp_path):
    system, split = fitted
    save_model(system, split.train, tmp_path / "model.safetensors")
    content = (tmp_path / "model.safetensors").read_bytes()
    assert json.dumps(split.train.items)[:20].encode() in content
    assert b'"u1"' not in content


def test_what_knows_only_its_training_users_is_not_saved(tmp_path):
    model = Bpr()
    with pytest.raises(InvalidInput, match="cannot be registered"):
        save_model(model, two_tastes(), tmp_path / "model.safetensors")


def test_another_file_is_not_a_model(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(IntegrityError, match="does not hold a recommendation model"):
        load_model(tmp_path / "model.safetensors")


def test_generators_need_different_names():
    with pytest.raises(InvalidInput, match="different names"):
        FullSystem(generators=[Popularity(), Popularity()])

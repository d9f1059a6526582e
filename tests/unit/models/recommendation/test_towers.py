import numpy as np
import pytest
import torch
from tastes import ITEMS, two_tastes

from core.errors import InvalidInput
from models.recommendation.feedback import PAD, Users
from models.recommendation.splits import leave_last_out
from models.recommendation.towers import TowerConfig
from models.recommendation.two_tower import IdTwoTower, SequenceTwoTower, TwoTower, batch_loss, training_batches

SMALL = TowerConfig(
    dim=16, length=6, epochs=40, batch_users=20, negatives=64, random_negatives=16, dropout=0.1, layers=1
)
KINDS = [TwoTower, IdTwoTower, SequenceTwoTower]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def trained(request):
    torch.set_num_threads(1)
    split = leave_last_out(two_tastes())
    config = (
        SMALL if request.param is not SequenceTwoTower else TowerConfig(**{**SMALL.__dict__, "history": "attention"})
    )
    model = request.param(config)
    model.fit(split.train)
    return model, split


def test_it_tells_two_tastes_apart(trained):
    model, split = trained
    scores = model.score(split.users)
    own = np.arange(ITEMS)[None] % 2 == split.users.place[:, None] % 2
    assert scores[own].mean() > scores[~own].mean() + 0.3
    assert np.linalg.norm(model.user_vectors(split.users), axis=1) == pytest.approx(1.0, abs=1e-5)


def test_scores_are_dot_products_of_the_vectors(trained):
    model, split = trained
    assert model.item_vectors().dtype == np.float32
    assert model.score(split.users) == pytest.approx(model.user_vectors(split.users) @ model.item_vectors().T)


def test_it_is_restored_as_it_was(trained):
    model, split = trained
    other = type(model)(model.config)
    other.restore(model.state())
    assert np.array_equal(other.score(split.users), model.score(split.users))


def test_padding_and_batches_do_not_change_a_user(trained):
    model, split = trained
    users = split.users
    wider = Users(
        users.place,
        np.pad(users.history, ((0, 0), (9, 0)), constant_values=PAD),
        users.disliked,
        users.features,
        users.now,
    )
    assert model.user_vectors(wider) == pytest.approx(model.user_vectors(users), abs=1e-5)
    assert model.user_vectors(users.part(slice(3, 4))) == pytest.approx(model.user_vectors(users)[3:4], abs=1e-5)


def test_fine_tuning_goes_on_from_where_it_was(trained):
    model, _ = trained
    other = type(model)(model.config)
    other.restore(model.state())
    before = other.item_vectors()
    other.fine_tune(two_tastes(seed=0), epochs=1)
    after = other.item_vectors()
    assert not np.array_equal(before, after)
    assert (before * after).sum(axis=1).mean() > 0.7


def test_features_alone_place_a_new_item_and_a_new_user():
    feedback = two_tastes()
    model = TwoTower(SMALL)
    model.fit(feedback)
    table = feedback.item_table
    even, odd = model.new_item_vectors(table.encoder.encode([{"tags": "calm"}, {"tags": "loud"}]))
    vectors = model.item_vectors()
    assert (vectors[::2] @ even).mean() > (vectors[1::2] @ even).mean()
    empty = np.full((1, 1), PAD, np.int32)
    features = feedback.user_table.encoder.encode([{"taste": "odd"}])
    user = model.user_vectors(Users(np.asarray([PAD], np.int32), empty, empty, features, np.zeros(1)))[0]
    assert (vectors[1::2] @ user).mean() > (vectors[::2] @ user).mean()
    assert odd.shape == (16,)


def test_by_ids_alone_a_new_item_cannot_be_placed():
    model = IdTwoTower(TowerConfig(**{**SMALL.__dict__, "epochs": 1}))
    model.fit(two_tastes())
    with pytest.raises(InvalidInput, match="by id alone"):
        model.new_item_vectors(np.zeros((1, 3), np.float32))


@pytest.mark.parametrize("history", ["mean", "attention"])
def test_no_place_of_a_sequence_sees_what_comes_after_it(history):
    torch.manual_seed(0)
    model = TwoTower(TowerConfig(**{**SMALL.__dict__, "history": history, "features": False}))
    network = model._build(np.zeros((ITEMS, 0), np.float32), 0).eval()
    items = torch.tensor([[PAD, 3, 5, 7, 9, 11]])
    changed = items.clone()
    changed[0, 4:] = torch.tensor([2, 4])
    nothing = torch.zeros(1, 0)
    first, second = network.states(items, nothing), network.states(changed, nothing)
    assert torch.allclose(first[0, :5], second[0, :5], atol=1e-6)
    assert not torch.allclose(first[0, 5:], second[0, 5:], atol=1e-3)


def test_every_liked_item_is_a_target_once():
    feedback = two_tastes(users=7, each=10)
    config = TowerConfig(**{**SMALL.__dict__, "length": 4})
    targets = torch.cat([batch.target[batch.target >= 0] for batch in training_batches(feedback, config)])
    # Windows of a long history share one item: what the earlier one ends before is what the later one begins with.
    assert set(targets.tolist()) == set(feedback.positives().item.tolist())
    assert len(targets) >= len(feedback.positives())


def test_a_users_own_likes_are_never_their_negatives():
    feedback = two_tastes(users=4, items=4, each=2)  # everything there is, is liked or disliked
    config = TowerConfig(**{**SMALL.__dict__, "explicit_negatives": 0, "features": False})
    model = TwoTower(config)
    network = model._build(feedback.item_features(), 0).eval()
    batch = next(iter(training_batches(feedback, config)))
    with torch.no_grad():
        network.items.ids.weight[1:] = torch.eye(16)[:4]
        loss = batch_loss(network, batch, torch.zeros(4), np.random.default_rng(0))
    assert torch.isfinite(loss)


def test_impossible_shapes_are_refused():
    with pytest.raises(InvalidInput, match="multiple of heads"):
        TowerConfig(dim=15, heads=2)
    with pytest.raises(InvalidInput, match="above 0"):
        TowerConfig(temperature=0.0)

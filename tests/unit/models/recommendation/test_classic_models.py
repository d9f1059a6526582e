import numpy as np
import pytest
import scipy.sparse as sp
from tastes import ITEMS, two_tastes

from core.errors import InvalidInput
from models.recommendation.bpr import Bpr, BprConfig
from models.recommendation.content import ContentBased
from models.recommendation.factorization import (
    FactorizationConfig,
    SgdFactorization,
    Wals,
    fold_in,
    gradients,
    weighted_loss,
)
from models.recommendation.feedback import PAD, Users, users_of
from models.recommendation.interactions import make_log
from models.recommendation.item_weights import Ease, EaseConfig, ItemNeighbours, NeighboursConfig, Transitions
from models.recommendation.labels import label
from models.recommendation.popularity import Popularity, PopularityConfig
from models.recommendation.splits import leave_last_out

# Figures 6.11 and 6.18 of the chapter: what three users liked of five videos, and embeddings of both.
LIKED = sp.csr_matrix(np.asarray([[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 1, 0, 1, 0]], np.float32))
USER_VECTORS = np.asarray([[0.9, 0], [-0.7, 0.1], [0, 0.8]], np.float32)
VIDEO_VECTORS = np.asarray([[0.6, -0.4], [1, 0.9], [-1, -0.2], [-1, 1], [-0.5, -0.3]], np.float32)
PREDICTED = [[0.54, 0.9, -0.9, -0.9, -0.45], [-0.46, -0.61, 0.68, 0.8, 0.32], [-0.32, 0.72, -0.16, 0.8, -0.24]]


def test_the_worked_example_predicts_what_the_chapter_says():
    assert pytest.approx(np.asarray(PREDICTED), abs=1e-6) == USER_VECTORS @ VIDEO_VECTORS.T


@pytest.mark.parametrize("w", [0.0, 0.1, 1.0])
def test_the_worked_examples_weighted_loss(w):
    dense, predicted = LIKED.toarray(), np.asarray(PREDICTED)
    by_hand = ((1 - predicted[dense == 1]) ** 2).sum() + w * (predicted[dense == 0] ** 2).sum()
    assert weighted_loss(LIKED, USER_VECTORS, VIDEO_VECTORS, w) == pytest.approx(by_hand, rel=1e-5)
    assert ((1 - predicted[dense == 1]) ** 2).sum() == pytest.approx(0.4824)
    assert (predicted[dense == 0] ** 2).sum() == pytest.approx(2.6942)


def test_embeddings_of_all_ones_have_no_loss_on_observed_pairs_alone():
    ones = np.ones((3, 1), np.float32), np.ones((5, 1), np.float32)
    assert weighted_loss(LIKED, *ones, 0.0) == 0.0
    assert weighted_loss(LIKED, *ones, 0.5) == pytest.approx(0.5 * 9)


def test_folding_in_finds_the_minimum_of_the_loss():
    w, l2 = 0.3, 0.05
    best = fold_in(LIKED, VIDEO_VECTORS, w, l2)

    def objective(vectors):
        return weighted_loss(LIKED, vectors, VIDEO_VECTORS, w) + l2 * (vectors**2).sum()

    rng = np.random.default_rng(0)
    for _ in range(50):
        assert objective(best) <= objective(best + rng.normal(0, 0.05, best.shape).astype(np.float32)) + 1e-6


def test_the_gradient_is_that_of_the_loss():
    config = FactorizationConfig(2, unobserved_weight=0.3, l2=0.1)
    by_user, by_item = gradients(LIKED, USER_VECTORS, VIDEO_VECTORS, config)

    def objective(users, items):
        return weighted_loss(LIKED, users, items, 0.3) + 0.1 * ((users**2).sum() + (items**2).sum())

    step = 1e-2
    for matrix, gradient, which in ((USER_VECTORS, by_user, 0), (VIDEO_VECTORS, by_item, 1)):
        for place in np.ndindex(matrix.shape):
            ends = []
            for sign in (1, -1):
                moved = matrix.astype(np.float64).copy()
                moved[place] += sign * step
                ends.append(objective(moved, VIDEO_VECTORS) if which == 0 else objective(USER_VECTORS, moved))
            assert (ends[0] - ends[1]) / (4 * step) == pytest.approx(gradient[place], abs=2e-3)


MODELS = [
    ItemNeighbours(),
    ItemNeighbours(NeighboursConfig(decay=3.0)),
    Ease(EaseConfig(l2=10)),
    Transitions(),
    ContentBased(),
    Wals(FactorizationConfig(4, 0.2, 0.1)),
    SgdFactorization(FactorizationConfig(4, 0.2, 0.1, 60)),
    Bpr(BprConfig(8, learning_rate=0.05, iterations=300)),
]


NAMES = [f"{place} {model.name}" for place, model in enumerate(MODELS)]


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_every_personal_model_tells_two_tastes_apart(model):
    split = leave_last_out(two_tastes())
    model.fit(split.train)
    scores = model.score(split.users)
    assert scores.dtype == np.float32 and scores.shape == (len(split), ITEMS) and np.isfinite(scores).all()
    own = np.arange(ITEMS)[None] % 2 == split.users.place[:, None] % 2
    seen = split.seen.toarray()
    better = [row[mine & ~known].mean() > row[~mine].mean() for row, mine, known in zip(scores, own, seen, strict=True)]
    assert np.mean(better) > 0.9


@pytest.mark.parametrize("model", MODELS[:7], ids=NAMES[:7])
def test_a_user_who_was_not_there_at_training_is_judged_by_their_history(model):
    feedback = two_tastes()
    model.fit(feedback)
    nobody = np.empty((1, 0), np.float32)
    odd = Users(
        np.asarray([PAD], np.int32),
        np.asarray([[PAD, 1, 5, 9]], np.int32),
        np.full((1, 1), PAD, np.int32),
        nobody,
        np.zeros(1),
    )
    scores = model.score(odd)[0]
    unseen = [item for item in range(1, ITEMS, 2) if item not in (1, 5, 9)]
    assert scores[unseen].mean() > scores[::2].mean()


def test_what_a_model_learned_can_be_stored_and_restored():
    split = leave_last_out(two_tastes())
    for model in (*MODELS, Popularity()):
        model.fit(split.train)
        other = type(model)(model.config)
        other.restore(model.state())
        assert np.array_equal(other.score(split.users), model.score(split.users)), model.name


def test_a_model_that_was_not_fitted_says_so():
    with pytest.raises(InvalidInput, match="popularity was not fitted"):
        Popularity().score(users_of(two_tastes(), [0]))


def test_old_likes_count_less_where_popularity_is_of_late():
    day = 86_400.0
    log = make_log(
        ["a", "b", "c"], ["old", "old", "new"], np.asarray([0, 0, 2 * day]), values=np.full(3, 5, np.float32)
    )
    feedback = label(log)
    steady, late = Popularity(), Popularity(PopularityConfig(half_life_days=1))
    steady.fit(feedback)
    late.fit(feedback)
    assert steady.score(users_of(feedback, [0]))[0].tolist() == [2.0, 1.0]
    assert late.score(users_of(feedback, [0]))[0].tolist() == [0.5, 1.0]


def test_a_weight_outside_its_range_is_refused():
    with pytest.raises(InvalidInput, match="unobserved_weight"):
        FactorizationConfig(unobserved_weight=0.0)
    with pytest.raises(InvalidInput, match="decay"):
        Ease(EaseConfig(decay=0.0))

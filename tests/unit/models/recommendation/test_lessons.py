"""What towers and ranker are taught, shared among workers and on whatever device."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tastes import two_tastes

from models.recommendation.candidates import Candidates
from models.recommendation.feedback import PAD, Users
from models.recommendation.ranker import Examples, Ranker, RankerConfig, RankerLesson
from models.recommendation.system import quick_system
from models.recommendation.towers import TowerConfig
from models.recommendation.two_tower import TowerLesson, TwoTower
from models.training.lesson import ALONE, Lesson, Place

TOWERS = TowerConfig(dim=8, length=6, epochs=1, batch_users=7, negatives=16, random_negatives=8)


def tower_lesson(config: TowerConfig = TOWERS) -> TowerLesson:
    caught: list[Lesson] = []
    model = TwoTower(config)
    model.trainer = lambda lesson, report: caught.append(lesson)
    model.fit(two_tastes())
    [lesson] = caught
    assert isinstance(lesson, TowerLesson)
    return lesson


def ranker_lesson(users: int = 9) -> RankerLesson:
    rng = np.random.default_rng(0)
    history = rng.integers(0, 30, (users, 8)).astype(np.int32)
    items = rng.integers(0, 30, (users, 12)).astype(np.int32)
    items[:, 10:] = PAD
    candidates = Candidates(items, rng.normal(size=(users, 12, 6)).astype(np.float32))
    happened = [(rng.random((users, 12)) < 0.3).astype(np.float32) for _ in range(3)]
    features = rng.normal(size=(users, 2)).astype(np.float32)
    who = Users(np.arange(users, dtype=np.int32), history, history, features, np.zeros(users))
    caught: list[Lesson] = []
    model = Ranker(RankerConfig(hidden=8, attention=4, length=5, epochs=1, batch_users=4, sampled=6))
    model.trainer = lambda lesson, report: caught.append(lesson)
    model.fit(Examples(who, candidates, *happened), rng.normal(size=(30, 5)).astype(np.float32))
    [lesson] = caught
    assert isinstance(lesson, RankerLesson)
    return lesson


LESSONS = [tower_lesson, ranker_lesson]


@pytest.mark.parametrize("make", LESSONS)
def test_an_epoch_has_as_many_batches_as_it_says(make):
    lesson = make()
    assert len(list(lesson.batches(np.random.default_rng(0)))) == lesson.steps


@pytest.mark.parametrize("make", LESSONS)
def test_who_is_alone_gets_the_whole_batch(make):
    lesson = make()
    batch = next(iter(lesson.batches(np.random.default_rng(0))))
    part, share = lesson.part(batch, ALONE)
    assert share == 1.0
    assert rows_of(part) == rows_of(batch)


@pytest.mark.parametrize("world", [2, 3, 40])
@pytest.mark.parametrize("make", LESSONS)
def test_the_shares_of_all_workers_are_the_whole_and_every_part_has_a_loss(make, world):
    lesson = make()
    rng = np.random.default_rng(0)
    for batch in lesson.batches(rng):
        parts = [lesson.part(batch, Place(rank, world)) for rank in range(world)]
        assert sum(share for _, share in parts) == pytest.approx(1.0)
        assert sorted(row for part, share in parts if share for row in rows_of(part)) == rows_of(batch)
        for part, _ in parts:
            assert torch.isfinite(lesson.loss(part, rng))


def rows_of(batch) -> list:
    """Return what identifies the rows of a batch, sorted."""
    return sorted(batch.tolist() if isinstance(batch, np.ndarray) else batch.target.tolist())


@pytest.mark.parametrize("config", [TOWERS, replace(TOWERS, history="attention")], ids=["mean", "attention"])
def test_the_loss_of_towers_is_computed_where_the_network_is(config):
    lesson = tower_lesson(config)
    lesson.network.to("meta")  # a device without numbers: whatever is left elsewhere cannot be mixed with what is there
    batch = next(iter(lesson.batches(np.random.default_rng(0))))
    assert lesson.loss(batch, np.random.default_rng(0)).device.type == "meta"


def test_few_people_are_enough_to_learn_from():
    system = quick_system()
    system.fit(two_tastes(users=12))
    assert np.isfinite(system.ranker.state()["network.wide.weight"]).all()

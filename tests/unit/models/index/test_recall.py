"""The recall sampler."""

import threading

import pytest

from core.ports import Hit
from models.index import RecallSampler
from models.index.recall import recall_at_k
from tests.fakes.vector_index import DictIndex
from tests.unit.models.index.entries import DIM, clustered, entry

VECTORS = clustered(20, seed=4)


def hit(item_id: str, score: float) -> Hit:
    return Hit(score=score, entry=entry(item_id, VECTORS[0]))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([("a", 0.9), ("b", 0.8)], 1.0),
        ([("a", 0.9), ("x", 0.1)], 0.5),
        ([], 0.0),
        ([("a", 0.9), ("as good as b", 0.8)], 1.0),
    ],
)
def test_recall_is_the_share_of_the_exact_answer_that_was_found(found: list, expected: float) -> None:
    assert recall_at_k(found, [hit("a", 0.9), hit("b", 0.8), hit("c", 0.7)], 2) == expected


def test_nothing_to_find_is_found_completely() -> None:
    assert recall_at_k([], [], 10) == 1.0


def filled() -> DictIndex:
    index = DictIndex(DIM)
    for i in range(20):
        index.apply(entry(f"item-{i}", VECTORS[i]))
    return index


def test_sampled_searches_are_repeated_exactly_and_reported() -> None:
    seen: list[tuple[float, int]] = []
    index = filled()
    sampler = RecallSampler(index, 1.0, lambda recall, k: seen.append((recall, k)))
    hits = index.search(VECTORS[0], 4)
    assert sampler.sample(VECTORS[0], hits, 4)
    assert sampler.sample(VECTORS[0], hits[:3], 4)
    sampler.close()
    assert seen == [(1.0, 4), (0.75, 4)]


def test_only_the_share_asked_for_is_sampled_and_none_at_zero() -> None:
    index = filled()
    some = RecallSampler(index, 0.2, lambda recall, k: None, seed=1, waiting=1000)
    taken = sum(some.sample(VECTORS[0], [], 3) for _ in range(500))
    some.close()
    assert 60 < taken < 140
    none = RecallSampler(index, 0.0, lambda recall, k: None)
    assert not any(none.sample(VECTORS[0], [], 3) for _ in range(100))
    none.close()


def test_samples_beyond_the_queue_are_dropped_and_counted() -> None:
    holding, go = threading.Event(), threading.Event()

    def hold(recall: float, k: int) -> None:
        holding.set()
        go.wait(10)

    sampler = RecallSampler(filled(), 1.0, hold, waiting=2)
    assert sampler.sample(VECTORS[0], [], 3)
    assert holding.wait(10)
    assert [sampler.sample(VECTORS[0], [], 3) for _ in range(4)] == [True, True, False, False]
    assert sampler.dropped == 2
    go.set()
    sampler.close()


def test_a_failing_observer_is_counted_and_does_not_end_the_sampler() -> None:
    def fail(recall: float, k: int) -> None:
        raise RuntimeError("observer")

    sampler = RecallSampler(filled(), 1.0, fail)
    sampler.sample(VECTORS[0], [], 3)
    sampler.sample(VECTORS[0], [], 3)
    sampler.close()
    assert sampler.failed == 2

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from models.text.memo import MemoEncoder
from tests.fakes.text_encoder import FakeTextEncoder


def test_only_new_texts_are_embedded() -> None:
    inner = FakeTextEncoder()
    memo = MemoEncoder(inner, 10)
    first = memo.encode(["a", "b", "a"])
    second = memo.encode(["b", "c", "a"])
    assert inner.batches == [2, 1]
    np.testing.assert_array_equal(first[[1, 0]], second[[0, 2]])
    np.testing.assert_array_equal(second, FakeTextEncoder().encode(["b", "c", "a"]))


def test_the_texts_asked_for_last_are_kept() -> None:
    inner = FakeTextEncoder()
    memo = MemoEncoder(inner, 2)
    for text in ["a", "b", "a", "c"]:  # c takes the place of b
        memo.encode([text])
    inner.batches.clear()
    memo.encode(["a"])
    assert inner.batches == []
    memo.encode(["b"])
    assert inner.batches == [1]


def test_a_batch_larger_than_the_memo_is_answered_whole() -> None:
    texts = [f"text {number}" for number in range(50)]
    np.testing.assert_array_equal(MemoEncoder(FakeTextEncoder(), 3).encode(texts), FakeTextEncoder().encode(texts))


def test_changing_an_answer_does_not_change_the_memo() -> None:
    memo = MemoEncoder(FakeTextEncoder(), 3)
    memo.encode(["a"])[:] = 7.0
    np.testing.assert_array_equal(memo.encode(["a"]), FakeTextEncoder().encode(["a"]))


def test_threads_may_share_it() -> None:
    memo = MemoEncoder(FakeTextEncoder(), 5)
    texts = [f"text {number % 13}" for number in range(200)]
    expected = FakeTextEncoder().encode(texts)
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda start: memo.encode(texts[start : start + 10]), range(0, 200, 10)))
    np.testing.assert_array_equal(np.concatenate(rows), expected)

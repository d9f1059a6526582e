import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.recommendation.postings import Postings
from serving.recommendation.ranked import HeavyHitters, TopList
from serving.recommendation.videos import lengths_below


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 50)), max_size=300))
def test_a_top_list_holds_exactly_the_greatest_of_growing_sums(additions):
    top, sums = TopList(5), np.zeros(61)
    for row, amount in additions:
        sums[row] += amount + row / 1_000  # distinct values
        top.put(row, float(sums[row]))
    rows, values = top.best()
    expected = [int(row) for row in np.argsort(-sums) if sums[row] > 0]
    assert rows[:5].tolist() == expected[:5]
    np.testing.assert_array_equal(values, sums[rows])
    assert len(rows) <= 10


def test_a_list_thinned_out_by_takedowns_says_so():
    top = TopList(10)
    for row in range(100):
        top.put(row, float(row))
    assert not top.thin
    for row in range(99, 80, -1):
        top.discard(row)
    assert top.thin
    top.replace(np.arange(50, 60), np.arange(50.0, 60.0))
    assert top.best()[0][0] == 59
    assert not top.thin


def test_a_short_list_that_holds_everything_is_never_thin():
    top = TopList(10)
    top.put(1, 1.0)
    top.discard(1)
    assert not top.thin


def test_heavy_hitters_keep_what_comes_often_in_bounded_room():
    hitters = HeavyHitters(20)
    for n in range(5_000):
        hitters.add(n % 3, 1.0)
        hitters.add(1_000 + n, 1.0)
    rows, sums = hitters.best()
    assert rows[:3].tolist() == [0, 1, 2]
    assert sums[0] == 1_667
    assert len(hitters) <= 40


def test_postings_keep_rows_in_order_and_once():
    postings = Postings()
    for row in range(100):
        postings.add(3, row)
        postings.add(3, row)
    assert postings.newest(3, 4).tolist() == [96, 97, 98, 99]
    assert postings.length(3) == 100
    assert postings.newest(0, 5).size == postings.newest(99, 5).size == postings.newest(-1, 5).size == 0


def test_one_item_changed_for_ever_does_not_fill_a_list():
    postings = Postings()
    for _ in range(10_000):
        postings.add(0, 1)
        postings.add(0, 2)
    assert set(postings.newest(0, 10**6).tolist()) == {1, 2}
    assert postings.length(0) < 10


def test_a_sample_has_the_newest_and_some_of_all_ages():
    postings = Postings()
    for row in range(1_000):
        postings.add(0, row)
    sample = postings.sample(0, 20)
    assert sample[-10:].tolist() == list(range(990, 1_000))
    assert np.ptp(sample[:10]) > 800
    assert np.unique(sample).size == 20


def test_an_array_of_rows_stays_what_it_was_when_more_come():
    postings = Postings()
    for row in range(10):
        postings.add(0, row)
    before = postings.newest(0, 100)
    copy = before.copy()
    for row in range(10, 1_000):
        postings.add(0, row)
    np.testing.assert_array_equal(before, copy)


def test_packed_postings_come_back():
    postings = Postings()
    for row in range(50):
        postings.extend({row % 4, 7}, row)
    again = Postings()
    again.restore(*postings.packed())
    for bucket in range(9):
        assert again.newest(bucket, 99).tolist() == postings.newest(bucket, 99).tolist()
    again.add(7, 50)
    assert again.length(7) == 51


def test_many_lists_are_packed_in_parts_with_pauses_between_them():
    postings, pauses = Postings(), []
    for bucket in range(5_000):
        postings.extend([bucket] * (bucket % 3), bucket)
    rows, lengths = postings.packed(lambda: pauses.append(1))
    assert rows.tolist() == [bucket for bucket in range(5_000) if bucket % 3]
    assert lengths.tolist() == [min(bucket % 3, 1) for bucket in range(4_999)] + [1]
    assert len(pauses) >= 3


@given(
    st.lists(st.lists(st.integers(0, 30), max_size=6).map(sorted), min_size=1, max_size=12),
    st.integers(0, 31),
)
def test_lengths_without_late_rows_are_those_of_the_lists_without_them(lists, rows):
    packed = np.array([row for one in lists for row in one], np.int32)
    lengths = np.array([len(one) for one in lists], np.int64)
    expected = [sum(row < rows for row in one) for one in lists]
    assert lengths_below(packed, lengths, rows).tolist() == expected

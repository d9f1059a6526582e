from serving.recommendation.recent_ids import RecentIds, split


def test_the_last_ids_are_known_and_older_ones_forgotten():
    ids = RecentIds(3)
    assert [ids.add(name) for name in ("a", "b", "a", "c", "d")] == [True, True, False, True, True]
    assert [name in ids for name in "abcd"] == [False, True, True, True]
    assert len(ids) == 3


def test_they_come_back_in_order():
    ids, again = RecentIds(3), RecentIds(3)
    for name in "abc":
        ids.add(name)
    again.restore(split(b"".join(ids.capture())))
    assert not again.add("c")
    again.add("d")
    assert "a" not in again

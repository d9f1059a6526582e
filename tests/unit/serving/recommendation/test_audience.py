import numpy as np

from core.events import UserProfile
from serving.recommendation.audience import HISTORY_KEPT, IMPRESSIONS_KEPT, Audience, packed
from serving.recommendation.ports import Past
from serving.recommendation.seen import Seen
from tests.unit.serving.recommendation.live_events import START


def rows_of(audience: Audience, user_id: str = "u") -> list[int]:
    return [past.row for past in audience.viewer(user_id, START).history]


def test_what_was_done_is_in_the_next_viewer_newest_first():
    audience = Audience()
    audience.interact("u", Past(1, "click", 10.0, 0.0))
    audience.interact("u", Past(2, "watch", 20.0, 0.5))
    audience.interact("u", Past(3, "impression", 15.0, 0.0))
    viewer = audience.viewer("u", START)
    assert viewer.known
    assert viewer.history == (
        Past(2, "watch", 20.0, 0.5),
        Past(3, "impression", 15.0, 0.0),
        Past(1, "click", 10.0, 0.0),
    )
    audience.interact("u", Past(4, "like", 30.0, 0.0))
    assert len(viewer.history) == 3  # it is a picture of a moment


def test_somebody_unknown_is_a_viewer_too():
    viewer = Audience().viewer("nobody", START, "phone", "BR", "pt")
    assert (viewer.known, viewer.device, viewer.country, viewer.language) == (False, "phone", "BR", "pt")
    assert not Audience().seen("nobody").mask(np.arange(3)).any()


def test_late_interactions_are_put_at_their_place_and_repeated_ones_kept_once():
    audience = Audience()
    for row in (5, 1, 3, 2, 4, 3, 5):
        audience.interact("u", Past(row, "click", float(row), 0.0))
    assert rows_of(audience) == [5, 4, 3, 2, 1]


def test_the_newest_interactions_are_kept_and_impressions_do_not_push_out_the_others():
    audience = Audience()
    for n in range(500):
        audience.interact("u", Past(n, "click", float(n), 0.0))
    for n in range(500, 2_000):
        audience.interact("u", Past(n, "impression", float(n), 0.0))
    kinds = [past.kind for past in audience.viewer("u", START).history]
    assert kinds.count("click") == HISTORY_KEPT
    assert kinds.count("impression") == IMPRESSIONS_KEPT
    assert rows_of(audience)[0] == 1_999
    assert len(audience.seen("u")) == 2_000


def test_everything_touched_is_seen():
    audience = Audience()
    for row, kind in enumerate(("impression", "click", "watch", "like", "dislike", "share", "save", "comment", "hide")):
        audience.interact("u", Past(row, kind, float(row), 0.0))
    assert audience.seen("u").mask(np.arange(10)).tolist() == [True] * 9 + [False]


def test_of_like_and_dislike_the_later_counts_and_hiding_stays():
    audience = Audience()
    audience.interact("u", Past(1, "dislike", 20.0, 0.0))
    audience.interact("u", Past(1, "like", 10.0, 0.0))
    audience.interact("u", Past(2, "hide", 10.0, 0.0))
    audience.interact("u", Past(2, "like", 20.0, 0.0))
    audience.interact("u", Past(3, "like", 20.0, 0.0))
    said = audience.reactions("u")
    assert (said.disliked, said.hidden, said.liked) == ({1}, {2}, {3})


def test_requests_say_more_of_the_moment_than_profiles():
    audience = Audience()
    audience.change(UserProfile(user_id="u", country="BR", language="pt"), 1.0)
    audience.interact("u", Past(1, "click", 10.0, 0.0), "tv")
    audience.interact("u", Past(2, "click", 5.0, 0.0), "phone")
    viewer = audience.viewer("u", START, country="US")
    assert (viewer.country, viewer.language, viewer.device) == ("US", "pt", "tv")
    assert not audience.change(UserProfile(user_id="u", country="FR"), 0.5)
    assert audience.country("u") == "BR"


def test_follows_and_queries_are_remembered():
    audience = Audience()
    audience.follow("u", "ann", 1.0)
    audience.search("u", "older", 1.0)
    audience.search("u", "newer", 2.0)
    audience.search("u", "older", 1.0)
    viewer = audience.viewer("u", START)
    assert (viewer.known, viewer.follows, viewer.queries) == (True, {"ann"}, ("newer", "older"))


def test_those_who_were_away_longest_are_forgotten_first():
    audience = Audience(max_users=3)
    for user_id in ("a", "b", "c", "a", "d"):
        audience.interact(user_id, Past(1, "click", 1.0, 0.0))
    assert [audience.viewer(user_id, START).known for user_id in "abcd"] == [True, False, True, True]
    assert (len(audience), audience.forgotten, audience.seen_total) == (3, 1, 3)


def test_memory_of_what_was_seen_is_bounded_over_all_users():
    audience = Audience(max_seen=100)
    for n in range(30):
        for row in range(10):
            audience.interact(f"u{n}", Past(row, "impression", float(row), 0.0))
    assert audience.seen_total <= 100
    assert len(audience.seen("u29")) == 10
    assert len(audience.seen("u0")) == 0


def test_erasure_leaves_nothing_and_holds_against_what_happened_before():
    audience = Audience()
    audience.interact("u", Past(1, "like", 10.0, 0.0))
    audience.change(UserProfile(user_id="u", country="BR"), 10.0)
    audience.follow("u", "ann", 10.0)
    audience.search("u", "query", 10.0)
    audience.erase("u", 20.0)
    audience.interact("u", Past(2, "like", 15.0, 0.0))  # read late
    audience.change(UserProfile(user_id="u", country="FR"), 15.0)
    viewer = audience.viewer("u", START)
    assert (viewer.known, viewer.country, viewer.history, viewer.follows) == (False, None, (), frozenset())
    assert len(audience) == audience.seen_total == 0


def test_what_a_user_did_after_their_erasure_counts_even_if_it_was_read_first():
    audience = Audience()
    audience.interact("u", Past(1, "like", 10.0, 0.0), "phone")
    audience.interact("u", Past(2, "like", 30.0, 0.0), "tv")
    audience.search("u", "before", 10.0)
    audience.search("u", "after", 30.0)
    audience.erase("u", 20.0)
    viewer = audience.viewer("u", START)
    assert (rows_of(audience), viewer.queries, viewer.device) == ([2], ("after",), "tv")
    assert audience.seen("u").mask(np.array([1, 2])).tolist() == [False, True]


def test_users_come_back_from_what_is_saved():
    audience = Audience()
    for n in range(400):
        audience.interact("u", Past(n * 7, "watch" if n % 2 else "impression", float(n), 0.5), "tv")
    audience.interact("u", Past(1, "hide", 500.0, 0.0))
    audience.follow("u", "ann", 1.0)
    audience.search("u", "query", 2.0)
    audience.change(UserProfile(user_id="u", country="BR", age_band="18-24"), 1.0)
    audience.erase("gone", 3.0)
    people, erased = audience.capture()
    again = Audience()
    again.restore([packed(*one) for one in people], erased)
    assert again.viewer("u", START) == audience.viewer("u", START)
    assert again.reactions("u") == audience.reactions("u")
    assert again.seen_total == audience.seen_total == len(again.seen("u"))
    assert again.seen("u").rows().tolist() == audience.seen("u").rows().tolist()
    again.interact("gone", Past(1, "like", 2.0, 0.0))
    assert not again.viewer("gone", START).known


def test_a_seen_set_is_exact_however_many_there_are():
    rng = np.random.default_rng(3)
    seen, expected = Seen(), set()
    for row in rng.integers(0, 5_000, 3_000).tolist():
        assert seen.add(row) is (row not in expected)
        expected.add(row)
        assert seen.mask(np.array([row, 5_000])).tolist() == [True, False]
    rows = np.arange(5_001)
    assert seen.mask(rows).tolist() == [row in expected for row in rows.tolist()]
    assert len(seen) == len(expected)
    assert 5_000 not in seen
    assert all(row in seen for row in expected)
    assert seen.rows().tolist() == sorted(expected)

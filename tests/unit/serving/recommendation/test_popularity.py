import numpy as np
import pytest

from serving.recommendation.popularity import DAY_S, DecayedCounts, Popularity
from serving.recommendation.videos import Videos
from tests.unit.serving.recommendation.live_events import changed, created, hidden

NOW = 1_700_000_000.0


@pytest.fixture
def videos() -> Videos:
    videos = Videos()
    for n in range(20):
        videos.apply(created(f"v{n}", n, language="en" if n % 2 else "pt"))
    return videos


@pytest.fixture
def popularity(videos) -> Popularity:
    return Popularity(videos)


def test_a_count_halves_with_each_half_life():
    counts = DecayedCounts(100.0)
    rows = np.array([0])
    counts.add(0, counts.increment(NOW)[0])
    counts.add(0, counts.increment(NOW + 100)[0])
    assert counts.at(rows, NOW + 100)[0] == pytest.approx(1.5)
    assert counts.at(rows, NOW + 200)[0] == pytest.approx(0.75)
    assert counts.at(rows, NOW + 1e9)[0] == pytest.approx(0, abs=1e-200)


def test_counts_are_those_of_adding_up_every_event_by_its_age():
    rng = np.random.default_rng(1)
    counts = DecayedCounts(DAY_S)
    times = NOW + rng.uniform(0, 900 * DAY_S, 500)  # the landmark moves on the way, and events come in no order
    rows = rng.integers(0, 30, 500)
    for row, time_s in zip(rows.tolist(), times.tolist(), strict=True):
        counts.add(row, counts.increment(time_s)[0])
    end = times.max()
    expected = np.bincount(rows, 2.0 ** (-(end - times) / DAY_S), 30)
    np.testing.assert_allclose(counts.at(np.arange(30), end), expected, rtol=1e-9, atol=1e-12)


def test_rows_that_were_never_counted_have_zero():
    counts = DecayedCounts(DAY_S)
    assert counts.at(np.array([5, 10**6]), NOW).tolist() == [0, 0]
    counts.add(3, counts.increment(NOW)[0])
    assert counts.sums(np.array([3, 10**6])).tolist() == [1, 0]


def test_recent_events_outweigh_old_ones(popularity):
    for _ in range(5):
        popularity.count(1, "click", 0, NOW, None)
    for _ in range(2):
        popularity.count(2, "click", 0, NOW + 60 * DAY_S, None)
    assert popularity.top()[0].tolist() == [2, 1]
    assert popularity.counts(np.array([2, 3])).tolist() == [2, 0]


def test_impressions_and_dislikes_do_not_make_popular_and_watches_count_by_share(popularity):
    for kind in ("impression", "dislike", "hide"):
        popularity.count(1, kind, 0, NOW, "BR")
    popularity.count(2, "watch", 0.25, NOW, None)
    popularity.count(3, "watch", 1.0, NOW, None)
    assert popularity.top()[0].tolist() == [3, 2]
    assert popularity.counts(np.array([1, 2, 3])).tolist() == [0, 0.5, 2]


def test_countries_and_languages_have_their_own_lists(popularity, videos):
    popularity.count(1, "like", 0, NOW, "BR")
    popularity.count(2, "like", 0, NOW, "US")
    assert popularity.top_in_country("br")[0].tolist() == [1]
    assert popularity.top_in_country("US")[0].tolist() == [2]
    assert popularity.top_in_country("XX")[0].size == 0
    assert popularity.top_in_language(videos.languages.code("en"))[0].tolist() == [1]
    assert popularity.top_in_language(videos.languages.code("pt"))[0].tolist() == [2]
    assert popularity.top_in_language(-1)[0].size == 0


def test_what_is_suddenly_watched_trends_above_what_always_is(popularity):
    for day in range(30):
        for _ in range(50):
            popularity.count(1, "click", 0, NOW + day * DAY_S, None)
    for n in range(20):
        popularity.count(2, "click", 0, NOW + 29 * DAY_S + n, None)
    assert popularity.top()[0][0] == 1
    rows, scores = popularity.trending()
    assert rows[0] == 2
    assert (scores > 0).all()
    assert (np.diff(scores) <= 0).all()


def test_hidden_videos_leave_the_lists_and_come_back_with_their_counts(popularity, videos):
    popularity.count(1, "like", 0, NOW, None)
    popularity.count(3, "click", 0, NOW, None)
    videos.apply(hidden("v1", 100))
    popularity.changed(1)
    popularity.count(1, "like", 0, NOW, None)  # somebody still has it open
    assert popularity.top()[0].tolist() == popularity.top_in_language(videos.languages.code("en"))[0].tolist() == [3]
    videos.apply(hidden("v1", 101, hidden=False))
    popularity.changed(1)
    assert popularity.top()[0].tolist() == [1, 3]
    assert popularity.counts(np.array([1]))[0] == 6


def test_a_video_in_another_language_is_listed_there(popularity, videos):
    popularity.count(1, "like", 0, NOW, None)
    videos.apply(changed("v1", 100, language="fr"))
    popularity.changed(1)
    assert popularity.top_in_language(videos.languages.code("fr"))[0].tolist() == [1]


def test_the_list_is_filled_again_when_most_of_it_is_taken_down():
    videos = Videos()
    for n in range(9_000):
        videos.apply(created(f"v{n}", 0))
    popularity = Popularity(videos)
    for row in range(9_000):
        popularity.count(row, "click", 0, NOW + row, None)
    for row in range(8_999, 1_000, -1):
        videos.apply(hidden(f"v{row}", 1))
        popularity.changed(row)
    for listed in (popularity.top()[0], popularity.top_in_language(videos.languages.code("und"))[0]):
        assert listed[:900].tolist() == list(range(1_000, 100, -1))


def test_a_jump_of_years_leaves_finite_counts_in_the_right_order(popularity):
    popularity.count(1, "like", 0, 0.0, "BR")
    popularity.count(2, "click", 0, 50 * 365 * DAY_S, "BR")
    popularity.count(3, "like", 0, 25 * 365 * DAY_S, "BR")  # late, and long worth nothing
    assert popularity.top()[0][0] == popularity.top_in_country("BR")[0][0] == popularity.trending()[0][0] == 2
    assert np.isfinite(popularity.counts(np.arange(20))).all()


def test_it_comes_back_from_what_is_saved(popularity, videos):
    rng = np.random.default_rng(2)
    for n in range(500):
        popularity.count(int(rng.integers(20)), "click", 0, NOW + n * 600, ("BR", "US")[n % 2])
    again = Popularity(videos)
    again.restore(popularity.capture())
    codes = videos.languages.code("en"), videos.languages.code("pt")
    for read in (
        Popularity.top,
        Popularity.trending,
        lambda one: one.top_in_country("BR"),
        *(lambda one, code=code: one.top_in_language(code) for code in codes),
    ):
        for ours, theirs in zip(read(popularity), read(again), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    for one in (popularity, again):
        one.count(7, "share", 0, NOW + 500 * 600, "BR")
    np.testing.assert_array_equal(popularity.top()[0], again.top()[0])

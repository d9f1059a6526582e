import numpy as np
import pytest

from core.entries import IndexEntry, Version, pack_vector
from core.errors import InvalidVector
from serving.recommendation.generators import Content, ItemNeighbours, TwoTower, all_generators
from serving.recommendation.live_state import LiveState, empty_state
from serving.recommendation.ports import Generator, Proposal, Viewer
from tests.fakes.vector_index import DictIndex
from tests.unit.serving.recommendation.live_events import START, created, deleted, did, hidden, profile, watched

TOPICS = ("bread", "bicycle", "zebra", "guitar")


class UserTower:
    """Says the same of everybody."""

    version = "tower/1"

    def __init__(self, vector: np.ndarray | None) -> None:
        self.vector = vector

    def user_vector(self, viewer: Viewer) -> np.ndarray | None:
        return self.vector


class Table:
    """Neighbours of a row are the next two."""

    version = "table/1"

    def of(self, row: int) -> Proposal:
        return Proposal(np.array([row + 1, row + 2]), np.array([1.0, 0.5], np.float32))


@pytest.fixture
def state() -> LiveState:
    """400 videos on four topics by ten creators, in two languages; everybody likes those with a low number."""
    state = empty_state()
    for n in range(400):
        topic = TOPICS[n % 4]
        state.apply(
            created(
                f"v{n}",
                n,
                title=f"{topic} number{n}",
                tags=[topic],
                category=topic,
                owner_id=f"c{n % 10}",
                language="pt" if n % 2 else "en",
                blocked_regions=["DE"] if n % 5 == 0 else [],
            )
        )
    state.apply(profile("brazilian", country="BR", language="pt"))
    for n in range(100):
        for again in range(1 + (100 - n) // 10):
            state.apply(watched(f"fan{n}-{again}", f"v{n}", 1_000 + n))
    for n in range(20):
        state.apply(watched("brazilian", f"v{2 * n + 1}", 2_000 + n))
    return state


def every_generator(state: LiveState) -> tuple[Generator, ...]:
    index = DictIndex(4)
    rng = np.random.default_rng(0)
    for n in range(400):
        vector = rng.normal(size=4).astype(np.float32)
        index.apply(
            IndexEntry(
                item_id=f"v{n}",
                version=Version(1, 0),
                kind="video",
                media_id="a" * 64,
                owner_id="c",
                vector=pack_vector(vector / np.linalg.norm(vector)),
                model_version="tower/1",
                event_id="e",
            )
        )
    tower = UserTower(np.array([1, 0, 0, 0], np.float32))
    return all_generators(state, tower=tower, index=index, neighbours=Table())


def propose(state: LiveState, name: str, viewer: Viewer, limit: int = 20) -> Proposal:
    return next(one for one in every_generator(state) if one.name == name).propose(viewer, limit)


def viewer_of(state: LiveState, user_id: str = "u", **request: str) -> Viewer:
    return state.audience.viewer(user_id, START, **request)


NAMES = ("two-tower", "neighbours", "content", "follows", "popular", "trending", "local", "fresh")


def somebody(state: LiveState) -> Viewer:
    """A viewer for whom every generator has something to say."""
    state.apply(watched("u", "v350", 5_000))
    state.apply(did("Follow", "u", "c3", 5_001))
    return viewer_of(state, country="BR", language="pt")


def test_there_is_a_generator_of_each_kind(state):
    assert tuple(one.name for one in every_generator(state)) == NAMES
    assert [one.name for one in all_generators(state)] == list(NAMES[2:])  # without models


@pytest.mark.parametrize("name", NAMES)
def test_a_proposal_is_distinct_ordered_limited_and_only_of_what_may_be_shown(state, name):
    viewer = somebody(state)
    first = propose(state, name, viewer)
    assert 1 <= len(first.rows) <= 20
    state.apply(hidden(state.videos.item_id(int(first.rows[0])), 6_000))
    state.apply(did("Impression", "u", state.videos.item_id(int(first.rows[-1])), 6_001))
    found = propose(state, name, viewer, 400)
    assert np.unique(found.rows).size == len(found.rows) == len(found.scores)
    assert (np.diff(found.scores) <= 0).all()
    assert np.isfinite(found.scores).all()
    assert state.videos.admissible(found.rows, "BR").all()
    assert not state.audience.seen("u").mask(found.rows).any()
    assert not {int(first.rows[0]), int(first.rows[-1])} & set(found.rows.tolist())


@pytest.mark.parametrize("name", NAMES)
def test_nothing_blocked_where_the_viewer_is_gets_proposed(state, name):
    somebody(state)
    found = propose(state, name, viewer_of(state, country="DE", language="pt"), 400)
    assert (found.rows % 5 != 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_catalogue_gives_no_proposals(name):
    empty = empty_state()
    viewer = Viewer("u", START, country="BR", language="pt", follows=frozenset({"c"}), queries=("zebra",))
    assert propose(empty, name, viewer).rows.size == 0


@pytest.mark.parametrize("name", ["neighbours", "content", "follows", "local"])
def test_a_generator_with_nothing_to_go_by_leaves_itself_out(state, name):
    assert propose(state, name, viewer_of(state)).rows.size == 0


@pytest.mark.parametrize("name", ["two-tower", "popular", "trending", "fresh"])
def test_somebody_unknown_gets_proposals_too(state, name):
    assert propose(state, name, viewer_of(state)).rows.size == 20


def test_popular_is_what_most_liked(state):
    assert sorted(propose(state, "popular", viewer_of(state), 5).rows.tolist()) == [1, 3, 5, 7, 9]


def test_trending_names_what_is_watched_more_than_before(state):
    for n in range(30):
        state.apply(watched(f"late{n}", "v333", 300_000 + n))
    assert propose(state, "trending", viewer_of(state), 1).rows.tolist() == [333]


def test_local_prefers_what_is_watched_in_the_country_and_spoken_in_the_language(state):
    in_country = propose(state, "local", viewer_of(state, country="BR"), 40).rows
    assert sorted(in_country.tolist()) == list(range(1, 40, 2))
    in_language = propose(state, "local", viewer_of(state, language="en-GB"), 30).rows
    assert (in_language % 2 == 0).all()
    assert propose(state, "local", viewer_of(state, country="XX", language="und")).rows.size == 0


def test_fresh_is_the_newest_first_and_of_those_the_viewers_language_before_others(state):
    assert propose(state, "fresh", viewer_of(state), 4).rows.tolist() == [399, 398, 397, 396]
    mine = propose(state, "fresh", viewer_of(state, language="en"), 10).rows
    assert (mine % 2 == 0).sum() >= 7


def test_follows_are_the_newest_of_the_creators_followed(state):
    for creator in ("c3", "c4", "nobody"):
        state.apply(did("Follow", "u", creator, 5_000))
    rows = propose(state, "follows", viewer_of(state), 4).rows
    assert rows.tolist() == [394, 393, 384, 383]


def test_somebody_who_follows_thousands_gets_those_who_uploaded_last(state):
    for n in range(700):
        state.apply(created(f"w{n}", 10_000 + n, owner_id=f"many{n}"))
        state.apply(did("Follow", "u", f"many{n}", 20_000 + n))
    assert propose(state, "follows", viewer_of(state), 3).rows.tolist() == [1_099, 1_098, 1_097]


def test_content_is_like_what_was_liked_lately(state):
    state.apply(did("Like", "u", "v2", 5_000))  # zebra
    rows = propose(state, "content", viewer_of(state), 30).rows
    assert len(rows) == 30
    assert (rows % 4 == 2).all()


def test_content_is_like_what_was_searched_for(state):
    state.apply(did("Search", "u", None, 5_000, value="guitar lessons"))
    rows = propose(state, "content", viewer_of(state), 10).rows
    assert len(rows) == 10
    assert (rows % 4 == 3).all()


def test_a_video_that_is_only_half_created_is_not_looked_at(state):
    state.apply(did("Like", "u", "v2", 5_000))
    videos = state.videos
    for bucket in videos.rarest_buckets(list(videos.words(2))):
        videos.by_word.extend({bucket}, 10_000_000)  # its words are listed, its columns are yet to grow
    rows = propose(state, "content", viewer_of(state), 30).rows
    assert len(rows) == 30
    assert (rows < videos.rows).all()


def test_what_was_disliked_later_is_no_reason_to_propose(state):
    state.apply(did("Like", "u", "v2", 5_000))
    state.apply(did("Dislike", "u", "v2", 5_001))
    assert Content(state).propose(viewer_of(state), 10).rows.size == 0
    assert ItemNeighbours(state, Table()).propose(viewer_of(state), 10).rows.size == 0


def test_a_deleted_video_in_the_history_is_no_trouble(state):
    state.apply(did("Like", "u", "v2", 5_000))
    state.apply(deleted("v2", 5_001))
    assert 2 not in propose(state, "content", viewer_of(state), 400).rows


def test_neighbours_of_several_add_up(state):
    state.apply(did("Like", "u", "v10", 5_000))
    state.apply(did("Like", "u", "v11", 5_001))
    found = propose(state, "neighbours", viewer_of(state), 10)
    assert found.rows.tolist() == [12, 13]  # 11 was seen; 12 is a neighbour of both
    assert found.scores[0] == pytest.approx(1 + 0.5 * 0.95)


def test_neighbours_that_the_catalogue_does_not_have_are_left_out(state):
    state.apply(did("Like", "u", "v399", 5_000))
    assert propose(state, "neighbours", viewer_of(state), 10).rows.size == 0


def test_two_tower_gives_what_is_nearest_and_fetches_more_for_what_was_seen(state):
    viewer = viewer_of(state)
    found = propose(state, "two-tower", viewer, 10)
    assert (np.diff(found.scores) <= 0).all()
    for n, row in enumerate(found.rows.tolist()):
        state.apply(did("Impression", "u", f"v{row}", 6_000 + n))
    again = propose(state, "two-tower", viewer, 10)
    assert len(again.rows) == 10
    assert not set(again.rows.tolist()) & set(found.rows.tolist())
    assert again.scores[0] <= found.scores[-1]


def test_a_viewer_without_a_vector_gets_nothing_and_a_broken_vector_is_an_error(state):
    index = DictIndex(4)
    assert TwoTower(state, UserTower(None), index).propose(viewer_of(state), 10).rows.size == 0
    full = every_generator(state)[0]._index
    with pytest.raises(InvalidVector):
        TwoTower(state, UserTower(np.full(4, np.nan, np.float32)), full).propose(viewer_of(state), 10)

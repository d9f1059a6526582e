import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.events import AnyEvent, Post, PostCreated, Watched
from serving.recommendation.fingerprint import state_hash
from serving.recommendation.live_state import LiveState, empty_state
from serving.recommendation.ports import Past
from tests.unit.serving.recommendation.live_events import (
    START,
    at,
    changed,
    created,
    deleted,
    did,
    erased,
    hidden,
    profile,
    watched,
)


@pytest.fixture
def state() -> LiveState:
    return empty_state(promised_impressions=3)


def test_an_interaction_applied_is_in_the_next_viewer(state):
    state.apply(created("v"))
    assert state.apply(watched("u", "v", 10, 0.75)) == "applied"
    viewer = state.audience.viewer("u", START)
    assert viewer.history == (Past(0, "watch", at(10).timestamp(), 0.75),)
    assert 0 in state.audience.seen("u")
    assert state.popularity.top()[0].tolist() == [0]
    assert state.videos.duration_s[0] == 60
    assert state.clock_s == at(10).timestamp()


@pytest.mark.parametrize(
    ("value", "past", "counted"),
    [
        (Watched(seconds=90, of_s=60), 1.0, 2.0),
        (Watched(seconds=15, of_s=60), 0.25, 0.5),
        (Watched(seconds=15), 15.0, 1.0),
        (Watched(seconds=15, of_s=0), 15.0, 1.0),
        (None, 0.0, 1.0),
    ],
)
def test_a_watch_says_the_share_where_it_is_known(state, value, past, counted):
    state.apply(created("v"))
    state.apply(did("Watch", "u", "v", 10, value=value))
    assert state.audience.viewer("u", START).history[0].value == past
    assert state.popularity.top()[1].tolist() == [counted]


def test_an_event_sent_twice_counts_once(state):
    state.apply(created("v"))
    like, impression = did("Like", "u", "v", 10), did("Impression", "u", "v", 9)
    for event in (impression, like, impression, like):
        state.apply(event)
    assert state.apply(like) == "repeated"
    assert state.popularity.top()[1].tolist() == [3]
    assert state.impressions.tolist() == [1]


def test_impressions_are_counted_told_and_the_promise_noted(state):
    told: list[tuple[int, float]] = []
    new: list[tuple[int, float]] = []
    state.on_impression(lambda row, time_s: told.append((row, time_s)))
    state.on_new_video(lambda row, time_s: new.append((row, time_s)))
    for n in range(2_000):
        state.apply(created(f"v{n}", n))
    for n in range(4):
        state.apply(did("Impression", f"u{n}", "v1500", 3_000 + n))
    assert state.impressions[1500] == 4
    assert state.impressions.shape == state.first_seen_s.shape == state.reached_s.shape == (2_000,)
    assert told == [(1500, at(3_000 + n).timestamp()) for n in range(4)]
    assert new[7] == (7, at(7).timestamp())
    assert len(new) == 2_000
    assert state.first_seen_s[1500] == at(1500).timestamp()
    assert state.reached_s[1500] == at(3_002).timestamp()


def test_an_interaction_read_before_its_video_waits_for_it(state):
    assert state.apply(did("Like", "u", "v", 10)) == "waiting"
    assert not state.audience.viewer("u", START).known
    state.apply(created("v"))
    assert state.audience.reactions("u").liked == {0}


def test_what_waits_is_bounded_and_images_are_not_waited_for():
    state = empty_state(waiting_kept=5)
    for n in range(20):
        state.apply(did("Like", "u", f"v{n}", n))
    state.apply(created("v19", kind="image"))
    for n in range(20):
        state.apply(created(f"v{n}", 30))
    assert len(state.audience.reactions("u").liked) == 4  # 15 to 18


def test_searches_follows_and_reports_are_taken(state):
    state.apply(created("v"))
    state.apply(did("Search", "u", None, 1, value="zebras"))
    state.apply(did("Follow", "u", "ann", 2))
    state.apply(did("Report", "u", "v", 3, value="spam"))
    viewer = state.audience.viewer("u", START)
    assert (viewer.queries, viewer.follows) == (("zebras",), {"ann"})
    assert state.audience.reactions("u").hidden == {0}
    assert viewer.history[0].kind == "hide"


def test_a_takedown_is_out_of_the_lists_when_it_was_applied(state):
    state.apply(created("v"))
    state.apply(did("Like", "u", "v", 10))
    for event in (hidden("v", 20), hidden("v", 30, hidden=False), deleted("v", 40)):
        state.apply(event)
        shown = state.videos.flags[0] == 0
        assert state.popularity.top()[0].tolist() == ([0] if shown else [])
        assert state.videos.newest.best()[0].tolist() == ([0] if shown else [])


def test_an_erased_user_is_gone_from_what_waits_and_their_act_still_counts(state):
    state.apply(did("Like", "u", "v", 10, trace_id="t"))
    state.apply(erased("u", 20))
    waiting = state.counted()["waiting"]
    assert [(event.subject, event.data.user_id, event.data.trace_id) for event in waiting] == [
        ("riverlight:erased-user", "riverlight:erased-user", None)
    ]
    state.apply(created("v"))
    assert state.popularity.top()[0].tolist() == [0]
    assert len(state.audience) == 0


def test_posts_are_nothing_to_a_recommender(state):
    post = PostCreated(
        id="p", source="test", time=START, subject="p", data=Post(post_id="p", author_id="a", text="hello")
    )
    assert state.apply(post) == "other"
    assert state.events == 0


# One log, in any order -------------------------------------------------------------------------------------------

VIDEOS, USERS = ("v0", "v1", "v2"), ("ann", "bob")


@st.composite
def chains(draw: st.DrawFn) -> list[list[AnyEvent]]:
    """Events by key in the order of their partition, as the log keeps them. Times within a key rise."""
    made: list[list[AnyEvent]] = []
    for item_id in VIDEOS:
        chain: list[AnyEvent] = [
            created(item_id, draw(st.integers(0, 5)), title=item_id, owner_id=draw(st.sampled_from(USERS)))
        ]
        for n in range(draw(st.integers(0, 4))):
            seconds = 10.0 * (n + 1)
            what = draw(st.sampled_from(("title", "private", "hide", "show", "delete", "create", "late")))
            possible = {
                "title": changed(item_id, seconds, title=f"{item_id} {n}", language="fr"),
                "private": changed(item_id, seconds, visibility="private", tags=["one", "two"]),
                "hide": hidden(item_id, seconds),
                "show": hidden(item_id, seconds, hidden=False),
                "delete": deleted(item_id, seconds),
                "create": created(item_id, seconds, title="again", blocked_regions=["DE"]),
                "late": changed(item_id, seconds - 15, title="too late"),
            }
            chain.append(possible[what])
        made.append(chain)
    for user_id in USERS:
        chain = []
        for _ in range(draw(st.integers(0, 8))):
            kind = draw(
                st.sampled_from(("Impression", "Click", "Like", "Dislike", "Hide", "Watch", "Follow", "Search"))
            )
            seconds = draw(st.integers(0, 10**6)) / 7
            item_id = {"Follow": "maker", "Search": None}.get(kind, draw(st.sampled_from(VIDEOS)))
            value = {"Search": "query", "Watch": Watched(seconds=20, of_s=draw(st.sampled_from((30, 40))))}.get(kind)
            chain.append(
                did(kind, user_id, item_id, seconds, value=value, device=draw(st.sampled_from(("tv", "phone"))))
            )
        made.append(chain)
        people = [
            profile(user_id, n, country=country)
            for n, country in enumerate(draw(st.lists(st.sampled_from(("BR", "US")), max_size=2)))
        ]
        if draw(st.booleans()):
            people.append(erased(user_id, draw(st.integers(0, 10**6)) / 7 + 0.01))
        made.append(people)
    return made


def merged(chains: list[list[AnyEvent]], seed: int, repeated: float) -> list[AnyEvent]:
    """Return one order in which the log may be read: each chain in its own order, some events sent again later."""
    rng = random.Random(seed)
    queues = [list(chain) for chain in chains if chain]
    log: list[AnyEvent] = []
    while queues:
        queue = rng.choice(queues)
        log.append(queue.pop(0))
        queues = [left for left in queues if left]
        if rng.random() < repeated:
            log.append(rng.choice(log))
    return log


@settings(max_examples=80, deadline=None)
@given(chains(), st.integers(0, 10**9))
def test_whatever_the_order_of_keys_and_however_often_events_come_the_state_is_the_same(chains, seed):
    plain, mixed = empty_state(), empty_state()
    for chain in chains:
        for event in chain:
            plain.apply(event)
    for event in merged(chains, seed, 0.4):
        mixed.apply(event)
    assert state_hash(mixed) == state_hash(plain)


def test_the_hash_tells_states_apart(state):
    other = empty_state()
    for one in (state, other):
        one.apply(created("v"))
    assert state_hash(state) == state_hash(other)
    hashes = {state_hash(state)}
    for event in (did("Impression", "u", "v", 1), did("Like", "u", "v", 2), changed("v", 3, title="x"), hidden("v", 4)):
        state.apply(event)
        hashes.add(state_hash(state))
    assert len(hashes) == 5

import threading

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.recommendation.videos import Videos
from serving.restrictions import state as state_module
from serving.restrictions.served import Restrictions
from serving.restrictions.state import RestrictionState
from tests.unit.serving.recommendation.live_events import created
from tests.unit.serving.restrictions.verdicts import verdict

ITEMS, OWNERS, POSTS = ("a", "b", "c", "d"), ("ann", "ben"), ("p", "q")

steps = st.one_of(
    st.tuples(st.just("video"), st.sampled_from(ITEMS), st.sampled_from(OWNERS)),
    st.tuples(
        st.sampled_from(["clear", "demoted", "enforced"]),
        st.sampled_from(POSTS),
        st.sampled_from(OWNERS),
        st.lists(st.sampled_from(ITEMS), max_size=3),
    ),
    st.just(("look",)),
    st.just(("another state",)),
)


def looked_up(videos: Videos) -> list[float]:
    """Return the factors of all rows, each looked up by its item."""
    found = [videos.restriction(row) for row in range(videos.rows)]
    return [1.0 if one is None else one.factor for one in found]


@given(st.lists(steps, max_size=25), st.integers(1, 5))
def test_whatever_comes_in_whatever_order_the_factors_are_those_of_the_verdicts(given_steps, kept):
    before, state_module._CHANGES_KEPT = state_module._CHANGES_KEPT, kept
    try:
        restrictions = Restrictions()
        videos = Videos(restrictions=restrictions)
        for number, step in enumerate(given_steps):
            match step:
                case ("video", item, owner):
                    videos.apply(created(item, number, owner_id=owner))
                case ("look",):
                    rows = np.arange(videos.rows)
                    assert videos.factors(rows).tolist() == np.float32(looked_up(videos)).tolist()
                case ("another state",):
                    restrictions.current = RestrictionState()
                case (kind, post, owner, items):
                    post = f"{post} of {owner}"
                    restrictions.current.apply(verdict(post, kind, number, author_id=owner, item_ids=items, factor=0.5))
        assert videos.factors(np.arange(videos.rows)).tolist() == np.float32(looked_up(videos)).tolist()
    finally:
        state_module._CHANGES_KEPT = before


def test_a_video_is_never_seen_without_the_verdict_that_came_before_it():
    """One thread uploads what was enforced before, another looks at the newest row again and again."""
    restrictions = Restrictions()
    videos = Videos(restrictions=restrictions)
    n = 3_000
    for number in range(n):
        restrictions.current.apply(verdict(f"p{number}", author_id="ann", item_ids=[f"v{number}"]))
    shown: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            rows = np.arange(max(0, videos.rows - 3), videos.rows)
            shown.extend(rows[videos.admissible(rows, None)].tolist())

    looking = [threading.Thread(target=look) for _ in range(2)]
    for thread in looking:
        thread.start()
    for number in range(n):
        videos.apply(created(f"v{number}", number, owner_id="ann"))
    done.set()
    for thread in looking:
        thread.join()
    assert shown == []
    assert not videos.admissible(np.arange(n), None).any()


def test_a_verdict_that_was_applied_counts_for_everybody_who_looks_afterwards():
    restrictions = Restrictions()
    videos = Videos(restrictions=restrictions)
    n = 2_000
    for number in range(n):
        videos.apply(created(f"v{number}", number, owner_id="ann"))
    applied, wrong, done = [0], [], threading.Event()

    def look() -> None:
        while not done.is_set():
            known = applied[0]
            if known and not (videos.factors(np.arange(max(0, known - 50), known)) == 0).all():
                wrong.append(known)

    looking = [threading.Thread(target=look) for _ in range(2)]
    for thread in looking:
        thread.start()
    for number in range(n):
        restrictions.current.apply(verdict(f"p{number}", author_id="ann", item_ids=[f"v{number}"]))
        applied[0] = number + 1
    done.set()
    for thread in looking:
        thread.join()
    assert wrong == []

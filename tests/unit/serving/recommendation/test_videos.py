import threading

import numpy as np
import pytest

from serving.recommendation.videos import Videos
from serving.restrictions.served import Restrictions
from tests.unit.serving.recommendation.live_events import changed, created, deleted, hidden
from tests.unit.serving.restrictions.verdicts import verdict


@pytest.fixture
def videos() -> Videos:
    return Videos()


def every(videos: Videos) -> np.ndarray:
    return np.arange(videos.rows)


def test_a_created_video_is_a_row_with_all_its_columns(videos):
    outcome = videos.apply(
        created(
            "v",
            12.0,
            owner_id="ann",
            media_id="ab" * 32,
            title="Zebra at noon",
            tags=["zebra", "noon"],
            language="pt-BR",
            category="animals",
            blocked_regions=["DE"],
        )
    )
    row = videos.row_of("v")
    assert (outcome, row, videos.rows, len(videos)) == ("applied", 0, 1, 1)
    assert (videos.item_id(0), videos.title(0), videos.creator_id(0)) == ("v", "Zebra at noon", "ann")
    assert videos.languages.name(int(videos.language[0])) == "pt"
    assert videos.categories.name(int(videos.category[0])) == "animals"
    assert [videos.tag_names.name(code) for code in videos.tags[0] if code >= 0] == ["zebra", "noon"]
    assert videos.created_s[0] == videos.column("version_us")[0] / 1e6
    assert int(videos.media[0]) == int("ab" * 8, 16)
    assert np.isnan(videos.duration_s[0])
    assert videos.factors(every(videos)).tolist() == [1]
    assert abs(np.linalg.norm(videos.content[0]) - 1) < 1e-6
    assert videos.state(0) == "active"


def test_images_are_no_videos(videos):
    assert videos.apply(created("i", kind="image")) == "other"
    assert videos.apply(changed("i", 1, title="still none")) == "unknown"
    assert videos.rows == 0


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (hidden("v", 1), "hidden"),
        (deleted("v", 1), "deleted"),
        (changed("v", 1, visibility="private"), "private"),
        (changed("v", 1, visibility="unlisted"), "unlisted"),
    ],
)
def test_what_must_not_be_shown_is_not_admissible_at_once(videos, event, state):
    videos.apply(created("v"))
    assert videos.admissible(every(videos), None).tolist() == [True]
    assert videos.apply(event) == "applied"
    assert videos.admissible(every(videos), None).tolist() == [False]
    assert videos.state(0) == state
    assert videos.newest.best()[0].size == 0


def test_a_hidden_video_that_is_put_back_is_shown_again(videos):
    videos.apply(created("v"))
    videos.apply(hidden("v", 1))
    videos.apply(hidden("v", 2, hidden=False))
    assert videos.admissible(every(videos), None).tolist() == [True]
    assert videos.newest.best()[0].tolist() == [0]


def test_hiding_and_publishing_do_not_undo_each_other(videos):
    videos.apply(created("v", visibility="private"))
    videos.apply(hidden("v", 1))
    videos.apply(changed("v", 2, visibility="public"))
    assert videos.state(0) == "hidden"
    videos.apply(changed("v", 3, visibility="private"))
    videos.apply(hidden("v", 4, hidden=False))
    assert videos.state(0) == "private"


def test_regions_block_for_those_in_them_only(videos):
    videos.apply(created("here", blocked_regions=["DE", "FR"]))
    videos.apply(created("there"))
    rows = every(videos)
    assert videos.admissible(rows, "DE").tolist() == [False, True]
    assert videos.admissible(rows, "fr").tolist() == [False, True]
    assert videos.admissible(rows, "US").tolist() == [True, True]
    assert videos.admissible(rows, None).tolist() == [True, True]
    assert videos.admissible(rows, "nowhere").tolist() == [True, True]
    videos.apply(changed("there", 1, blocked_regions=["US"]))  # a set of regions that is new after the question
    assert videos.admissible(rows, "US").tolist() == [True, False]


def test_a_change_replaces_the_fields_it_names(videos):
    videos.apply(created("v", title="Baking bread", tags=["bread"], category="food", language="en"))
    before = videos.content[0].copy()
    videos.apply(changed("v", 1, title="Riding bicycles"))
    assert videos.title(0) == "Riding bicycles"
    assert [videos.tag_names.name(code) for code in videos.tags[0] if code >= 0] == ["bread"]
    assert not np.array_equal(before, videos.content[0])
    videos.apply(changed("v", 2, title="Baking bread", language="fr"))
    np.testing.assert_array_equal(before, videos.content[0])
    assert videos.languages.name(int(videos.language[0])) == "fr"


def test_an_older_event_changes_nothing(videos):
    videos.apply(created("v", 5, title="new"))
    assert videos.apply(changed("v", 4, title="old")) == "stale"
    assert videos.apply(hidden("v", 4)) == "stale"
    assert videos.apply(created("v", 4, title="older")) == "stale"
    assert (videos.title(0), videos.state(0)) == ("new", "active")


@pytest.mark.parametrize(("event", "rows"), [(hidden("v", 2), 1), (deleted("v", 2), 0)])
def test_a_takedown_read_before_its_video_holds(videos, event, rows):
    videos.apply(event)
    videos.apply(created("v", 1))
    assert videos.rows == rows
    assert not videos.admissible(every(videos), None).any()


def test_an_upload_after_a_takedown_read_before_it_is_shown(videos):
    videos.apply(deleted("v", 1))
    assert videos.apply(created("v", 2)) == "applied"
    assert videos.admissible(every(videos), None).tolist() == [True]


def test_takedowns_of_unknown_items_are_forgotten_in_the_end():
    videos = Videos(withheld_kept=10)
    for n in range(100):
        videos.apply(deleted(f"v{n}", 2))
    assert [item_id for item_id, *_ in videos.lists(0)["withheld"]] == [f"v{n}" for n in range(90, 100)]


def test_a_deleted_video_leaves_no_words_and_keeps_its_row(videos):
    videos.apply(created("v", title="secret", tags=["private"], category="diary"))
    videos.apply(deleted("v", 1))
    assert videos.row_of("v") == 0
    assert videos.title(0) == ""
    assert not videos.content[0].any()
    assert (videos.tags[0] == -1).all()
    assert videos.apply(hidden("v", 2, hidden=False)) == "unknown"
    assert videos.state(0) == "deleted"


def test_a_video_created_again_takes_its_old_row(videos):
    videos.apply(created("v", 0, title="one"))
    videos.apply(created("w", 0))
    videos.apply(deleted("v", 1))
    videos.apply(created("v", 2, title="two"))
    assert (videos.row_of("v"), videos.title(0), videos.state(0), videos.rows) == (0, "two", "active", 2)


def test_a_verdict_keeps_a_video_out_and_survives_a_new_upload():
    restrictions = Restrictions()
    videos = Videos(restrictions=restrictions)
    restrictions.current.apply(verdict("p", item_ids=["v", "later"], author_id="ann"))
    restrictions.current.apply(verdict("q", "demoted", item_ids=["w"], author_id="ann", factor=0.25))
    for item in ("v", "w", "x"):
        videos.apply(created(item, owner_id="ann"))
    assert [videos.state(row) for row in range(3)] == ["enforced", "active", "active"]
    assert videos.factors(every(videos)).tolist() == [0, 0.25, 1]
    assert videos.admissible(every(videos), "DE").tolist() == [False, True, True]
    videos.apply(created("v", 1, owner_id="ann"))
    assert videos.state(0) == "enforced"
    videos.apply(hidden("v", 2))
    assert videos.state(0) == "hidden"
    videos.apply(created("later", 3, owner_id="ann"))
    assert videos.admissible(every(videos), None).tolist() == [False, True, True, False]
    restrictions.current.apply(verdict("p", "clear", 2))
    assert videos.admissible(every(videos), None).tolist() == [False, True, True, True]


def test_the_longest_known_duration_counts_whatever_the_order(videos):
    videos.apply(created("v"))
    for seconds in (60.0, 90.0, 30.0, 0.0):
        videos.learn_duration(0, seconds)
    assert videos.duration_s[0] == 90


def test_the_newest_list_is_filled_again_when_takedowns_thin_it_out(videos):
    for n in range(9_000):
        videos.apply(created(f"v{n}", n))
    listed = videos.newest.best()[0]
    for row in listed.tolist()[:7_000]:
        videos.apply(deleted(videos.item_id(row), 10_000))
    rows, _ = videos.newest.best()
    expected = np.flatnonzero(videos.flags == 0)[::-1]
    assert len(rows) >= 1_000
    assert rows[:1_000].tolist() == expected[:1_000].tolist()


def test_readers_see_whole_rows_while_a_writer_adds_them(videos):
    problems: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            rows = videos.rows
            if not rows:
                continue
            asked = np.arange(rows)
            if not videos.admissible(asked, "DE").all() or (videos.creator[asked] < 0).any():
                problems.append("a row without its columns")
            last = rows - 1
            if videos.item_id(last) != f"v{last}" or videos.row_of(f"v{last}") not in (last, None):
                problems.append("a row of another video")
            if abs(np.linalg.norm(videos.content[last]) - 1) > 1e-5 or videos.title(last) != f"title of {last}":
                problems.append("a row without its words")

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for n in range(6_000):  # beyond several capacities
        videos.apply(created(f"v{n}", n, title=f"title of {n}", owner_id=f"c{n % 50}"))
    done.set()
    for thread in threads:
        thread.join()
    assert not problems


def test_the_rarest_words_come_first(videos):
    for n in range(20):
        videos.apply(created(f"v{n}", title="common words", tags=["rare"] if n == 3 else []))
    lengths = [videos.by_word.length(bucket) for bucket in videos.rarest_buckets(videos.words(3))]
    assert lengths == [1, 20, 20]

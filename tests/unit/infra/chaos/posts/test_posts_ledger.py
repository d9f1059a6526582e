"""The ledger of posts repeats itself, and its model says what must have been decided."""

from datetime import UTC, datetime

import pytest

from core import topics
from core.errors import InvalidEvent
from core.events import Post, decode, event_key
from infra.chaos.posts.ledger import HARMFUL, PostLedger, PostPlan, write_posts
from infra.chaos.posts.model import OPEN, RESTRICTING, PostsModel

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MEDIA = [f"{number:064x}" for number in range(5)]
STREAM = {topics.UPLOADS.name: "uploads", topics.POSTS.name: "posts", topics.INTERACTIONS.name: "interactions"}


def ledger(seed: int = 7, **plan: object) -> PostLedger:
    sizes = {"first": 40, "posts": 400, "reactions": 300, "items": 5, **plan}
    return write_posts(seed, "run", PostPlan(**sizes), start=START, media_ids=MEDIA)  # type: ignore[arg-type]


def test_the_same_seed_writes_the_same_bytes_and_another_seed_does_not() -> None:
    assert [one.value for one in ledger().then] == [one.value for one in ledger().then]
    assert [one.value for one in ledger().then] != [one.value for one in ledger(8).then]


def test_what_is_sent_is_what_the_agents_can_read_and_every_kind_is_among_it() -> None:
    kinds = set()
    written = ledger()
    for one in (*written.uploads, *written.first, *written.then):
        for event in one.good:
            assert decode(one.value, STREAM[one.topic]) == event
            assert event_key(event) == one.key
            kinds.add(type(event).__name__)
    posts = {"PostCreated", "PostChanged", "PostDeleted"}
    assert kinds == posts | {"UploadCreated", "Impression", "Like", "Share", "Comment", "Report"}


def test_poison_cannot_be_decoded_and_its_letter_is_known() -> None:
    poison = [one for one in ledger().then if one.letters]
    assert poison
    for one in poison:
        with pytest.raises(InvalidEvent):
            decode(one.value, "posts")
    assert set(ledger().model().letters) == {key for one in poison for key in one.letters}


def test_some_records_are_sent_twice_and_counted_once() -> None:
    written = ledger()
    ids = [event.id for one in written.then for event in one.good]
    assert len(ids) > len(set(ids))
    model = written.model()
    assert sum(sum(counts.values()) for counts in model.reactions.values()) == len(model.reacted) == 300
    assert written.events == len(model.events) + len(model.letters)


def test_reactions_are_to_posts_of_the_first_half_and_nobody_changes_those() -> None:
    written = ledger()
    first = written.model(whole=False).posts
    assert set(written.model().reactions) <= set(first)
    assert {post_id: written.model().posts[post_id] for post_id in first} == first


def test_nobody_reports_a_post_twice() -> None:
    assert max(counts["reports"] for counts in ledger(reactions=2_000).model().reactions.values()) == 1


def test_posts_with_items_are_of_the_items_owner() -> None:
    model = ledger().model()
    shown = [(item, post.author_id) for post in model.posts.values() for item in post.item_ids]
    assert len(shown) >= 5
    assert all(model.owners[item] == author for item, author in shown)


def test_the_newest_version_of_a_post_counts_and_a_deleted_one_keeps_nothing() -> None:
    written = ledger()
    model = written.model()
    texts = {
        event.data.post_id: event.data.text
        for one in written.then
        for event in one.good
        if isinstance(event.data, Post)
    }
    gone = [post for post in model.posts.values() if post.state == "deleted"]
    assert gone
    assert all((post.text, post.item_ids) == ("", ()) for post in gone)
    alive = {post_id: post for post_id, post in model.posts.items() if post_id in texts and post.state == "active"}
    assert {post_id: post.text for post_id, post in alive.items()} == {key: texts[key] for key in alive}


def test_the_model_does_not_depend_on_the_order_of_arrival() -> None:
    written = ledger()
    turned = PostsModel.of(list(reversed((*written.uploads, *written.first, *written.then))), HARMFUL)
    assert (turned.posts, turned.reactions) == (written.model().posts, written.model().reactions)


def test_what_is_harmful_must_be_restricted_and_nothing_else_may_be() -> None:
    model = ledger().model()
    wanted = {model.allowed(post) for post in model.posts.values() if post.text in HARMFUL}
    assert wanted == {RESTRICTING}
    assert {model.allowed(post) for post in model.posts.values() if post.text not in HARMFUL} == {OPEN}

"""A state seeded from the catalogue and fed what the log still holds is the state of the whole log."""

import asyncio
import random
import time
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import topics
from core.clock import SystemClock
from core.entries import Version
from core.errors import Unavailable
from core.events import encode
from core.ports import EncodedImage, StoredRecord
from core.settings import CatalogueSettings
from monitoring.recorder import Recorder
from serving.recommendation.fingerprint import state_hash
from serving.recommendation.follower import LiveFollower
from serving.recommendation.live_state import LiveState, empty_state
from serving.recommendation.seeding import seed
from serving.recommendation.served_state import ServedState
from serving.recommendation.topic_log import STREAMS
from storage.catalogue import Catalogue
from streams.agents.index_upload import UploadIndexer
from streams.decoding import Delivered
from tests.fakes.entry_log import MemoryEntryLog
from tests.fakes.publisher import FakePublisher
from tests.unit.serving.recommendation import live_events as ev

ITEMS = [f"v{number}" for number in range(6)]


class AnyImage:
    async def encode_media(self, media_ids, **options):
        return [EncodedImage(np.array([1.0, 0.0], np.float32), "0" * 16, 8, 8, "test/1") for _ in media_ids]


@pytest.fixture
def open_catalogue(tmp_path):
    opened = []

    def open_catalogue():
        file = tmp_path / f"catalogue-{len(opened)}.db"
        opened.append(Catalogue.open(f"sqlite:///{file}", CatalogueSettings()))
        return opened[-1]

    yield open_catalogue
    for one in opened:
        one.close()


def indexed(catalogue: Catalogue, events) -> Catalogue:
    """Let the agent that keeps the catalogue read upload events."""
    batch = [
        Delivered(event, b"{}", StoredRecord(topics.UPLOADS.name, 0, offset, event.subject, b"{}", {}, 0))
        for offset, event in enumerate(events)
    ]
    asyncio.run(UploadIndexer(catalogue, AnyImage(), FakePublisher(), 1.0)(batch))
    return catalogue


def fed(events, catalogue: Catalogue | None = None) -> LiveState:
    state = empty_state()
    if catalogue is not None:
        seed(state, catalogue)
    for event in events:
        state.apply(event)
    return state


def known(state: LiveState) -> dict[str, tuple]:
    """Return all that is known of the videos that are not deleted, by item."""
    videos = state.videos
    return {
        videos.item_id(row): (
            videos.title(row),
            videos.creator_id(row),
            videos.state(row),
            videos.categories.name(int(videos.category[row])),
            videos.languages.name(int(videos.language[row])),
            [videos.tag_names.name(code) for code in videos.tags[row].tolist() if code >= 0],
            sorted(videos.region_sets.sets[int(videos.column("regions")[row])]),
            int(videos.media[row]),
            float(videos.created_s[row]),
            int(videos.column("version_us")[row]),
            videos.content[row].tobytes(),
        )
        for row in range(videos.rows)
        if videos.state(row) != "deleted"
    }


@st.composite
def histories(draw):
    """Draw what happened to some items, in the order of time, to the microsecond.

    Who is deleted is not made again: that is new to a state that was seeded, and of old to one that saw it made first.
    """
    chance = random.Random(draw(st.integers(0, 2**32)))
    events, at = [], 0.0
    for item in ITEMS:
        events.append((chance.random() * 100, item, "created"))
    for _ in range(draw(st.integers(0, 30))):
        kind = chance.choice(["changed", "changed", "hidden", "shown", "deleted", "created"])
        events.append((100 + chance.random() * 900, chance.choice(ITEMS), kind))
    made, gone = [], set()
    for number, (at, item, kind) in enumerate(sorted(events)):
        at = round(at, 6)
        if kind == "created" and item in gone:
            continue
        if kind == "created":
            fields = {"title": f"title {number}", "tags": [f"tag{number % 3}"], "category": "films", "language": "de"}
            of = "image" if item == "v0" else "video"
            made.append(ev.created(item, at, kind=of, owner_id=f"by-{item}", **fields))
        elif kind == "changed":
            changes = [{"visibility": "private"}, {"visibility": "public"}, {"title": f"title {number}"}]
            changes += [{"tags": ["new"]}, {"blocked_regions": ["DE"]}, {"media_id": f"{number:064x}"}]
            changes += [{"language": "fr", "category": "news"}]
            made.append(ev.changed(item, at, **chance.choice(changes)))
        elif kind in ("hidden", "shown"):
            made.append(ev.hidden(item, at, kind == "hidden"))
        else:
            made.append(ev.deleted(item, at))
            gone.add(item)
    return made


@settings(deadline=None, max_examples=30)
@given(histories(), st.data())
def test_whatever_the_log_has_forgotten_and_the_catalogue_has_read(tmp_path_factory, history, data):
    """The log holds what came from `kept` on; the catalogue read up to `read`, which is behind the log or ahead."""
    kept = data.draw(st.integers(0, len(history)), label="kept")
    read = data.draw(st.integers(kept, len(history)), label="read")
    file = tmp_path_factory.mktemp("catalogue") / "catalogue.db"
    catalogue = indexed(Catalogue.open(f"sqlite:///{file}", CatalogueSettings()), history[:read])
    try:
        assert known(fed(history[kept:], catalogue)) == known(fed(history))
    finally:
        catalogue.close()


def test_people_and_counts_are_those_of_the_whole_log_too(open_catalogue):
    uploads = [ev.created(item, number, title=f"about {item}") for number, item in enumerate(ITEMS)]
    uploads += [ev.changed("v2", 50, title="another title"), ev.hidden("v3", 60), ev.changed("v4", 70, tags=["t"])]
    done = [ev.did("Like", f"u{one}", ITEMS[one], 100 + one) for one in range(6)]
    done += [ev.watched("u1", "v5", 120), ev.did("Impression", "u2", "v1", 130), ev.did("Hide", "u3", "v2", 140)]
    seeded = fed([*uploads[7:], *done], indexed(open_catalogue(), uploads))
    assert state_hash(seeded) == state_hash(fed([*uploads, *done]))
    assert state_hash(seeded) != state_hash(fed([*uploads[7:], *done]))  # without it, these videos are missing


def test_the_same_catalogue_makes_the_same_rows(open_catalogue):
    catalogue = indexed(open_catalogue(), [ev.created(item, number) for number, item in enumerate(reversed(ITEMS))])
    states = [fed([], catalogue) for _ in range(2)]
    assert [[state.videos.item_id(row) for row in range(6)] for state in states] == [ITEMS, ITEMS]


def test_images_and_deleted_videos_are_left_out_and_a_deletion_in_the_log_counts(open_catalogue):
    uploads = [ev.created("i", 0, kind="image"), ev.created("gone", 1), ev.created("there", 2), ev.deleted("gone", 3)]
    catalogue = indexed(open_catalogue(), uploads)
    state = empty_state()
    assert seed(state, catalogue) == 1
    assert list(known(state)) == ["there"]
    assert state.apply(uploads[1]) == "applied"  # the log still holds that it was made, so it holds its deletion, too
    assert state.apply(uploads[3]) == "applied"
    assert state.apply(ev.deleted("there", 4)) == "applied"
    assert known(state) == {}


def test_what_is_older_than_what_the_catalogue_knows_changes_nothing(open_catalogue):
    uploads = [ev.created("v", 0, title="first"), ev.changed("v", 10, title="second"), ev.hidden("v", 20)]
    catalogue = indexed(open_catalogue(), uploads)
    state = fed([], catalogue)
    before = known(state)
    assert [state.apply(event) for event in uploads[:2]] == ["stale", "stale"]
    assert state.apply(ev.hidden("v", 15, hidden=False)) == "stale"
    assert known(state) == before
    assert state.apply(ev.hidden("v", 30, hidden=False)) == "applied"
    assert state.videos.state(0) == "active"


def test_pages_are_read_to_the_end(open_catalogue, monkeypatch):
    monkeypatch.setattr("serving.recommendation.seeding._PAGE", 4)
    catalogue = indexed(open_catalogue(), [ev.created(f"v{one:02}", one) for one in range(13)])
    assert seed(empty_state(), catalogue) == 13


def test_a_version_that_is_newer_than_the_event_that_told_it_counts(open_catalogue):
    """As of an item that was hidden before it arrived."""
    uploads = [ev.hidden("v", 10.25), ev.created("v", 5)]
    catalogue = indexed(open_catalogue(), uploads[:1])
    indexed(catalogue, uploads[1:])
    state = fed([], catalogue)
    assert state.videos.state(0) == "hidden"
    assert abs(int(state.videos.column("version_us")[0]) - Version.of(ev.at(10.25), 0).time_us) <= 1
    assert state.apply(ev.hidden("v", 10, hidden=False)) == "stale"


def test_an_item_that_makes_no_sense_is_passed_over(open_catalogue, monkeypatch):
    catalogue = indexed(open_catalogue(), [ev.created("v1", 0), ev.created("v2", 1)])
    real = LiveState.seed

    def broken(self, event):
        if event.subject == "v1":
            raise ValueError("no sense")
        real(self, event)

    monkeypatch.setattr(LiveState, "seed", broken)
    state = empty_state()
    assert seed(state, catalogue) == 1
    assert list(known(state)) == ["v2"]


# Following ----------------------------------------------------------------------------------------------------


def until(holds, within_s=20.0):
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)


class Counted:
    """A catalogue that counts what it is asked, and can be away."""

    def __init__(self, catalogue):
        self.catalogue = catalogue
        self.pages = 0
        self.away = 0

    def scan_items(self, *args):
        if self.away:
            self.away -= 1
            raise Unavailable("the catalogue does not answer")
        self.pages += 1
        return self.catalogue.scan_items(*args)


@pytest.fixture
def make_follower(tmp_path):
    made = []

    def make(catalogue, logs):
        served = ServedState(empty_state())
        follower = LiveFollower(
            served=served,
            logs=logs,
            make_state=empty_state,
            folder=tmp_path / "states",
            recorder=Recorder(),
            clock=SystemClock(),
            catalogue=catalogue,
        )
        follower.served = served
        made.append(follower)
        follower.start()
        until(lambda: follower.ready()[0])
        return follower

    yield make
    for one in made:
        one.close()


@pytest.fixture
def logs():
    """Logs that hold what somebody did with two films, and the newer one's upload."""
    logs = {stream: MemoryEntryLog() for stream in STREAMS}
    now = SystemClock().now() - timedelta(minutes=1)
    for stream, event in {
        "uploads": ev.created("new", (now - ev.START).total_seconds()),
        "interactions": ev.did("Like", "u", "old", (now - ev.START).total_seconds()),
    }.items():
        logs[stream].append(event.subject, encode(event))
    return logs


@pytest.fixture
def catalogue(open_catalogue):
    return Counted(indexed(open_catalogue(), [ev.created("old", -60 * 86_400)]))


def test_a_recommender_without_a_snapshot_knows_what_is_older_than_the_log(make_follower, catalogue, logs):
    follower = make_follower(catalogue, logs)
    assert set(known(follower.served.current)) == {"old", "new"}
    assert len(follower.served.current.audience.seen("u")) == 1
    assert catalogue.pages == 2


def test_one_with_a_snapshot_does_not_ask_the_catalogue(make_follower, catalogue, logs):
    make_follower(catalogue, logs).close()
    again = make_follower(catalogue, logs)
    assert set(known(again.served.current)) == {"old", "new"}
    assert catalogue.pages == 2


def test_a_rebuild_asks_it_again(make_follower, catalogue, logs):
    follower = make_follower(catalogue, logs)
    rebuilt = follower.start_again()
    assert set(known(rebuilt)) == {"old", "new"}
    assert catalogue.pages == 4


def test_a_log_that_was_lost_leaves_the_videos(make_follower, catalogue, logs):
    follower = make_follower(catalogue, logs)
    for log in logs.values():
        log.restart_empty()
    until(lambda: set(known(follower.served.current)) == {"old"}, within_s=40)


def test_it_waits_for_a_catalogue_that_is_away(make_follower, catalogue, logs):
    catalogue.away = 1
    follower = make_follower(catalogue, logs)
    assert catalogue.away == 0
    assert set(known(follower.served.current)) == {"old", "new"}

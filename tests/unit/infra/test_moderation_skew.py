"""What decisions knew is what training reads of those moments: on a stream of posts, reactions, reports and reviews."""

import math
import random
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from core.entries import Version
from core.events import UserProfile, encode
from core.moderation import HARM_CLASSES
from core.ports import OutgoingRecord, StoredRecord
from core.settings import FeatureSettings, StreamSettings
from core.topics import DECISIONS, FEATURES, INTERACTIONS
from features.archive import ArchiveWriter
from features.online import OnlineStore
from features.reader import FeatureReader
from features.totals import row_of
from features.transforms.moderation import KNOWN
from infra.moderation_skew import logged_posts, moderation_set, skew
from storage.moderation import ProfileChange
from storage.moderation.totals import TotalsReader
from streams.agents.moderate_posts import PostModerator
from streams.agents.moderation_features import TotalsWriter
from streams.agents.post_reactions import PostReactions, Rescorer
from streams.moderation.judges import Asked
from streams.moderation.rescoring import Rescoring
from tests.unit.streams.moderation.world import World

AUTHORS, READERS = [f"author-{n}" for n in range(4)], [f"reader-{n}" for n in range(12)]
SETTINGS = FeatureSettings()
REASON = "looked at it closely"


class Stream:
    """The agents of moderation on a real catalogue; what they publish is archived and goes to a real online store."""

    def __init__(self, world: World, home: Path, seed: int) -> None:
        self.world, self.home = world, home
        self.random = random.Random(seed)
        self.start = world.clock.time = world.clock.time - timedelta(days=150)
        world.clock.tick = timedelta(microseconds=1)  # no two looks at the same time, as on a machine
        rescoring = Rescoring()
        self.authors: dict[str, str] = {}  # by post
        self.moderator = PostModerator(world.store, world.judges)
        self.reactions = PostReactions(world.store, rescoring, world.recorder, StreamSettings(), feed=world.feed)
        self.rescorer = Rescorer(world.store, world.judges, rescoring, world.recorder, world.clock, world.settings)
        self.online = OnlineStore.open(home, SETTINGS)
        self.writer = TotalsWriter(lambda: self.online, world.feed, world.recorder, StreamSettings())
        self._relayed = 0
        self._archived = 0

    async def live(self, steps: int) -> None:
        """Let things happen, hours to days apart."""
        acts = [self.post] * 4 + [self.react] * 4 + [self.review, self.profile, self.rescorer.judge_some]
        for _ in range(steps):
            self.world.clock.pass_s(self.random.uniform(0.01, 1.5 * 86_400))
            act = self.random.choice(acts)
            await (act(5) if act == self.rescorer.judge_some else act())  # type: ignore[call-arg]
            self.world.clock.pass_s(0.01)
            await self.relay()
            self.archive()

    async def post(self) -> None:
        """A batch of posts, one in three harmful; some are changes of older ones."""
        events = []
        for _ in range(self.random.randint(1, 3)):
            harm = f"{self.random.choice(HARM_CLASSES)} .999" if self.random.random() < 1 / 3 else "a cat"
            text = harm + " and so on" * self.random.randint(0, 5)
            if self.authors and self.random.random() < 0.5:
                post_id, author = self.random.choice(list(self.authors.items()))
                events.append(self.world.written(post_id, text, "PostChanged", author_id=author))
                continue
            post_id, author = f"post-{len(self.authors)}", self.random.choice(AUTHORS)
            self.authors[post_id] = author
            events.append(self.world.written(post_id, text, author_id=author))
        await self.moderator(events)

    async def react(self) -> None:
        about = self.random.choice([*self.authors, "later"])
        events = [
            self.world.did(
                kind,
                self.random.choice(AUTHORS) if kind == "Follow" else about,
                user_id=self.random.choice(READERS),
                value=self.random.choice([*HARM_CLASSES, "I do not like it"]) if kind == "Report" else None,
            )
            for kind in self.random.choices(["Impression", "Like", "Share", "Comment", "Report", "Follow"], k=6)
        ]
        records = [StoredRecord(INTERACTIONS.name, 0, 0, "u", encode(event), {}, 0) for event in events]
        await self.reactions.process(records, lambda: True)

    async def review(self) -> None:
        """A person decides about the next job: no agent of ours has a part in it."""
        job = self.world.store.lease("reviewer")
        if job is not None:
            action = self.random.choice(["allow", "enforce"])
            harm = "hate" if action == "enforce" else None
            self.world.store.decide(job.job_id, "reviewer", action, harm, REASON)  # type: ignore[arg-type]

    async def profile(self) -> None:
        author, at = self.random.choice(AUTHORS), self.world.clock.now()
        profile = UserProfile(user_id=author, joined_at=self.start - timedelta(days=self.random.randint(1, 900)))
        change = ProfileChange(f"p{at}", Version.of(at, 0), profile)
        self.world.store.apply_profiles("test", [change])
        await self.world.feed.changed(authors=[author])

    async def relay(self) -> None:
        """Bring the decisions of the outbox to the agent that tells of them."""
        pending = self.world.catalogue.outbox_pending(1_000)
        decided = [record for _, record in pending if record.topic == DECISIONS.name]
        self.world.catalogue.outbox_sent([number for number, _ in pending])
        await self.writer.process([_stored(record, 0) for record in decided], lambda: True)

    def archive(self) -> None:
        new = self.world.publisher.of(FEATURES.name)[self._archived :]
        if new:
            records = [_stored(record, self._archived + place) for place, record in enumerate(new)]
            ArchiveWriter(self.home / "archive").write(FEATURES.name, records)
            self._archived += len(new)


def _stored(record: OutgoingRecord, offset: int) -> StoredRecord:
    return StoredRecord(record.topic, 0, offset, record.key, record.value, {}, 1_760_000_000_000 + offset)


@pytest.mark.parametrize("seed", range(3))
async def test_features_logged_with_decisions_equal_the_offline_store_as_of_that_moment(
    world: World, tmp_path: Path, seed: int
) -> None:
    stream = Stream(world, tmp_path, seed)
    await stream.live(120)
    posts = logged_posts(world.store, stream.start)
    found = skew(tmp_path, SETTINGS, posts)
    assert found.compared > 30
    assert (found.equal, found.differing) == (found.compared, {})
    frame = moderation_set(tmp_path, SETTINGS, posts)
    for name in ("author_violations", "author_violations_month", "author_reports", "author_profane_rate", "likes"):
        assert frame[name].nunique() > 1, f"{name} was hardly tried"
    assert (frame["author_violations_week"] < frame["author_violations"]).any()
    for post in posts:  # what is logged is what the models were told
        told = post.told.author
        assert told is not None
        names = {"violations": "violations", "reports_received": "reports", "posts": "posts", "followers": "followers"}
        assert {one: getattr(told, one) for one in names} == {
            one: post.told.features[f"author_{name}"] for one, name in names.items()
        }


async def test_a_decision_that_knew_something_else_is_found(world: World, tmp_path: Path) -> None:
    stream = Stream(world, tmp_path, 7)
    await stream.live(30)
    posts = logged_posts(world.store, stream.start)
    changed = [
        msgspec.structs.replace(post.told, features={**post.told.features, "likes": 1e6, "author_posts": 77.0})
        for post in posts
    ]
    other = [type(post)(**{**_fields(post), "told": told}) for post, told in zip(posts, changed, strict=True)]
    found = skew(tmp_path, SETTINGS, other[:3])
    assert (found.compared, found.equal, found.differing) == (3, 0, {"likes": 3, "author_posts": 3})


async def test_the_online_store_ends_with_what_the_catalogue_holds(world: World, tmp_path: Path) -> None:
    stream = Stream(world, tmp_path, 11)
    await stream.live(40)
    told = [_stored(record, 0) for record in world.publisher.of(FEATURES.name)]
    stream.random.shuffle(told)  # whatever order they come in, and however often
    for part in (told, told[: len(told) // 2]):
        await stream.writer.process(part, lambda: True)
    reader = FeatureReader(stream.online, SETTINGS, world.clock)
    now = TotalsReader(world.catalogue.database, world.clock)
    for author, row in zip(now.read(AUTHORS, []), reader.author_totals(AUTHORS), strict=True):
        assert list(row.values.values()) == row_of(author)
    for post, row in zip(
        now.read([], list(stream.authors))[-len(stream.authors) :],
        reader.post_totals(list(stream.authors)),
        strict=True,
    ):
        assert list(row.values.values()) == row_of(post)
    authors = dict(stream.authors)
    online = reader.known_of({**authors, "nobody's": "nobody"})
    asked = [Asked(post, "", world.clock.now(), is_new=False) for post in world.store.posts(list(authors)).values()]
    for facts in world.judges._facts(asked):  # what a decision would know now
        read = online[facts.post.post_id]
        assert {name: value for name, value in read.items() if not math.isnan(value)} == pytest.approx(facts.features)
    assert online["nobody's"]["likes"] == 0 and math.isnan(online["nobody's"]["author_profane_rate"])
    assert reader.known_of({}) == {}
    world.clock.pass_s(400 * 86_400)
    assert {row.status for row in reader.author_totals(AUTHORS)} == {"fresh"}  # totals hold until they change


def _fields(post: object) -> dict[str, object]:
    return {name: getattr(post, name) for name in type(post).__slots__}  # type: ignore[attr-defined]


@pytest.fixture
def world(tmp_path: Path):  # type: ignore[no-untyped-def]
    made = World(tmp_path)
    yield made
    made.catalogue.close()


def test_every_feature_that_is_known_has_a_name_of_its_own() -> None:
    assert len(set(KNOWN)) == len(KNOWN)

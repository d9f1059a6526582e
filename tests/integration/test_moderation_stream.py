"""On a real broker, with the real moderator: features hold what decisions knew, and uploads are judged like posts."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from core import topics
from core.clock import SystemClock
from core.entries import IndexEntry, Version, encode_entry
from core.events import Event, Follow, Interaction, Like, Post, PostCreated, Report, encode
from core.ids import upload_post_id
from core.moderation import Verdict, decode_verdict
from core.moderation_totals import AuthorTotals
from core.ports import OutgoingRecord
from core.settings import CatalogueSettings, FeatureSettings
from features.reader import FeatureReader
from infra.broker.capabilities import running
from infra.chaos.posts.ledger import HARMFUL, HARMLESS
from infra.moderation_skew import Skew, logged_posts, skew
from infra.ports import free_port
from models.moderation.policy import packaged_policy
from storage.catalogue import Catalogue
from storage.log.reader import read_all
from storage.moderation import ModerationStore
from storage.moderation.totals import TotalsReader
from tests.integration.brokers import embedded_broker
from tests.integration.stream_harness import ROOT, make_topics, publish, until, worker

pytestmark = pytest.mark.integration

AGENTS = "moderate-posts,moderate-uploads,post-reactions,author-profiles,moderation-features,archive"
_START_S = 120.0


class Platform:
    """The agents of moderation in one worker, the catalogue they write, and a name that nobody else's things have."""

    def __init__(self, home: Path, broker: str, catalogue: Catalogue) -> None:
        self.home, self.broker = home, broker
        self.catalogue = catalogue
        self.store = ModerationStore(catalogue.database)
        self.name = f"run-{uuid4().hex[:8]}"
        self._event = 0

    def send(self, topic: topics.Topic, kind: type[Event], subject: str, data: object) -> None:
        self._event += 1
        event = kind(id=f"{self.name}-{self._event}", source="t", time=datetime.now(UTC), subject=subject, data=data)  # type: ignore[call-arg]
        publish(self.broker, [OutgoingRecord(topic.name, subject, encode(event))])

    def post(self, number: int, author: str, text: str) -> str:
        """Write a post and wait until it is decided; return its id."""
        post_id = f"{self.name}-post-{number}"
        self.send(topics.POSTS, PostCreated, post_id, Post(post_id=post_id, author_id=author, text=text))
        until(lambda: self.store.in_force([post_id]), f"{post_id} is decided", 30)
        return post_id

    def react(self, kind: type[Event], subject: str, value: str | None = None) -> None:
        """React to a post, or follow somebody, and wait until that is counted."""
        user = f"{self.name}-reader-{self._event}"
        before = self._counted(subject)
        self.send(topics.INTERACTIONS, kind, user, Interaction(user_id=user, item_id=subject, value=value))
        until(lambda: self._counted(subject) > before, f"a {kind.__name__} of {subject} is counted", 30)

    def _counted(self, subject: str) -> int:
        reactions = self.store.reactions([subject])[subject]
        followers = self.store.authors([subject])[subject].facts.followers or 0
        return reactions.likes + reactions.reports + followers

    def verdict(self, post_id: str) -> Verdict | None:
        """Return the newest verdict about a post on the topic."""
        found = [record.value for record in read_all(self.broker, topics.VERDICTS.name) if record.key == post_id]
        return decode_verdict(found[-1]) if found and found[-1] is not None else None


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[str]:
    """A broker of this test's own: every upload that other tests left in the index would be judged first."""
    broker = embedded_broker(tmp_path / "broker")
    with running(broker, tmp_path / "broker.log"):
        yield broker.bootstrap


@pytest.fixture
def platform(tmp_path: Path, own_broker: str) -> Iterator[Platform]:
    make_topics(own_broker)
    port = free_port()
    policy = (
        tmp_path / "policy.yaml"
    )  # the packaged one leaves uploads to people: here they are held to it as posts are
    content = yaml.safe_load(packaged_policy())
    content["rules"] = [rule for rule in content["rules"] if not rule["name"].startswith("uploads-")]
    policy.write_text(yaml.safe_dump(content), encoding="utf-8")
    settings = {
        "RIVERLIGHT_MODERATION__POLICY": str(policy),
        "RIVERLIGHT_MODERATION__UPLOADS": "true",
        "RIVERLIGHT_HTTP__PORT": str(port),
        "RIVERLIGHT_STREAMS__ARCHIVE_WITHIN_S": "0.3",
        "RIVERLIGHT_MODERATION__TIMEOUT_S": "60",
        "RIVERLIGHT_MODERATION__RESCORE_PER_S": "0",
    }
    catalogue = Catalogue.open(f"sqlite:///{tmp_path / 'catalogue.db'}", CatalogueSettings())
    environment = {"RIVERLIGHT_HOME": str(tmp_path), "OMP_NUM_THREADS": "1", **settings}
    log = (tmp_path / "moderator.log").open("wb")
    moderator = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.moderator_process"],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=log,
        stderr=log,
    )
    try:
        with worker(tmp_path, own_broker, AGENTS, free_port(), **settings) as judging:
            judging.wait_ready()
            yield Platform(tmp_path, own_broker, catalogue)
            assert judging.process is not None and judging.process.poll() is None, judging.output()[-3000:]
    finally:
        moderator.kill()
        moderator.wait()
        log.close()
        catalogue.close()


def test_what_decisions_knew_is_what_training_reads_and_uploads_are_judged_too(
    platform: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    author, other = f"{platform.name}-author", f"{platform.name}-other"
    upload = f"{platform.name}-upload"
    written = [platform.post(0, author, HARMLESS[0])]
    platform.react(Like, written[0])
    platform.react(Report, written[0], "spam")
    platform.react(Follow, author)
    written.append(platform.post(1, author, HARMFUL[0]))
    written += [platform.post(number, who, HARMLESS[number]) for number, who in ((2, author), (3, other), (4, author))]
    assert platform.store.in_force([written[1]])[written[1]].action == "enforce"

    # An upload that nobody posts, as the index knows it.
    now = datetime.now(UTC)
    entry = IndexEntry(
        item_id=upload,
        version=Version.of(now, 0),
        media_id=uuid4().hex * 2,
        owner_id=other,
        vector=b"",
        model_version="m/1",
        title=HARMFUL[1],
        event_id=f"{upload}-event",
    )
    publish(platform.broker, [OutgoingRecord(topics.INDEX_ENTRIES.name, upload, encode_entry(entry))])
    until(lambda: platform.verdict(upload_post_id(upload)), "there is a verdict about the upload", 60)
    verdict = platform.verdict(upload_post_id(upload))
    assert verdict is not None
    assert (verdict.state, verdict.item_ids, verdict.author_id) == ("enforced", [upload], other)
    written.append(platform.post(5, other, HARMLESS[5]))  # its author has a violation now

    settings, since = FeatureSettings(), now - timedelta(hours=1)
    posts = [one for one in logged_posts(platform.store, since) if one.post_id in {*written, upload_post_id(upload)}]
    assert len(posts) == 7
    logged = {post.post_id: post.told.features for post in posts}
    assert logged[written[2]]["author_violations"] == logged[written[5]]["author_violations_week"] == 1
    assert (logged[written[1]]["author_reports"], logged[written[1]]["author_followers"]) == (1, 1)

    totals = TotalsReader(platform.catalogue.database, SystemClock())
    held = {one.author_id: one for one in totals.read([author, other], []) if isinstance(one, AuthorTotals)}
    reader = FeatureReader.open(platform.home, settings, SystemClock())

    def online() -> bool:
        rows = {row.entity_id: row.values for row in reader.author_totals([author, other])}
        return all(
            (rows[one]["posts"], rows[one]["violations"], rows[one]["words"]) == (of.posts, of.violations, of.words)
            for one, of in held.items()
        )

    until(online, "the online store has what the catalogue holds", 30)
    reader.close()

    found = Skew(0, 0, {}, ())

    def equal() -> bool:  # the archive follows
        nonlocal found
        found = skew(platform.home, settings, posts)
        return found.equal == found.compared

    try:
        until(equal, "the offline store says what the decisions logged", 30)
    finally:
        with capsys.disabled():
            print(f"\n{found.equal} of {found.compared} decisions equal the offline store; others in {found.differing}")

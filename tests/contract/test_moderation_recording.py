"""Recording posts and decisions, over SQLite and over a real PostgreSQL."""

from datetime import timedelta

import pytest

from core import topics
from core.entries import VERSION_HEADER, Version
from core.errors import Conflict, InvalidInput
from core.moderation import AuthorFacts, ReactionFacts, decode_decision, decode_verdict
from storage.catalogue import Catalogue
from storage.moderation import Cause, ModerationStore, ReactionDelta, Report, StaleDecision, Told
from tests.moderation_records import NOW, a_decision, a_job, a_post, deleted
from tests.moderation_store import catalogue, clock, migrated_database, migrated_file, postgres_server, published, store

__all__ = ["catalogue", "clock", "migrated_database", "migrated_file", "postgres_server", "store"]


def test_a_post_is_read_back_as_it_was_recorded(store: ModerationStore) -> None:
    store.record("m", ["event-1"], [a_post()])
    assert store.posts(["post-1", "post-2"]) == {"post-1": a_post()}
    assert store.posts_of("author-1") == [a_post()]


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
@pytest.mark.parametrize("together", [True, False])
def test_the_newest_version_of_a_post_wins_in_whatever_order_they_arrive(
    store: ModerationStore, order: tuple[int, ...], together: bool
) -> None:
    versions = [a_post(version=version, text=f"text {version}", words=version) for version in order]
    for batch in [versions] if together else [[one] for one in versions]:
        store.record("m", [], batch)
    read = store.posts(["post-1"])["post-1"]
    assert (read.text, read.version) == ("text 3", Version(3, 0))
    facts = store.authors(["author-1"])["author-1"].facts
    assert facts.posts == 1


def test_a_decision_comes_into_force_and_is_published_with_its_verdict(
    store: ModerationStore, catalogue: Catalogue
) -> None:
    causes = {"cause-of-decision-1": Cause(NOW, "00-trace-span-01")}
    recorded = store.record("m", ["event-1"], [a_post()], [a_decision()], causes=causes)
    assert store.posts(["post-1"])["post-1"].decision_id == "decision-1"
    assert store.in_force(["post-1"])["post-1"] == recorded.decisions[0] == a_decision()
    pending = [record for _, record in catalogue.outbox_pending(10)]
    assert [(one.topic, one.key) for one in pending] == [
        (topics.DECISIONS.name, "post-1"),
        (topics.VERDICTS.name, "post-1"),
    ]
    assert all(one.headers == {"traceparent": b"00-trace-span-01"} for one in pending)
    assert decode_decision(pending[0].value or b"") == a_decision()
    verdict = decode_verdict(pending[1].value or b"")
    assert (verdict.state, verdict.decision_id, verdict.event_time) == ("enforced", "decision-1", NOW)
    assert catalogue.seen("m", ["event-1"]) == {"event-1"}


def test_the_same_call_again_changes_nothing(store: ModerationStore, catalogue: Catalogue) -> None:
    def call() -> None:
        store.record("m", ["event-1"], [a_post(words=10, profane_words=2)], [a_decision(action="demote")], [a_job()])

    call()
    before = (store.audit_head(), catalogue.outbox_size(), store.authors(["author-1"]), store.jobs_of(["post-1"]))
    call()
    after = (store.audit_head(), catalogue.outbox_size(), store.authors(["author-1"]), store.jobs_of(["post-1"]))
    assert before == after


def test_a_repeated_call_does_not_open_its_job_again_when_the_job_is_done(store: ModerationStore) -> None:
    for _ in range(2):
        store.record("m", [], [a_post()], [a_decision(action="demote")], [a_job()])
        job = store.lease("reviewer-1")
        if job is not None:
            store.decide(job.job_id, "reviewer-1", "allow", None, "it is a joke")
    assert [job.state for job in store.jobs_of(["post-1"])] == ["done"]
    assert store.in_force(["post-1"])["post-1"].action == "allow"


def test_a_decision_that_does_not_supersede_the_one_in_force_is_refused_with_all_of_its_call(
    store: ModerationStore, catalogue: Catalogue
) -> None:
    store.record("m", [], [a_post()], [a_decision("decision-1", action="allow")])
    head, size = store.audit_head(), catalogue.outbox_size()
    with pytest.raises(StaleDecision, match="post post-1: decision None is superseded by decision-1") as caught:
        store.record(
            "m",
            ["event-2"],
            [a_post("post-2")],
            [a_decision("decision-2", "post-2"), a_decision("decision-3", "post-1")],
            [a_job("post-2")],
        )
    assert isinstance(caught.value, Conflict)
    assert caught.value.post_ids == ("post-1",)
    assert store.posts(["post-2"]) == {}
    assert catalogue.seen("m", ["event-2"]) == set()
    assert (store.audit_head(), catalogue.outbox_size()) == (head, size)


def test_decisions_of_one_post_can_be_a_chain_within_a_call(store: ModerationStore) -> None:
    chain = [a_decision("decision-1", action="review"), a_decision("decision-2", supersedes="decision-1")]
    store.record("m", [], [a_post()], chain)
    assert [one.decision_id for one in store.decisions_of("post-1")] == ["decision-1", "decision-2"]
    assert store.in_force(["post-1"])["post-1"].decision_id == "decision-2"


def test_a_decision_gets_a_version_above_the_one_before_even_if_its_cause_is_older(
    store: ModerationStore, catalogue: Catalogue
) -> None:
    store.record("m", [], [a_post()], [a_decision("decision-1", version=Version(100, 5))])
    store.record("m", [], [], [a_decision("decision-2", supersedes="decision-1", version=Version(50, 0))])
    versions = [decode_verdict(value or b"").version for value in published(catalogue, topics.VERDICTS)]
    assert versions[0] < versions[1]
    assert store.in_force(["post-1"])["post-1"].version == versions[1]


@pytest.mark.parametrize("post", [None, deleted()])
def test_a_decision_about_a_post_that_is_not_there_is_refused(store: ModerationStore, post: object) -> None:
    if post is not None:
        store.record("m", [], [a_post(), deleted()])
    with pytest.raises(StaleDecision, match=r"there is no such post|it is deleted"):
        store.record("m", [], [], [a_decision()])


def test_a_decision_or_version_that_names_another_author_is_refused(store: ModerationStore) -> None:
    store.record("m", [], [a_post()])
    with pytest.raises(InvalidInput, match="does not change hands"):
        store.record("m", [], [a_post(version=2, author_id="author-2")])
    with pytest.raises(InvalidInput, match="which is by 'author-1'"):
        store.record("m", [], [], [a_decision(author_id="author-2")])


def test_a_machine_does_not_overrule_a_person_until_the_post_changes(store: ModerationStore) -> None:
    store.record("m", [], [a_post()], [a_decision(action="demote")], [a_job()])
    job = store.lease("reviewer-1")
    assert job is not None
    made = store.decide(job.job_id, "reviewer-1", "allow", None, "it is a joke").decision.decision_id
    again = a_decision("decision-2", supersedes=made)
    with pytest.raises(StaleDecision, match="a person decided"):
        store.record("m", [], [], [again])
    store.record("m", [], [], [], [a_job(kind="reopened", cause="event-9")])
    assert [job.kind for job in store.next_jobs()] == ["reopened"]
    store.record("m", [], [a_post(version=2)], [again])
    assert store.in_force(["post-1"])["post-1"].decision_id == "decision-2"


def test_a_deleted_post_loses_its_words_and_its_jobs_but_stays_known_and_restricted(
    store: ModerationStore, catalogue: Catalogue
) -> None:
    store.record("m", [], [a_post()], [a_decision()], [a_job()])
    appeal = store.open_appeal("decision-1", "author-1", "why?")
    store.record("m", ["event-2"], [deleted()])
    read = store.posts(["post-1"])["post-1"]
    assert (read.state, read.text, read.media_ids, read.links, read.item_ids) == ("deleted", "", (), (), ())
    assert (read.author_id, read.posted_at, read.decision_id) == ("author-1", NOW, "decision-1")
    [verdict] = published(catalogue, topics.VERDICTS)  # deleting gives nobody back what was taken down
    assert decode_verdict(verdict or b"").state == "enforced"
    assert {job.state for job in store.jobs_of(["post-1"])} == {"moot"}
    closed = store.appeal(appeal.appeal_id)
    assert closed is not None and closed.state == "moot"
    assert store.authors(["author-1"])["author-1"].facts.violations == 1  # deleting does not undo it


def test_verdicts_and_tombstones_ascend_when_a_post_is_deleted_and_posted_again(
    store: ModerationStore, catalogue: Catalogue
) -> None:
    store.record("m", [], [a_post()], [a_decision(version=Version(1000, 0))])
    store.record("m", [], [deleted(version=2)])
    store.record("m", [], [a_post(version=3)], [a_decision("decision-2", supersedes="decision-1")])
    versions = []
    for _, record in catalogue.outbox_pending(100):
        if record.topic == topics.VERDICTS.name:
            header = record.headers.get(VERSION_HEADER)
            versions.append(Version.from_header(header) if header else decode_verdict(record.value or b"").version)
    assert len(versions) == 2 and versions == sorted(set(versions))


def test_a_post_that_nothing_restricts_has_no_verdict_and_a_tombstone_when_it_is_deleted(
    store: ModerationStore, catalogue: Catalogue
) -> None:
    store.record("m", [], [a_post()], [a_decision(action="allow")])
    assert published(catalogue, topics.VERDICTS) == []
    store.record("m", [], [deleted()])
    assert published(catalogue, topics.VERDICTS) == [None]


def test_what_lifts_a_restriction_has_a_verdict(store: ModerationStore, catalogue: Catalogue) -> None:
    store.record("m", [], [a_post()], [a_decision(action="demote")])
    store.record("m", [], [], [a_decision("decision-2", action="allow", supersedes="decision-1")])
    states = [decode_verdict(value or b"").state for value in published(catalogue, topics.VERDICTS)]
    assert states == ["demoted", "clear"]


def test_a_deletion_that_comes_before_its_post_holds(store: ModerationStore) -> None:
    store.record("m", [], [deleted(version=2)])
    store.record("m", [], [a_post(version=1)])
    assert store.posts(["post-1"])["post-1"].state == "deleted"
    assert store.authors(["author-1"])["author-1"].facts.posts == 0


def test_jobs_that_a_newer_decision_leaves_without_sense_close(store: ModerationStore) -> None:
    store.record("m", [], [a_post()], [a_decision(action="review")], [a_job()])
    store.record("m", [], [], [a_decision("decision-2", action="allow", supersedes="decision-1")])
    [job] = store.jobs_of(["post-1"])
    assert (job.state, job.closed_because) == ("moot", "the post was decided again")


def test_a_job_that_is_wanted_again_is_refreshed_and_its_lease_kept(store: ModerationStore) -> None:
    store.record("m", [], [a_post()], [a_decision(action="review")], [a_job(priority=1.0)])
    taken = store.lease("reviewer-1")
    wanted = a_job(priority=9.0, reason="reports arrived", harm="spam")
    store.record("m", [], [], [a_decision("decision-2", action="demote", supersedes="decision-1")], [wanted])
    [job] = store.jobs_of(["post-1"])
    assert taken is not None and job.job_id == taken.job_id
    assert (job.reviewer, job.priority, job.reason, job.harm) == ("reviewer-1", 9.0, "reports arrived", "spam")
    assert job.decision_id == "decision-2"


def test_words_that_a_database_cannot_hold_are_replaced(store: ModerationStore) -> None:
    store.record("m", [], [a_post(text="zero\x00width", links=("https://x\x00",), device="\ud800")])
    read = store.posts(["post-1"])["post-1"]
    assert (read.text, read.links, read.device) == ("zero\ufffdwidth", ("https://x\ufffd",), "?")


def test_what_a_label_says_of_a_post_does_not_outlive_its_content(store: ModerationStore) -> None:
    store.record("m", [], [a_post()], [a_decision(action="demote")], [a_job()])
    job = store.lease("reviewer-1")
    assert job is not None
    store.decide(job.job_id, "reviewer-1", "enforce", "hate", "a slur")
    assert (store.posts(["post-1"])["post-1"].label, store.posts(["post-1"])["post-1"].label_harm) == (
        "enforce",
        "hate",
    )
    store.record("m", [], [a_post(version=2)])
    assert store.posts(["post-1"])["post-1"].label is None


def test_a_scan_goes_through_posts_by_time_with_what_was_last_said_of_them(store: ModerationStore) -> None:
    for number in range(7):
        name, posted = f"post-{number}", NOW + timedelta(hours=number // 2)
        told = Told(AuthorFacts(violations=3), ReactionFacts(impressions=5), {"a" * 64: ["00" * 8]})
        store.record("m", [], [a_post(name, posted_at=posted)], [a_decision(name, name)], told={name: told})
    store.record("m", [], [a_post("undecided"), a_post("gone"), deleted("gone")])
    store.add_reactions("r", [ReactionDelta("e1", "post-3", impressions=40, likes=2)])
    store.add_reports([Report("post-3", "reader-1", "hate", NOW)])
    pages, place = [], None
    while page := store.scan_posts(NOW + timedelta(hours=1), place, limit=2, until=NOW + timedelta(hours=3)):
        pages.append([post.post_id for post in page])
        place = page[-1].place
        if page[-1].post_id == "post-3":
            found = page[-1]
    assert pages == [["post-2", "post-3"], ["post-4", "post-5"]]
    assert (found.scores, found.signals) == ({"hate": 0.9, "spam": 0.1, "nudity": None}, {"profane_rate": 0.25})
    assert (found.action, found.factor, found.rules, found.actor) == ("enforce", 1.0, ["hate.enforce"], "model")
    assert (found.impressions, found.likes, found.reports, found.label) == (40, 2, 1, None)
    assert (found.text, found.links, found.media) == ("a zebra at noon", ["https://example.org/zebra"], 1)
    assert found.told.author == AuthorFacts(violations=3)
    assert found.told.phashes == {"a" * 64: ["00" * 8]}


def test_a_persons_decision_keeps_scores_reasons_and_facts_of_the_machines(store: ModerationStore) -> None:
    told = {"decision-1": Told(AuthorFacts(violations=3))}
    store.record("m", [], [a_post()], [a_decision(action="demote")], [a_job()], told=told)
    job = store.lease("reviewer-1")
    assert job is not None
    made = store.decide(job.job_id, "reviewer-1", "demote", "spam", "an advertisement", factor=0.2).decision
    assert (made.scores, made.signals) == (a_decision().scores, a_decision().signals)
    assert [reason.rule for reason in made.reasons] == ["reviewer", "hate.demote"]
    assert (made.factor, made.harm, made.note, made.automated) == (0.2, "spam", "an advertisement", False)
    [found] = store.scan_posts(NOW)
    assert (found.told.author, found.label, found.actor) == (AuthorFacts(violations=3), "demote", "reviewer")

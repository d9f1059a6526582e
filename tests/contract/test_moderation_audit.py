"""The audit log, and what erasing a person leaves, over SQLite and over a real PostgreSQL."""

import hashlib
import json
import threading
from typing import Any

import pytest
from sqlalchemy import text

from core import topics
from core.entries import Version
from core.events import UserProfile
from core.moderation import TextEvidence, decode_decision
from storage.catalogue import Catalogue
from storage.catalogue.base import Base
from storage.moderation import ModerationStore, ProfileChange, ReactionDelta, Report, Told
from storage.moderation.audit import GENESIS
from tests.moderation_records import NOW, SetClock, a_decision, a_job, a_post, deleted
from tests.moderation_store import catalogue, clock, migrated_database, migrated_file, postgres_server, published, store

__all__ = ["catalogue", "clock", "migrated_database", "migrated_file", "postgres_server", "store"]

SECRET = "Zebra-Anna"  # what must be nowhere once she is erased
QUOTE = TextEvidence(harm="hate", start=0, end=10, quote=SECRET, weight=0.5)


@pytest.fixture
def history(store: ModerationStore) -> ModerationStore:
    """Moderation with a past: ten posts, reviews, an appeal, reports, a list, a sweep."""
    for number in range(10):
        name = f"post-{number}"
        store.record("m", [], [a_post(name)], [a_decision(name, name, action="demote")], [a_job(name)])
    store.add_reports([Report("post-1", "reader-1", "hate", NOW)])
    job = store.lease("reviewer-1")
    assert job is not None
    made = store.decide(job.job_id, "reviewer-1", "enforce", "hate", "a slur").decision
    store.open_appeal(made.decision_id, "author-1", "why?")
    store.add_known("terror", ["0" * 16], "violence", "admin-1")
    store.put_policy("policy-1", "classes: {}")
    return store


def changed(catalogue: Catalogue, statement: str, **values: Any) -> None:
    with catalogue.database.writing() as connection:
        assert connection.execute(text(statement), values).rowcount > 0


# --- the chain -------------------------------------------------------------------------------------------------------


def test_an_empty_log_is_whole(store: ModerationStore) -> None:
    checked = store.verify_audit()
    assert (checked.ok, checked.entries, checked.head.seq, checked.head.hash) == (True, 0, 0, GENESIS)
    assert store.verify_audit(head=GENESIS).ok


def test_every_change_is_in_the_log_and_the_log_is_whole(history: ModerationStore) -> None:
    actions = [entry.action for entry in reversed(history.audit_entries(limit=1000))]
    assert actions[:3] == ["posts.recorded", "decision.made", "job.opened"]
    assert actions[30:] == [
        "post.reported",
        "job.leased",
        "decision.made",
        "job.decided",
        "appeal.opened",
        "known-harm.added",
        "policy.seen",
    ]
    checked = history.verify_audit()
    assert (checked.ok, checked.entries, checked.why) == (True, len(actions), "")
    assert checked.head == history.audit_head()
    assert [entry.seq for entry in history.audit_entries("post-1")] == [31, 6, 5]


def test_a_log_that_grows_while_it_is_checked_is_whole(history: ModerationStore) -> None:
    stop, broken = threading.Event(), []

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                history.record("m", [], [a_post(f"new-{number}")], [a_decision(f"new-{number}", f"new-{number}")])
            except BaseException as error:
                broken.append(error)
                return

    writer = threading.Thread(target=write)
    writer.start()
    checks = [history.verify_audit() for _ in range(20)]
    stop.set()
    writer.join()
    assert broken == []
    assert {check.why for check in checks} == {""}
    assert checks[-1].entries > checks[0].entries


def test_anybody_can_compute_the_hashes_without_this_code(history: ModerationStore) -> None:
    previous = "0" * 64
    for entry in reversed(history.audit_entries(limit=1000)):
        fields = [entry.seq, entry.at, entry.actor, entry.action, entry.subject, entry.payload, previous]
        line = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
        previous = hashlib.sha256(line.encode()).hexdigest()
        assert entry.hash == previous


def test_calls_that_change_nothing_leave_no_entry(history: ModerationStore) -> None:
    head = history.audit_head()
    history.add_known("terror", ["0" * 16], "violence", "admin-1")
    history.remove_known("terror", ["1" * 16], "admin-1")
    history.put_policy("policy-1", "classes: {}")
    history.add_reports([Report("post-1", "reader-1", "hate", NOW)])
    history.erase_user("nobody")
    history.record("m", ["e"], [a_post("post-1")], [a_decision("post-1", "post-1", action="demote")])
    assert history.audit_head() == head


@pytest.mark.parametrize(
    ("statement", "broken", "why"),
    [
        ("UPDATE audit_log SET payload = '{}' WHERE seq = 12", 12, "does not match its hash: it was changed"),
        ("UPDATE audit_log SET actor = 'model' WHERE seq = 33", 33, "it was changed"),
        ("UPDATE audit_log SET at = '2020-01-01T00:00:00.000000+00:00' WHERE seq = 1", 1, "it was changed"),
        ("UPDATE audit_log SET hash = prev_hash WHERE seq = 12", 12, "it was changed"),
        ("DELETE FROM audit_log WHERE seq = 12", 12, "entry 12 is missing: 13 follows 11"),
        ("DELETE FROM audit_log WHERE seq < 5", 1, "entry 1 is missing"),
        ("UPDATE audit_log SET seq = 13 - seq + 1000 WHERE seq IN (6, 7)", 6, "entry 6 is missing"),
        ("UPDATE decisions SET action = 'allow' WHERE decision_id = 'post-4'", 14, "its columns do not say"),
        (
            "UPDATE decisions SET words = '{\"author_id\":\"x\"}' WHERE decision_id = 'post-4'",
            14,
            "its author, evidence",
        ),
        ("DELETE FROM decisions WHERE decision_id = 'post-4'", 14, "is gone"),
    ],
)
def test_tampering_is_found_where_it_was_done(
    history: ModerationStore, catalogue: Catalogue, statement: str, broken: int, why: str
) -> None:
    if "words" in statement and catalogue.database.dialect == "postgresql":
        statement = statement.replace("'{", "convert_to('{").replace("}' ", "}', 'UTF8') ")
    changed(catalogue, statement)
    checked = history.verify_audit()
    assert (checked.ok, checked.broken) == (False, broken)
    assert why in checked.why


def test_entries_that_changed_places_are_found(history: ModerationStore, catalogue: Catalogue) -> None:
    for old, new in ((7, 1000), (8, 7), (1000, 8)):
        changed(catalogue, "UPDATE audit_log SET seq = :new WHERE seq = :old", old=old, new=new)
    checked = history.verify_audit()
    assert (checked.ok, checked.broken) == (False, 7)


def test_a_decision_that_the_log_does_not_tell_of_is_found(history: ModerationStore, catalogue: Catalogue) -> None:
    changed(
        catalogue,
        "INSERT INTO decisions SELECT 'smuggled', post_id, author_id, action, harm, factor, actor, actor_id, "
        "policy_version, model_version, version_time_us, version_seq, of_time_us, of_seq, supersedes, decided_at, "
        "scan, body, words, erased_by FROM decisions WHERE decision_id = 'post-4'",
    )
    checked = history.verify_audit()
    assert not checked.ok and "there are 12 decisions, and the log tells of 11" in checked.why


def test_entries_cut_off_at_the_end_are_found_by_a_head_kept_elsewhere(
    history: ModerationStore, catalogue: Catalogue
) -> None:
    kept = history.audit_head().hash
    changed(catalogue, "DELETE FROM audit_log WHERE seq > 35")
    assert history.verify_audit().ok  # the chain itself cannot tell
    checked = history.verify_audit(head=kept)
    assert not checked.ok and kept in checked.why and "taken away" in checked.why


def test_an_older_head_stays_true_while_the_log_grows(history: ModerationStore) -> None:
    kept = history.audit_head().hash
    history.add_known("terror", ["1" * 16], "violence", "admin-1")
    assert history.verify_audit(head=kept).ok


def test_a_log_that_was_written_anew_is_found_by_a_head_kept_elsewhere(
    history: ModerationStore, catalogue: Catalogue
) -> None:
    kept = history.audit_head().hash
    previous = ""
    for entry in reversed(history.audit_entries(limit=1000)):
        subject = "post-99" if entry.seq == 31 else entry.subject
        previous = previous or entry.prev_hash
        fields = [entry.seq, entry.at, entry.actor, entry.action, subject, entry.payload, previous]
        line = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
        values = {
            "seq": entry.seq,
            "subject": subject,
            "before": previous,
            "hash": hashlib.sha256(line.encode()).hexdigest(),
        }
        changed(
            catalogue, "UPDATE audit_log SET subject=:subject, prev_hash=:before, hash=:hash WHERE seq=:seq", **values
        )
        previous = values["hash"]
    assert history.verify_audit().ok
    assert not history.verify_audit(head=kept).ok


# --- erasure ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def annas(store: ModerationStore, clock: SetClock) -> ModerationStore:
    """Everything the store can know of Anna."""
    store.apply_profiles("p", [ProfileChange("e1", Version(1, 0), UserProfile(user_id=SECRET, city=SECRET))])
    anna = {"author_id": SECRET}
    post = a_post("annas", text=SECRET, device=SECRET, links=(SECRET,), **anna)
    decision = a_decision("on-anna", "annas", evidence=[QUOTE], **anna)
    told = {"on-anna": Told(store.authors([SECRET])[SECRET].facts)}
    store.record("m", [], [post, a_post("other", author_id="author-2")], [decision], [a_job("annas")], told=told)
    job = store.lease("reviewer-1")
    assert job is not None
    made = store.decide(job.job_id, "reviewer-1", "enforce", "hate", f"{SECRET} says so").decision
    store.open_appeal(made.decision_id, SECRET, f"I am {SECRET}")
    store.add_reports([Report("other", SECRET, "spam", NOW, "e2", f"says {SECRET}", (SECRET,))])
    store.add_reactions("r", [ReactionDelta("e3", "other", comments=1, comment=f"by {SECRET}", user_id=SECRET)])
    return store


def everything(catalogue: Catalogue) -> str:
    found = []
    with catalogue.database.reading() as connection:
        for table in Base.metadata.sorted_tables:
            for row in connection.execute(table.select()):
                found += [bytes(v).decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in row]
    return "\n".join(found)


def test_of_an_erased_person_nothing_is_left_and_the_chain_holds(annas: ModerationStore, catalogue: Catalogue) -> None:
    assert everything(catalogue).count(SECRET) > 10
    erased = annas.erase_user(SECRET, consumer="u", event_ids=["erasure-1"])
    assert (erased.posts, erased.decisions) == (1, 2)
    assert SECRET not in everything(catalogue)
    assert annas.verify_audit().ok
    assert catalogue.seen("u", ["erasure-1"]) == {"erasure-1"}


def test_decisions_about_an_erased_person_stay_under_a_pseudonym(annas: ModerationStore, catalogue: Catalogue) -> None:
    before = annas.decisions_of("annas")
    pseudonym = annas.erase_user(SECRET).pseudonym
    after = annas.decisions_of("annas")
    assert [one.author_id for one in after] == [pseudonym, pseudonym]
    assert [(one.action, one.reasons, one.scores) for one in after] == [
        (one.action, one.reasons, one.scores) for one in before
    ]
    assert [(one.evidence, one.note) for one in after] == [([], ""), ([], "")]
    assert [strike.post_id for strike in annas.authors([pseudonym])[pseudonym].strikes] == ["annas"]
    assert annas.authors([SECRET])[SECRET].facts.posts == 0
    post = annas.posts(["annas"])["annas"]
    assert (post.state, post.author_id, post.text) == ("deleted", pseudonym, "")
    assert published(catalogue, topics.VERDICTS)[-1] is None
    sent = [decode_decision(value or b"") for value in published(catalogue, topics.DECISIONS)]
    assert {one.author_id for one in sent if one.post_id == "annas"} == {""}


def test_reports_and_appeals_of_an_erased_person_stay_without_their_words(annas: ModerationStore) -> None:
    made = annas.in_force(["annas"])["annas"]
    pseudonym = annas.erase_user(SECRET).pseudonym
    [report] = annas.reports_of(["other"])["other"]
    assert (report.reporter_id, report.note) == (pseudonym, "")
    [appeal] = annas.appeals_of(made.decision_id)
    assert (appeal.author_id, appeal.text, appeal.state) == (pseudonym, "", "moot")
    assert annas.reactions(["other"])["other"].comment_texts == ()
    assert annas.reactions(["other"])["other"].comments == 1
    assert annas.next_jobs() == []


def test_what_an_erased_person_posted_before_does_not_come_back_with_a_replay(annas: ModerationStore) -> None:
    annas.erase_user(SECRET)
    annas.record("m", [], [a_post("annas", 5, text=SECRET, author_id=SECRET)])
    assert annas.posts(["annas"])["annas"].text == ""
    assert annas.erase_user(SECRET).posts == 0


def test_the_tombstone_of_a_post_that_was_deleted_before_is_still_sent(
    annas: ModerationStore, catalogue: Catalogue
) -> None:
    annas.record("m", [], [deleted("annas", 2)])
    annas.erase_user(SECRET)
    assert published(catalogue, topics.VERDICTS) == [None]
    assert annas.posts(["annas"])["annas"].author_id.startswith("erased-")


def test_a_decision_that_only_claims_to_be_erased_is_found(annas: ModerationStore, catalogue: Catalogue) -> None:
    changed(catalogue, "UPDATE decisions SET words = scan, erased_by = 3 WHERE decision_id = 'on-anna'")
    checked = annas.verify_audit()
    assert not checked.ok and "its author, evidence or note" in checked.why


def test_an_author_without_decisions_is_erased_too(store: ModerationStore) -> None:
    store.apply_profiles("p", [ProfileChange("e1", Version(1, 0), UserProfile(user_id="anna", city="Ulm"))])
    assert store.erase_user("anna").pseudonym.startswith("erased-")
    assert store.authors(["anna"])["anna"].facts.city is None
    assert store.erase_user("anna").pseudonym == ""

"""Review jobs, leases, people's decisions and appeals, over SQLite and over a real PostgreSQL."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from core import topics
from core.errors import Conflict, Forbidden, InvalidInput, NotFound
from core.moderation import HARM_CLASSES, decode_label, decode_verdict
from models.moderation.policy.case import in_force_of
from storage.catalogue import Catalogue
from storage.moderation import Appeal, ModerationStore, Report, Reviewed, ReviewJob
from tests.moderation_records import NOW, SetClock, a_decision, a_job, a_post, deleted
from tests.moderation_store import catalogue, clock, migrated_database, migrated_file, postgres_server, published, store

__all__ = ["catalogue", "clock", "migrated_database", "migrated_file", "postgres_server", "store"]


def a_queue(store: ModerationStore, *priorities: float) -> None:
    """Record a demoted post with a job for each priority: post-0, post-1, …"""
    numbers = range(len(priorities))
    store.record(
        "m",
        [],
        [a_post(f"post-{n}") for n in numbers],
        [a_decision(f"decision-{n}", f"post-{n}", action="demote") for n in numbers],
        [a_job(f"post-{n}", priorities[n]) for n in numbers],
    )


def taken(store: ModerationStore, reviewer: str = "reviewer-1", **which: object) -> ReviewJob:
    job = store.lease(reviewer, **which)  # type: ignore[arg-type]
    assert job is not None
    return job


def an_enforced_post(store: ModerationStore, reviewer: str = "reviewer-1") -> Reviewed:
    """Let a person enforce post-0."""
    a_queue(store, 1.0)
    return store.decide(taken(store, reviewer).job_id, reviewer, "enforce", "hate", "a slur")


# --- the queue -------------------------------------------------------------------------------------------------------


def test_jobs_come_by_priority_and_then_by_age(store: ModerationStore, clock: SetClock) -> None:
    a_queue(store, 1.0, 5.0, 3.0)
    clock.pass_(minutes=1)
    store.record("m", [], [a_post("late")], [a_decision("late", "late", action="review")], [a_job("late", 5.0)])
    assert [job.post_id for job in store.next_jobs()] == ["post-1", "late", "post-2", "post-0"]
    assert [job.post_id for job in store.next_jobs(limit=2)] == ["post-1", "late"]
    assert store.oldest_job() == NOW


def test_the_queue_can_be_asked_for_one_harm_or_kind(store: ModerationStore) -> None:
    a_queue(store, 1.0, 2.0)
    store.record("m", [], [], [], [a_job("post-0", 9.0, kind="sample", harm=None, sample_rate=0.01, cause="e1")])
    store.record("m", [], [], [], [a_job("post-1", 9.0, kind="reopened", harm="spam", cause="e2")])
    assert [job.post_id for job in store.next_jobs(harm="spam")] == ["post-1"]
    assert [job.post_id for job in store.next_jobs(kind="sample")] == ["post-0"]
    assert store.next_jobs(reason="nobody's") == []
    assert store.next_jobs(reason=store.next_jobs()[0].reason) != []
    assert taken(store, kind="sample").sample_rate == 0.01
    assert taken(store, harm="spam").kind == "reopened"
    assert store.count_jobs() == {
        ("decision", "open"): 2,
        ("sample", "leased"): 1,
        ("reopened", "leased"): 1,
    }


def test_the_same_cause_opens_one_job(store: ModerationStore) -> None:
    a_queue(store, 1.0)
    sample = a_job("post-0", 1.0, kind="sample", cause="impression-1")
    for _ in range(2):
        store.record("m", [], [], [], [sample])
    job = taken(store, kind="sample")
    store.decide(job.job_id, "reviewer-1", "allow", None, "harmless")
    store.record("m", [], [], [], [sample])
    assert [one.state for one in store.jobs_of(["post-0"]) if one.kind == "sample"] == ["done"]


# --- leases ----------------------------------------------------------------------------------------------------------


def test_a_leased_job_is_its_reviewers_until_the_lease_runs_out(store: ModerationStore, clock: SetClock) -> None:
    a_queue(store, 1.0)
    job = taken(store, minutes=15)
    assert (job.state, job.reviewer, job.leased_until) == ("leased", "reviewer-1", NOW + timedelta(minutes=15))
    assert store.next_jobs() == [] and store.lease("reviewer-2") is None
    with pytest.raises(Conflict, match="with another reviewer until 10:15:00 UTC"):
        store.lease("reviewer-2", job.job_id)
    clock.pass_(minutes=15)
    assert [one.job_id for one in store.next_jobs()] == [job.job_id]
    assert taken(store, "reviewer-2").reviewer == "reviewer-2"
    with pytest.raises(Conflict):
        store.decide(job.job_id, "reviewer-1", "allow", None, "harmless")


def test_a_reviewer_extends_a_lease_by_taking_the_job_again(store: ModerationStore, clock: SetClock) -> None:
    a_queue(store, 1.0)
    job = taken(store)
    clock.pass_(minutes=10)
    assert taken(store, job_id=job.job_id).leased_until == NOW + timedelta(minutes=25)
    clock.pass_(minutes=10)
    store.decide(job.job_id, "reviewer-1", "allow", None, "harmless")


def test_who_holds_what_is_told_while_they_hold_it(store: ModerationStore, clock: SetClock) -> None:
    a_queue(store, 3.0, 2.0, 1.0)
    longer, shorter = taken(store, "ada", minutes=20.0), taken(store, "ben", minutes=10.0)
    assert store.held_jobs() == [shorter, longer]
    clock.pass_(minutes=10)
    assert store.held_jobs() == [longer]
    store.release(longer.job_id, "ada")
    assert store.held_jobs() == []


def test_a_released_job_is_free(store: ModerationStore) -> None:
    a_queue(store, 1.0)
    job = taken(store)
    with pytest.raises(Conflict, match="with another reviewer"):
        store.release(job.job_id, "reviewer-2")
    assert store.release(job.job_id, "reviewer-1").state == "open"
    assert taken(store, "reviewer-2").job_id == job.job_id
    with pytest.raises(Conflict):
        store.release(job.job_id, "reviewer-1")


def test_a_job_that_is_not_there_is_not_found(store: ModerationStore) -> None:
    for call in (
        lambda: store.lease("reviewer-1", "nothing"),
        lambda: store.release("nothing", "reviewer-1"),
        lambda: store.decide("nothing", "reviewer-1", "allow", None, "harmless"),
    ):
        with pytest.raises(NotFound, match="there is no review job 'nothing'"):
            call()
    with pytest.raises(InvalidInput, match="needs an id"):
        store.lease("")


def test_nobody_reviews_their_own_post_or_one_they_reported(store: ModerationStore) -> None:
    a_queue(store, 2.0, 1.0)
    store.add_reports([Report("post-0", "reader-1", "hate", NOW)])
    [first, _] = store.next_jobs()
    with pytest.raises(Forbidden, match="their own post"):
        store.lease("author-1", first.job_id)
    with pytest.raises(Forbidden, match="they reported the post"):
        store.lease("reader-1", first.job_id)
    assert taken(store, "reader-1").post_id == "post-1"  # the next one that is for them
    assert store.lease("author-1") is None


# --- decisions -------------------------------------------------------------------------------------------------------


def test_a_persons_decision_is_in_force_and_published_with_a_label(
    store: ModerationStore, catalogue: Catalogue
) -> None:
    made = an_enforced_post(store)
    assert made.job.state == "done" and made.job.outcome_id == made.decision.decision_id
    assert store.in_force(["post-0"])["post-0"] == made.decision
    assert (made.decision.actor, made.decision.actor_id, made.decision.supersedes) == (
        "reviewer",
        "reviewer-1",
        "decision-0",
    )
    verdict = decode_verdict(published(catalogue, topics.VERDICTS)[-1] or b"")
    assert (verdict.state, verdict.decision_id) == ("enforced", made.decision.decision_id)
    [label] = [decode_label(value or b"") for value in published(catalogue, topics.LABELS)]
    assert store.labels_of("post-0") == store.scan_labels(NOW) == [label]
    assert (label.source, label.harms, label.action, label.before) == ("review", {"hate": True}, "enforce", "demote")
    assert (label.reviewer_id, label.language, label.scores) == ("reviewer-1", "en", a_decision().scores)


def test_a_reversal_takes_the_verdict_and_the_strike_back(store: ModerationStore, catalogue: Catalogue) -> None:
    store.record("m", [], [a_post()], [a_decision()], [a_job()])
    assert store.authors(["author-1"])["author-1"].facts.violations == 1
    store.decide(taken(store).job_id, "reviewer-1", "allow", "hate", "a quote in a news report")
    assert decode_verdict(published(catalogue, topics.VERDICTS)[-1] or b"").state == "clear"
    assert store.authors(["author-1"])["author-1"].strikes == ()
    [label] = store.labels_of("post-1")
    assert label.harms == dict.fromkeys(HARM_CLASSES, False) and label.harm is None


@pytest.mark.parametrize(
    ("action", "harm", "reason", "factor", "message"),
    [
        ("enforce", "hate", " \n", 0.5, "needs a reason"),
        ("enforce", "hate", "x" * 5001, 0.5, "needs a reason"),
        ("review", "hate", "look", 0.5, "allows, demotes or enforces"),
        ("nonsense", "hate", "look", 0.5, "allows, demotes or enforces"),
        ("enforce", None, "look", 0.5, "needs a harm"),
        ("demote", "rudeness", "look", 0.5, "needs a harm"),
        ("demote", "hate", "look", 0.0, "factor"),
    ],
)
def test_a_decision_that_says_too_little_is_refused_and_the_job_stays(
    store: ModerationStore, action: str, harm: object, reason: str, factor: float, message: str
) -> None:
    a_queue(store, 1.0)
    job = taken(store)
    with pytest.raises(InvalidInput, match=message):
        store.decide(job.job_id, "reviewer-1", action, harm, reason, factor=factor)  # type: ignore[arg-type]
    assert store.job(job.job_id) == job


def test_the_same_decision_again_answers_the_same_and_another_is_a_conflict(
    store: ModerationStore, catalogue: Catalogue
) -> None:
    made = an_enforced_post(store)
    head, size = store.audit_head(), catalogue.outbox_size()
    assert store.decide(made.job.job_id, "reviewer-1", "enforce", "hate", " a slur ") == made
    for reviewer, action, reason in (
        ("reviewer-2", "enforce", "a slur"),
        ("reviewer-1", "allow", "a slur"),
        ("reviewer-1", "enforce", "another reason"),
    ):
        with pytest.raises(Conflict, match="was decided already"):
            store.decide(made.job.job_id, reviewer, action, "hate", reason)
    assert (store.audit_head(), catalogue.outbox_size()) == (head, size)


def test_a_job_nobody_took_cannot_be_decided(store: ModerationStore) -> None:
    a_queue(store, 1.0)
    [job] = store.next_jobs()
    with pytest.raises(Conflict, match="does not hold"):
        store.decide(job.job_id, "reviewer-1", "allow", None, "harmless")


def test_a_post_that_changed_under_review_has_to_be_looked_at_again(store: ModerationStore) -> None:
    a_queue(store, 1.0)
    job = taken(store)
    store.record("m", [], [a_post("post-0", 2, text="something else")])
    with pytest.raises(Conflict, match="has changed since reviewer-1 took job"):
        store.decide(job.job_id, "reviewer-1", "allow", None, "harmless")
    taken(store, job_id=job.job_id)  # to extend the lease is not to look again
    with pytest.raises(Conflict, match="release it and look again"):
        store.decide(job.job_id, "reviewer-1", "allow", None, "harmless")
    store.release(job.job_id, "reviewer-1")
    taken(store)
    store.decide(job.job_id, "reviewer-1", "allow", None, "harmless")


def test_a_decision_closes_the_posts_other_jobs_and_answers_its_sample(
    store: ModerationStore, catalogue: Catalogue
) -> None:
    a_queue(store, 1.0)
    store.record("m", [], [], [], [a_job("post-0", 0.0, kind="sample", cause="e1", sample_rate=0.001)])
    job = taken(store, kind="decision")
    store.decide(job.job_id, "reviewer-1", "enforce", "hate", "a slur")
    assert {one.kind: one.state for one in store.jobs_of(["post-0"])} == {"decision": "done", "sample": "done"}
    labels = {label.source: label for label in store.labels_of("post-0")}
    assert labels["sample"].sample_rate == 0.001 and labels["review"].sample_rate is None
    assert len(published(catalogue, topics.LABELS)) == 2


def test_of_reviewers_who_decide_at_once_exactly_one_wins(store: ModerationStore, clock: SetClock) -> None:
    a_queue(store, 1.0)
    job = taken(store, "reviewer-0")
    clock.pass_(hours=1)  # the lease has run out: everybody may take it
    reviewers = [f"reviewer-{n}" for n in range(8)]
    barrier, won, lost, broken = threading.Barrier(len(reviewers)), [], [], []

    def work(reviewer: str) -> None:
        barrier.wait()
        try:
            store.lease(reviewer, job.job_id)
            won.append(store.decide(job.job_id, reviewer, "allow", None, f"says {reviewer}"))
        except Conflict:
            lost.append(reviewer)
        except BaseException as error:
            broken.append(error)

    threads = [threading.Thread(target=work, args=(reviewer,)) for reviewer in reviewers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert broken == []
    assert (len(won), len(lost)) == (1, len(reviewers) - 1)
    assert store.in_force(["post-0"])["post-0"] == won[0].decision
    assert store.verify_audit().ok


def test_of_machines_that_decide_at_once_exactly_one_wins_and_the_chain_holds(store: ModerationStore) -> None:
    store.record("m", [], [a_post()], [a_decision("first", action="allow")])
    barrier, won, lost, broken = threading.Barrier(6), [], [], []

    def work(number: int) -> None:
        barrier.wait()
        try:
            store.record("m", [], [], [a_decision(f"decision-{number}", supersedes="first")])
            won.append(number)
        except Conflict:
            lost.append(number)
        except BaseException as error:
            broken.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (broken, len(won), len(lost)) == ([], 1, 5)
    assert [one.decision_id for one in store.decisions_of("post-1")] == ["first", f"decision-{won[0]}"]
    assert store.verify_audit().ok


# --- appeals ---------------------------------------------------------------------------------------------------------


def appealed(store: ModerationStore, decision_id: str, text: str = "it is a quote") -> Appeal:
    return store.open_appeal(decision_id, "author-1", text, within_days=30, priority=7.0)


def test_an_appeal_is_heard_by_another_reviewer_and_a_reversal_undoes_everything(
    store: ModerationStore, catalogue: Catalogue
) -> None:
    made = an_enforced_post(store, "reviewer-1").decision
    opened = appealed(store, made.decision_id)
    assert opened.state == "open"
    [job] = store.next_jobs()
    assert (job.kind, job.appeal_id, job.priority, job.harm) == ("appeal", opened.appeal_id, 7.0, "hate")
    assert store.lease("reviewer-1") is None
    with pytest.raises(Forbidden, match="against their own decision"):
        store.lease("reviewer-1", job.job_id)
    taken(store, "reviewer-2")
    heard = store.decide(job.job_id, "reviewer-2", "allow", None, "it is a quote indeed")
    assert heard.appeal is not None
    assert (heard.appeal.state, heard.appeal.reviewer) == ("reversed", "reviewer-2")
    assert heard.appeal.outcome_id == heard.decision.decision_id
    assert store.appeal(opened.appeal_id) == heard.appeal
    assert heard.decision.actor == "appeal"
    assert store.authors(["author-1"])["author-1"].facts.violations == 0
    assert decode_verdict(published(catalogue, topics.VERDICTS)[-1] or b"").state == "clear"
    assert [label.source for label in store.labels_of("post-0")] == ["review", "appeal"]
    assert store.decide(job.job_id, "reviewer-2", "allow", None, "it is a quote indeed") == heard
    assert store.count_appeals() == {"reversed": 1}


def test_an_appeal_that_is_upheld_is_final(store: ModerationStore) -> None:
    made = an_enforced_post(store).decision
    opened = appealed(store, made.decision_id)
    heard = store.decide(taken(store, "reviewer-2").job_id, "reviewer-2", "enforce", "hate", "it is no quote")
    assert heard.appeal is not None and heard.appeal.state == "upheld"
    with pytest.raises(Conflict, match="is final"):
        appealed(store, heard.decision.decision_id)
    with pytest.raises(Conflict, match="was appealed already"):
        appealed(store, made.decision_id)
    assert [one.appeal_id for one in store.appeals_of(made.decision_id)] == [opened.appeal_id]
    assert store.authors(["author-1"])["author-1"].facts.violations == 1


def test_a_milder_restriction_counts_as_a_reversal(store: ModerationStore) -> None:
    appealed(store, an_enforced_post(store).decision.decision_id)
    job = taken(store, "reviewer-2")
    heard = store.decide(job.job_id, "reviewer-2", "demote", "hate", "rude, not more", factor=0.4)
    assert heard.appeal is not None and heard.appeal.state == "reversed"
    assert store.authors(["author-1"])["author-1"].facts.violations == 0


def test_one_appeal_a_decision_is_open_and_the_same_again_answers_the_same(store: ModerationStore) -> None:
    made = an_enforced_post(store).decision
    opened = appealed(store, made.decision_id)
    head = store.audit_head()
    for _ in range(3):
        assert appealed(store, made.decision_id) == opened
    with pytest.raises(Conflict, match="has an open appeal"):
        appealed(store, made.decision_id, "another text")
    assert store.audit_head() == head
    assert [job.kind for job in store.next_jobs()] == ["appeal"]


def test_only_the_author_appeals_only_what_restricts_and_only_in_time(store: ModerationStore, clock: SetClock) -> None:
    made = an_enforced_post(store).decision
    with pytest.raises(NotFound):
        appealed(store, "nothing")
    with pytest.raises(Forbidden, match="only the author"):
        store.open_appeal(made.decision_id, "reader-1", "unfair")
    for text in (" ", "x" * 5001):
        with pytest.raises(InvalidInput, match="characters of text"):
            appealed(store, made.decision_id, text)
    with pytest.raises(Conflict, match="is not in force any more"):
        appealed(store, "decision-0")
    store.record("m", [], [a_post("fine")], [a_decision("fine", "fine", action="review")])
    with pytest.raises(InvalidInput, match="restricts nothing"):
        appealed(store, "fine")
    clock.pass_(days=30, seconds=1)
    with pytest.raises(InvalidInput, match="possible for 30 days"):
        appealed(store, made.decision_id)


def test_an_appeal_goes_on_against_what_the_machine_decides_since(store: ModerationStore) -> None:
    store.record("m", [], [a_post()], [a_decision(action="demote")])
    opened = appealed(store, "decision-1")
    store.record("m", [], [], [a_decision("decision-2", supersedes="decision-1")])
    assert [(job.kind, job.decision_id) for job in store.next_jobs()] == [("appeal", "decision-2")]
    with pytest.raises(Conflict, match="has an open appeal"):
        appealed(store, "decision-2")
    store.record("m", [], [], [a_decision("decision-3", action="allow", supersedes="decision-2")])
    closed = store.appeal(opened.appeal_id)
    assert closed is not None and closed.state == "moot"
    assert store.next_jobs() == []


def test_a_person_who_takes_back_the_restriction_for_another_reason_settles_the_appeal(
    store: ModerationStore,
) -> None:
    store.record("m", [], [a_post()], [a_decision()], [a_job()])
    opened = appealed(store, "decision-1")
    store.decide(taken(store, kind="decision").job_id, "reviewer-1", "allow", None, "harmless")
    closed = store.appeal(opened.appeal_id)
    assert closed is not None and closed.state == "reversed"
    assert {job.kind: job.state for job in store.jobs_of(["post-1"])} == {"decision": "done", "appeal": "moot"}


def test_who_confirms_a_decision_for_another_reason_does_not_hear_its_appeal(store: ModerationStore) -> None:
    store.record("m", [], [a_post()], [a_decision()], [a_job()])
    opened = appealed(store, "decision-1")
    hearing, other = taken(store, kind="appeal"), taken(store, kind="decision")
    store.decide(other.job_id, "reviewer-1", "enforce", "hate", "a slur")
    with pytest.raises(Forbidden, match="not for reviewer-1 any more"):
        store.decide(hearing.job_id, "reviewer-1", "enforce", "hate", "a slur")
    store.release(hearing.job_id, "reviewer-1")
    heard = store.decide(taken(store, "reviewer-2").job_id, "reviewer-2", "allow", None, "a quote")
    assert heard.appeal is not None
    assert heard.appeal == replace(
        opened, state="reversed", closed_at=NOW, reviewer="reviewer-2", outcome_id=heard.decision.decision_id
    )


def test_the_appeal_of_a_deleted_post_is_moot_and_cannot_be_repeated(store: ModerationStore) -> None:
    made = an_enforced_post(store).decision
    opened = appealed(store, made.decision_id)
    store.record("m", [], [deleted("post-0")])
    closed = store.appeal(opened.appeal_id)
    assert closed is not None and closed.state == "moot"
    with pytest.raises(Conflict):
        appealed(store, made.decision_id)


# --- looking again ---------------------------------------------------------------------------------------------------


def test_what_reopened_a_job_is_known_to_the_person_who_decides_it(store: ModerationStore) -> None:
    reviewed = an_enforced_post(store)
    assert in_force_of(reviewed.decision).seen_lists == ()
    again = a_job("post-0", 1.0, kind="reopened", reason="known-harm.terror", harm="violence", cause="report-7")
    store.record("m", [], [], [], [again])
    job = taken(store, "reviewer-2", kind="reopened")
    decision = store.decide(job.job_id, "reviewer-2", "allow", None, "a news report").decision
    found = next(reason for reason in decision.reasons if reason.rule == "known-harm.terror")
    assert (found.action, found.harm) == ("review", "violence")
    assert in_force_of(decision).seen_lists == ("terror",)  # so the same hit does not ask for a third look

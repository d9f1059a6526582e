"""Known harm, policies and sweeps, over SQLite and over a real PostgreSQL."""

import pytest

from core import topics
from core.errors import Conflict, InvalidInput, NotFound
from core.moderation import Action, decode_verdict
from storage.catalogue import Catalogue
from storage.moderation import KnownChange, ModerationStore
from tests.moderation_records import NOW, SetClock, a_decision, a_job, a_post, deleted
from tests.moderation_store import catalogue, clock, migrated_database, migrated_file, postgres_server, published, store

__all__ = ["catalogue", "clock", "migrated_database", "migrated_file", "postgres_server", "store"]


def a_hash(number: int) -> str:
    return f"{number:016x}"


# --- known harm ------------------------------------------------------------------------------------------------------


def test_a_follower_sees_every_change_once_and_in_order(store: ModerationStore) -> None:
    assert store.add_known("terror", [a_hash(1), a_hash(2)], "violence", "admin-1") == 2
    assert store.known_since(0) == [
        KnownChange(1, "terror", a_hash(1), "violence", False),
        KnownChange(2, "terror", a_hash(2), "violence", False),
    ]
    assert store.remove_known("terror", [a_hash(1), a_hash(9)], "admin-1") == 1
    assert store.known_since(2) == [KnownChange(3, "terror", a_hash(1), "violence", True)]
    assert store.add_known("terror", [a_hash(1)], "nudity", "admin-2") == 1
    assert store.known_since(3) == [KnownChange(4, "terror", a_hash(1), "nudity", False)]
    assert store.known_since(4) == []
    assert [change.seq for change in store.known_since(0, limit=1)] == [2]  # what changed twice is told once
    assert store.count_known() == {"terror": 2}


def test_adding_what_is_there_and_removing_what_is_not_change_nothing(store: ModerationStore) -> None:
    store.add_known("terror", [a_hash(1)], "violence", "admin-1")
    assert store.add_known("terror", [a_hash(1), a_hash(1).upper()], "violence", "admin-2") == 0
    assert store.remove_known("other", [a_hash(1)], "admin-1") == 0
    assert [(one.added_by, one.removed_at) for one in store.known([a_hash(1)])] == [("admin-1", None)]


def test_lists_are_apart_and_a_removed_entry_is_remembered(store: ModerationStore) -> None:
    store.add_known("a", [a_hash(1)], "violence", "admin-1")
    store.add_known("b", [a_hash(1)], "hate", "admin-1")
    store.remove_known("a", [a_hash(1)], "admin-1")
    assert [(one.list_name, one.harm, one.removed_at) for one in store.known([a_hash(1)])] == [
        ("b", "hate", None),
        ("a", "violence", NOW),
    ]
    assert store.count_known() == {"b": 1}


@pytest.mark.parametrize("wrong", ["", "0" * 15, "0" * 17, "z" * 16, "0x" + "0" * 14, "０" * 16])
def test_what_is_no_hash_is_refused_with_its_whole_call(store: ModerationStore, wrong: str) -> None:
    with pytest.raises(InvalidInput, match="is not a 64-bit hash in 16 hex characters"):
        store.add_known("terror", [a_hash(1), wrong], "violence", "admin-1")
    assert store.count_known() == {}


def test_a_list_needs_a_name_and_a_harm(store: ModerationStore) -> None:
    for name, harm in (("", "violence"), ("terror", "rudeness")):
        with pytest.raises(InvalidInput, match="needs a name and a harm"):
            store.add_known(name, [a_hash(1)], harm, "admin-1")  # type: ignore[arg-type]


def test_an_import_is_done_in_parts_and_again_does_nothing(store: ModerationStore) -> None:
    hashes = [a_hash(number) for number in range(25_000)]
    assert store.import_known("big", iter(hashes), "nudity", "admin-1") == 25_000
    assert store.import_known("big", iter([*hashes, a_hash(10**9)]), "nudity", "admin-1") == 1
    seen, seq = set(), 0
    while page := store.known_since(seq, limit=10_000):
        assert [change.seq for change in page] == list(range(seq + 1, seq + 1 + len(page)))
        seen.update(change.hash for change in page)
        seq = page[-1].seq
    assert seen == {*hashes, a_hash(10**9)}
    entries = store.audit_entries("big")
    assert [entry.action for entry in entries] == ["known-harm.added"] * 4
    assert store.verify_audit().ok


# --- policies --------------------------------------------------------------------------------------------------------


def test_the_text_of_a_policy_is_kept_and_its_version_says_one_thing(store: ModerationStore, clock: SetClock) -> None:
    store.put_policy("v1", "one")
    clock.pass_(hours=1)
    store.put_policy("v2", "two")
    store.put_policy("v1", "one")
    with pytest.raises(Conflict, match="a changed policy is a new version"):
        store.put_policy("v1", "another")
    found = store.policy("v1")
    assert found is not None and (found.text, found.seen_at) == ("one", NOW)
    assert store.policy("v3") is None
    assert [policy.version for policy in store.policies()] == ["v2", "v1"]


# --- sweeps ----------------------------------------------------------------------------------------------------------


def swept(store: ModerationStore, post_id: str, action: Action = "enforce", supersedes: str | None = None) -> None:
    before = supersedes or f"first-{post_id}"
    decision = a_decision(f"swept-{before}", post_id, action, before, actor="sweep", actor_id="sweep-1")
    store.record("m", [], [], [decision])


@pytest.fixture
def sweeping(store: ModerationStore) -> ModerationStore:
    """Five posts that a model decided, demoted ones with jobs, and a sweep that runs."""
    actions: dict[str, Action] = {"a": "allow", "b": "demote", "c": "enforce", "d": "allow", "e": "allow"}
    store.record(
        "m",
        [],
        [a_post(name) for name in actions],
        [a_decision(f"first-{name}", name, action) for name, action in actions.items()],
        [a_job("b", 4.0)],
    )
    store.start_sweep("sweep-1", "policy-2", [0.1, 1.0], "admin-1", "hate was let through")
    return store


def test_a_sweep_goes_through_its_stages_and_counts_its_decisions(sweeping: ModerationStore) -> None:
    swept(sweeping, "a")
    swept(sweeping, "b")
    sweep = sweeping.change_sweep("sweep-1", "admin-1", stage=1)
    assert (sweep.state, sweep.stage, sweep.stages, sweep.decisions) == ("running", 1, (0.1, 1.0), 2)
    assert sweeping.change_sweep("sweep-1", "admin-1", state="paused").state == "paused"
    with pytest.raises(Conflict, match="sweep sweep-1 is paused and decides nothing more"):
        swept(sweeping, "d")
    sweeping.change_sweep("sweep-1", "admin-1", state="running")
    assert sweeping.change_sweep("sweep-1", "admin-1", state="done") == sweeping.sweep("sweep-1")
    with pytest.raises(Conflict, match="is done and cannot become running"):
        sweeping.change_sweep("sweep-1", "admin-1", state="running")
    assert [sweep.sweep_id for sweep in sweeping.sweeps()] == ["sweep-1"]


def test_a_sweep_that_says_too_little_is_refused(store: ModerationStore) -> None:
    for stages in ([], [0.0, 1.0], [0.5, 0.1], [0.5, 0.5], [0.5, 1.5]):
        with pytest.raises(InvalidInput, match="shares that rise to at most 1"):
            store.start_sweep("sweep-1", "policy-2", stages, "admin-1", "why")
    with pytest.raises(InvalidInput, match="needs a reason"):
        store.start_sweep("sweep-1", "policy-2", [1.0], "admin-1", " ")
    with pytest.raises(NotFound):
        store.change_sweep("sweep-1", "admin-1", state="done")
    with pytest.raises(NotFound):
        store.undo_sweep("sweep-1", "admin-1", "why")
    with pytest.raises(NotFound):
        store.record("m", [], [a_post()], [a_decision(actor="sweep", actor_id="sweep-1")])


def test_to_start_a_sweep_again_returns_it(sweeping: ModerationStore) -> None:
    swept(sweeping, "a")
    again = sweeping.start_sweep("sweep-1", "policy-2", [0.1, 1.0], "admin-2", "again")
    assert (again.decisions, again.started_by) == (1, "admin-1")
    with pytest.raises(Conflict, match="give the new one another id"):
        sweeping.start_sweep("sweep-1", "policy-3", [1.0], "admin-1", "why")


def test_a_sweep_taken_back_leaves_what_was_before_except_where_somebody_decided_since(
    sweeping: ModerationStore, catalogue: Catalogue
) -> None:
    swept(sweeping, "a")
    swept(sweeping, "b")
    swept(sweeping, "c", "allow")
    swept(sweeping, "d")
    swept(sweeping, "e", "demote")
    swept(sweeping, "e", "enforce", "swept-first-e")  # twice by the same sweep
    sweeping.record("m", [], [deleted("d")])
    sweeping.record("m", [], [], [], [a_job("a", cause="x", kind="reopened")])
    job = sweeping.lease("reviewer-1")
    assert job is not None and job.post_id == "a"
    sweeping.decide(job.job_id, "reviewer-1", "enforce", "hate", "indeed")

    first = sweeping.undo_sweep("sweep-1", "admin-1", "the threshold was wrong", limit=2)
    assert (first.undone, first.left) == (2, 1)
    sweep = sweeping.sweep("sweep-1")
    assert sweep is not None and sweep.state == "undoing"
    with pytest.raises(Conflict, match="undoing and decides nothing more"):
        swept(sweeping, "c", "allow", sweeping.in_force(["c"])["c"].decision_id)
    second = sweeping.undo_sweep("sweep-1", "admin-1", "the threshold was wrong", limit=2)
    assert (second.undone, second.left) == (1, 0)
    assert (sweeping.undo_sweep("sweep-1", "admin-1", "again").undone) == 0

    standing = sweeping.in_force(["a", "b", "c", "d", "e"])
    assert {post: one.action for post, one in standing.items()} == {
        "a": "enforce",  # by a person
        "b": "demote",
        "c": "enforce",
        "d": "enforce",  # deleted since
        "e": "allow",
    }
    assert standing["b"].factor == 0.3 and standing["b"].note == "the threshold was wrong"
    assert [reason.rule for reason in standing["b"].reasons] == ["undo.sweep-1", "hate.demote"]
    verdicts = {one.post_id: one for one in (decode_verdict(v) for v in published(catalogue, topics.VERDICTS) if v)}
    assert {post: one.state for post, one in verdicts.items()} == {
        "a": "enforced",
        "b": "demoted",
        "c": "enforced",
        "d": "enforced",
        "e": "clear",
    }
    strikes = sweeping.authors(["author-1"])["author-1"].strikes
    assert {strike.post_id for strike in strikes} == {"a", "c", "d"}
    assert [(job.post_id, job.priority, job.reason) for job in sweeping.next_jobs()] == [
        ("b", 4.0, "a sweep was taken back")
    ]
    ended = sweeping.sweep("sweep-1")
    assert ended is not None and (ended.state, ended.undone, ended.decisions) == ("undone", 3, 6)
    assert sweeping.verify_audit().ok


def test_a_sweep_never_overrules_a_person(sweeping: ModerationStore) -> None:
    job = sweeping.lease("reviewer-1")
    assert job is not None
    made = sweeping.decide(job.job_id, "reviewer-1", "allow", None, "harmless").decision.decision_id
    with pytest.raises(Conflict, match="a person decided"):
        swept(sweeping, "b", "enforce", made)

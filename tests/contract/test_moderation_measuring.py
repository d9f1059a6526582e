"""What moderation is measured by: counted over SQLite and over a real PostgreSQL."""

from datetime import timedelta

from core.entries import Version
from core.moderation_counts import DrawnPost, ReportedPost, ReportsOf
from storage.catalogue import Catalogue
from storage.moderation import ModerationStore, ReactionDelta, Report, ReviewJob
from tests.moderation_records import NOW, SetClock, a_decision, a_job, a_post, deleted
from tests.moderation_store import catalogue, clock, migrated_database, migrated_file, postgres_server, store

__all__ = ["catalogue", "clock", "migrated_database", "migrated_file", "postgres_server", "store"]

DAY = timedelta(days=1)
SHARE = 0.25


def a_shown_post(store: ModerationStore, post_id: str = "post-1", action: str = "allow", version: int = 1) -> None:
    before = store.in_force([post_id]).get(post_id)
    supersedes = before.decision_id if before else None
    decision = a_decision(f"{post_id}-{version}-{action}", post_id, action, supersedes)  # type: ignore[arg-type]
    store.record("m", [], [a_post(post_id, version)], [decision])


def draw(store: ModerationStore, *event_ids: str, post_id: str = "post-1") -> None:
    """Draw impressions of a post, as the agent does."""
    deltas = [ReactionDelta(event_id, post_id, impressions=1, at=NOW) for event_id in event_ids]
    store.add_reactions("r", deltas, drawn=dict.fromkeys(event_ids, SHARE))
    store.open_samples({post_id: SHARE})


def review(store: ModerationStore, action: str, reviewer: str = "vera", **which: object) -> ReviewJob:
    job = store.lease(reviewer, **which)  # type: ignore[arg-type]
    assert job is not None
    store.decide(job.job_id, reviewer, action, None if action == "allow" else "hate", "I looked at it")
    return job


# --- impressions drawn by chance ---------------------------------------------------------------------------------


def test_every_drawn_impression_counts_and_the_post_is_reviewed_once(store: ModerationStore) -> None:
    a_shown_post(store)
    draw(store, "e1", "e2")
    draw(store, "e3")
    assert [job.kind for job in store.next_jobs()] == ["sample"]
    review(store, "enforce")
    draw(store, "e4")
    draw(store, "e4")  # delivered again
    assert store.next_jobs() == []
    assert store.counted(NOW - DAY).drawn == [
        DrawnPost(post_id="post-1", draws=4, weight=16.0, flagged=False, action="enforce", harm="hate")
    ]


def test_what_nobody_has_looked_at_is_unknown_and_what_a_person_decided_anyhow_is_known(store: ModerationStore) -> None:
    a_shown_post(store, "drawn")
    store.record("m", [], [a_post("seen")], [a_decision("d", "seen", "review")], [a_job("seen", 5.0)])
    review(store, "allow")
    draw(store, "e1", post_id="drawn")
    draw(store, "e2", post_id="seen")
    assert [job.post_id for job in store.next_jobs()] == ["drawn"]  # "seen" was looked at: it needs no second look
    found = {one.post_id: (one.action, one.flagged) for one in store.counted(NOW - DAY).drawn}
    assert found == {"drawn": (None, False), "seen": ("allow", True)}


def test_what_was_said_counts_for_the_content_that_was_shown(store: ModerationStore) -> None:
    a_shown_post(store)
    draw(store, "e1")
    review(store, "allow")
    a_shown_post(store, version=2)
    draw(store, "e2", "e3")
    found = sorted((one.draws, one.action) for one in store.counted(NOW - DAY).drawn)
    assert found == [(1, "allow"), (2, None)]
    review(store, "enforce")
    assert sorted((one.draws, one.action) for one in store.counted(NOW - DAY).drawn) == [(1, "allow"), (2, "enforce")]


def test_a_post_drawn_before_it_was_decided_is_looked_at_later(store: ModerationStore) -> None:
    store.record("m", [], [a_post()])
    draw(store, "e1")
    assert store.next_jobs() == []
    assert store.drawn_to_look_at(NOW - DAY) == {}
    store.record("m", [], [], [a_decision(action="allow")])
    waiting = store.drawn_to_look_at(NOW - DAY)
    assert waiting == {"post-1": SHARE}
    assert len(store.open_samples(waiting)) == 1
    assert store.drawn_to_look_at(NOW - DAY) == {}


def test_impressions_of_what_is_no_post_are_not_drawn(store: ModerationStore) -> None:
    draw(store, "e1", post_id="no-post")
    assert store.counted(NOW - DAY).drawn == []


# --- what was taken down -----------------------------------------------------------------------------------------


def test_impressions_before_a_post_was_taken_down_count_also_those_that_come_late(
    store: ModerationStore, clock: SetClock
) -> None:
    a_shown_post(store)
    store.add_reactions("r", [ReactionDelta(f"e{n}", "post-1", impressions=1, at=NOW) for n in range(3)])
    clock.pass_(minutes=10)
    enforced_at = clock.now()
    store.record("m", [], [], [a_decision("down", supersedes="post-1-1-allow", decided_at=enforced_at)])
    late = ReactionDelta("late", "post-1", impressions=1, at=enforced_at - timedelta(seconds=5))
    after = ReactionDelta("after", "post-1", impressions=1, at=enforced_at + timedelta(seconds=5))
    for _ in range(2):
        store.add_reactions("r", [late, after])
    again = a_decision("again", supersedes="down", decided_at=enforced_at + DAY, harm="spam")
    store.record("m", [], [], [again])
    [one] = store.counted(NOW - DAY).enforced
    assert (one.impressions, one.harm) == (4, "spam")
    assert (one.posted_at, one.enforced_at, one.reported_at) == (NOW, enforced_at, None)


def test_what_is_given_back_or_came_down_earlier_does_not_count(store: ModerationStore, clock: SetClock) -> None:
    a_shown_post(store, "reversed", "enforce")
    a_shown_post(store, "stands", "enforce")
    store.open_appeal("reversed-1-enforce", "author-1", "it is a film")
    review(store, "allow", kind="appeal")
    found = store.counted(NOW - DAY)
    assert [one.post_id for one in found.enforced] == ["stands"]
    assert (found.appeals_reversed, found.appeals_upheld, found.appeals_open) == (1, 0, 0)
    assert found.restricted_by_machine == 2
    assert store.counted(NOW + DAY).enforced == []
    assert store.counted(NOW + DAY).appeals_reversed == 0


def test_the_first_report_of_a_post_is_told(store: ModerationStore) -> None:
    a_shown_post(store, action="enforce")
    store.add_reports([Report("post-1", f"r{n}", "hate", NOW + n * DAY) for n in (2, -1, 1)])
    assert [one.reported_at for one in store.counted(NOW - DAY).enforced] == [NOW - DAY]


# --- reports -----------------------------------------------------------------------------------------------------


def test_reports_count_by_class_with_what_people_made_of_them(store: ModerationStore) -> None:
    a_shown_post(store)
    store.add_reports([Report("post-1", "r1", "hate", NOW), Report("post-1", "r2", None, NOW)])
    store.add_reports([Report("post-2", "r1", "spam", NOW), Report("post-2", "r1", "hate", NOW - 2 * DAY)])
    draw(store, "e1")
    review(store, "enforce")
    assert store.counted(NOW - DAY).reports == {
        "hate": ReportsOf(reports=1, upheld=1, rejected=0),
        None: ReportsOf(reports=1, upheld=1, rejected=0),
        "spam": ReportsOf(reports=1, upheld=0, rejected=0),
    }


def test_a_reported_post_waits_for_the_next_decision(store: ModerationStore) -> None:
    for name in ("answered", "waits", "down", "gone"):
        a_shown_post(store, name, "enforce" if name == "down" else "allow")
    at = NOW + timedelta(hours=1)
    store.add_reports([Report(name, "r1", "hate", at) for name in ("answered", "waits", "down", "gone", "never-came")])
    decided_at = at + timedelta(minutes=5)
    store.record("m", [], [], [a_decision("d", "answered", "review", "answered-1-allow", decided_at=decided_at)])
    store.record("m", [], [deleted("gone")])
    found = sorted(store.counted(NOW).reported, key=lambda one: one.post_id)
    assert found == [
        ReportedPost(post_id="answered", reported_at=at, decided_at=decided_at),
        ReportedPost(post_id="waits", reported_at=at, decided_at=None),
    ]


def test_counting_goes_along_indexes(catalogue: Catalogue) -> None:
    if catalogue.database.dialect != "sqlite":
        return  # PostgreSQL chooses by what is in the tables
    with catalogue.database.reading() as connection:
        for table, column in (("impression_draws", "at"), ("strikes", "at"), ("reports", "reported_at")):
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN SELECT post_id FROM {table} WHERE {column} > '2026'")
            assert any("USING" in row[3] and "INDEX" in row[3] for row in plan), table


def test_a_version_of_a_post_is_the_one_that_was_stored_when_it_was_shown(store: ModerationStore) -> None:
    a_shown_post(store)
    assert store.posts(["post-1"])["post-1"].version == Version(1, 0)
    draw(store, "e1")
    a_shown_post(store, version=3)
    draw(store, "e2")
    assert [one.draws for one in store.counted(NOW - DAY).drawn] == [1, 1]

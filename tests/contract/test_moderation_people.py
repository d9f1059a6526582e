"""Authors, reactions and reports, over SQLite and over a real PostgreSQL."""

from datetime import timedelta

import pytest

from core.entries import Version
from core.events import UserProfile
from core.moderation import AuthorFacts
from storage.catalogue import Catalogue
from storage.moderation import ModerationStore, ProfileChange, ReactionDelta, Report, Reporter, Strike
from storage.moderation.reactions import COMMENT_BYTES, NEWEST_COMMENTS
from tests.moderation_records import NOW, SetClock, a_decision, a_job, a_post, deleted
from tests.moderation_store import catalogue, clock, migrated_database, migrated_file, postgres_server, store

__all__ = ["catalogue", "clock", "migrated_database", "migrated_file", "postgres_server", "store"]


def facts(store: ModerationStore, author_id: str = "author-1") -> AuthorFacts:
    return store.authors([author_id])[author_id].facts


def a_profile(version: int, user_id: str = "author-1", **fields: object) -> ProfileChange:
    profile = UserProfile(user_id=user_id, **fields)  # type: ignore[arg-type]
    return ProfileChange(f"profile-{user_id}-{version}", Version(version, 0), profile)


# --- authors ---------------------------------------------------------------------------------------------------------


def test_of_an_author_never_seen_counts_are_zero_and_the_rest_is_unknown(store: ModerationStore) -> None:
    assert facts(store) == AuthorFacts(violations=0, reports_received=0, posts=0, followers=0)


def test_words_of_posts_make_an_authors_profane_rate_whatever_is_changed_or_deleted(store: ModerationStore) -> None:
    store.record("m", [], [a_post("post-1", words=10, profane_words=1), a_post("post-2", words=30, profane_words=3)])
    assert (facts(store).posts, facts(store).profane_rate) == (2, 0.1)
    store.record("m", [], [a_post("post-1", 2, words=70, profane_words=17)])
    assert (facts(store).posts, facts(store).profane_rate) == (2, 0.2)
    store.record("m", [], [deleted("post-1", 3), deleted("post-2", 2)])
    assert (facts(store).posts, facts(store).profane_rate) == (2, 0.2)
    store.record("m", [], [a_post("post-1", 4, words=20, profane_words=2)])  # posted again
    assert (facts(store).posts, facts(store).profane_rate) == (2, 0.1)


def test_strikes_are_the_enforcements_that_stand_with_when_they_began(store: ModerationStore, clock: SetClock) -> None:
    store.record("m", [], [a_post("post-1")], [a_decision("decision-1", "post-1")])
    store.record("m", [], [a_post("post-2")], [a_decision("decision-2", "post-2", action="demote")])
    later = NOW + timedelta(days=1)
    again = a_decision("decision-3", "post-1", supersedes="decision-1", harm="spam", decided_at=later)
    store.record("m", [], [], [again])
    author = store.authors(["author-1"])["author-1"]
    assert author.strikes == (Strike("post-1", "decision-3", "spam", NOW),)
    assert author.facts.violations == 1
    store.record("m", [], [], [a_decision("decision-4", "post-1", action="allow", supersedes="decision-3")])
    assert store.authors(["author-1"])["author-1"].strikes == ()


def test_what_is_known_before_a_post_leaves_out_what_the_post_itself_added(store: ModerationStore) -> None:
    store.record("m", [], [a_post("post-1", words=10, profane_words=5)], [a_decision("decision-1", "post-1")])
    store.record("m", [], [a_post("post-2", words=10, profane_words=1)], [a_decision("decision-2", "post-2")])
    store.add_reports([Report("post-1", "reader-1", "hate", NOW), Report("post-2", "reader-1", "hate", NOW)])
    known = store.authors_before({"post-1": "author-1", "post-2": "author-1", "post-3": "author-1", "post-4": "new"})
    assert [known[f"post-{n}"].facts.profane_rate for n in (1, 2, 3, 4)] == [0.1, 0.5, 0.3, None]
    assert [known[f"post-{n}"].facts.violations for n in (1, 2, 3, 4)] == [1, 1, 2, 0]
    assert [known[f"post-{n}"].facts.reports_received for n in (1, 2, 3, 4)] == [1, 1, 2, 0]
    assert [known[f"post-{n}"].facts.posts for n in (1, 2, 3, 4)] == [1, 1, 2, 0]
    assert [strike.post_id for strike in known["post-1"].strikes] == ["post-2"]


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_the_newest_profile_wins_and_what_it_leaves_out_is_unknown(
    store: ModerationStore, catalogue: Catalogue, order: tuple[int, int]
) -> None:
    versions = {
        1: a_profile(1, age_band="18-24", city="Ulm", country="DE"),
        2: a_profile(2, age_band="25-34", joined_at=NOW - timedelta(days=10)),
    }
    for version in order:
        store.apply_profiles("p", [versions[version]], ["other-event"])
    assert (facts(store).age_band, facts(store).city, facts(store).country) == ("25-34", None, None)
    assert facts(store).account_age_days == 10
    assert catalogue.seen("p", ["profile-author-1-1", "other-event"]) == {"profile-author-1-1", "other-event"}


def test_a_profile_keeps_what_is_counted_and_a_post_keeps_the_profile(store: ModerationStore) -> None:
    store.record("m", [], [a_post("post-1")])
    store.apply_profiles("p", [a_profile(1, city="Ulm")])
    store.record("m", [], [a_post("post-2")])
    assert (facts(store).posts, facts(store).city) == (2, "Ulm")


def test_an_accounts_age_is_unknown_until_its_profile_says_when_it_joined(
    store: ModerationStore, clock: SetClock
) -> None:
    store.record("m", [], [a_post("post-1")])
    assert facts(store).account_age_days is None
    assert store.authors(["author-1"])["author-1"].first_seen == NOW
    store.apply_profiles("p", [a_profile(1, joined_at=NOW + timedelta(days=1))])  # after the first post
    clock.pass_(days=3)
    assert facts(store).account_age_days == 3


# --- reactions -------------------------------------------------------------------------------------------------------


def test_every_event_is_counted_once_whatever_batch_it_comes_in_again(store: ModerationStore) -> None:
    first = [ReactionDelta("e1", "post-1", impressions=1), ReactionDelta("e2", "post-1", likes=1)]
    again = [ReactionDelta("e2", "post-1", likes=1), ReactionDelta("e3", "post-1", shares=1)]
    followers = {"e4": ("author-1", 1)}
    store.add_reactions("r", first, followers=followers)
    store.add_reactions("r", [*again, again[1]], ["e5"], {**followers, "e6": ("author-1", 1)})
    read = store.reactions(["post-1", "post-2"])
    assert (read["post-1"].impressions, read["post-1"].likes, read["post-1"].shares) == (1, 1, 1)
    assert read["post-2"].impressions == 0
    assert facts(store).followers == 2


def test_the_newest_comments_are_kept_each_within_its_bytes(store: ModerationStore) -> None:
    for number in range(NEWEST_COMMENTS + 5):
        delta = ReactionDelta(
            f"e{number:02}", "post-1", comments=1, comment=f"{number:02} " + "é" * 3000, user_id="u", at=NOW
        )
        store.add_reactions("r", [delta])
    read = store.reactions(["post-1"])["post-1"]
    assert read.comments == NEWEST_COMMENTS + 5
    assert [text[:2] for text in read.comment_texts] == [f"{number:02}" for number in range(24, 4, -1)]
    assert all(len(text.encode()) <= COMMENT_BYTES and text.endswith("é") for text in read.comment_texts)


def test_a_deleted_posts_comments_go_with_it(store: ModerationStore) -> None:
    store.record("m", [], [a_post()])
    store.add_reactions("r", [ReactionDelta("e1", "post-1", comments=1, comment="hi", user_id="u")])
    store.record("m", [], [deleted()])
    assert store.reactions(["post-1"])["post-1"].comment_texts == ()
    assert store.reactions(["post-1"])["post-1"].comments == 1


# --- reports ---------------------------------------------------------------------------------------------------------


def test_a_reader_reports_a_post_once_for_each_harm(store: ModerationStore) -> None:
    store.record("m", [], [a_post()])
    hate = Report("post-1", "reader-1", "hate", NOW, "e1", "look at this")
    spam, nothing = Report("post-1", "reader-1", "spam", NOW), Report("post-1", "reader-1", None, NOW)
    assert store.add_reports([hate, hate]) == [hate]
    assert store.add_reports([hate, spam, nothing]) == [spam, nothing]
    assert sorted(store.reports_of(["post-1"])["post-1"], key=lambda one: one.harm or "") == [nothing, hate, spam]
    assert store.reactions(["post-1"])["post-1"].reports == 3
    assert facts(store).reports_received == 3


def test_a_report_of_a_post_that_comes_later_is_kept_and_counts_when_it_comes(
    store: ModerationStore, catalogue: Catalogue
) -> None:
    store.add_reports([Report("post-1", "reader-1", "hate", NOW)], consumer="r", event_ids=["e1"])
    assert facts(store).reports_received == 0
    store.record("m", [], [a_post()])
    assert facts(store).reports_received == 1
    store.record("m", [], [a_post(version=2)])
    assert facts(store).reports_received == 1
    assert catalogue.seen("r", ["e1"]) == {"e1"}


def test_what_people_decide_tells_how_good_a_reporter_is(store: ModerationStore, clock: SetClock) -> None:
    store.record(
        "m",
        [],
        [a_post("post-1"), a_post("post-2"), a_post("post-3")],
        [a_decision(f"decision-{n}", f"post-{n}", action="review") for n in (1, 2, 3)],
        [a_job("post-1", 3.0), a_job("post-2", 2.0)],
    )
    store.add_reports([Report(f"post-{n}", "reader-1", "hate", NOW + timedelta(hours=n)) for n in (1, 2, 3)])
    for action in ("enforce", "allow"):
        job = store.lease("reviewer-1")
        assert job is not None
        store.decide(job.job_id, "reviewer-1", action, "hate", "looked at it")
    known = store.reporters(["reader-1", "reader-2"])
    assert known["reader-1"] == Reporter("reader-1", 3, 1, 1, NOW + timedelta(hours=1))
    assert known["reader-2"] == Reporter("reader-2")
    assert [report.outcome for report in store.reports_of(["post-1"])["post-1"]] == ["upheld"]

"""The posts worth another look come first, and memory is bounded."""

from datetime import UTC, datetime

from streams.moderation.rescoring import Rescoring

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def test_reports_come_before_comments_and_comments_before_likes() -> None:
    rescoring = Rescoring()
    for name in ("likes", "comments", "reports"):
        rescoring.add(name, {name: 1}, "e", NOW)
    assert [one.post_id for one in rescoring.take(3)] == ["reports", "comments", "likes"]


def test_of_equal_reactions_the_post_that_is_shown_more_comes_first() -> None:
    rescoring = Rescoring()
    rescoring.add("rare", {"comments": 2}, "e", NOW)
    rescoring.add("seen", {"comments": 2, "impressions": 500}, "e", NOW)
    assert [one.post_id for one in rescoring.take(1)] == ["seen"]


def test_what_was_taken_is_forgotten_and_the_newest_event_is_the_cause() -> None:
    rescoring = Rescoring()
    rescoring.add("p", {"likes": 1}, "first", NOW)
    rescoring.add("p", {"likes": 1}, "second", NOW)
    [taken] = rescoring.take(5)
    assert (taken.cause, taken.counts) == ("second", {"likes": 2})
    assert rescoring.take(5) == []


def test_beyond_its_bound_the_least_valuable_are_forgotten() -> None:
    rescoring = Rescoring(most=10)
    rescoring.add("important", {"reports": 3}, "e", NOW)
    for number in range(100):
        rescoring.add(f"p{number}", {"likes": 1}, "e", NOW)
    assert len(rescoring) <= 10
    assert rescoring.take(1)[0].post_id == "important"

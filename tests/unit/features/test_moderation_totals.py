"""What was known of posts at past moments: from the archive, through Feast's join, by the transform used online."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from core.errors import InvalidInput
from core.moderation_totals import STRIKES_KEPT, AuthorTotals, PostTotals, Totals, encode_totals, totals_key, whole_us
from core.ports import StoredRecord
from core.settings import FeatureSettings
from core.topics import FEATURES
from features.archive import ArchiveWriter
from features.moderation import build_totals_history, known_frame
from features.totals import columns_of, row_of, view_of
from features.transforms.moderation import KNOWN, MOST_VIOLATIONS, known

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SETTINGS = FeatureSettings()


def us(**ago: float) -> int:
    return whole_us(NOW - timedelta(**ago))


def archived(folder: Path, *totals: Totals, first: int = 0) -> None:
    at_ms = int(NOW.timestamp() * 1000)
    records = [
        StoredRecord(FEATURES.name, 0, first + n, totals_key(one), encode_totals(one), {}, at_ms)
        for n, one in enumerate(totals)
    ]
    ArchiveWriter(folder).write(FEATURES.name, records)


def known_of(author: AuthorTotals, post: PostTotals, at: datetime = NOW) -> dict[str, float]:
    columns = [columns_of(view_of(one), [row_of(one)]) for one in (author, post)]
    found = known(*columns, np.array([whole_us(at)], np.int64))
    return {name: float(values[0]) for name, values in found.items()}


def test_an_authors_own_post_is_taken_out_of_what_is_known_of_them() -> None:
    struck = us(days=2)
    author = AuthorTotals(
        author_id="a",
        as_of_us=us(hours=1),
        posts=3,
        words=30,
        profane_words=6,
        reports=5,
        followers=7,
        since_us=us(days=100),
        violations=3,
        strikes_us=[us(days=1), struck, us(days=20)],
    )
    post = PostTotals(
        post_id="p",
        author_id="a",
        as_of_us=us(hours=1),
        reports={"hate": 1, "unnamed": 1},
        posts=1,
        words=10,
        profane_words=1,
        struck_us=struck,
    )
    found = known_of(author, post)
    assert list(found) == list(KNOWN)
    assert (found["author_violations"], found["author_violations_week"], found["author_violations_month"]) == (2, 1, 2)
    assert (found["author_posts"], found["author_reports"], found["author_followers"]) == (2, 3, 7)
    assert found["author_profane_rate"] == pytest.approx(5 / 20)
    assert found["author_account_age_days"] == 100
    assert (found["reports"], found["reports_hate"], found["reports_unnamed"], found["reports_spam"]) == (2, 1, 1, 0)


def test_violations_leave_their_windows_as_time_passes_although_nothing_happens() -> None:
    author = AuthorTotals(author_id="a", as_of_us=us(), violations=1, strikes_us=[us(days=6)])
    post = PostTotals(post_id="p", author_id="a", as_of_us=us())
    week = {days: known_of(author, post, NOW + timedelta(days=days))["author_violations_week"] for days in (0, 1, 2)}
    assert week == {0: 1, 1: 0, 2: 0}
    assert known_of(author, post, NOW + timedelta(days=24, seconds=-1))["author_violations_month"] == 1
    assert known_of(author, post, NOW + timedelta(days=24))["author_violations_month"] == 0


@pytest.mark.parametrize("own", [0, 3])
def test_of_many_violations_a_window_counts_as_many_as_the_log_does_and_the_sum_all(own: int) -> None:
    strikes = [us(hours=n) for n in range(1, STRIKES_KEPT + 1)]
    author = AuthorTotals(author_id="a", as_of_us=us(), violations=50, strikes_us=strikes)
    post = PostTotals(post_id="p", author_id="a", as_of_us=us(), struck_us=strikes[own] if own else 0)
    found = known_of(author, post)
    assert (found["author_violations"], found["author_violations_week"]) == (50 - bool(own), MOST_VIOLATIONS)


def test_what_is_not_known_is_no_number() -> None:
    found = known_of(
        AuthorTotals(author_id="a", as_of_us=us(), posts=1), PostTotals(post_id="p", author_id="a", as_of_us=us())
    )
    assert np.isnan(found["author_profane_rate"]) and np.isnan(found["author_account_age_days"])


def test_a_frame_holds_what_was_known_at_each_moment_and_nothing_later(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    rows: list[Totals] = []
    for minute in range(10):
        rows.append(AuthorTotals(author_id="a", as_of_us=us(minutes=60 - minute), posts=minute, followers=2 * minute))
        rows.append(PostTotals(post_id="p", author_id="a", as_of_us=us(minutes=60 - minute), likes=minute))
    archived(archive, *rows[::-1])  # the order of arrival does not matter
    archived(archive, *rows[:4], first=100)  # nor that some came twice
    assert build_totals_history(tmp_path, archive, until=NOW) == {"author_totals": 10, "post_totals": 10}
    moments = [NOW - timedelta(minutes=60.5 - minute) for minute in (5, 0, 9)]
    moments.append(NOW - timedelta(minutes=57))  # the very moment of a row
    moments.append(NOW + timedelta(days=400))  # what was counted holds until it changes
    frame = known_frame(tmp_path, archive, SETTINGS, [("p", at) for at in moments])
    assert frame["post_id"].tolist() == ["p"] * 5 and frame["author_id"].tolist() == ["a"] * 5
    assert frame["likes"].tolist() == [4, 0, 8, 3, 9]
    assert frame["author_posts"].tolist() == [4, 0, 8, 3, 9]
    assert frame["author_followers"].tolist() == [8, 0, 16, 6, 18]
    assert [at.to_pydatetime() for at in frame["at"]] == moments


def test_rows_after_the_end_that_was_asked_for_are_not_in_the_history(tmp_path: Path) -> None:
    totals = [PostTotals(post_id="p", author_id="a", as_of_us=us(hours=n), likes=n) for n in (3, 2, 1)]
    archived(tmp_path / "archive", *totals)
    found = build_totals_history(tmp_path, tmp_path / "archive", until=NOW - timedelta(hours=2))
    assert found == {"author_totals": 0, "post_totals": 2}


def test_posts_that_nobody_counted_have_zeros_and_without_a_history_there_is_no_frame(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    with pytest.raises(InvalidInput, match="build it"):
        known_frame(tmp_path, archive, SETTINGS, [("p", NOW)])
    archived(archive, AuthorTotals(author_id="a", as_of_us=us(), posts=1))
    build_totals_history(tmp_path, archive, until=NOW)
    frame = known_frame(tmp_path, archive, SETTINGS, [("nobody's", NOW)])
    assert frame["author_id"].tolist() == [""]
    assert frame[["author_posts", "likes", "reports"]].to_numpy().tolist() == [[0, 0, 0]]
    assert known_frame(tmp_path, archive, SETTINGS, []).empty


def test_a_record_that_is_no_totals_is_left_out_of_the_history(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archived(archive, PostTotals(post_id="p", author_id="a", as_of_us=us(), likes=1))
    broken = StoredRecord(FEATURES.name, 0, 7, "q", b'{"of": "nothing"}', {}, int(NOW.timestamp() * 1000))
    gone = StoredRecord(FEATURES.name, 0, 8, "q", None, {}, int(NOW.timestamp() * 1000))
    ArchiveWriter(archive).write(FEATURES.name, [broken, gone])
    assert build_totals_history(tmp_path, archive, until=NOW)["post_totals"] == 1

"""The aggregate transforms, against the plainest possible counting."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidInput
from features.history import points
from features.interactions import from_us, to_us
from features.schema import BUCKET_WIDTHS_US, DAY, DAY_US, HOUR_US, ITEM_STATS, MONTH, WEEK, WINDOW_FEATURES, WINDOWS
from features.transforms.windows import (
    NEVER_US,
    bucket_sums,
    click_through_rate,
    features,
    next_changes_us,
    window_start_us,
    window_sums,
)
from tests.unit.features.interaction_factory import expected_features, random_events

T0 = to_us(datetime(2026, 3, 10, 9, 20, tzinfo=UTC))


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_windows_are_whole_hours_and_days_with_the_one_in_progress_last() -> None:
    as_of = ints(T0)
    assert from_us(int(window_start_us(as_of, DAY)[0])) == datetime(2026, 3, 9, 10, tzinfo=UTC)
    assert from_us(int(window_start_us(as_of, WEEK)[0])) == datetime(2026, 3, 4, tzinfo=UTC)
    assert from_us(int(window_start_us(as_of, MONTH)[0])) == datetime(2026, 2, 9, tzinfo=UTC)


def test_an_event_at_the_moment_asked_about_is_not_seen_and_one_microsecond_earlier_is() -> None:
    one = ints([1]).reshape(1, 1)
    sums = window_sums(ints(0), ints(T0), one, ints(0, 0), ints(T0, T0 + 1))
    assert sums[:, :, 0].tolist() == [[0, 0, 0], [1, 1, 1]]


@settings(max_examples=60, deadline=None)
@given(
    events=st.lists(
        st.tuples(st.integers(0, 3), st.integers(-40 * DAY_US, 0), st.integers(0, 50)), min_size=1, max_size=40
    ),
    offsets=st.lists(st.integers(-DAY_US, 35 * DAY_US), min_size=4, max_size=4),
)
def test_summing_buckets_equals_summing_the_events_behind_them(
    events: list[tuple[int, int, int]], offsets: list[int]
) -> None:
    group = ints(*(e[0] for e in events))
    time = ints(*(T0 + e[1] for e in events))
    counts = np.array([[e[2], 1, 7] for e in events], np.int64)
    # A bucket stands for all of its events, so ask at times by which they have all happened.
    as_of = ints(*(T0 + max(offset, 1) for offset in offsets))
    direct = window_sums(group, time, counts, np.arange(4), as_of)
    width = np.repeat(ints(*BUCKET_WIDTHS_US), len(time))
    start = np.concatenate([time - time % w for w in BUCKET_WIDTHS_US])
    bucketed = bucket_sums(np.tile(group, 2), width, start, np.tile(counts, (2, 1)), as_of)
    brute = np.zeros_like(direct)
    for q in range(4):
        for w, window in enumerate(WINDOWS):
            last = (as_of[q] - 1) // window.bucket_us
            inside = (group == q) & (time < as_of[q]) & (time // window.bucket_us > last - window.buckets)
            brute[q, w] = counts[inside].sum(axis=0)
    np.testing.assert_array_equal(direct, brute)
    np.testing.assert_array_equal(bucketed, brute)


@settings(max_examples=60, deadline=None)
@given(ages=st.lists(st.integers(1, 29 * DAY_US), min_size=1, max_size=12))
def test_windows_keep_their_sums_up_to_the_next_change_and_lose_some_right_after(ages: list[int]) -> None:
    time = ints(*(T0 - age for age in ages))
    width = np.repeat(ints(*BUCKET_WIDTHS_US), len(time))
    start = np.concatenate([time - time % w for w in BUCKET_WIDTHS_US])
    one = np.ones((len(start), 1), np.int64)
    zeros = np.zeros(len(start), np.int64)
    [change] = next_changes_us(zeros, width, start, ints(T0)).tolist()
    assert NEVER_US > change > T0

    def at(as_of: int) -> list[int]:
        return bucket_sums(zeros, width, start, one, ints(as_of))[0, :, 0].tolist()

    assert at(T0) == at(change)
    assert sum(at(change + 1)) < sum(at(T0))


def test_an_entity_without_counts_never_changes_by_itself() -> None:
    assert next_changes_us(ints(), ints(), ints(), ints(T0)).tolist() == [NEVER_US]
    old = next_changes_us(ints(1), ints(HOUR_US), ints(T0 - 2 * DAY_US), ints(T0, T0))
    assert old.tolist() == [NEVER_US, NEVER_US]


def test_the_next_change_of_each_entity_is_its_own() -> None:
    hour = T0 - T0 % HOUR_US
    group, start = ints(2, 0, 2), ints(hour, hour - HOUR_US, hour - 5 * HOUR_US)
    changes = next_changes_us(group, np.full(3, HOUR_US), start, ints(T0, T0, T0)).tolist()
    assert changes == [hour + 23 * HOUR_US, NEVER_US, hour + 19 * HOUR_US]


def test_features_of_random_events_equal_counting_by_hand() -> None:
    events = random_events(300, seed=1, over=timedelta(days=40))
    happened = points(events, ITEM_STATS)
    for as_of in (events[-1].time, events[100].time, events[-1].time + timedelta(days=9)):
        n = len(happened.entities)
        sums = window_sums(
            happened.group, happened.time_us, happened.counts, np.arange(n), np.full(n, to_us(as_of), np.int64)
        )
        expected = expected_features(events, "item_id", as_of)
        for entity, row in zip(happened.entities, features(sums).tolist(), strict=True):
            found = dict(zip(WINDOW_FEATURES, row, strict=True))
            if entity in expected:
                assert found == expected[entity]
            else:
                assert found["impressions_month"] == found["clicks_month"] == 0


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_click_through_rate_stays_inside_zero_and_one_and_grows_with_clicks(clicks: int, impressions: int) -> None:
    [rate] = click_through_rate(ints(clicks), ints(impressions))
    [more] = click_through_rate(ints(clicks + 1), ints(impressions))
    assert 0 < rate < more < 1


def test_click_through_rate_without_evidence_is_the_prior() -> None:
    assert click_through_rate(ints(0), ints(0))[0] == 0.05
    assert click_through_rate(ints(1), ints(1))[0] == pytest.approx(2 / 21)


def test_too_many_groups_over_too_long_a_time_are_refused_rather_than_mixed_up() -> None:
    counts = np.ones((2, 1), np.int64)
    with pytest.raises(InvalidInput, match="fewer entities"):
        window_sums(ints(0, 2**30), ints(0, 2**40), counts, ints(0), ints(5))

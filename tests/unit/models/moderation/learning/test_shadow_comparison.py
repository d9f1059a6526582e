"""A challenger beside the champion: actions, gaps, and who is right by what people said."""

from datetime import UTC, datetime

import pytest

from core.moderation import ACTIONS, HARM_CLASSES, Action, ChallengerScores, PostScores, PostToScore
from models.moderation.learning.shadow import Comparison, ShadowRow, compare
from models.moderation.policy import Case, load_policy

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
POLICY = load_policy(None)


def row(number: int, old: float, new: float | None, label: Action | None = None, **more: float) -> ShadowRow:
    def scores(hate: float | None) -> dict:  # type: ignore[type-arg]
        return dict.fromkeys(HARM_CLASSES, 0.01) | {"hate": hate}

    post_id = f"p{number}"
    return ShadowRow(
        case=Case(
            post=PostToScore(post_id=post_id, text="words", posted_at=NOW),
            scores=PostScores(post_id=post_id, scores=scores(old), model_version="moderation/old"),
            now=NOW,
        ),
        challenger=ChallengerScores(model_version="moderation/new", scores=scores(new), took_s=0.004, beside_s=0.002),
        label=label,
        label_harm="hate" if label not in (None, "allow") else None,
        impressions=int(more.get("impressions", 0)),
    )


def compared(rows: list[ShadowRow], **more: int) -> Comparison:
    return compare(POLICY, rows, champion="moderation/old", challenger="moderation/new", **more)


def test_actions_are_counted_by_what_is_and_what_would_be() -> None:
    found = compared([row(0, 0.01, 0.01), row(1, 0.01, 0.999), row(2, 0.999, 0.01), row(3, 0.999, 0.999)])
    assert (found.actions["allow"]["allow"], found.actions["enforce"]["enforce"]) == (1, 1)
    assert (found.actions["allow"]["enforce"], found.actions["enforce"]["allow"]) == (1, 1)
    assert (found.stricter, found.milder, found.agreement) == (1, 1, 0.5)
    assert sum(found.actions[now][then] for now in ACTIONS for then in ACTIONS) == found.posts == 4


def test_posts_that_would_change_are_named_those_shown_most_first() -> None:
    rows = [row(number, 0.01, 0.999, impressions=number) for number in range(30)] + [row(99, 0.01, 0.02)]
    found = compared(rows, examples=3)
    assert [(one.post_id, one.now, one.then, one.harm) for one in found.changed] == [
        (f"p{number}", "allow", "enforce", "hate") for number in (29, 28, 27)
    ]


def test_gaps_are_over_the_posts_that_both_judge() -> None:
    found = compared([row(0, 0.1, 0.3), row(1, 0.1, 0.1), row(2, 0.5, None)])
    gap = found.gaps["hate"]
    assert gap.posts == 2
    assert (gap.mean, gap.mean_absolute, gap.share_above) == pytest.approx((0.1, 0.1, 0.5))
    assert found.gaps["spam"].mean == 0.0


def test_a_class_that_the_challenger_does_not_know_is_reviewed_as_the_policy_says() -> None:
    assert compared([row(0, 0.01, None)]).actions["allow"][POLICY.on_failure] == 1


def test_who_is_right_is_told_by_what_people_said() -> None:
    rows = [row(number, 0.2, 0.999, "enforce") for number in range(6)]
    rows += [row(10 + number, 0.999, 0.01, "allow") for number in range(6)]
    found = compared([*rows, row(30, 0.999, 0.999)])  # of the last nobody said anything
    labels = found.on_labels["hate"]
    assert (labels.champion.examples, labels.champion.harmful) == (12, 6)
    assert (labels.champion.roc, labels.challenger.roc) == (0.0, 1.0)
    assert found.judged == 12
    assert (found.right["champion"].precision, found.right["champion"].recall) == (0.0, 0.0)
    assert (found.right["challenger"].precision, found.right["challenger"].recall) == (1.0, 1.0)


def test_a_post_restricted_for_one_class_says_nothing_of_the_others() -> None:
    found = compared([row(number, 0.2, 0.2, "enforce") for number in range(6)])
    assert set(found.on_labels) == {"hate"}


def test_latency_is_that_of_each_and_unknown_where_it_was_not_measured() -> None:
    found = compared([row(0, 0.1, 0.1)])
    assert (found.latency["champion"].median_ms, found.latency["challenger"].median_ms) == (2.0, 4.0)
    assert compared([]).latency["challenger"].median_ms is None


def test_nothing_compared_is_no_agreement() -> None:
    found = compared([])
    assert (found.posts, found.agreement, found.gaps, found.changed) == (0, None, {}, [])

"""Moderation and recommendation, broken on purpose, in the short form of each goal."""

import pytest

from tests.chaos.conftest import GATEWAY, MODERATED, PlayGoal
from tests.chaos.judging import exact, kept

pytestmark = [pytest.mark.integration, pytest.mark.kafka]


def test_posts_wait_for_people_while_the_moderator_is_down_and_are_decided_after(play: PlayGoal) -> None:
    result = exact(play("G36", MODERATED))
    # Whether all is decided in time is a matter of the machine; the full form on a quiet one decides it.
    assert result.figures["decisions_without_scores"] > 0, result.timeline
    assert result.figures["let_through_without_scores"] == result.figures["shown_after_1_s"] == 0, result.broken
    assert result.figures["answers_with_items"] > 0, result.figures


def test_a_killed_moderation_worker_decides_each_post_once(play: PlayGoal) -> None:
    result = exact(play("G37", MODERATED))
    assert result.figures["kills_with_uncommitted_records"] > 0, "no kill hit work that was not committed"
    assert result.figures["shown_after_1_s"] == 0, result.broken
    assert result.dead_lettered > 0, "there was no poison among the posts"


def test_posts_and_reviews_outlive_a_killed_broker(play: PlayGoal) -> None:
    result = kept(play("G38", MODERATED))
    assert result.figures["reviews"] > result.figures["reviews_while_the_broker_was_away"] > 0


def test_homepages_are_given_whatever_the_recommender_is_without(play: PlayGoal) -> None:
    result = exact(play("G39", GATEWAY))
    # How quick answers are is a matter of the machine; the full form on a quiet one decides it.
    figures = result.figures
    for trouble in ("generators_hang", "ranker_hangs", "both_fail"):
        assert figures[f"{trouble}_given"] == figures[f"{trouble}_answers"] > 0, (result.broken, figures)
        assert figures[f"{trouble}_degraded"] > 0, figures
    assert figures["shown_after_1_s"] == 0, result.broken
    assert figures["answers_with_items"] > 0

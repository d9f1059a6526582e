"""The short forms of the goals on Apache Kafka; `make chaos` plays the full ones."""

import pytest

from infra.chaos.result import GoalResult
from tests.chaos.conftest import PlayGoal

pytestmark = [pytest.mark.integration, pytest.mark.kafka]


def kept(result: GoalResult) -> GoalResult:
    if result.skipped:
        pytest.skip(result.skipped)
    assert result.kept, (result.broken, result.examples, result.timeline)
    assert (result.lost, result.twice, result.wrong, result.unexpected) == (0, 0, 0, 0)
    return result


def test_killed_workers_lose_nothing_and_apply_nothing_twice(play: PlayGoal) -> None:
    result = kept(play("G1"))
    assert result.figures["kills_with_uncommitted_records"] > 0, "no kill hit work that was not committed"
    assert len(result.parts) == 4

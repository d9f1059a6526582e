"""What every short form of a goal has to show."""

import pytest

from infra.chaos.result import GoalResult


def kept(result: GoalResult) -> GoalResult:
    assert exact(result).kept, (result.broken, result.examples, result.timeline)
    return result


def exact(result: GoalResult) -> GoalResult:
    """Was it played to its end, and is every store right? What else was promised is not asked."""
    if result.skipped:
        pytest.skip(result.skipped)
    assert result.figures, ("the play could not go on", result.broken, result.timeline)
    assert (result.lost, result.twice, result.wrong, result.unexpected) == (0, 0, 0, 0), (
        result.broken, result.examples, result.timeline,
    )  # fmt: skip
    return result

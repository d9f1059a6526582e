"""The reliability goals, one module each. `GOALS` lists them in their order."""

from core.errors import InvalidInput
from infra.chaos.goal import Goal
from infra.chaos.goals import (
    g01_killed_worker,
    g02_zombie,
    g03_broker_restarts,
    g04_rebalance_storm,
    g05_poison,
    g06_duplicates,
    g07_disorder,
    g09_disk_full,
    g10_redis_down,
    g11_slow_model,
    g12_killed_replica,
    g16_overload,
    g18_cold_restart,
    g19_damaged_snapshots,
    g36_moderator_down,
    g37_killed_moderation_worker,
    g38_posts_and_reviews,
    g39_recommender,
)

GOALS: tuple[Goal, ...] = (
    g01_killed_worker.GOAL,
    g02_zombie.GOAL,
    g03_broker_restarts.GOAL,
    g04_rebalance_storm.GOAL,
    g05_poison.GOAL,
    g06_duplicates.GOAL,
    g07_disorder.GOAL,
    g09_disk_full.GOAL,
    g10_redis_down.GOAL,
    g11_slow_model.GOAL,
    g12_killed_replica.GOAL,
    g16_overload.GOAL,
    g18_cold_restart.GOAL,
    g19_damaged_snapshots.GOAL,
    g36_moderator_down.GOAL,
    g37_killed_moderation_worker.GOAL,
    g38_posts_and_reviews.GOAL,
    g39_recommender.GOAL,
)


def named(names: list[str]) -> list[Goal]:
    """Return the goals with these names. Raises InvalidInput for a name that is none."""
    by_name = {goal.name: goal for goal in GOALS}
    for name in names:
        if name.upper() not in by_name:
            raise InvalidInput(f"there is no goal {name!r}; goals are {', '.join(by_name)}")
    return [by_name[name.upper()] for name in names]

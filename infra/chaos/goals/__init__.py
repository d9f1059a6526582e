"""The reliability goals, one module each. `GOALS` lists them in their order."""

from core.errors import InvalidInput
from infra.chaos.goal import Goal
from infra.chaos.goals import g01_killed_worker

GOALS: tuple[Goal, ...] = (g01_killed_worker.GOAL,)


def named(names: list[str]) -> list[Goal]:
    """Return the goals with these names. Raises InvalidInput for a name that is none."""
    by_name = {goal.name: goal for goal in GOALS}
    for name in names:
        if name.upper() not in by_name:
            raise InvalidInput(f"there is no goal {name!r}; goals are {', '.join(by_name)}")
    return [by_name[name.upper()] for name in names]

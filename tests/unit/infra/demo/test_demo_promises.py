"""Promises to new videos in the demo: they end within it, unless somebody else set them."""

from typing import Any

import pytest

from core.settings import Settings
from core.settings.recommendation import RecommendationSettings
from infra.demo import homepage
from infra.demo.run import with_short_promises


class Platform:
    """Answers with one state after another, the last for ever."""

    def __init__(self, hours: float, *opened: int) -> None:
        self._hours, self._opened = hours, list(opened)
        self.asked = 0

    async def get(self, path: str) -> dict[str, Any]:
        assert path == "/v1/recommender"
        at = min(self.asked, len(self._opened) - 1)
        self.asked += 1
        return {"promises": {"open": self._opened[at], "hours": self._hours}}


@pytest.mark.parametrize(("hours", "opened", "asked"), [(0.01, (2, 1, 0), 3), (24.0, (2, 1, 0), 1), (0.01, (0,), 1)])
async def test_open_promises_are_waited_for_where_they_end_within_the_demo(
    hours: float, opened: tuple[int, ...], asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(homepage, "LOOK_EVERY_S", 0.0)
    platform = Platform(hours, *opened)
    state = await homepage.promises_ended(platform)  # type: ignore[arg-type]  # what it uses of it
    assert platform.asked == asked
    assert state["promises"]["open"] == opened[asked - 1]


async def test_promises_that_stay_open_are_given_up_at_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homepage, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(homepage, "PROMISE_S", 0.05)
    assert (await homepage.promises_ended(Platform(0.0, 3)))["promises"]["open"] == 3  # type: ignore[arg-type]


def test_the_demo_shortens_promises_that_nobody_set() -> None:
    short = with_short_promises(Settings()).recommendation
    assert (short.promised_impressions, short.promise_hours) == (homepage.PROMISED, homepage.PROMISE_S / 3600)
    own = Settings(recommendation=RecommendationSettings(promise_hours=2.0))
    assert with_short_promises(own) == own

"""People looking at the answers: impressions of what was shown, clicks on what was right, counted into features."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from infra.demo.platform import Answer, Platform, event, wait_until

SURFACE = "visual_search"
PER_CALL = 1_000
TIMEOUT_S = 180.0


@dataclass
class Audience:
    """What simulated people saw and did: events to send, and the counts that must come out."""

    events: list[dict[str, Any]] = field(default_factory=list)
    impressions: dict[str, int] = field(default_factory=dict)
    clicks: dict[str, int] = field(default_factory=dict)


def look_at(answers: Sequence[Answer], right: Sequence[str], *, run: str, people: int, seed: int) -> Audience:
    """Let `people` look at every answer from the top, and click the right item with a probability that falls by rank.

    Looking further down is less likely (position bias): position p (from 0) is looked at with probability
    1 / (p + 1). What was shown is an impression, seen or not.
    """
    draw = random.Random(seed)
    audience = Audience()
    for person in range(people):
        user = f"user-{run}-{person:03d}"
        for number, (answer, wanted) in enumerate(zip(answers, right, strict=True)):
            for position, item in enumerate(answer.items):
                shown = {
                    "user_id": user,
                    "item_id": item,
                    "surface": SURFACE,
                    "position": position,
                    "trace_id": answer.trace_id,
                    "device": "desktop",
                }
                audience.events.append(event("interaction.impression", user, shown, str(number), item))
                audience.impressions[item] = audience.impressions.get(item, 0) + 1
                if item == wanted and draw.random() < 1 / (position + 1):
                    audience.events.append(event("interaction.click", user, shown, str(number), item))
                    audience.clicks[item] = audience.clicks.get(item, 0) + 1
    return audience


async def play(platform: Platform, audience: Audience, advance: Callable[[int], None]) -> tuple[float, bool]:
    """Send the events, wait until the features have counted them, and return (events a second, counts are exact)."""
    started = time.perf_counter()
    for start in range(0, len(audience.events), PER_CALL):
        batch = audience.events[start : start + PER_CALL]
        await platform.send("interactions", batch)
        advance(len(batch))
    pending = set(audience.impressions)

    async def counted() -> bool:
        for item in sorted(pending):
            row = (await item_features(platform, item))["values"]
            if (row["impressions_day"] or 0) < audience.impressions[item]:
                return False
            if (row["clicks_day"] or 0) < audience.clicks.get(item, 0):
                return False
            pending.discard(item)
        return True

    await wait_until(counted, what="interactions counted", timeout_s=TIMEOUT_S, every_s=0.05)
    per_s = len(audience.events) / (time.perf_counter() - started)
    exact = True
    for item, impressions in audience.impressions.items():
        row = (await item_features(platform, item))["values"]
        exact = exact and row["impressions_day"] == impressions
        exact = exact and (row["clicks_day"] or 0) == audience.clicks.get(item, 0)
    return per_s, exact


async def item_features(platform: Platform, item: str) -> dict[str, Any]:
    """Return the served feature row of an item."""
    return await platform.get(f"/v1/features/items/{item}")

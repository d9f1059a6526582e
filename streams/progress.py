"""The progress watchdog: a worker that is up but gets nowhere is not healthy.

Faust workers have stayed in their group without consuming, and consumed without committing, after broker outages and
rebalances. And a broker that lost its data answers as if nothing had happened, while every ack is below what the
worker thinks it committed. Both end the process; the supervisor starts it anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

Place = tuple[str, int]  # topic, partition


@dataclass(frozen=True)
class Snapshot:
    """What was seen at one look. Offsets are the next ones, by place; `epochs` by topic."""

    lag: Mapping[Place, int]
    ends: Mapping[Place, int]
    committed: Mapping[Place, int]
    epochs: Mapping[str, str]
    assigned: frozenset[Place]
    waiting_for: str = ""


@dataclass
class Watchdog:
    """Judges one agent from snapshots. Pure: time is passed in."""

    agent: str
    no_progress_s: float
    _since_s: float | None = None
    _committed: dict[Place, int] = field(default_factory=dict)
    _ends: dict[Place, int] = field(default_factory=dict)
    _epochs: dict[str, str] = field(default_factory=dict)

    def look(self, seen: Snapshot, now_s: float) -> str:
        """Return why the process must end, or an empty text. `now_s` is monotonic."""
        for topic, epoch in seen.epochs.items():
            if self._epochs.setdefault(topic, epoch) != epoch:
                return (
                    f"{topic} was made again (epoch {self._epochs[topic]} → {epoch}): offsets kept here are worthless"
                )
        for place, end in seen.ends.items():
            if end < self._ends.get(place, 0):
                return (
                    f"the end of {place[0]}[{place[1]}] went back from {self._ends[place]} to {end}: log data was lost"
                )
            self._ends[place] = end
        mine = {place: lag for place, lag in seen.lag.items() if not seen.assigned or place in seen.assigned}
        lag = sum(mine.values())
        moved = dict(seen.committed) != self._committed
        self._committed = dict(seen.committed)
        if lag == 0 or moved or seen.waiting_for or self._since_s is None:
            self._since_s = now_s
            return ""
        if now_s - self._since_s >= self.no_progress_s:
            return f"{self.agent}: {lag} records behind and no commit for {now_s - self._since_s:.0f} s"
        return ""

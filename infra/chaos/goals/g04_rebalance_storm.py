"""G4: workers join and leave their groups all the time."""

import threading
import time

from core.errors import Unavailable
from infra.chaos.goal import Goal, Play
from infra.chaos.ledger import Plan
from infra.chaos.processes import Part
from infra.chaos.producing import Producing
from infra.chaos.result import Outcome
from infra.chaos.stage import ARCHIVE, FEATURES, READY_S, UPLOADS, Stage

WINDOW_S = 30.0
_SHARE = 0.5


def play(play: Play) -> Outcome:
    storm_s, every_s, rate = play.pick(180, 14), play.pick(10, 7), play.pick(120, 60)
    with play.stage() as stage:
        stage.encoder()
        stage.workers()
        ledger = stage.ledger(Plan(rate * storm_s))
        producer = stage.produce(ledger.sent, rate=rate, batch=10)
        watch = _Progress(stage, producer)
        begun = time.monotonic()
        second: Part | None = None
        changes = 0
        while time.monotonic() - begun < storm_s:
            if second is None:
                agents = (UPLOADS, FEATURES, ARCHIVE) if stage.takes_uploads else (FEATURES, ARCHIVE)
                second = stage.worker(f"visitor-{changes}", agents)
                second.wait_ready(READY_S)
            else:
                second.terminate()
                second = None
            changes += 1
            play.progress(min(0.95, (time.monotonic() - begun) / storm_s))
            time.sleep(max(0.0, begun + changes * every_s - time.monotonic()))
        watch.stop()
        producer.wait(600)
        verdict, _ = stage.settle(ledger.model(), 180)
        shares = watch.shares(play.pick(int(WINDOW_S), 14))
        broken = tuple(
            f"window {number}: {share:.0%} of what was sent was handled, promised {_SHARE:.0%}"
            for number, share in enumerate(shares)
            if share < _SHARE
        )
        figures = {"joins_and_leaves": changes, "lowest_share_handled_in_a_window": min(shares, default=1.0)}
        return Outcome(ledger.events, verdict, None, broken, figures, stage.took_part())


class _Progress:
    """Samples what was sent and what the agents are behind: the difference was handled."""

    def __init__(self, stage: Stage, producer: Producing) -> None:
        self._stage = stage
        self._producer = producer
        self._samples: list[tuple[float, int, int]] = []  # time, sent, handled
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-progress", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def shares(self, window_s: float) -> list[float]:
        """Return, for each window, what was handled as a share of what was sent."""
        shares: list[float] = []
        first = 0
        for last, (at, sent, handled) in enumerate(self._samples):
            at_first, sent_first, handled_first = self._samples[first]
            if at - at_first >= window_s and sent > sent_first:
                shares.append((handled - handled_first) / (sent - sent_first))
                first = last
        return shares

    def _run(self) -> None:
        while not self._stop.wait(1.0):
            try:
                lag = self._stage.lag() / 2  # each record is read by two groups
            except Unavailable:
                continue
            sent = self._producer.records
            self._samples.append((time.monotonic(), sent, round(sent - lag)))


GOAL = Goal(
    name="G4",
    title="Rebalance storm",
    what="For three minutes, every ten seconds a worker with all agents joins the consumer groups or leaves them.",
    promise="nothing lost, nothing applied twice; in every window of 30 s at least half of what is sent is handled",
    play=play,
)

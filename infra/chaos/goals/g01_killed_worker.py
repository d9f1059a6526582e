"""G1: worker processes are killed at random points."""

import time

from core.errors import Unavailable
from infra.chaos.goal import Goal, Play
from infra.chaos.ledger import Plan
from infra.chaos.result import Outcome
from infra.chaos.stage import READY_S

READY_AGAIN_S = 20.0
_WITHIN_S = 1.2  # of the first record of a portion: around the commit interval, so that some work is uncommitted


def play(play: Play) -> Outcome:
    kills = play.pick(20, 2)
    with play.stage() as stage:
        stage.encoder()
        workers = stage.workers()
        ledger = stage.ledger(Plan(play.pick(10_000, 800)))
        size = -(-len(ledger.sent) // kills)
        recovered: list[float] = []
        uncommitted: list[int] = []
        for kill in range(kills):
            producer = stage.produce(ledger.sent[kill * size : (kill + 1) * size])
            time.sleep(stage.rng.uniform(0.1, _WITHIN_S))
            victim = stage.rng.choice(workers)
            begun = time.monotonic()
            victim.kill()
            uncommitted.append(stage.lag())
            try:
                victim.wait_ready(READY_S)
            except Unavailable as error:
                return Outcome(ledger.events, stage.settle(ledger.model(), 1)[0], None, (str(error),))
            recovered.append(time.monotonic() - begun)
            producer.wait(60)
            play.progress((kill + 1) / (kills + 1))
        verdict, _ = stage.settle(ledger.model(), 120)
        slowest = max(recovered)
        broken = (
            () if slowest <= READY_AGAIN_S else (f"ready again after {slowest:.1f} s, promised {READY_AGAIN_S:g} s",)
        )
        figures = {
            "kills": kills,
            "kills_with_uncommitted_records": sum(lag > 0 for lag in uncommitted),
            "uncommitted_records_at_kills": sum(uncommitted),
            "ready_again_s_median": sorted(recovered)[kills // 2],
        }
        return Outcome(ledger.events, verdict, slowest, broken, figures, stage.took_part())


GOAL = Goal(
    name="G1",
    title="Workers killed at random points",
    what="20 times in 10,000 events, a worker process chosen at random gets SIGKILL while it works.",
    promise=f"nothing lost, nothing applied twice, ready again within {READY_AGAIN_S:g} s of each kill",
    play=play,
)

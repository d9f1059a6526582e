"""G2: a worker is frozen, another one takes over its partitions, and the first goes on as if nothing had happened."""

import time

from core.errors import Unavailable
from infra.chaos.goal import Goal, Play
from infra.chaos.ledger import Plan
from infra.chaos.result import Outcome
from infra.chaos.stage import ARCHIVE, FEATURES, READY_S, UPLOADS


def play(play: Play) -> Outcome:
    rounds, hold_s, rate = play.pick(3, 1), play.pick(30, 9), play.pick(120, 60)
    with play.stage() as stage:
        stage.encoder()
        pairs = [[stage.worker(f"behaviour-{name}", (FEATURES, ARCHIVE)) for name in "ab"]]
        if stage.takes_uploads:
            pairs.append([stage.worker(f"content-{name}", (UPLOADS,)) for name in "ab"])
        for pair in pairs:
            for worker in pair:
                worker.wait_ready(READY_S)
        ledger = stage.ledger(Plan(int(rounds * rate * hold_s * 1.6)))
        producer = stage.produce(ledger.sent, rate=rate, batch=5)
        taken_over: list[float] = []
        blocked = 0
        for number in range(rounds):
            time.sleep(stage.rng.uniform(1.0, 3.0))
            begun = time.monotonic()
            zombies = [stage.rng.choice(pair) for pair in pairs]
            for zombie in zombies:
                zombie.freeze()
            # The lag grows until the group notices; then the others read what the zombies left.
            time.sleep(stage.settings.streams.session_timeout_s)
            try:
                stage.wait_lag(rate * 4, hold_s - (time.monotonic() - begun))
                taken_over.append(time.monotonic() - begun)
            except Unavailable:
                blocked += 1
            time.sleep(max(0.0, hold_s - (time.monotonic() - begun)))
            for zombie in zombies:
                zombie.thaw()
            play.progress((number + 1) / (rounds + 1))
        producer.wait(600)
        verdict, _ = stage.settle(ledger.model(), 180)
        figures = {"freezes": rounds * len(pairs), "frozen_s_each": hold_s, "rounds_without_takeover": blocked}
        return Outcome(
            ledger.events, verdict, max(taken_over, default=None), (), figures, stage.took_part(),
            ("time to recover: from the freeze until the remaining worker was at most four seconds behind",),
        )  # fmt: skip


GOAL = Goal(
    name="G2",
    title="Zombie",
    what="One of two workers is frozen (SIGSTOP) for 30 s in the middle of its work and goes on (SIGCONT) when its "
    "partitions belong to the other one; three times.",
    promise="nothing lost, nothing applied twice: what the zombie still writes is refused or changes nothing",
    play=play,
)

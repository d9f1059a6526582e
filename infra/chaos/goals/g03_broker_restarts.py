"""G3: the broker is killed and started again while producer and workers run."""

import time

from core import topics
from core.errors import Unavailable
from infra.chaos.goal import Goal, Play
from infra.chaos.ledger import Plan
from infra.chaos.result import Outcome
from infra.chaos.stage import Stage
from infra.chaos.verifier import Verdict
from storage.log.admin import apply_topics

NOTICED_S = 30.0


def play(play: Play) -> Outcome:
    restarts, rate = play.pick(5, 1), play.pick(100, 60)
    with play.stage() as stage:
        stage.encoder()
        stage.workers()
        if not stage.broker.durable:
            return _detection(stage)
        ledger = stage.ledger(Plan(restarts * rate * play.pick(30, 10)))
        producer = stage.produce(ledger.sent, rate=rate, batch=10)
        recovered: list[float] = []
        for number in range(restarts):
            time.sleep(stage.rng.uniform(2.0, 5.0))
            play.timeline.add("broker killed (SIGKILL)")
            stage.broker.kill()
            time.sleep(stage.rng.uniform(1.0, play.pick(8, 2)))
            stage.broker.start()
            play.timeline.add("broker answers again")
            begun = time.monotonic()
            stage.wait_lag(rate * 4, 120)
            recovered.append(time.monotonic() - begun)
            play.progress((number + 1) / (restarts + 1))
        producer.wait(600)
        verdict, _ = stage.settle(ledger.model(), 180, required=frozenset(producer.acknowledged))
        figures = {
            "restarts": restarts,
            "acknowledged_events": len(producer.acknowledged),
            "batches_sent_again": producer.retries,
            "workers_started_again": sum(part.starts - 1 for part in stage.parts.values()),
        }
        note = "time to recover: from the broker's first answer until the agents were at most four seconds behind"
        return Outcome(ledger.events, verdict, max(recovered), (), figures, stage.took_part(), (note,))


def _detection(stage: Stage) -> Outcome:
    """A volatile broker lost everything: the workers must say so by ending, not go on as if nothing had happened."""
    ledger = stage.ledger(Plan(500))
    stage.produce(ledger.sent).wait(60)
    stage.settle(ledger.model(), 60)
    workers = [part for name, part in stage.parts.items() if name != "serve"]
    before = [part.starts for part in workers]
    stage.broker.kill()
    stage.broker.start()
    apply_topics(stage.broker.bootstrap, topics.ALL, stage.settings.broker)
    begun = time.monotonic()
    while any(part.starts == count for part, count in zip(workers, before, strict=True)):
        if time.monotonic() - begun > 3 * NOTICED_S:
            raise Unavailable("a worker did not notice that the broker had lost its data")
        time.sleep(0.2)
    took_s = time.monotonic() - begun
    broken = () if took_s <= NOTICED_S else (f"noticed after {took_s:.0f} s, promised {NOTICED_S:g} s",)
    note = "only detection is promised: every worker ended (to be started anew) after the broker had lost its data"
    return Outcome(ledger.events, Verdict(), took_s, broken, {"workers": len(workers)}, stage.took_part(), (note,))


GOAL = Goal(
    name="G3",
    title="Broker killed and restarted",
    what="Five times the broker gets SIGKILL, stays away for one to eight seconds and starts on the same data, while "
    "a producer sends and the workers work.",
    promise="what the broker acknowledged is there afterwards and is applied once; the producer drops nothing",
    play=play,
    embedded="a restart loses every topic; promised is that the workers notice within 30 s and end",
)

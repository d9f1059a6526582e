"""G6: every event several times, and the whole topic again."""

from infra.chaos.goal import Goal, Play
from infra.chaos.ledger import Plan
from infra.chaos.result import Outcome
from infra.chaos.verifier import Verdict


def play(play: Play) -> Outcome:
    plan = Plan(play.pick(10_000, 500))
    with play.stage("once") as stage:
        stage.encoder()
        stage.workers()
        start = stage.start_of_events
        ledger = stage.ledger(plan)
        stage.produce(ledger.sent).wait(120)
        once, seen = stage.settle(ledger.model(), play.pick(300, 60))
        hash_once = seen.state_hash(stage.run)
    play.progress(0.4)
    with play.stage("many") as stage:
        stage.encoder()
        stage.workers()
        ledger = stage.ledger(plan, start=start)
        several = [one for one in ledger.sent for _ in range(stage.rng.randint(1, 3))]
        stage.produce(several).wait(120)
        first, _ = stage.settle(ledger.model(), play.pick(300, 60))
        play.progress(0.7)
        play.timeline.add("the whole topic is sent again")
        again = sorted(several, key=lambda one: one.number + stage.rng.uniform(0, 200))
        stage.produce(again).wait(120)
        verdict, seen = stage.settle(ledger.model(), play.pick(300, 60))
        hash_many = seen.state_hash(stage.run)
        broken = _unclean("each event once", once) + _unclean("before the replay", first)
        if hash_once != hash_many:
            broken += (f"the states differ: {hash_once[:16]} and {hash_many[:16]}",)
        figures = {"records_sent_once": len(ledger.sent), "records_sent_in_the_second_run": len(several) + len(again)}
        note = f"state hash {hash_once[:16]} after single delivery, {hash_many[:16]} after repeated delivery and replay"
        return Outcome(ledger.events, verdict, None, broken, figures, stage.took_part(), (note,))


def _unclean(when: str, verdict: Verdict) -> tuple[str, ...]:
    return () if verdict.clean else (f"{when}: {verdict.examples}",)


GOAL = Goal(
    name="G6",
    title="Duplicates and full replay",
    what="Every record is sent one to three times, then everything is sent again in another order.",
    promise="catalogue, index, features, dead letters and archive are the same (one hash) as after one delivery",
    play=play,
)

"""G7: events out of order, late, and from the future."""

from infra.chaos.goal import Goal, Play
from infra.chaos.ledger import Plan, shuffled
from infra.chaos.result import Outcome


def play(play: Play) -> Outcome:
    plan = Plan(play.pick(10_000, 1_000), late_share=0.05, too_late_share=0.005, future_share=0.01)
    with play.stage() as stage:
        stage.encoder()
        stage.workers()
        ledger = stage.ledger(plan)
        stage.produce(shuffled(ledger, play.pick(1_000, 200))).wait(120)
        play.progress(0.4)
        model = ledger.model()
        verdict, _ = stage.settle(model, play.pick(300, 60))
        codes = list(model.letters.values())
        figures = {"future": codes.count("future-event"), "too_late": codes.count("late-event")}
        return Outcome(
            ledger.events, verdict, None, (), figures, stage.took_part(),
            (
                "uploads of one item keep their order, as one key of a topic does, but for every second deletion, "
                "which overtakes all that happened to its item before it",
            ),
        )  # fmt: skip


GOAL = Goal(
    name="G7",
    title="Out of order, late, from the future",
    what="Records are shuffled within 1,000 places; 5 % of the interactions are up to 6.9 days old, 0.5 % older than "
    "seven days, 1 % from the future.",
    promise="every window of every entity is exact by event time, the newest state of every item wins; what is too "
    "late or from the future is a dead letter that says so",
    play=play,
)

"""G36: the moderator is killed again and again, then slow, then stopped, while posts are written."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from infra.chaos.answers import AnswerWatch
from infra.chaos.goal import Goal, Play
from infra.chaos.posts.ledger import PostPlan
from infra.chaos.posts.play import ITEMS, MODERATOR, begin, judge, open_parts, questions, wait_moderator, without_scores
from infra.chaos.posts.verifier import SeenDecision
from infra.chaos.processes import Part
from infra.chaos.replicas import frozen, keep_down, replica_pids, slowed
from infra.chaos.result import Outcome
from infra.chaos.stage import Stage

DECIDED_S = 90.0


@dataclass(frozen=True)
class Form:
    """Sizes of a form of the goal. Times in seconds, rate a second."""

    down_s: float
    slow_s: float
    frozen_s: float
    calm_s: float  # before, between and after
    share: float  # of the time that a slow moderator runs
    rate: float
    timeout_s: float  # that the worker waits for scores

    @property
    def posts(self) -> int:
        return int(self.rate * (self.down_s + self.slow_s + self.frozen_s + 4 * self.calm_s))


FULL = Form(15, 20, 10, 6, 0.15, 8, 5)
SHORT = Form(4, 0, 4, 2, 0.15, 8, 1.5)


def play(play: Play) -> Outcome:
    form = SHORT if play.short else FULL
    moderation = {"timeout_s": form.timeout_s, "rescore_per_s": 20.0}
    with play.stage(moderation=moderation) as stage:
        serve = open_parts(stage)
        ledger = begin(stage, PostPlan(first=play.pick(60, 24), posts=form.posts, items=ITEMS))
        producer = stage.produce(ledger.then, rate=form.rate, batch=1)
        with AnswerWatch(stage.http_url, stage.broker.bootstrap, questions(ledger), stage.run) as watch:
            time.sleep(form.calm_s)
            for number, fault in enumerate(_faults(form, stage, serve)):
                fault()
                play.timeline.add("the moderator is as it was")
                play.progress((number + 1) / 5)
                time.sleep(form.calm_s)
            begun = time.monotonic()
            wait_moderator(stage, serve)
            producer.wait(120)
            verdict, seen = judge(stage, ledger, ledger.model(), 150)
            decided_s = time.monotonic() - begun
        late = watch.late()
        figures = {
            "posts": len(ledger.model().posts),
            "decisions_without_scores": without_scores(seen),
            "let_through_without_scores": _let_through(seen.decisions.values()),
            "all_decided_by_the_model_s": decided_s,
            **watch.figures(),
        }
        broken: tuple[str, ...] = ()
        if not figures["decisions_without_scores"]:
            broken += ("every post was scored in time: nothing was broken enough to prove anything",)
        if decided_s > DECIDED_S:
            broken += (f"all was decided {decided_s:.0f} s after the last fault, promised {DECIDED_S:g} s",)
        if late:
            broken += (f"{len(late)} times a post was shown after it was enforced: {late[0]}",)
        notes = (
            f"killed for {form.down_s:g} s: each replica as soon as there is one; slow: it runs for {form.share:.0%} "
            "of the time (SIGSTOP, SIGCONT)",
            "time to recover: from the last fault until every post was decided by the model, and judged here",
        )
        return Outcome(ledger.events, verdict, decided_s, broken, figures, stage.took_part(), notes)


def _faults(form: Form, stage: Stage, serve: Part) -> list[Callable[[], None]]:
    def down() -> None:
        keep_down(serve, MODERATOR, form.down_s, stage.timeline)
        wait_moderator(stage, serve)

    def slow() -> None:
        stage.timeline.add(f"the moderator runs for {form.share:.0%} of the time")
        with slowed(replica_pids(serve, MODERATOR), form.share):
            time.sleep(form.slow_s)

    def stop() -> None:
        stage.timeline.add("the moderator is stopped (SIGSTOP)")
        with frozen(replica_pids(serve, MODERATOR)):
            time.sleep(form.frozen_s)

    return [down, *([slow] if form.slow_s else []), stop]


def _let_through(histories: Iterable[Sequence[SeenDecision]]) -> int:
    return sum(one.action == "allow" and one.failed for history in histories for one in history)


GOAL = Goal(
    name="G36",
    title="Moderator killed and slow",
    what=f"While {FULL.rate:g} posts a second are written, changed and deleted, every replica of the moderator is "
    f"killed for {FULL.down_s:g} s, then runs for {FULL.share:.0%} of the time for {FULL.slow_s:g} s, then is "
    f"stopped for {FULL.frozen_s:g} s; somebody searches and asks for homepages all the time.",
    promise="no post is lost; none is let through without scores, a person is asked instead; "
    f"{DECIDED_S:g} s after the last fault the model has decided them all, once each, and catalogue, verdicts and "
    "audit log agree; what is enforced is in no answer after 1 s",
    play=play,
)

"""G38: the broker restarts and the agents' groups rebalance while posts are written and people review."""

import random
import time
from dataclasses import replace

from core.errors import ConfigurationError
from infra.chaos.answers import AnswerWatch
from infra.chaos.goal import Goal, Play
from infra.chaos.posts.ledger import PostPlan
from infra.chaos.posts.play import ITEMS, begin, judge, open_parts, questions, without_scores
from infra.chaos.posts.reviewer import Reviewer
from infra.chaos.result import Outcome
from infra.chaos.stage import POSTS, REACTIONS, READY_S

RATE = 20.0


def play(play: Play) -> Outcome:
    restarts = play.pick(3, 1)
    with play.stage(moderation={"rescore_per_s": 10.0, "impression_sample": 1.0}) as stage:
        if not stage.broker.durable:
            raise ConfigurationError("a restart of this broker loses every topic, which G3 is about")
        open_parts(stage)
        number = int(RATE * play.pick(30, 20) * restarts)
        plan = PostPlan(first=play.pick(200, 60), posts=number // 2, reactions=number // 2, items=ITEMS)
        ledger = begin(stage, plan)
        model = ledger.model()
        first = sorted(ledger.model(whole=False).posts)
        producer = stage.produce(ledger.then, rate=RATE, batch=5)
        recovered: list[float] = []
        outages: list[tuple[float, float]] = []
        with (
            Reviewer(stage.http_url, f"{stage.run}-reviewer", first, random.Random(stage.seed + 11)) as reviewer,
            AnswerWatch(stage.http_url, stage.broker.bootstrap, questions(ledger), stage.run) as watch,
        ):
            for round_ in range(restarts):
                second = stage.worker(f"second-{round_}", (POSTS, REACTIONS))
                second.wait_ready(READY_S)
                time.sleep(stage.rng.uniform(1.0, 3.0))
                play.timeline.add("broker killed (SIGKILL)")
                killed = time.monotonic()
                stage.broker.kill()
                time.sleep(stage.rng.uniform(1.0, play.pick(6, 2)))
                stage.broker.start()
                play.timeline.add("broker answers again")
                begun = time.monotonic()
                outages.append((killed, begun))
                stage.wait_lag(int(RATE * 4), 120)
                recovered.append(time.monotonic() - begun)
                second.terminate()
                play.progress((round_ + 1) / (restarts + 1))
            producer.wait(300)
        model = replace(model, reviewed=dict(reviewer.told))
        verdict, seen = judge(stage, ledger, model, 150, required=frozenset(producer.acknowledged))
        late = watch.late()
        broken: tuple[str, ...] = ()
        if late:
            broken += (f"{len(late)} times a post was shown after it was enforced: {late[0]}",)
        meanwhile = sum(since <= at <= until for since, until in outages for at in reviewer.at_s)
        if not meanwhile:
            broken += ("nobody could review while the broker was away",)
        if reviewer.refused:
            broken += (f"{len(reviewer.refused)} calls of the reviewer were refused: {reviewer.refused[0]}",)
        figures = {
            "posts": len(model.posts),
            "reactions": len(model.reacted),
            "restarts": restarts,
            "joins_and_leaves": 2 * restarts,
            "reviews": len(reviewer.at_s),
            "reviews_while_the_broker_was_away": meanwhile,
            "calls_of_the_reviewer_made_again": reviewer.repeated,
            "batches_sent_again": producer.retries,
            "decisions_without_scores": without_scores(seen),
            **watch.figures(),
        }
        note = "time to recover: from the broker's first answer until the agents were at most four seconds behind"
        return Outcome(ledger.events, verdict, max(recovered), broken, figures, stage.took_part(), (note,))


GOAL = Goal(
    name="G38",
    title="Posts and reviews through broker restarts",
    what=f"At {RATE:g} events a second about posts, while a person reviews, a second worker joins the agents' groups, "
    "the broker gets SIGKILL and starts again on its data, and the second worker leaves; three times.",
    promise="reviewing goes on without the broker; nothing lost, nothing decided or counted twice; what a person was "
    "told is in force is in force; labels, decisions and verdicts are published; the audit log is whole; what is "
    "enforced is in no answer 1 s after its verdict could be read",
    play=play,
    embedded="a restart loses every topic",
)

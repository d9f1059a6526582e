"""G37: the worker that decides about posts is killed in the middle of them."""

import time

from infra.chaos.answers import AnswerWatch
from infra.chaos.goal import Goal, Play
from infra.chaos.goals.g01_killed_worker import READY_AGAIN_S
from infra.chaos.posts.ledger import PostPlan
from infra.chaos.posts.play import ITEMS, begin, judge, open_parts, questions, without_scores
from infra.chaos.result import Outcome
from infra.chaos.stage import READY_S

_WITHIN_S = 1.0  # of a portion's first record: around the commit interval, so that some work is uncommitted


def play(play: Play) -> Outcome:
    kills = play.pick(8, 2)
    with play.stage(moderation={"rescore_per_s": 10.0}) as stage:
        open_parts(stage)
        worker = stage.parts["content"]
        plan = PostPlan(first=play.pick(80, 24), posts=kills * 80, reactions=kills * 40, items=ITEMS)
        ledger = begin(stage, plan)
        size = -(-len(ledger.then) // kills)
        recovered: list[float] = []
        uncommitted: list[int] = []
        with AnswerWatch(stage.http_url, stage.broker.bootstrap, questions(ledger), stage.run) as watch:
            for kill in range(kills):
                producer = stage.produce(ledger.then[kill * size : (kill + 1) * size])
                time.sleep(stage.rng.uniform(0.1, _WITHIN_S))
                begun = time.monotonic()
                worker.kill()
                uncommitted.append(stage.lag())
                worker.wait_ready(READY_S)
                recovered.append(time.monotonic() - begun)
                producer.wait(60)
                play.progress((kill + 1) / (kills + 1))
            verdict, seen = judge(stage, ledger, ledger.model(), 120)
        late = watch.late()
        broken: tuple[str, ...] = ()
        if max(recovered) > READY_AGAIN_S:
            broken += (f"ready again after {max(recovered):.1f} s, promised {READY_AGAIN_S:g} s",)
        if late:
            broken += (f"{len(late)} times a post was shown after it was enforced: {late[0]}",)
        figures = {
            "posts": len(ledger.model().posts),
            "reactions": len(ledger.model().reacted),
            "kills": kills,
            "kills_with_uncommitted_records": sum(lag > 0 for lag in uncommitted),
            "uncommitted_records_at_kills": sum(uncommitted),
            "ready_again_s_median": sorted(recovered)[kills // 2],
            "decisions": sum(len(history) for history in seen.decisions.values()),
            "decisions_without_scores": without_scores(seen),
            **watch.figures(),
        }
        return Outcome(ledger.events, verdict, max(recovered), broken, figures, stage.took_part())


GOAL = Goal(
    name="G37",
    title="Moderation worker killed",
    what="Eight times, while posts are written, changed and deleted and people react to them, the worker that decides "
    "about posts gets SIGKILL; somebody searches and asks for homepages all the time.",
    promise="every version of a post is decided once, every reaction is counted once; catalogue, decisions, verdicts "
    "and audit log agree, and the log's chain is whole; what is enforced is in no answer after 1 s; "
    f"ready again within {READY_AGAIN_S:g} s of each kill",
    play=play,
)

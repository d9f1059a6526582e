"""G19: snapshots of the index are damaged, and their writer is killed."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import msgspec

from core.errors import Unavailable
from core.settings import child_environment
from infra.chaos.damaged_snapshots import Trial, TrialPlan
from infra.chaos.goal import Goal, Play
from infra.chaos.result import Outcome
from infra.chaos.stage import Stage
from infra.chaos.verifier import Verdict
from infra.supervisor.child import describe_exit

_EXAMPLES = 3


def play(play: Play) -> Outcome:
    damaged, killed = play.pick(200, 12), play.pick(20, 2)
    with play.stage() as stage:
        plan = TrialPlan(
            bootstrap=stage.broker.bootstrap,
            folder=str(stage.home / "snapshots"),
            run=stage.run,
            seed=play.seed,
            items=6_000,  # enough for segments on the disk with a structure
            first=5_500,
            dim=16,
            start=stage.start_of_events,
            damaged=damaged,
            killed=killed,
        )
        verdict, trials = Verdict(), list[Trial]()
        ended = ""
        try:
            for trial in _trials(stage, plan):
                trials.append(trial)
                _judge(trial, verdict)
                play.progress(len(trials) / (damaged + killed))
        except Unavailable as error:
            ended = str(error)
    believed = Counter(trial.believed for trial in trials[:damaged])
    broken: tuple[str, ...] = (ended,) if ended else ()
    figures = {
        "damaged": len(trials[:damaged]),
        "damaged_refused": believed["previous"],
        "damaged_believed_and_equal": sum(trial.believed == "newest" and trial.equal for trial in trials[:damaged]),
        "writers_killed": len(trials[damaged:]),
        "snapshots_left_unfinished": sum("1 unfinished" in trial.what for trial in trials),
    }
    if any(trial.believed == "none" and not trial.failure for trial in trials):
        broken += ("the previous snapshot was not used: the index was built from the beginning of the log",)
    slowest = max((trial.read_s for trial in trials), default=None)
    parts = ("the gateway's index follower (a process)", "the log of index entries")
    return Outcome(plan.items, verdict, slowest, broken, figures, parts)


def _judge(trial: Trial, verdict: Verdict) -> None:
    for what, items in (("lost", trial.missing), ("unexpected", trial.extra), ("wrong", trial.different)):
        if items:
            verdict.add(what, f"{trial.what}: {', '.join(items[:_EXAMPLES])} (of {len(items)})", len(items))
    if trial.failure:
        verdict.add("wrong", f"{trial.what}: the index could not be opened: {trial.failure}")
    elif not trial.equal and not trial.number_wrong:
        verdict.add("wrong", f"{trial.what}: other removals are remembered")


def _trials(stage: Stage, plan: TrialPlan) -> Iterator[Trial]:
    """Run the process that makes the trials. Raises Unavailable when it ended before the last one."""
    log = stage.home / "logs" / "damaged-snapshots.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "infra.chaos.damaged_snapshots", msgspec.json.encode(plan).decode()]
    environment = child_environment(OMP_NUM_THREADS="1")
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=output)
    made = 0
    try:
        assert process.stdout is not None
        for line in process.stdout:
            made += 1
            yield msgspec.json.decode(line, type=Trial)
        ended = describe_exit(process.wait(30))
    finally:
        process.kill()
        process.wait()
    if made < plan.damaged + plan.killed:
        raise Unavailable(f"the process that opens the index ended ({ended}) in trial {made + 1}; see {log}")


GOAL = Goal(
    name="G19",
    title="Damaged snapshots",
    what="200 times a byte of the index's newest snapshot is flipped, or one of its files is cut, emptied, lengthened "
    "or removed; 20 times the process that saves a snapshot gets SIGKILL while it does. Each time the index is opened.",
    promise="the damaged snapshot is refused, or the index is the same; the one before it and the log give an index "
    "with every item in the same version and state, and with the same removals",
    play=play,
    embedded="a restart loses every topic, and with it what came after the older snapshot; within one run of the "
    "broker the promise holds there, too",
)
